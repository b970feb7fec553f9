//! Answers about keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyturn_keys::manage::{Created, KeyInfo, Regenerated};
use keyturn_keys::{KeyType, Period};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::limits::LimitsRow;
use super::scalars::{KeyKind, Shown};

/// A key, without its value.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyRow {
    /// Its stable id: the hash of its first value.
    pub(crate) token: String,
    /// `sk-...` and the last four characters of the value.
    pub(crate) key_name: String,
    /// A name for people.
    pub(crate) key_alias: Option<String>,
    /// US dollars spent: in the present window where the budget has windows, else in all.
    spend: f64,
    /// When it stops working.
    pub(crate) expires: Option<Timestamp>,
    /// The models it may call; empty = all.
    models: Vec<String>,
    /// Other names for models.
    aliases: BTreeMap<String, String>,
    /// The user it belongs to.
    user_id: Option<String>,
    /// The team it belongs to.
    team_id: Option<String>,
    /// Switches of LiteLLM's.
    #[schema(value_type = Object)]
    permissions: Map<String, Value>,
    /// The owner's own data.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Labels for spend reports.
    tags: Vec<String>,
    /// Refused until it is unblocked.
    blocked: bool,
    /// Its limits.
    #[serde(flatten)]
    limits: LimitsRow,
    /// When the present window ends.
    budget_reset_at: Option<Timestamp>,
    /// US dollars on top of the budget.
    temp_budget_increase: Option<f64>,
    /// Until when.
    temp_budget_expiry: Option<Timestamp>,
    /// The routes it may call.
    allowed_routes: Vec<String>,
    /// What it is for.
    #[schema(value_type = KeyKind)]
    key_type: KeyType,
    /// The budget that its limits come from.
    budget_id: Option<String>,
    /// Whether the rotation schedule regenerates it.
    auto_rotate: bool,
    /// How often.
    #[schema(value_type = Option<String>)]
    rotation_interval: Option<Period>,
    /// When it does next.
    key_rotation_at: Option<Timestamp>,
    /// When it was regenerated last.
    last_rotation_at: Option<Timestamp>,
    /// How often it was regenerated.
    rotation_count: u64,
    /// Whose request made it.
    created_by: Option<String>,
    /// When it was made.
    created_at: Timestamp,
    /// Whose request changed it last.
    updated_by: Option<String>,
    /// When it was changed last.
    updated_at: Timestamp,
}

impl From<KeyInfo> for KeyRow {
    fn from(info: KeyInfo) -> Self {
        let (key, spend) = (info.value, info.spend);
        Self {
            token: key.id.to_string(),
            key_name: key.key_name,
            key_alias: key.key_alias,
            spend: spend.spend,
            expires: key.expires,
            models: key.models,
            aliases: key.aliases,
            user_id: key.user_id,
            team_id: key.team_id,
            permissions: key.permissions,
            metadata: key.metadata,
            tags: key.tags,
            blocked: key.blocked,
            limits: key.limits.into(),
            budget_reset_at: spend.budget_reset_at,
            temp_budget_increase: key.temp_budget_increase,
            temp_budget_expiry: key.temp_budget_expiry,
            allowed_routes: key.allowed_routes,
            key_type: key.key_type,
            budget_id: key.budget_id,
            auto_rotate: key.auto_rotate,
            rotation_interval: key.rotation_interval,
            key_rotation_at: key.key_rotation_at,
            last_rotation_at: key.last_rotation_at,
            rotation_count: key.rotation_count,
            created_by: key.created_by,
            created_at: key.created_at,
            updated_by: key.updated_by,
            updated_at: key.updated_at,
        }
    }
}

/// A key with its value, which is not shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct GeneratedKey {
    /// The value; null when a repeated request is answered and the value cannot be had again.
    #[schema(value_type = Option<String>, format = Password)]
    key: Option<Shown>,
    /// The key's id, as `token`.
    token_id: String,
    /// The key.
    #[serde(flatten)]
    row: KeyRow,
}

