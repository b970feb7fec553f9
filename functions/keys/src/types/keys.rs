//! Requests about keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyturn_keys::manage::{KeyFields, NewKey, Patch};
use keyturn_keys::{KeyType, Period};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::limits::with_limits;
use super::scalars::{Dollars, Duration, KeyKind, KeyValue, Name};
use crate::input::Fields;
use crate::query::{self, Params};
use crate::unsupported;

/// A request with the fields that a key has, besides its own.
macro_rules! key_request {
    ($(#[$meta:meta])* $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        with_limits! {
            $(#[$meta])*
            $name {
                $($(#[$own_meta])* $own: $own_type,)*
                /// A name for people, unique among all keys.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                key_alias: Patch<String>,
                /// How long the key works from now on; null = for ever.
                #[serde(default)]
                #[schema(value_type = Option<Duration>)]
                duration: Patch<Period>,
                /// The models it may call, by name or pattern; empty = all.
                #[serde(default)]
                #[schema(value_type = Option<Vec<String>>)]
                models: Patch<Vec<String>>,
                /// Other names for models: what the client says → the model that is meant.
                #[serde(default)]
                #[schema(value_type = Option<BTreeMap<String, String>>)]
                aliases: Patch<BTreeMap<String, String>>,
                /// The owner's own data.
                #[serde(default)]
                #[schema(value_type = Option<Object>)]
                metadata: Patch<Map<String, Value>>,
                /// Labels for spend reports.
                #[serde(default)]
                #[schema(value_type = Option<Vec<String>>)]
                tags: Patch<Vec<String>>,
                /// The user it belongs to.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                user_id: Patch<String>,
                /// The team it belongs to.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                team_id: Patch<String>,
                /// The budget that its limits come from, where it does not say otherwise itself; it must be there.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                budget_id: Patch<String>,
                /// US dollars that count as spent from now on.
                #[schema(value_type = Option<Dollars>)]
                spend: Option<f64>,
                /// Refused until it is unblocked.
                #[serde(default)]
                #[schema(value_type = Option<bool>)]
                blocked: Patch<bool>,
                /// Switches of LiteLLM's that the gateway keeps and shows.
                #[serde(default)]
                #[schema(value_type = Option<Object>)]
                permissions: Patch<Map<String, Value>>,
                /// The routes it may call, by path, pattern (`/v1/*`) or group; empty = what `key_type` allows.
                #[serde(default)]
                #[schema(value_type = Option<Vec<String>>)]
                allowed_routes: Patch<Vec<String>>,
                /// What the key is for.
                #[serde(default)]
                #[schema(value_type = Option<KeyKind>)]
                key_type: Patch<KeyType>,
                /// Whether the rotation schedule regenerates it; only together with `rotation_interval`.
                #[serde(default)]
                #[schema(value_type = Option<bool>)]
                auto_rotate: Patch<bool>,
                /// How often.
                #[serde(default)]
                #[schema(value_type = Option<Duration>)]
                rotation_interval: Patch<Period>,
            }
        }

        impl Fields for $name {
            const UNSUPPORTED: &'static [&'static str] = unsupported::KEY;
        }

        impl $name {
            /// The changes that it asks for.
            pub(crate) fn fields(&mut self) -> KeyFields {
                let take = std::mem::take::<$name>;
                let mut own = take(self);
                let limits = own.limits();
                $(self.$own = own.$own;)*
                KeyFields {
                    key_alias: own.key_alias,
                    team_id: own.team_id,
                    user_id: own.user_id,
                    budget_id: own.budget_id,
                    models: own.models,
                    aliases: own.aliases,
                    allowed_routes: own.allowed_routes,
                    key_type: own.key_type,
                    metadata: own.metadata,
                    permissions: own.permissions,
                    tags: own.tags,
                    limits,
                    spend: own.spend,
                    blocked: own.blocked,
                    duration: own.duration,
                    auto_rotate: own.auto_rotate,
                    rotation_interval: own.rotation_interval,
                    ..KeyFields::default()
                }
            }
        }
    };
}

key_request! {
    /// A key to be made.
    GenerateKey {
        /// The caller's own value for it; generated when left out.
        #[schema(value_type = Option<KeyValue>)]
        key: Option<SecretString>,
    }
}

key_request! {
    /// Changes of a key: what is left out stays, null clears.
    UpdateKey {
        /// The key's value or hash; when left out, `key_alias` says which key.
        #[schema(value_type = Option<String>)]
        key: Option<SecretString>,
        /// US dollars on top of the budget; only together with `temp_budget_expiry`.
        #[serde(default)]
        #[schema(value_type = Option<Dollars>)]
        temp_budget_increase: Patch<f64>,
        /// Until when.
        #[serde(default)]
        #[schema(value_type = Option<Timestamp>)]
        temp_budget_expiry: Patch<Timestamp>,
    }
}

key_request! {
    /// A new value for a key, and changes of it.
    RegenerateKey {
        /// The key's value or hash, if the path does not say it.
        #[schema(value_type = Option<String>)]
        key: Option<SecretString>,
        /// The new value; generated when left out.
        #[schema(value_type = Option<KeyValue>)]
        new_key: Option<SecretString>,
        /// The new master key, if `key` is the master key.
        #[schema(value_type = Option<KeyValue>)]
        new_master_key: Option<SecretString>,
        /// How long former values go on working; null = not at all.
        #[serde(default)]
        #[schema(value_type = Option<Duration>)]
        grace_period: Patch<Period>,
        /// Makes repeats harmless; the header `idempotency-key` does so, too.
        #[schema(value_type = Option<String>)]
        idempotency_key: Option<SecretString>,
    }
}

key_request! {
    /// A new value for the key that the path names, and changes of it.
    RegenerateNamed {
        /// The new value; generated when left out.
        #[schema(value_type = Option<KeyValue>)]
        new_key: Option<SecretString>,
        /// How long former values go on working; null = not at all.
        #[serde(default)]
        #[schema(value_type = Option<Duration>)]
        grace_period: Patch<Period>,
        /// Makes repeats harmless; the header `idempotency-key` does so, too.
        #[schema(value_type = Option<String>)]
        idempotency_key: Option<SecretString>,
    }
}

impl GenerateKey {
    /// The key that it asks for.
    pub(crate) fn into_new(mut self) -> NewKey {
        let fields = self.fields();
        NewKey { key: self.key, fields }
    }
}

impl UpdateKey {
    /// The changes that it asks for.
    pub(crate) fn changes(&mut self) -> KeyFields {
        let fields = self.fields();
        let increase = std::mem::take(&mut self.temp_budget_increase);
        let expiry = std::mem::take(&mut self.temp_budget_expiry);
        KeyFields { temp_budget_increase: increase, temp_budget_expiry: expiry, ..fields }
    }
}

/// Many changes at once.
#[derive(Deserialize, ToSchema)]
pub(crate) struct BulkUpdate {
    /// One for each key.
    #[schema(value_type = Vec<UpdateKey>, max_items = 500)]
    pub(crate) keys: Vec<Box<RawValue>>,
}

impl Fields for BulkUpdate {}

/// A key.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OneKey {
    /// Its value or hash.
    #[schema(value_type = String)]
    pub(crate) key: SecretString,
}

impl Fields for OneKey {}

/// Several keys.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ManyKeys {
    /// Their values or hashes.
    #[schema(value_type = Vec<String>, max_items = 500)]
    pub(crate) keys: Vec<SecretString>,
}

