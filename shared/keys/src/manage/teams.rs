//! Teams.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::limits::Limits;
use crate::owners::{Member, Team};
use crate::store::{EditError, Filter, Kind, RowId};
use crate::virtual_key::VirtualKey;

use super::error::Lost;
use super::list::Items;
use super::{Caller, KeyInfo, LimitFields, ManageError, Manager, Patch, Slice, TeamInfo};
use super::{check, new_id};

/// Changes of a team; see [`Team`] for what the fields mean.
#[derive(Clone, Default, PartialEq)]
pub struct TeamFields {
    /// A name for people.
    pub team_alias: Patch<String>,
    /// The models its keys may call.
    pub models: Patch<Vec<String>>,
    /// The owner's own data.
    pub metadata: Patch<Map<String, Value>>,
    /// Labels for spend reports.
    pub tags: Patch<Vec<String>>,
    /// The budget that its limits come from; it must be there.
    pub budget_id: Patch<String>,
    /// What its keys may use up together.
    pub limits: LimitFields,
    /// Its keys are refused until it is unblocked.
    pub blocked: Patch<bool>,
    /// US dollars that count as spent from now on.
    pub spend: Option<f64>,
}

/// A team to be made.
#[derive(Default)]
pub struct NewTeam {
    /// Its id; `None` = a new one.
    pub team_id: Option<String>,
    /// Who belongs to it.
    pub members: Vec<Member>,
    /// Its fields.
    pub fields: TeamFields,
}

impl TeamFields {
    fn apply(&self, team: &mut Team, now: Timestamp) -> Result<(), ManageError> {
        self.team_alias.optional(&mut team.team_alias);
        self.models.plain(&mut team.models);
        self.metadata.plain(&mut team.metadata);
        self.tags.plain(&mut team.tags);
        self.budget_id.optional(&mut team.budget_id);
        self.limits.apply(&mut team.limits, now);
        self.blocked.plain(&mut team.blocked);
        if let Some(spend) = self.spend {
            check::dollars("spend", spend)?;
        }
        check::optional_name("team_alias", team.team_alias.as_deref())?;
        check::optional_name("budget_id", team.budget_id.as_deref())?;
        check::limits(&team.limits)?;
        let mut parts = vec![
            ("models", check::list_size(&team.models)),
            ("tags", check::list_size(&team.tags)),
            ("metadata", check::map_size(&team.metadata)),
        ];
        parts.extend(check::limit_sizes(&team.limits));
        check::sizes(&parts)
    }
}

impl Manager {
    /// Makes a team. Its members become users if they are not yet.
    ///
    /// # Errors
    /// `Duplicate` of `team_id`; `Invalid`; `Denied`; `Unavailable`.
    pub async fn new_team(&self, caller: &Caller, new: NewTeam) -> Result<TeamInfo, ManageError> {
        caller.must_be_admin("team")?;
        let now = self.now();
        let team_id = new.team_id.unwrap_or_else(new_id);
        check::name("team_id", &team_id)?;
        let mut team = Team {
            team_id,
            team_alias: None,
            members_with_roles: Vec::new(),
            models: Vec::new(),
            metadata: Map::new(),
            tags: Vec::new(),
            budget_id: None,
            limits: Limits::default(),
            blocked: false,
            created_at: now,
            updated_at: now,
        };
        new.fields.apply(&mut team, now)?;
        let id = team_row(&team.team_id);
        match self.store.edit(&[self.creation(&team).await?]).await {
            Ok(()) => {}
            Err(EditError::Conflict(_)) => return Err(ManageError::Duplicate { field: "team_id" }),
            Err(error) => return Err(Lost::from(error).into_error()),
        }
        self.set_spend::<Team>(&id, new.fields.spend.filter(|spend| *spend > 0.0)).await?;
        if !new.members.is_empty() {
            return self.add_members(caller, &team.team_id, &new.members).await;
        }
        self.found(self.required(&id).await?).await
    }

