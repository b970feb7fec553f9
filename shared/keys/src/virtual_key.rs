//! A virtual key: what it may do.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hash::KeyHash;
use crate::limits::Limits;
use crate::models::{ALL_TEAM_MODELS, allows};
use crate::period::Period;

/// A virtual key, without its value. The fields are LiteLLM's; this is also how a store keeps it, as one JSON
/// document. What it has spent is counted beside it (see [`crate::ledger`]).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct VirtualKey {
    /// The key's stable id: the hash of its first value. It outlives regeneration.
    pub id: KeyHash,
    /// `sk-...` and the last four characters of the value.
    pub key_name: String,
    /// The values that open the key, as hashes, and until when each does; `None` = no end.
    pub hashes: BTreeMap<KeyHash, Option<Timestamp>>,
    /// What the values are called that were added beside others, and since when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named_values: BTreeMap<KeyHash, ValueName>,
    /// A name for people, unique among all keys.
    #[serde(default)]
    pub key_alias: Option<String>,
    /// The team the key belongs to.
    #[serde(default)]
    pub team_id: Option<String>,
    /// The user the key belongs to.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The budget that its limits come from, where it does not say otherwise itself.
    #[serde(default)]
    pub budget_id: Option<String>,
    /// The models it may call, by name or pattern; empty = all. See [`VirtualKey::allows`].
    #[serde(default)]
    pub models: Vec<String>,
    /// Other names for models: what the client says → the model that is meant.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// The routes it may call, by path, pattern (`/v1/*`) or group (`llm_api_routes`, `management_routes`,
    /// `info_routes`); empty = what `key_type` allows.
    #[serde(default)]
    pub allowed_routes: Vec<String>,
    /// What the key is for.
    #[serde(default)]
    pub key_type: KeyType,
    /// The owner's own data.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Switches of LiteLLM's that the gateway keeps and shows.
    #[serde(default)]
    pub permissions: Map<String, Value>,
    /// Labels for spend reports.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What it may use up.
    #[serde(default, flatten)]
    pub limits: Limits,
    /// US dollars on top of `max_budget` for a while.
    #[serde(default)]
    pub temp_budget_increase: Option<f64>,
    /// How long `temp_budget_increase` counts.
    #[serde(default)]
    pub temp_budget_expiry: Option<Timestamp>,
    /// Refused until it is unblocked.
    #[serde(default)]
    pub blocked: bool,
    /// When it stops working.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// Whether the rotation schedule regenerates it.
    #[serde(default)]
    pub auto_rotate: bool,
    /// How often, if it does.
    #[serde(default)]
    pub rotation_interval: Option<Period>,
    /// When it does next.
    #[serde(default)]
    pub key_rotation_at: Option<Timestamp>,
    /// When it was regenerated last.
    #[serde(default)]
    pub last_rotation_at: Option<Timestamp>,
    /// How often it was regenerated.
    #[serde(default)]
    pub rotation_count: u64,
    /// The idempotency key of the last regeneration, as a hash: asked again with it, nothing changes.
    #[serde(default)]
    pub last_rotation_id: Option<KeyHash>,
    /// What the value was derived with at the last regeneration, beside secrets: a repeat derives it again.
    #[serde(default)]
    pub last_rotation_salt: Option<String>,
    /// The regeneration under way.
    #[serde(default)]
    pub pending_rotation: Option<PendingRotation>,
    /// Whose request made it.
    #[serde(default)]
    pub created_by: Option<String>,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// Whose request changed it last.
    #[serde(default)]
    pub updated_by: Option<String>,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A regeneration whose value works already and is on its way into a secret store; the former values work as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRotation {
    /// The new value's hash.
    pub hash: KeyHash,
    /// When it began.
    pub since: Timestamp,
    /// Its idempotency key, as a hash.
    #[serde(default)]
    pub id: Option<KeyHash>,
    /// See [`VirtualKey::last_rotation_salt`].
    #[serde(default)]
    pub salt: Option<String>,
}

/// What one of a key's values is called, so that whoever added it finds it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueName {
    /// The name. Not secret.
    pub name: String,
    /// Since when the value has it.
    pub since: Timestamp,
}

/// What a key is for; it stands for routes where `allowed_routes` is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Models, and reading about itself.
    #[default]
    Default,
    /// Models only.
    LlmApi,
    /// The management API only.
    Management,
    /// Reading of the management API only.
    ReadOnly,
}

impl VirtualKey {
    /// Whether the key may call `model`: the list allows the name itself, or what the key's own alias of that
    /// name stands for. A team's key may leave it to the team with `all-team-models`.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        (self.team_id.is_some() && self.models.iter().any(|entry| entry == ALL_TEAM_MODELS))
            || allows(&self.models, model)
            || self.aliases.get(model).is_some_and(|meant| allows(&self.models, meant))
    }

    /// Its limits at `now`, a temporary increase of the budget included.
    #[must_use]
    pub fn limits_at(&self, now: Timestamp) -> Limits {
        let mut limits = self.limits.clone();
        if let (Some(budget), Some(more), Some(until)) =
            (limits.max_budget.as_mut(), self.temp_budget_increase, self.temp_budget_expiry)
            && now < until
        {
            *budget += more;
        }
        limits
    }
}

/// Names the key. The rest is left out: owners put secrets into `metadata`.
impl fmt::Debug for VirtualKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualKey")
            .field("id", &self.id)
            .field("key_alias", &self.key_alias)
            .finish_non_exhaustive()
    }
}
