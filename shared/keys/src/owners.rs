//! Teams, users and budgets: whom keys belong to, and where limits come from.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits::Limits;

/// A team. Its limits hold for all its keys together.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Team {
    /// Its id.
    pub team_id: String,
    /// A name for people.
    #[serde(default)]
    pub team_alias: Option<String>,
    /// Who belongs to it.
    #[serde(default)]
    pub members_with_roles: Vec<Member>,
    /// The models its keys may call, on top of what each key says; empty = all.
    #[serde(default)]
    pub models: Vec<String>,
    /// The owner's own data.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Labels for spend reports.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The budget that its limits come from, where it does not say otherwise itself.
    #[serde(default)]
    pub budget_id: Option<String>,
    /// What it may use up.
    #[serde(default, flatten)]
    pub limits: Limits,
    /// Its keys are refused until it is unblocked.
    #[serde(default)]
    pub blocked: bool,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// One member of a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The user.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The user's mail address.
    #[serde(default)]
    pub user_email: Option<String>,
    /// What the user is in the team.
    pub role: MemberRole,
}

/// What a user is in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// May manage the team's keys.
    Admin,
    /// May use them.
    User,
}

/// A user. Its limits hold for all its keys together.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub user_id: String,
    /// A name for people.
    #[serde(default)]
    pub user_alias: Option<String>,
    /// The mail address.
    #[serde(default)]
    pub user_email: Option<String>,
    /// What the user may do with the management API.
    #[serde(default)]
    pub user_role: UserRole,
    /// The teams it is a member of.
    #[serde(default)]
    pub teams: Vec<String>,
    /// The models its keys may call, on top of what each key says; empty = all.
    #[serde(default)]
    pub models: Vec<String>,
    /// The owner's own data.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The budget that its limits come from, where it does not say otherwise itself.
    #[serde(default)]
    pub budget_id: Option<String>,
    /// What it may use up.
    #[serde(default, flatten)]
    pub limits: Limits,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What a user may do with the management API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Everything.
    ProxyAdmin,
    /// Read everything.
    ProxyAdminViewer,
    /// Read about itself and make keys for itself.
    #[default]
    InternalUser,
    /// Read about itself.
    InternalUserViewer,
}

/// Limits under a name, for keys, teams and users that refer to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Its id.
    pub budget_id: String,
    /// The limits.
    #[serde(default, flatten)]
    pub limits: Limits,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Names the team; see [`VirtualKey`](crate::VirtualKey).
impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("team_id", &self.team_id).finish_non_exhaustive()
    }
}

/// Names the user; see [`VirtualKey`](crate::VirtualKey).
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}
