//! Users.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyturn_keys::manage::{KeyFields, LimitFields, NewUser, Patch, UserFields, UserInfo};
use keyturn_keys::{ModelBudget, Period, UserRole};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::key_row::{GeneratedKey, KeyRow};
use super::scalars::{Count, Dollars, Duration, ModelLimit, Name, count, counts};
use super::teams::TeamRow;
use crate::error::Refusal;
use crate::input::Fields;
use crate::query::Params;
use crate::unsupported;

/// A request with the fields that a user has, besides its own.
macro_rules! user_request {
    ($(#[$meta:meta])* $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Default, Deserialize, ToSchema)]
        pub(crate) struct $name {
            $($(#[$own_meta])* pub(crate) $own: $own_type,)*
            /// A name for people.
            #[serde(default)]
            #[schema(value_type = Option<Name>)]
            pub(crate) user_alias: Patch<String>,
            /// The mail address.
            #[serde(default)]
            #[schema(value_type = Option<Name>)]
            pub(crate) user_email: Patch<String>,
            /// What the user may do with the management API.
            #[serde(default)]
            #[schema(value_type = Option<Role>)]
            pub(crate) user_role: Patch<UserRole>,
            /// The models its keys may call; empty = all.
            #[serde(default)]
            #[schema(value_type = Option<Vec<String>>)]
            pub(crate) models: Patch<Vec<String>>,
            /// The owner's own data.
            #[serde(default)]
            #[schema(value_type = Option<Object>)]
            pub(crate) metadata: Patch<Map<String, Value>>,
            /// The budget that its limits come from; it must be there.
            #[serde(default)]
            #[schema(value_type = Option<Name>)]
            pub(crate) budget_id: Patch<String>,
            /// US dollars that count as spent from now on.
            #[schema(value_type = Option<Dollars>)]
            pub(crate) spend: Option<f64>,
            /// US dollars, in each window of `budget_duration`, or in all.
            #[serde(default)]
            #[schema(value_type = Option<Dollars>)]
            pub(crate) max_budget: Patch<f64>,
            /// US dollars above which requests are admitted with a warning.
            #[serde(default)]
            #[schema(value_type = Option<Dollars>)]
            pub(crate) soft_budget: Patch<f64>,
            /// How long a budget's window is; null = for ever.
            #[serde(default)]
            #[schema(value_type = Option<Duration>)]
            pub(crate) budget_duration: Patch<Period>,
            /// Budgets of single models.
            #[serde(default)]
            #[schema(value_type = Option<BTreeMap<String, ModelLimit>>)]
            pub(crate) model_max_budget: Patch<BTreeMap<String, ModelBudget>>,
            /// Requests in a minute.
            #[serde(default, deserialize_with = "count")]
            #[schema(value_type = Option<Count>)]
            pub(crate) rpm_limit: Patch<u64>,
            /// Tokens in a minute.
            #[serde(default, deserialize_with = "count")]
            #[schema(value_type = Option<Count>)]
            pub(crate) tpm_limit: Patch<u64>,
            /// Requests in a minute for single models.
            #[serde(default, deserialize_with = "counts")]
            #[schema(value_type = Option<BTreeMap<String, Count>>)]
            pub(crate) model_rpm_limit: Patch<BTreeMap<String, u64>>,
            /// Tokens in a minute for single models.
            #[serde(default, deserialize_with = "counts")]
            #[schema(value_type = Option<BTreeMap<String, Count>>)]
            pub(crate) model_tpm_limit: Patch<BTreeMap<String, u64>>,
            /// Requests under way at once.
            #[serde(default, deserialize_with = "count")]
            #[schema(value_type = Option<Count>)]
            pub(crate) max_parallel_requests: Patch<u64>,
        }

        impl Fields for $name {
            const UNSUPPORTED: &'static [&'static str] = unsupported::USER;
        }

        impl $name {
            /// The changes that it asks for.
            pub(crate) fn fields(&mut self) -> UserFields {
                let take = std::mem::take::<$name>;
                let own = take(self);
                $(self.$own = own.$own;)*
                UserFields {
                    user_alias: own.user_alias,
                    user_email: own.user_email,
                    user_role: own.user_role,
                    models: own.models,
                    metadata: own.metadata,
                    budget_id: own.budget_id,
                    limits: LimitFields {
                        max_budget: own.max_budget,
                        soft_budget: own.soft_budget,
                        budget_duration: own.budget_duration,
                        model_max_budget: own.model_max_budget,
                        rpm_limit: own.rpm_limit,
                        tpm_limit: own.tpm_limit,
                        model_rpm_limit: own.model_rpm_limit,
                        model_tpm_limit: own.model_tpm_limit,
                        max_parallel_requests: own.max_parallel_requests,
                    },
                    spend: own.spend,
                }
            }
        }
    };
}

user_request! {
    /// A user to be made.
    CreateUser {
        /// Its id; a new one when left out.
        #[schema(value_type = Option<Name>)]
        user_id: Option<String>,
        /// The teams that it becomes a member of; they must be there.
        teams: Option<Vec<String>>,
        /// Whether a key is made with it; true when left out.
        auto_create_key: Option<bool>,
        /// The key's alias.
        #[schema(value_type = Option<Name>)]
        key_alias: Option<String>,
        /// How long the key works.
        #[schema(value_type = Option<Duration>)]
        duration: Option<Period>,
    }
}

user_request! {
    /// Changes of a user: what is left out stays, null clears.
    UpdateUser {
        /// Its id.
        #[schema(required = true, nullable = false)]
        user_id: Option<String>,
    }
}

impl CreateUser {
    /// The user that it asks for.
    pub(crate) fn into_new(mut self) -> Result<NewUser, Refusal> {
        let fields = self.fields();
        let has_key = self.auto_create_key.unwrap_or(true);
        for (field, given) in [("key_alias", self.key_alias.is_some()), ("duration", self.duration.is_some())]
        {
            if given && !has_key {
                return Err(Refusal::field(field, "must be left out when auto_create_key is false"));
            }
        }
        let key = KeyFields {
            key_alias: self.key_alias.map_or(Patch::Keep, Patch::Set),
            duration: self.duration.map_or(Patch::Keep, Patch::Set),
            ..KeyFields::default()
        };
        Ok(NewUser {
            user_id: self.user_id,
            teams: self.teams.unwrap_or_default(),
            fields,
            key: has_key.then_some(key),
        })
    }
}

/// What a user may do with the management API.
#[derive(Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands for text in the document")]
pub(crate) enum Role {
    /// Everything.
    ProxyAdmin,
    /// Read everything.
    ProxyAdminViewer,
    /// Read about itself and make keys for itself.
    InternalUser,
    /// Read about itself.
    InternalUserViewer,
}

/// Users.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ManyUsers {
    /// Their ids.
    #[schema(max_items = 500)]
    pub(crate) user_ids: Vec<String>,
}

impl Fields for ManyUsers {}

/// Which user.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichUser {
    /// Its id; the caller's own when left out.
    pub(crate) user_id: Option<String>,
}

