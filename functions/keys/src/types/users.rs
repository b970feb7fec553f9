//! Users.

use jiff::Timestamp;
use keyturn_keys::manage::{KeyFields, NewUser, Patch, UserFields, UserInfo};
use keyturn_keys::{Period, UserRole};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::key_row::{GeneratedKey, KeyRow};
use super::limits::{LimitsRow, with_limits};
use super::scalars::{Dollars, Duration, Name};
use super::teams::TeamRow;
use crate::error::Refusal;
use crate::input::Fields;
use crate::query::Params;
use crate::unsupported;

/// A request with the fields that a user has, besides its own.
macro_rules! user_request {
    ($(#[$meta:meta])* $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        with_limits! {
            $(#[$meta])*
            $name {
                $($(#[$own_meta])* $own: $own_type,)*
                /// A name for people.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                user_alias: Patch<String>,
                /// The mail address.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                user_email: Patch<String>,
                /// What the user may do with the management API.
                #[serde(default)]
                #[schema(value_type = Option<Role>)]
                user_role: Patch<UserRole>,
                /// The models its keys may call; empty = all.
                #[serde(default)]
                #[schema(value_type = Option<Vec<String>>)]
                models: Patch<Vec<String>>,
                /// The owner's own data.
                #[serde(default)]
                #[schema(value_type = Option<Object>)]
                metadata: Patch<Map<String, Value>>,
                /// The budget that its limits come from; it must be there.
                #[serde(default)]
                #[schema(value_type = Option<Name>)]
                budget_id: Patch<String>,
                /// US dollars that count as spent from now on.
                #[schema(value_type = Option<Dollars>)]
                spend: Option<f64>,
            }
        }

        impl Fields for $name {
            const UNSUPPORTED: &'static [&'static str] = unsupported::USER;
        }

        impl $name {
            /// The changes that it asks for.
            pub(crate) fn fields(&mut self) -> UserFields {
                let take = std::mem::take::<$name>;
                let mut own = take(self);
                let limits = own.limits();
                $(self.$own = own.$own;)*
                UserFields {
                    user_alias: own.user_alias,
                    user_email: own.user_email,
                    user_role: own.user_role,
                    models: own.models,
                    metadata: own.metadata,
                    budget_id: own.budget_id,
                    limits,
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
    /// Its limits.
    #[serde(flatten)]
    limits: LimitsRow,
    /// When the present window ends.
    budget_reset_at: Option<Timestamp>,
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
        Self {
            user_id: user.user_id,
            user_alias: user.user_alias,
            user_email: user.user_email,
            user_role: user.user_role,
            teams: user.teams,
            models: user.models,
            metadata: user.metadata,
            spend: spend.spend,
            limits: user.limits.into(),
            budget_reset_at: spend.budget_reset_at,
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
