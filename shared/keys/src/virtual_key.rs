//! What a virtual key may do.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::models::allows;

/// A virtual key as it was last read, without its value. The fields are LiteLLM's.
#[derive(Clone, PartialEq)]
pub struct VirtualKey {
    /// The key's stable id: the hash of its first value. It outlives regeneration.
    pub id: KeyHash,
    /// `sk-...` and the last four characters of the value.
    pub key_name: String,
    /// A name for people, unique among all keys.
    pub key_alias: Option<String>,
    /// The team the key belongs to.
    pub team_id: Option<String>,
    /// The user the key belongs to.
    pub user_id: Option<String>,
    /// The models it may call, by name or pattern; empty = all. See [`VirtualKey::allows`].
    pub models: Vec<String>,
    /// Other names for models: what the client says → the model that is meant.
    pub aliases: BTreeMap<String, String>,
    /// The owner's own data: a JSON object as text.
    pub metadata: String,
    /// Labels for spend reports.
    pub tags: Vec<String>,
    /// What it may spend in all, in US dollars; `None` = no end.
    pub max_budget: Option<f64>,
    /// Requests in a minute; `None` = no end.
    pub rpm_limit: Option<u64>,
    /// Tokens in a minute; `None` = no end.
    pub tpm_limit: Option<u64>,
    /// Refused until it is unblocked.
    pub blocked: bool,
    /// When it stops working.
    pub expires: Option<Timestamp>,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// What it has spent, in US dollars, outstanding reservations not included, when it was last read.
    pub spend: f64,
}

impl VirtualKey {
    /// Whether the key may call `model`: the list allows the name itself, or what the key's own alias of that
    /// name stands for.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        allows(&self.models, model)
            || self.aliases.get(model).is_some_and(|meant| allows(&self.models, meant))
    }

    /// Whether anything of the key is counted before a request: its budget, its requests or its tokens.
    #[must_use]
    pub fn limited(&self) -> bool {
        self.max_budget.is_some() || self.rpm_limit.is_some() || self.tpm_limit.is_some()
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