impl Params for WhichUser {}

/// Which users.
#[derive(Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct UserList {
    /// From 1 on.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    pub(crate) page: usize,
    /// Users on a page.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) page_size: usize,
}

impl Default for UserList {
    fn default() -> Self {
        Self { page: 1, page_size: 25 }
    }
}

impl Params for UserList {
    const UNSUPPORTED: &'static [&'static str] = unsupported::USER_LIST;
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserRow {
    /// Its id.
    pub(crate) user_id: String,
    /// A name for people.
    user_alias: Option<String>,
    /// The mail address.
    user_email: Option<String>,
    /// What the user may do with the management API.
    #[schema(value_type = Role)]
    user_role: UserRole,
    /// The teams it is a member of.
    teams: Vec<String>,
    /// The models its keys may call; empty = all.
    models: Vec<String>,
    /// The owner's own data.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// US dollars that its keys have spent: in the present window where the budget has windows, else in all.
    spend: f64,
    /// US dollars.
    max_budget: Option<f64>,
    /// US dollars above which requests are admitted with a warning.
    soft_budget: Option<f64>,
    /// How long a budget's window is.
    #[schema(value_type = Option<String>)]
    budget_duration: Option<Period>,
    /// When the present window ends.
    budget_reset_at: Option<Timestamp>,
    /// Budgets of single models.
    #[schema(value_type = BTreeMap<String, ModelLimit>)]
    model_max_budget: BTreeMap<String, ModelBudget>,
    /// Tokens in a minute.
    tpm_limit: Option<u64>,
    /// Requests in a minute.
    rpm_limit: Option<u64>,
    /// Tokens in a minute for single models.
    model_tpm_limit: BTreeMap<String, u64>,
    /// Requests in a minute for single models.
    model_rpm_limit: BTreeMap<String, u64>,
    /// Requests under way at once.
    max_parallel_requests: Option<u64>,
    /// The budget that its limits come from.
    budget_id: Option<String>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed last.
    updated_at: Timestamp,
}

