//! Teams.

use jiff::Timestamp;
use keyturn_keys::manage::{NewTeam, Patch, TeamFields, TeamInfo};
use keyturn_keys::{Member, MemberRole};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::key_row::KeyRow;
use super::limits::{LimitsRow, with_limits};
use super::scalars::{Dollars, Name};
use crate::input::Fields;
use crate::query::Params;
use crate::unsupported;

/// A request with the fields that a team has, besides its own.
macro_rules! team_request {
    ($(#[$meta:meta])* $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        with_limits! {
            $(#[$meta])*
            $name {
                $($(#[$own_meta])* $own: $own_type,)*
                /// A name for people.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                team_alias: Patch<String>,
                /// The models its keys may call; empty = all.
                #[serde(default)]
                #[schema(value_type = Option<Vec<String>>)]
                models: Patch<Vec<String>>,
                /// The owner's own data.
                #[serde(default)]
                #[schema(value_type = Option<Object>)]
                metadata: Patch<Map<String, Value>>,
                /// Labels for spend reports.
                #[serde(default)]
                #[schema(value_type = Option<Vec<String>>)]
                tags: Patch<Vec<String>>,
                /// The budget that its limits come from; it must be there.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                budget_id: Patch<String>,
                /// US dollars that count as spent from now on.
                #[schema(value_type = Option<Dollars>)]
                spend: Option<f64>,
                /// Its keys are refused until it is unblocked.
                #[serde(default)]
                #[schema(value_type = Option<bool>)]
                blocked: Patch<bool>,
            }
        }

        impl Fields for $name {
            const UNSUPPORTED: &'static [&'static str] = unsupported::TEAM;
        }

        impl $name {
            /// The changes that it asks for.
            pub(crate) fn fields(&mut self) -> TeamFields {
                let take = std::mem::take::<$name>;
                let mut own = take(self);
                let limits = own.limits();
                $(self.$own = own.$own;)*
                TeamFields {
                    team_alias: own.team_alias,
                    models: own.models,
                    metadata: own.metadata,
                    tags: own.tags,
                    budget_id: own.budget_id,
                    limits,
                    blocked: own.blocked,
                    spend: own.spend,
                }
            }
        }
    };
}

team_request! {
    /// A team to be made.
    CreateTeam {
        /// Its id; a new one when left out.
        #[schema(value_type = Option<Name>)]
        team_id: Option<String>,
        /// Who belongs to it.
        #[schema(max_items = 1000)]
        members_with_roles: Option<Vec<MemberEntry>>,
    }
}

team_request! {
    /// Changes of a team: what is left out stays, null clears.
    UpdateTeam {
        /// Its id.
        #[schema(required = true, nullable = false)]
        team_id: Option<String>,
    }
}

impl CreateTeam {
    /// The team that it asks for.
    pub(crate) fn into_new(mut self) -> NewTeam {
        let fields = self.fields();
        let members = self.members_with_roles.unwrap_or_default().into_iter().map(Member::from).collect();
        NewTeam { team_id: self.team_id, members, fields }
    }
}

/// What a user is in a team.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TeamRole {
    /// May manage the team's keys.
    Admin,
    /// May use them.
    User,
}

/// One member of a team, by id or mail address.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct MemberEntry {
    /// The user.
    #[serde(default)]
    #[schema(value_type = Option<Name>)]
    user_id: Option<String>,
    /// The user's mail address.
    #[serde(default)]
    #[schema(value_type = Option<Name>)]
    user_email: Option<String>,
    /// What the user is in the team.
    role: TeamRole,
}

impl From<MemberEntry> for Member {
    fn from(entry: MemberEntry) -> Self {
        Self { user_id: entry.user_id, user_email: entry.user_email, role: entry.role.into() }
    }
}

impl From<Member> for MemberEntry {
    fn from(member: Member) -> Self {
        let role = match member.role {
            MemberRole::Admin => TeamRole::Admin,
            MemberRole::User => TeamRole::User,
        };
        Self { user_id: member.user_id, user_email: member.user_email, role }
    }
}

impl From<TeamRole> for MemberRole {
    fn from(role: TeamRole) -> Self {
        match role {
            TeamRole::Admin => Self::Admin,
            TeamRole::User => Self::User,
        }
    }
}

/// A team.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OneTeam {
    /// Its id.
    pub(crate) team_id: String,
}

impl Fields for OneTeam {}

/// Teams.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ManyTeams {
    /// Their ids.
    #[schema(max_items = 500)]
    pub(crate) team_ids: Vec<String>,
}

impl Fields for ManyTeams {}

/// Models of a team.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TeamModels {
    /// The team.
    pub(crate) team_id: String,
    /// The models.
    pub(crate) models: Vec<String>,
}

impl Fields for TeamModels {}

