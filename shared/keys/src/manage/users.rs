//! Users.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::limits::Limits;
use crate::owners::{Member, MemberRole, Team, User, UserRole};
use crate::store::{Edit, EditError, Filter, Kind, RowId};
use crate::virtual_key::VirtualKey;

use super::error::Lost;
use super::list::Items;
use super::teams::team_row;
use super::{
    Caller, Created, KeyFields, KeyInfo, LimitFields, ManageError, Manager, MemberRef, Patch, Slice,
};
use super::{UserInfo, check, new_id};

/// Changes of a user; see [`User`] for what the fields mean.
#[derive(Clone, Default, PartialEq)]
pub struct UserFields {
    /// A name for people.
    pub user_alias: Patch<String>,
    /// The mail address.
    pub user_email: Patch<String>,
    /// What the user may do with the management API.
    pub user_role: Patch<UserRole>,
    /// The models its keys may call.
    pub models: Patch<Vec<String>>,
    /// The owner's own data.
    pub metadata: Patch<Map<String, Value>>,
    /// The budget that its limits come from; it must be there.
    pub budget_id: Patch<String>,
    /// What its keys may use up together.
    pub limits: LimitFields,
    /// US dollars that count as spent from now on.
    pub spend: Option<f64>,
}

/// A user to be made.
#[derive(Default)]
pub struct NewUser {
    /// Its id; `None` = a new one.
    pub user_id: Option<String>,
    /// The teams that it becomes a member of.
    pub teams: Vec<String>,
    /// Its fields.
    pub fields: UserFields,
    /// The fields of a key that is made with it; `None` = no key.
    pub key: Option<KeyFields>,
}

impl UserFields {
    pub(crate) fn apply(&self, user: &mut User, now: Timestamp) -> Result<(), ManageError> {
        self.user_alias.optional(&mut user.user_alias);
        self.user_email.optional(&mut user.user_email);
        self.user_role.plain(&mut user.user_role);
        self.models.plain(&mut user.models);
        self.metadata.plain(&mut user.metadata);
        self.budget_id.optional(&mut user.budget_id);
        self.limits.apply(&mut user.limits, now);
        if let Some(spend) = self.spend {
            check::dollars("spend", spend)?;
        }
        check::name("user_id", &user.user_id)?;
        check::optional_name("user_alias", user.user_alias.as_deref())?;
        check::optional_name("user_email", user.user_email.as_deref())?;
        check::optional_name("budget_id", user.budget_id.as_deref())?;
        check::limits(&user.limits)?;
        let mut parts =
            vec![("models", check::list_size(&user.models)), ("metadata", check::map_size(&user.metadata))];
        parts.extend(check::limit_sizes(&user.limits));
        check::sizes(&parts)
    }
}