impl From<UserInfo> for UserRow {
    fn from(info: UserInfo) -> Self {
        let (user, spend) = (info.value, info.spend);
        let limits = user.limits;
        Self {
            user_id: user.user_id,
            user_alias: user.user_alias,
            user_email: user.user_email,
            user_role: user.user_role,
            teams: user.teams,
            models: user.models,
            metadata: user.metadata,
            spend: spend.spend,
            max_budget: limits.max_budget,
            soft_budget: limits.soft_budget,
            budget_duration: limits.budget_duration,
            budget_reset_at: spend.budget_reset_at,
            model_max_budget: limits.model_max_budget,
            tpm_limit: limits.tpm_limit,
            rpm_limit: limits.rpm_limit,
            model_tpm_limit: limits.model_tpm_limit,
            model_rpm_limit: limits.model_rpm_limit,
            max_parallel_requests: limits.max_parallel_requests,
            budget_id: user.budget_id,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// A user that was made, and its key if there is one. Where both have a field, it is the user's.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedUser {
    /// The key's value.
    #[schema(value_type = Option<String>, format = Password)]
    pub(crate) key: Option<super::scalars::Shown>,
    /// The key's id.
    pub(crate) token: Option<String>,
    /// The key's id.
    pub(crate) token_id: Option<String>,
    /// `sk-...` and the last four characters of the key's value.
    pub(crate) key_name: Option<String>,
    /// The key's alias.
    pub(crate) key_alias: Option<String>,
    /// When the key stops working.
    pub(crate) expires: Option<Timestamp>,
    /// The user.
    #[serde(flatten)]
    pub(crate) user: UserRow,
}

impl CreatedUser {
    /// The answer for a user and its key.
    pub(crate) fn new(user: UserInfo, key: Option<keyturn_keys::manage::Created>) -> Self {
        let key = key.map(GeneratedKey::from).map(GeneratedKey::into_parts);
        let (value, row) = key.map_or((None, None), |(value, row)| (value, Some(row)));
        let id = row.as_ref().map(|row| row.token.clone());
        Self {
            key: value,
            token_id: id.clone(),
            token: id,
            key_name: row.as_ref().map(|row| row.key_name.clone()),
            expires: row.as_ref().and_then(|row| row.expires),
            key_alias: row.and_then(|row| row.key_alias),
            user: user.into(),
        }
    }
}

/// A user that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct UpdatedUser {
    /// Its id.
    pub(crate) user_id: String,
    /// As it is now.
    pub(crate) data: UserRow,
}

/// A user with its keys and teams.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserInfoAnswer {
    /// Its id.
    pub(crate) user_id: String,
    /// The user.
    pub(crate) user_info: UserRow,
    /// Its keys.
    pub(crate) keys: Vec<KeyRow>,
    /// Its teams.
    pub(crate) teams: Vec<TeamRow>,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserPage {
    /// The users.
    pub(crate) users: Vec<UserRow>,
    /// How many there are on all pages.
    pub(crate) total: u64,
    /// Which page this is.
    pub(crate) page: usize,
    /// Users on a page.
    pub(crate) page_size: usize,
    /// How many pages there are.
    pub(crate) total_pages: u64,
}
