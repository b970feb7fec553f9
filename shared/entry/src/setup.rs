//! What every function needs before its first event: its configuration, and its own secrets.

use keyturn_ambient::Env;
use keyturn_config::{Config, ConfigError, ConfigSource, Value};
use keyturn_secrets::stores::schemes;
use keyturn_secrets::{CredentialCache, SecretError};
use secrecy::SecretString;

/// Why a function cannot start. It names what could not be read, and none of what it says.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration file.
    #[error("cannot read the configuration {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A secret that is needed before the first event.
    #[error("cannot read {what}")]
    Secret {
        /// What it was to be.
        what: &'static str,
        /// The store's refusal.
        #[source]
        source: SecretError,
    },
}

/// The configuration's text.
///
/// # Errors
///
/// [`SetupError`].
pub async fn configuration(source: &ConfigSource, secrets: &CredentialCache) -> Result<String, SetupError> {
    match source {
        ConfigSource::File(path) => std::fs::read_to_string(path)
            .map_err(|source| SetupError::File { path: path.display().to_string(), source }),
        ConfigSource::Secret(reference) => match secrets.get(reference).await {
            Ok(secret) => Ok(secret.value.expose().to_owned()),
            Err(source) => Err(SetupError::Secret { what: "the configuration", source }),
        },
    }
}

/// The configuration of a text; every secret that it names is in a store that there is.
///
/// # Errors
///
/// [`ConfigError`] names the field, and its line.
pub fn parsed(text: &str, env: &dyn Env) -> Result<Config, ConfigError> {
    let config = Config::parse(text, env)?;
    config.check_stores(&schemes()).map_err(|error| error.in_file(text))?;
    Ok(config)
}

/// The master key, where one is configured.
///
/// # Errors
///
/// [`SetupError::Secret`].
pub async fn master_key(
    value: Option<&Value>,
    secrets: &CredentialCache,
) -> Result<Option<SecretString>, SetupError> {
    match value {
        None => Ok(None),
        Some(Value::Literal(key)) => Ok(Some(key.clone())),
        Some(Value::Reference(reference)) => match secrets.get(reference).await {
            Ok(secret) => Ok(Some(SecretString::from(secret.value.expose()))),
            Err(source) => Err(SetupError::Secret { what: "the master key", source }),
        },
    }
}
