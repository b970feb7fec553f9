//! The fields of keys that callers set, and what becomes of a key when they do.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::limits::{Limits, ModelBudget};
use crate::period::Period;
use crate::virtual_key::{KeyType, VirtualKey};

use super::{Caller, ManageError, Patch};

/// Changes of limits; see [`Limits`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LimitFields {
    /// US dollars.
    pub max_budget: Patch<f64>,
    /// US dollars.
    pub soft_budget: Patch<f64>,
    /// A new one begins a window now; what is spent in the present one is taken over.
    pub budget_duration: Patch<Period>,
    /// US dollars for single models.
    pub model_max_budget: Patch<BTreeMap<String, ModelBudget>>,
    /// Requests in a minute.
    pub rpm_limit: Patch<u64>,
    /// Tokens in a minute.
    pub tpm_limit: Patch<u64>,
    /// Requests in a minute for single models.
    pub model_rpm_limit: Patch<BTreeMap<String, u64>>,
    /// Tokens in a minute for single models.
    pub model_tpm_limit: Patch<BTreeMap<String, u64>>,
    /// Requests under way at once.
    pub max_parallel_requests: Patch<u64>,
}

impl LimitFields {
    /// Makes the changes. Windows are counted from when their length was set last.
    pub(crate) fn apply(&self, limits: &mut Limits, now: Timestamp) {
        self.max_budget.optional(&mut limits.max_budget);
        self.soft_budget.optional(&mut limits.soft_budget);
        self.model_max_budget.plain(&mut limits.model_max_budget);
        self.rpm_limit.optional(&mut limits.rpm_limit);
        self.tpm_limit.optional(&mut limits.tpm_limit);
        self.model_rpm_limit.plain(&mut limits.model_rpm_limit);
        self.model_tpm_limit.plain(&mut limits.model_tpm_limit);
        self.max_parallel_requests.optional(&mut limits.max_parallel_requests);

        let before = limits.budget_duration;
        self.budget_duration.optional(&mut limits.budget_duration);
        if limits.budget_duration.is_none() {
            limits.budget_anchor = None;
        } else if limits.budget_duration != before || limits.budget_anchor.is_none() {
            limits.budget_anchor = Some(now);
        }
    }
}

/// Changes of a key; see [`VirtualKey`] for what the fields mean. A new key is an empty one with these changes.
#[derive(Clone, Default, PartialEq)]
pub struct KeyFields {
    /// A name for people, unique among all keys.
    pub key_alias: Patch<String>,
    /// The team the key belongs to.
    pub team_id: Patch<String>,
    /// The user the key belongs to.
    pub user_id: Patch<String>,
    /// The budget that its limits come from; it must be there.
    pub budget_id: Patch<String>,
    /// The models it may call.
    pub models: Patch<Vec<String>>,
    /// Other names for models.
    pub aliases: Patch<BTreeMap<String, String>>,
    /// The routes it may call.
    pub allowed_routes: Patch<Vec<String>>,
    /// What the key is for.
    pub key_type: Patch<KeyType>,
    /// The owner's own data.
    pub metadata: Patch<Map<String, Value>>,
    /// Switches of LiteLLM's.
    pub permissions: Patch<Map<String, Value>>,
    /// Labels for spend reports.
    pub tags: Patch<Vec<String>>,
    /// What it may use up.
    pub limits: LimitFields,
    /// US dollars that count as spent from now on.
    pub spend: Option<f64>,
    /// US dollars on top of the budget; only together with `temp_budget_expiry`.
    pub temp_budget_increase: Patch<f64>,
    /// Until when.
    pub temp_budget_expiry: Patch<Timestamp>,
    /// Refused until it is unblocked.
    pub blocked: Patch<bool>,
    /// How long it works from now on; `Clear` = for ever.
    pub duration: Patch<Period>,
    /// Whether the rotation schedule regenerates it; only together with `rotation_interval`.
    pub auto_rotate: Patch<bool>,
    /// How often.
    pub rotation_interval: Patch<Period>,
}

impl KeyFields {
    /// Makes the changes to a key, but for `spend`.
    pub(crate) fn apply(&self, key: &mut VirtualKey, now: Timestamp) {
        self.key_alias.optional(&mut key.key_alias);
        self.team_id.optional(&mut key.team_id);
        self.user_id.optional(&mut key.user_id);
        self.budget_id.optional(&mut key.budget_id);
        self.models.plain(&mut key.models);
        self.aliases.plain(&mut key.aliases);
        self.allowed_routes.plain(&mut key.allowed_routes);
        self.key_type.plain(&mut key.key_type);
        self.metadata.plain(&mut key.metadata);
        self.permissions.plain(&mut key.permissions);
        self.tags.plain(&mut key.tags);
        self.limits.apply(&mut key.limits, now);
        self.temp_budget_increase.optional(&mut key.temp_budget_increase);
        self.temp_budget_expiry.optional(&mut key.temp_budget_expiry);
        self.blocked.plain(&mut key.blocked);
        match self.duration {
            Patch::Keep => {}
            Patch::Clear => key.expires = None,
            Patch::Set(duration) => key.expires = Some(duration.after(now)),
        }

        let before = (key.auto_rotate, key.rotation_interval);
        self.auto_rotate.plain(&mut key.auto_rotate);
        self.rotation_interval.optional(&mut key.rotation_interval);
        if (key.auto_rotate, key.rotation_interval) != before {
            schedule(key, now);
        }
    }

    /// Refuses what only an admin may set: what makes a key mightier than its user.
    pub(crate) fn check_caller(&self, caller: &Caller) -> Result<(), ManageError> {
        if caller.only_user.is_none() {
            return Ok(());
        }
        for (field, touched) in [
            ("allowed_routes", !self.allowed_routes.is_keep()),
            ("key_type", matches!(self.key_type, Patch::Set(KeyType::Management | KeyType::ReadOnly))),
            ("spend", self.spend.is_some()),
            ("temp_budget_increase", !self.temp_budget_increase.is_keep()),
        ] {
            if touched {
                return Err(ManageError::Denied { field });
            }
        }
        Ok(())
    }
}

/// Says when the key is regenerated next, if ever.
pub(crate) fn schedule(key: &mut VirtualKey, now: Timestamp) {
    key.key_rotation_at =
        key.rotation_interval.filter(|_| key.auto_rotate).map(|interval| interval.after(now));
}

/// Names the alias only: owners put secrets into `metadata`.
impl fmt::Debug for KeyFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFields").field("key_alias", &self.key_alias).finish_non_exhaustive()
    }
}
