//! Virtual keys: what a key may do, and where keys live.
//!
//! [`KeyStore`] is the port. [`DynamoKeyStore`] keeps keys in one DynamoDB table, whose design is explained in
//! `docs/adr/0001-key-table.md`.

mod cache;
mod dynamo;
mod hash;
mod models;
mod money;
mod new_key;
mod port;
mod virtual_key;

pub use dynamo::DynamoKeyStore;
pub use hash::{KeyHash, same_secret};
pub use new_key::NewKey;
pub use port::{Admission, Ask, KeyError, KeyStore, LimitType, Reservation, Spent, StoreFailure};
pub use virtual_key::VirtualKey;
