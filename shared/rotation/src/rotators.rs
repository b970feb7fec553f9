//! The rotators there are: one file each, one line each in the list below.

mod anthropic;
mod aws;
mod aws_iam_access_key;
mod azure;
mod azure_openai;
mod bedrock_api_key;
mod completions;
mod entra_application;
mod google;
mod google_api_key;
mod google_service_account;
mod hints;
mod http;
mod http_calls;
mod keyturn_master_key;
mod keyturn_virtual_key;
mod lifetimes;
mod litellm;
mod openai;
mod openrouter;
mod own_keys;
mod random;
mod vault_approle_secret_id;

use crate::settings::{Settings, SettingsError};
use crate::{Rotator, Tools};

/// Builds a rotator from its settings.
pub type Open = fn(Settings, &Tools) -> Result<Box<dyn Rotator>, SettingsError>;

/// Every rotator: its name and how it is built.
static ROTATORS: &[(&str, Open)] = &[
    ("anthropic", anthropic::open),
    ("aws_iam_access_key", aws_iam_access_key::open),
    ("azure_openai", azure_openai::open),
    ("bedrock_api_key", bedrock_api_key::open),
    ("entra_application", entra_application::open),
    ("google_api_key", google_api_key::open),
    ("google_service_account", google_service_account::open),
    ("http", http::open),
    ("keyturn_master_key", keyturn_master_key::open),
    ("keyturn_virtual_key", keyturn_virtual_key::open),
    ("litellm", litellm::open),
    ("openai", openai::open),
    ("openrouter", openrouter::open),
    ("random", random::open),
    ("vault_approle_secret_id", vault_approle_secret_id::open),
];

/// The names there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROTATORS.iter().map(|(name, _)| *name)
}

/// Builds the rotator with a name.
///
/// # Errors
///
/// There is none, or its settings do not fit.
pub fn open(name: &str, settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    match ROTATORS.iter().find(|(known, _)| *known == name) {
        Some((_, open)) => open(settings, tools),
        None => {
            let known: Vec<&str> = names().collect();
            Err(SettingsError::new(
                "keyturn:rotator",
                format!("is unknown: expected one of {}", known.join(", ")),
            ))
        }
    }
}
