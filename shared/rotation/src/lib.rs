//! Rotation: how a credential that a secret holds is replaced by a new one, without a request that fails.
//!
//! The [`Engine`] knows the four steps of AWS Secrets Manager, once: create, set, test, finish. A [`Rotator`] knows
//! one kind of credential: how it is issued, tried and taken back. A [`StagedStore`](keyturn_secrets::StagedStore)
//! knows where the secret is. None of the three knows the others' business.
//!
//! Every step may be called again, at any time, in any state, by two at once, and the process may end before or after
//! every single effect: what is done is found done, and what was left behind is found and taken back. The former
//! credential goes only when nobody can hold it any more (see [`engine`]).
//!
//! What is rotated how stands beside the secret: see [`settings`].

mod diagnostic;
mod document;
pub mod engine;
mod error;
mod rotator;
pub mod rotators;
pub mod settings;
mod tools;

pub use diagnostic::Diagnostic;
pub use document::Document;
pub use engine::{Engine, EngineOptions, Outcome, Retired, Rotation, Step};
pub use error::RotationError;
pub use rotator::{Ask, Created, Credential, Issued, Part, Rotator, Unchanged};
pub use tools::Tools;