impl GeneratedKey {
    /// The value and the key.
    pub(crate) fn into_parts(self) -> (Option<Shown>, KeyRow) {
        (self.key, self.row)
    }
}

impl From<Created> for GeneratedKey {
    fn from(created: Created) -> Self {
        let row = KeyRow::from(created.info);
        Self { key: Some(Shown(created.value)), token_id: row.token.clone(), row }
    }
}

impl From<Regenerated> for GeneratedKey {
    fn from(regenerated: Regenerated) -> Self {
        let row = KeyRow::from(regenerated.info);
        Self { key: regenerated.value.map(Shown), token_id: row.token.clone(), row }
    }
}

/// A key and how it was named.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedKey {
    /// As it was sent.
    #[schema(value_type = String)]
    pub(crate) key: Shown,
    /// The key.
    #[serde(flatten)]
    pub(crate) row: KeyRow,
}

/// A key and how it was named.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyInfoAnswer {
    /// As it was sent.
    #[schema(value_type = String)]
    pub(crate) key: Shown,
    /// The key.
    pub(crate) info: KeyRow,
}

/// Keys and how they were named; those that are not there are left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyInfosAnswer {
    /// As they were sent.
    #[schema(value_type = Vec<String>)]
    pub(crate) key: Vec<Shown>,
    /// The keys.
    pub(crate) info: Vec<KeyRow>,
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedKeys {
    /// As they were sent.
    #[schema(value_type = Vec<String>)]
    pub(crate) deleted_keys: Vec<Shown>,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyPageAnswer {
    /// Hashes, or whole keys with `return_full_object`.
    pub(crate) keys: Vec<ListedKey>,
    /// How many there are on all pages.
    pub(crate) total_count: u64,
    /// Which page this is.
    pub(crate) current_page: usize,
    /// How many pages there are.
    pub(crate) total_pages: u64,
    /// The next page's `from`.
    pub(crate) next: Option<String>,
}

/// A key in a list.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ListedKey {
    /// Its hash.
    Hash(String),
    /// All of it.
    Whole(Box<KeyRow>),
}

/// A page of aliases.
#[derive(Serialize, ToSchema)]
pub(crate) struct AliasPageAnswer {
    /// The aliases.
    pub(crate) aliases: Vec<String>,
    /// How many there are on all pages.
    pub(crate) total_count: u64,
    /// Which page this is.
    pub(crate) current_page: usize,
    /// How many pages there are.
    pub(crate) total_pages: u64,
    /// Aliases on a page.
    pub(crate) size: usize,
}

/// Spend that was set back.
#[derive(Serialize, ToSchema)]
pub(crate) struct SpendReset {
    /// The key's id.
    pub(crate) key_hash: String,
    /// US dollars spent now.
    pub(crate) spend: f64,
    /// US dollars spent before.
    pub(crate) previous_spend: f64,
    /// US dollars.
    pub(crate) max_budget: Option<f64>,
    /// When the present window ends.
    pub(crate) budget_reset_at: Option<Timestamp>,
}

/// What became of many changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct BulkUpdated {
    /// How many were asked for.
    pub(crate) total_requested: usize,
    /// Those that were made.
    pub(crate) successful_updates: Vec<BulkSuccess>,
    /// Those that were not.
    pub(crate) failed_updates: Vec<BulkFailure>,
}

/// A change that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct BulkSuccess {
    /// The key as it was sent.
    #[schema(value_type = String)]
    pub(crate) key: Shown,
    /// The key as it is now.
    pub(crate) key_info: KeyRow,
}

/// A change that was not made.
#[derive(Serialize, ToSchema)]
pub(crate) struct BulkFailure {
    /// The key as it was sent.
    #[schema(value_type = String)]
    pub(crate) key: Shown,
    /// Why.
    pub(crate) failed_reason: String,
}

/// The caller's key works.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyHealth {
    /// `healthy`.
    pub(crate) key: &'static str,
    /// None: LiteLLM's logging callbacks.
    #[schema(value_type = Option<String>)]
    pub(crate) logging_callbacks: Option<&'static str>,
}