/// New members of a team.
#[derive(Deserialize, ToSchema)]
pub(crate) struct AddMembers {
    /// The team.
    pub(crate) team_id: String,
    /// One or several.
    pub(crate) member: OneOrMore,
}

/// One member or several.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "a member with its role, or a list of them")]
pub(crate) enum OneOrMore {
    /// One.
    One(MemberEntry),
    /// Several.
    More(Vec<MemberEntry>),
}

impl Fields for AddMembers {
    const UNSUPPORTED: &'static [&'static str] = unsupported::MEMBER;
}

/// A member of a team, by id or mail address.
#[derive(Deserialize, ToSchema)]
pub(crate) struct WhichMember {
    /// The team.
    pub(crate) team_id: String,
    /// The user.
    #[serde(default)]
    pub(crate) user_id: Option<String>,
    /// The user's mail address.
    #[serde(default)]
    pub(crate) user_email: Option<String>,
}

impl Fields for WhichMember {}

/// What a member is to be.
#[derive(Deserialize, ToSchema)]
pub(crate) struct UpdateMember {
    /// The team.
    pub(crate) team_id: String,
    /// The user.
    #[serde(default)]
    pub(crate) user_id: Option<String>,
    /// The user's mail address.
    #[serde(default)]
    pub(crate) user_email: Option<String>,
    /// What the user is to be in the team.
    pub(crate) role: TeamRole,
}

impl Fields for UpdateMember {
    const UNSUPPORTED: &'static [&'static str] = unsupported::MEMBER;
}

/// Which team.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichTeam {
    /// Its id.
    #[param(required = true, nullable = false)]
    pub(crate) team_id: Option<String>,
}

impl Params for WhichTeam {}

/// Which teams.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TeamList {
    /// Only this user's.
    pub(crate) user_id: Option<String>,
}

impl Params for TeamList {
    const UNSUPPORTED: &'static [&'static str] = unsupported::TEAM_LIST;
}

/// A team.
#[derive(Serialize, ToSchema)]
pub(crate) struct TeamRow {
    /// Its id.
    pub(crate) team_id: String,
    /// A name for people.
    team_alias: Option<String>,
    /// The ids of its admins.
    admins: Vec<String>,
    /// The ids of its members.
    members: Vec<String>,
    /// Who belongs to it.
    members_with_roles: Vec<MemberEntry>,
    /// The owner's own data.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Labels for spend reports.
    tags: Vec<String>,
    /// Its limits.
    #[serde(flatten)]
    limits: LimitsRow,
    /// When the present window ends.
    budget_reset_at: Option<Timestamp>,
    /// The budget that its limits come from.
    budget_id: Option<String>,
    /// US dollars that its keys have spent: in the present window where the budget has windows, else in all.
    spend: f64,
    /// The models its keys may call; empty = all.
    models: Vec<String>,
    /// Its keys are refused until it is unblocked.
    blocked: bool,
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed last.
    updated_at: Timestamp,
}

impl From<TeamInfo> for TeamRow {
    fn from(info: TeamInfo) -> Self {
        let (team, spend) = (info.value, info.spend);
        let ids = |role| {
            let of = team.members_with_roles.iter().filter(move |member| member.role == role);
            of.filter_map(|member| member.user_id.clone()).collect()
        };
        Self {
            admins: ids(MemberRole::Admin),
            members: ids(MemberRole::User),
            team_id: team.team_id,
            team_alias: team.team_alias,
            members_with_roles: team.members_with_roles.into_iter().map(MemberEntry::from).collect(),
            metadata: team.metadata,
            tags: team.tags,
            limits: team.limits.into(),
            budget_reset_at: spend.budget_reset_at,
            budget_id: team.budget_id,
            spend: spend.spend,
            models: team.models,
            blocked: team.blocked,
            created_at: team.created_at,
            updated_at: team.updated_at,
        }
    }
}

/// A team that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct UpdatedTeam {
    /// Its id.
    pub(crate) team_id: String,
    /// As it is now.
    pub(crate) data: TeamRow,
}

/// A team and its keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct TeamInfoAnswer {
    /// Its id.
    pub(crate) team_id: String,
    /// The team.
    pub(crate) team_info: TeamRow,
    /// Its keys.
    pub(crate) keys: Vec<KeyRow>,
    /// None: LiteLLM's budgets of single members.
    #[schema(value_type = Vec<Object>)]
    pub(crate) team_memberships: [(); 0],
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedTeams {
    /// Their ids.
    pub(crate) deleted_teams: Vec<String>,
}

/// What a member is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct UpdatedMember {
    /// The team.
    pub(crate) team_id: String,
    /// The user.
    pub(crate) user_id: Option<String>,
    /// The user's mail address.
    pub(crate) user_email: Option<String>,
    /// What the user is in the team.
    pub(crate) role: TeamRole,
}
