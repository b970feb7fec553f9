//! The keys function: LiteLLM's management API over [`keyturn_keys::Manager`].
//!
//! One pipeline without AWS types: route → caller → fields → manager → JSON. [`Api::answer`] is that pipeline;
//! [`lambda`] puts it behind Lambda's events, and the `keyturn` binary behind plain HTTP.
//!
//! | file | what it knows |
//! |---|---|
//! | `api` | what a process holds; one request from start to log line |
//! | `load` | how it is put together from configuration |
//! | `routes` | which path is which handler |
//! | `who` | who may call what |
//! | `input`, `query` | bodies and query strings, and every way they can be wrong |
//! | `unsupported` | fields of LiteLLM's that Keyturn knows and does not have |
//! | `types` | the JSON of requests and answers; the OpenAPI document is made of them |
//! | `handlers` | the endpoints |
//! | `openapi` | the document |
//! | `error` | every refusal, its status and its body |

mod api;
mod error;
mod handlers;
mod input;
pub mod lambda;
mod load;
mod openapi;
mod query;
mod routes;
mod types;
mod unsupported;
mod who;

pub use api::{Api, MAX_BODY_BYTES, Parts};
pub use load::{LoadError, load};
pub use openapi::document;
pub use routes::serves;
