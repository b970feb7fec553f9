//! Configuration: LiteLLM's `config.yaml`, and the environment, as typed values.
//!
//! - [`Config::parse`] reads the file. Every field of LiteLLM's is supported, ignored with a [`Warning`], or refused
//!   with a [`ConfigError`] that names it; each section's file opens with that table.
//! - [`Settings::from_env`] reads Keyturn's own environment variables.
//! - [`SecretRef`] says where a secret lives; [`Value`] is a reference or a literal. Which stores there are is not known
//!   here: [`Config::check_stores`] is told.
//!
//! Nothing here reads a secret's value from a store, and neither errors, warnings nor `Debug` repeat what the file
//! holds in a field that may bear one.

mod config;
mod deployment;
mod error;
mod fallback;
mod federation;
mod general;
mod key_management;
mod lines;
mod lookup;
mod model_info;
mod names;
mod nearest;
mod reference;
mod router;
mod section;
mod settings;
mod source;
mod table;
mod value;
mod yaml;

pub use config::Config;
pub use deployment::Deployment;
pub use error::{ConfigError, Warning};
pub use fallback::Fallback;
pub use federation::{Federation, FederationError};
pub use general::General;
pub use key_management::{StoredKeys, System};
pub use lines::line_of;
pub use lookup::{KeyManagement, Lookup};
pub use model_info::ModelInfo;
pub use names::{Entry, Named, Names};
pub use nearest::nearest;
pub use reference::{RefError, SecretRef, listed};
pub use router::{LiteLlm, Router, RoutingStrategy};
pub use settings::{LogLevel, ResponseMode, Settings};
pub use source::ConfigSource;
pub use value::Value;
