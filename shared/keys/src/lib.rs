//! Virtual keys: what they may do, what they have used up, and where they are kept.
//!
//! | module | what it is |
//! |---|---|
//! | [`Keys`] | what the request path asks: admission and settlement |
//! | [`VirtualKey`], [`Team`], [`User`], [`Budget`], [`Limits`] | definitions, as LiteLLM has them |
//! | [`ledger`] | counters and their changes, pure |
//! | [`store`] | the port: what a place where keys live has to offer |
//! | [`manage`] | what the management API does, on any store |
//! | [`DynamoKeyStore`] | it on DynamoDB |
//! | [`VaultKeyStore`] | it on HashiCorp Vault |

mod admission;
mod cache;
mod dynamo;
mod hash;
mod keys;
pub mod ledger;
mod limits;
pub mod manage;
mod models;
mod money;
mod owners;
mod period;
mod places;
mod routes;
pub mod store;
mod vault;
mod virtual_key;

pub use admission::{Admission, Ask, Holder, KeyError, LimitType, Reservation, SettleError, Spent};
pub use dynamo::DynamoKeyStore;
pub use hash::KeyHash;
pub use keys::{Identity, Keys, KeysOptions};
pub use limits::{Limits, ModelBudget};
pub use manage::{ManageError, Manager};
pub use owners::{Budget, Member, MemberRole, Team, User, UserRole};
pub use period::{NotAPeriod, Period, Window};
pub use places::{PlaceError, Surroundings, open_admission_store, open_store};
pub use store::{AdmissionStore, KeyStore};
pub use vault::VaultKeyStore;
pub use virtual_key::{KeyType, PendingRotation, ValueName, VirtualKey};