impl Manager {
    /// Makes a user, with a key if one is asked for; both or none.
    ///
    /// # Errors
    /// `Duplicate` of `user_id` or `key_alias`; `Invalid`, also of `teams` when one is not there; `Denied`;
    /// `Unavailable`.
    pub async fn new_user(
        &self,
        caller: &Caller,
        new: NewUser,
    ) -> Result<(UserInfo, Option<Created>), ManageError> {
        caller.must_be_admin("user")?;
        for team in &new.teams {
            if self.load::<Team>(&team_row(team)).await?.is_none() {
                return Err(ManageError::invalid("teams", "must be ids of teams"));
            }
        }
        let now = self.now();
        let mut user = blank_user(new.user_id.unwrap_or_else(new_id), now);
        new.fields.apply(&mut user, now)?;
        let id = user_row(&user.user_id);
        let creation = self.creation(&user).await?;
        let created = match new.key {
            None => {
                self.create_user(creation).await?;
                None
            }
            Some(mut fields) => {
                fields.user_id = Patch::Set(user.user_id.clone());
                let key = self.unwritten(caller, None, &fields).await?;
                Some(self.write_new(key, &fields, vec![(creation, "user_id")]).await?)
            }
        };
        self.set_spend::<User>(&id, new.fields.spend.filter(|spend| *spend > 0.0)).await?;
        let member = Member {
            user_id: Some(user.user_id.clone()),
            user_email: user.user_email.clone(),
            role: MemberRole::User,
        };
        for team in &new.teams {
            match self.add_members(caller, team, std::slice::from_ref(&member)).await {
                Ok(_) | Err(ManageError::Duplicate { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.found(self.required(&id).await?).await?, created))
    }

    pub(crate) async fn create_user(&self, creation: Edit) -> Result<(), ManageError> {
        match self.store.edit(&[creation]).await {
            Ok(()) => Ok(()),
            Err(EditError::Conflict(_)) => Err(ManageError::Duplicate { field: "user_id" }),
            Err(error) => Err(Lost::from(error).into_error()),
        }
    }

    /// Changes the fields of a user that are not [`Patch::Keep`].
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Denied`, `Conflict`, `Unavailable`.
    pub async fn update_user(
        &self,
        caller: &Caller,
        user_id: &str,
        fields: &UserFields,
    ) -> Result<UserInfo, ManageError> {
        caller.must_be_admin("user")?;
        let id = user_row(user_id);
        self.revise::<User>(&id, caller, fields.spend, |user, now| fields.apply(user, now)).await
    }

    /// A user and what its keys have spent.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for another user; `Unavailable`.
    pub async fn user(&self, caller: &Caller, user_id: &str) -> Result<UserInfo, ManageError> {
        if caller.only_user.as_deref().is_some_and(|own| own != user_id) {
            return Err(ManageError::Denied { field: "user" });
        }
        self.found(self.required::<User>(&user_row(user_id)).await?).await
    }

    /// All keys of a user.
    ///
    /// # Errors
    /// As [`Manager::user`], but a user that is not there has keys, too, if keys say so.
    pub async fn user_keys(&self, caller: &Caller, user_id: &str) -> Result<Vec<KeyInfo>, ManageError> {
        if caller.only_user.as_deref().is_some_and(|own| own != user_id) {
            return Err(ManageError::Denied { field: "user" });
        }
        self.everything::<VirtualKey>(Filter::User(user_id.to_owned())).await
    }

    /// Lists users, the youngest first.
    ///
    /// # Errors
    /// `Denied`, `Invalid`, `Unavailable`.
    pub async fn list_users(&self, caller: &Caller, slice: &Slice) -> Result<Items<UserInfo>, ManageError> {
        caller.must_be_admin("user")?;
        self.items(Kind::User, slice).await
    }

    /// Deletes users, with all their keys and memberships, as LiteLLM does; how many.
    ///
    /// # Errors
    /// `NotFound` when one of them is not there, and then none is deleted; `Denied`; `Conflict`; `Unavailable`, when
    /// some may be deleted already.
    pub async fn delete_users(&self, caller: &Caller, user_ids: &[String]) -> Result<usize, ManageError> {
        caller.must_be_admin("user")?;
        for user_id in user_ids {
            self.required::<User>(&user_row(user_id)).await?;
        }
        for user_id in user_ids {
            let keys = Filter::User(user_id.clone());
            self.delete_keys(&keys, |_| true).await?;
            let id = user_row(user_id);
            let teams = self.load::<User>(&id).await?.map(|user| user.value.teams).unwrap_or_default();
            for team in teams {
                match self.delete_member(caller, &team, &MemberRef::Id(user_id.clone())).await {
                    Ok(_) | Err(ManageError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            self.remove::<User>(&id).await?;
            self.delete_keys(&keys, |_| true).await?;
        }
        Ok(user_ids.len())
    }
}

/// A user with nothing set.
pub(crate) fn blank_user(user_id: String, now: Timestamp) -> User {
    User {
        user_id,
        user_alias: None,
        user_email: None,
        user_role: UserRole::default(),
        teams: Vec::new(),
        models: Vec::new(),
        metadata: Map::new(),
        budget_id: None,
        limits: Limits::default(),
        created_at: now,
        updated_at: now,
    }
}

/// The row of a user.
pub(crate) fn user_row(user_id: &str) -> RowId {
    RowId::named(Kind::User, user_id)
}