    /// Changes the fields of a team that are not [`Patch::Keep`].
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Denied`, `Conflict`, `Unavailable`.
    pub async fn update_team(
        &self,
        caller: &Caller,
        team_id: &str,
        fields: &TeamFields,
    ) -> Result<TeamInfo, ManageError> {
        caller.must_be_admin("team")?;
        let id = team_row(team_id);
        self.revise::<Team>(&id, caller, fields.spend, |team, now| fields.apply(team, now)).await
    }

    /// Refuses the requests of a team's keys, or no longer.
    ///
    /// # Errors
    /// As [`Manager::update_team`].
    pub async fn block_team(
        &self,
        caller: &Caller,
        team_id: &str,
        blocked: bool,
    ) -> Result<TeamInfo, ManageError> {
        let fields = TeamFields { blocked: Patch::Set(blocked), ..TeamFields::default() };
        self.update_team(caller, team_id, &fields).await
    }

    /// Adds models to those that a team's keys may call.
    ///
    /// # Errors
    /// As [`Manager::update_team`].
    pub async fn add_team_models(
        &self,
        caller: &Caller,
        team_id: &str,
        models: &[String],
    ) -> Result<TeamInfo, ManageError> {
        caller.must_be_admin("team")?;
        self.revise::<Team>(&team_row(team_id), caller, None, |team, now| {
            for model in models {
                if !team.models.contains(model) {
                    team.models.push(model.clone());
                }
            }
            TeamFields::default().apply(team, now)
        })
        .await
    }

    /// Takes models from those that a team's keys may call.
    ///
    /// # Errors
    /// `Invalid` when none would be left, since that would allow all; else as [`Manager::update_team`].
    pub async fn remove_team_models(
        &self,
        caller: &Caller,
        team_id: &str,
        models: &[String],
    ) -> Result<TeamInfo, ManageError> {
        caller.must_be_admin("team")?;
        self.revise::<Team>(&team_row(team_id), caller, None, |team, _| {
            let some = !team.models.is_empty();
            team.models.retain(|model| !models.contains(model));
            if some && team.models.is_empty() {
                return Err(ManageError::invalid(
                    "models",
                    "must leave one: a team without a list may call all",
                ));
            }
            Ok(())
        })
        .await
    }

    /// A team and what its keys have spent.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for who is no member; `Unavailable`.
    pub async fn team(&self, caller: &Caller, team_id: &str) -> Result<TeamInfo, ManageError> {
        let loaded = self.required::<Team>(&team_row(team_id)).await?;
        if let Some(user) = &caller.only_user {
            let members = &loaded.value.members_with_roles;
            if !members.iter().any(|member| member.user_id.as_ref() == Some(user)) {
                return Err(ManageError::Denied { field: "team" });
            }
        }
        self.found(loaded).await
    }

    /// All keys of a team, for those who manage it.
    ///
    /// # Errors
    /// As [`Manager::team`].
    pub async fn team_keys(&self, caller: &Caller, team_id: &str) -> Result<Vec<KeyInfo>, ManageError> {
        let team = self.team(caller, team_id).await?;
        let mut keys = self.everything::<VirtualKey>(Filter::Team(team_id.to_owned())).await?;
        if !caller.leads(&team.value) {
            keys.retain(|key| caller.owns(&key.value, None));
        }
        Ok(keys)
    }

    /// Lists teams, the youngest first.
    ///
    /// # Errors
    /// `Denied`, `Invalid`, `Unavailable`.
    pub async fn list_teams(&self, caller: &Caller, slice: &Slice) -> Result<Items<TeamInfo>, ManageError> {
        caller.must_be_admin("team")?;
        self.items(Kind::Team, slice).await
    }

    /// The teams of a user.
    ///
    /// # Errors
    /// `NotFound` of the user; `Denied`; `Unavailable`.
    pub async fn teams_of(&self, caller: &Caller, user_id: &str) -> Result<Vec<TeamInfo>, ManageError> {
        let user = self.user(caller, user_id).await?;
        let ids: Vec<RowId> = user.value.teams.iter().map(|team| team_row(team)).collect();
        let rows = if ids.is_empty() { Vec::new() } else { self.store.read(&ids).await? };
        self.shown(rows.into_iter().flatten().collect()).await
    }

    /// Deletes teams and all their keys, as LiteLLM does.
    ///
    /// # Errors
    /// `NotFound` when one of them is not there, and then none is deleted; `Denied`; `Conflict`; `Unavailable`, when
    /// some may be deleted already.
    pub async fn delete_teams(&self, caller: &Caller, team_ids: &[String]) -> Result<(), ManageError> {
        caller.must_be_admin("team")?;
        for team_id in team_ids {
            self.required::<Team>(&team_row(team_id)).await?;
        }
        for team_id in team_ids {
            self.delete_team(team_id).await?;
        }
        Ok(())
    }

    /// The team itself goes last but one, so that a repeat finds it and goes on; keys made meanwhile go last.
    async fn delete_team(&self, team_id: &str) -> Result<(), ManageError> {
        let id = team_row(team_id);
        let keys = Filter::Team(team_id.to_owned());
        self.delete_keys(&keys, |_| true).await?;
        if let Some(team) = self.load::<Team>(&id).await? {
            for user_id in team.value.members_with_roles.into_iter().filter_map(|member| member.user_id) {
                self.leave(team_id, &user_id).await?;
            }
        }
        self.remove::<Team>(&id).await?;
        self.delete_keys(&keys, |_| true).await
    }

    /// Deletes the keys of a filter that are meant.
    pub(crate) async fn delete_keys(
        &self,
        filter: &Filter,
        meant: impl Fn(&VirtualKey) -> bool,
    ) -> Result<(), ManageError> {
        for key in self.everything::<VirtualKey>(filter.clone()).await? {
            if meant(&key.value) {
                self.delete_key(&key.value.id).await?;
            }
        }
        Ok(())
    }
}

/// The row of a team.
pub(crate) fn team_row(team_id: &str) -> RowId {
    RowId::named(Kind::Team, team_id)
}
