//! Who asks.

use crate::owners::{MemberRole, Team, User, UserRole};
use crate::virtual_key::{KeyType, VirtualKey};

use super::teams::team_row;
use super::users::user_row;
use super::{ManageError, Manager};

/// Whose request it is, and what it may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Goes into `created_by` and `updated_by`.
    pub name: Option<String>,
    /// `None` = everything. Else the keys of this user, and those of the teams that it is an admin of; no teams,
    /// users or budgets.
    pub only_user: Option<String>,
}

impl Caller {
    /// May do everything: the master key, an admin, the gateway itself.
    #[must_use]
    pub fn admin(name: Option<String>) -> Self {
        Self { name, only_user: None }
    }

    /// A user that manages its own keys.
    #[must_use]
    pub fn user(user_id: &str) -> Self {
        Self { name: Some(user_id.to_owned()), only_user: Some(user_id.to_owned()) }
    }

    /// Refuses everybody who may not do everything.
    pub(crate) fn must_be_admin(&self, field: &'static str) -> Result<(), ManageError> {
        match self.only_user {
            None => Ok(()),
            Some(_) => Err(ManageError::Denied { field }),
        }
    }

    /// Whether `key` is the caller's business: its own, or of a team that it is an admin of.
    pub(crate) fn owns(&self, key: &VirtualKey, team: Option<&Team>) -> bool {
        let Some(user) = &self.only_user else { return true };
        key.user_id.as_ref() == Some(user) || team.is_some_and(|team| self.leads(team))
    }

    /// Whether it is an admin of the team.
    pub(crate) fn leads(&self, team: &Team) -> bool {
        let Some(user) = &self.only_user else { return true };
        team.members_with_roles
            .iter()
            .any(|member| member.role == MemberRole::Admin && member.user_id.as_ref() == Some(user))
    }
}

impl Manager {
    /// Whether the key is the caller's business.
    pub(crate) async fn may_touch(&self, caller: &Caller, key: &VirtualKey) -> Result<(), ManageError> {
        let denied = Err(ManageError::Denied { field: "key" });
        if self.is_mightier(caller, key).await? {
            return denied;
        }
        if caller.owns(key, None) {
            return Ok(());
        }
        let team = self.team_of(key).await?;
        if caller.owns(key, team.as_ref()) { Ok(()) } else { denied }
    }

    /// Whether the key may do what the caller may not: who gave it a new value would gain that.
    async fn is_mightier(&self, caller: &Caller, key: &VirtualKey) -> Result<bool, ManageError> {
        let Some(own) = &caller.only_user else { return Ok(false) };
        if matches!(key.key_type, KeyType::Management | KeyType::ReadOnly) {
            return Ok(true);
        }
        let Some(other) = key.user_id.as_ref().filter(|user| *user != own) else { return Ok(false) };
        let user = self.load::<User>(&user_row(other)).await?;
        let role = user.map(|user| user.value.user_role);
        Ok(matches!(role, Some(UserRole::ProxyAdmin | UserRole::ProxyAdminViewer)))
    }

    /// Whether the caller may make a key such, or make it such of what it was `before`.
    pub(crate) async fn may_have(
        &self,
        caller: &Caller,
        key: &VirtualKey,
        before: Option<&VirtualKey>,
    ) -> Result<(), ManageError> {
        let Some(user) = &caller.only_user else { return Ok(()) };
        let team = self.team_of(key).await?;
        if !caller.owns(key, team.as_ref()) || self.is_mightier(caller, key).await? {
            return Err(ManageError::Denied { field: "user_id" });
        }
        if key.team_id.is_some() && before.is_none_or(|before| before.team_id != key.team_id) {
            let member = team.is_some_and(|team| {
                team.members_with_roles.iter().any(|member| member.user_id.as_ref() == Some(user))
            });
            if !member {
                return Err(ManageError::Denied { field: "team_id" });
            }
        }
        Ok(())
    }

    pub(crate) async fn team_of(&self, key: &VirtualKey) -> Result<Option<Team>, ManageError> {
        let Some(team_id) = &key.team_id else { return Ok(None) };
        let team = self.load::<Team>(&team_row(team_id)).await?;
        Ok(team.map(|team| team.value))
    }
}