impl Fields for ManyKeys {}

/// Keys to be deleted.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct DeleteKeys {
    /// Their values or hashes.
    #[schema(value_type = Option<Vec<String>>, max_items = 500)]
    pub(crate) keys: Option<Vec<SecretString>>,
    /// Their aliases.
    #[schema(max_items = 500)]
    pub(crate) key_aliases: Option<Vec<String>>,
}

impl Fields for DeleteKeys {}

/// What is to count as spent.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ResetSpend {
    /// US dollars, no more than are spent.
    #[schema(value_type = Dollars)]
    pub(crate) reset_to: f64,
}

impl Fields for ResetSpend {}

/// No fields.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Nothing {}

impl Fields for Nothing {}

/// Which key.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichKey {
    /// Its value or hash; the caller's own when left out.
    #[param(value_type = Option<String>)]
    pub(crate) key: Option<SecretString>,
}

impl Params for WhichKey {}

/// Which keys.
#[derive(Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyList {
    /// From 1 on.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    pub(crate) page: usize,
    /// Keys on a page.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) size: usize,
    /// The `next` of the page before, instead of a number: finding the place costs nothing then.
    pub(crate) from: Option<String>,
    /// Only this user's.
    pub(crate) user_id: Option<String>,
    /// Only this team's.
    pub(crate) team_id: Option<String>,
    /// Only the one with this hash.
    #[param(pattern = "^[0-9a-fA-F]{64}$")]
    pub(crate) key_hash: Option<String>,
    /// Only the one with this alias.
    pub(crate) key_alias: Option<String>,
    /// Only those whose alias begins so; sorted by alias.
    pub(crate) search: Option<String>,
    /// `deleted`: none, since deleted keys are not kept.
    #[param(pattern = "^deleted$")]
    pub(crate) status: Option<String>,
    /// Whole keys instead of hashes.
    #[serde(deserialize_with = "query::boolean")]
    pub(crate) return_full_object: bool,
    /// `created_at`, or in a search `key_alias`.
    #[param(pattern = "^(created_at|key_alias)$")]
    pub(crate) sort_by: Option<String>,
    /// `asc` or `desc`.
    #[param(pattern = "^(asc|desc)$")]
    pub(crate) sort_order: Option<String>,
}

impl Default for KeyList {
    fn default() -> Self {
        Self {
            page: 1,
            size: 10,
            from: None,
            user_id: None,
            team_id: None,
            key_hash: None,
            key_alias: None,
            search: None,
            status: None,
            return_full_object: false,
            sort_by: None,
            sort_order: None,
        }
    }
}

impl Params for KeyList {
    const UNSUPPORTED: &'static [&'static str] = unsupported::KEY_LIST;
}

/// Which aliases.
#[derive(Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct AliasList {
    /// From 1 on.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    pub(crate) page: usize,
    /// Aliases on a page.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) size: usize,
    /// Only those that begin so.
    pub(crate) search: Option<String>,
}

impl Default for AliasList {
    fn default() -> Self {
        Self { page: 1, size: 50, search: None }
    }
}

impl Params for AliasList {}
