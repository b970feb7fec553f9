//! Members of teams. A team names its members, and a user its teams. The user's row changes first: a repeat then
//! still finds what is to be done.

use crate::owners::{Member, MemberRole, Team, User};
use crate::store::{Filter, Kind};

use super::rows::Loaded;
use super::teams::team_row;
use super::users::{UserFields, blank_user, user_row};
use super::{Caller, ManageError, Manager, Patch, TeamInfo, check, new_id};

/// The most members of a team: a team's definition is read at the requests of all its keys.
const MOST_MEMBERS: usize = 1_000;

/// How a member is named in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberRef {
    /// By the user's id.
    Id(String),
    /// By the user's mail address.
    Email(String),
}

impl MemberRef {
    fn is(&self, member: &Member) -> bool {
        match self {
            Self::Id(id) => member.user_id.as_ref() == Some(id),
            Self::Email(email) => member.user_email.as_ref() == Some(email),
        }
    }
}

impl Manager {
    /// Adds members to a team; who is no user yet becomes one. To find somebody by the mail address alone all users
    /// are read.
    ///
    /// # Errors
    /// `NotFound`; `Duplicate` of `member` when a single one is a member already, while of several those are left
    /// out; `Invalid`; `Denied`; `Conflict`; `Unavailable`. Some may have been added before.
    pub async fn add_members(
        &self,
        caller: &Caller,
        team_id: &str,
        members: &[Member],
    ) -> Result<TeamInfo, ManageError> {
        let id = team_row(team_id);
        let team = self.required::<Team>(&id).await?.value;
        if !caller.leads(&team) {
            return Err(ManageError::Denied { field: "team" });
        }
        if let [member] = members
            && team.members_with_roles.iter().any(|other| same(member, other))
        {
            return Err(ManageError::Duplicate { field: "member" });
        }
        if team.members_with_roles.len() + members.len() > MOST_MEMBERS {
            return Err(ManageError::invalid("member", "must not make them more than 1,000"));
        }
        let mut joined = Vec::with_capacity(members.len());
        for member in members {
            if !team.members_with_roles.iter().any(|other| same(member, other)) {
                joined.push(self.join(team_id, member).await?);
            }
        }
        self.revise::<Team>(&id, caller, None, |team, _| {
            for member in &joined {
                if !team.members_with_roles.iter().any(|other| other.user_id == member.user_id) {
                    team.members_with_roles.push(member.clone());
                }
            }
            Ok(())
        })
        .await
    }

    /// Takes somebody out of a team and deletes the keys that they have in it, as LiteLLM does.
    ///
    /// # Errors
    /// `NotFound` of the team or the member; `Denied`; `Conflict`; `Unavailable`.
    pub async fn delete_member(
        &self,
        caller: &Caller,
        team_id: &str,
        who: &MemberRef,
    ) -> Result<TeamInfo, ManageError> {
        let id = team_row(team_id);
        let team = self.required::<Team>(&id).await?.value;
        if !caller.leads(&team) {
            return Err(ManageError::Denied { field: "team" });
        }
        let missing = ManageError::NotFound { what: "member" };
        let member = team.members_with_roles.iter().find(|member| who.is(member)).ok_or(missing)?;
        let user_id = member.user_id.clone();
        if let Some(user_id) = &user_id {
            self.delete_keys_in(team_id, user_id).await?;
            self.leave(team_id, user_id).await?;
        }
        let changed = self
            .revise::<Team>(&id, caller, None, |team, _| {
                team.members_with_roles.retain(|member| !who.is(member));
                Ok(())
            })
            .await?;
        // Keys that were made meanwhile.
        if let Some(user_id) = &user_id {
            self.delete_keys_in(team_id, user_id).await?;
        }
        Ok(changed)
    }

    /// Changes what a member is in a team.
    ///
    /// # Errors
    /// `NotFound` of the team or the member; `Denied`; `Conflict`; `Unavailable`.
    pub async fn update_member(
        &self,
        caller: &Caller,
        team_id: &str,
        who: &MemberRef,
        role: MemberRole,
    ) -> Result<TeamInfo, ManageError> {
        self.revise::<Team>(&team_row(team_id), caller, None, |team, _| {
            if !caller.leads(team) {
                return Err(ManageError::Denied { field: "team" });
            }
            let member = team.members_with_roles.iter_mut().find(|member| who.is(member));
            member.ok_or(ManageError::NotFound { what: "member" })?.role = role;
            Ok(())
        })
        .await
    }

    /// Notes at a user, who is made if there is none, that it is in a team; the member that it is there.
    async fn join(&self, team_id: &str, member: &Member) -> Result<Member, ManageError> {
        let user = match self.user_of(member).await? {
            Some(user) => user.value,
            None => {
                let now = self.now();
                let mut user = blank_user(member.user_id.clone().unwrap_or_else(new_id), now);
                let user_email = member.user_email.clone().map_or(Patch::Keep, Patch::Set);
                UserFields { user_email, ..UserFields::default() }.apply(&mut user, now)?;
                match self.create_user(self.creation(&user).await?).await {
                    Ok(()) | Err(ManageError::Duplicate { .. }) => user,
                    Err(error) => return Err(error),
                }
            }
        };
        let joined = self
            .revise::<User>(&user_row(&user.user_id), &Caller::admin(None), None, |user, _| {
                if !user.teams.iter().any(|team| team == team_id) {
                    user.teams.push(team_id.to_owned());
                }
                Ok(())
            })
            .await?;
        Ok(Member {
            user_email: member.user_email.clone().or(joined.value.user_email),
            user_id: Some(joined.value.user_id),
            role: member.role,
        })
    }

    /// Notes at a user, if there is one, that it is not in a team.
    pub(crate) async fn leave(&self, team_id: &str, user_id: &str) -> Result<(), ManageError> {
        let left = self
            .revise::<User>(&user_row(user_id), &Caller::admin(None), None, |user, _| {
                user.teams.retain(|team| team != team_id);
                Ok(())
            })
            .await;
        match left {
            Ok(_) | Err(ManageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The user that a member is.
    async fn user_of(&self, member: &Member) -> Result<Option<Loaded<User>>, ManageError> {
        match (&member.user_id, &member.user_email) {
            (Some(id), _) => {
                check::name("user_id", id)?;
                self.load(&user_row(id)).await
            }
            (None, Some(email)) => {
                let users = self.everything::<User>(Filter::All(Kind::User)).await?;
                match users.into_iter().find(|user| user.value.user_email.as_ref() == Some(email)) {
                    Some(user) => self.load(&user_row(&user.value.user_id)).await,
                    None => Ok(None),
                }
            }
            (None, None) => Err(ManageError::invalid("member", "must have a user_id or a user_email")),
        }
    }

    async fn delete_keys_in(&self, team_id: &str, user_id: &str) -> Result<(), ManageError> {
        let keys = Filter::User(user_id.to_owned());
        self.delete_keys(&keys, |key| key.team_id.as_deref() == Some(team_id)).await
    }
}

/// Whether both are the same person, as far as one can tell.
fn same(one: &Member, other: &Member) -> bool {
    match (&one.user_id, &one.user_email) {
        (Some(id), _) => other.user_id.as_ref() == Some(id),
        (None, Some(email)) => other.user_email.as_ref() == Some(email),
        (None, None) => false,
    }
}
