//! The endpoints: a request's fields, one call of the manager's, an answer. The attributes are what the OpenAPI
//! document says of them.

pub(crate) mod budgets;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod lists;
pub(crate) mod regenerate;
pub(crate) mod spend;
pub(crate) mod teams;
pub(crate) mod users;

use bytes::Bytes;
use http::{Response, StatusCode};
use keyturn_keys::ManageError;
use keyturn_keys::manage::KeyRef;
use secrecy::SecretString;
use serde::Serialize;

use crate::error::{Refusal, json};

/// An answer with status 200.
fn ok<T: Serialize>(document: &T) -> Response<Bytes> {
    json(StatusCode::OK, document)
}

/// The key that a value or a hash names; what is neither names none.
fn named(key: &SecretString) -> Result<KeyRef, Refusal> {
    KeyRef::value_or_hash(key.clone()).ok_or(Refusal::Manage(ManageError::NotFound { what: "key" }))
}

/// A field that must be there.
fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| Refusal::field(field, "is required"))
}

/// How many pages `total` things are.
fn pages(total: u64, size: usize) -> u64 {
    total.div_ceil(u64::try_from(size.max(1)).unwrap_or(u64::MAX))
}
