//! The stores there are, one line each in the list below, and how a setting names one of them: `scheme:name`.
//!
//! | setting | store |
//! |---|---|
//! | `dynamodb:<table>` | [`DynamoKeyStore`]; region and credentials are the environment's (`keyturn_http::aws`) |
//! | `vault`, `vault:<path>` | [`VaultKeyStore`] at this path, default `keyturn`, under the mount and the prefix that `HCP_VAULT_*` name (`keyturn_vault`) |

use std::sync::Arc;

use keyturn_ambient::{Clock, Env};
use keyturn_vault::{SetupError, Vault};

use crate::dynamo::DynamoKeyStore;
use crate::store::KeyStore;
use crate::vault::VaultKeyStore;

/// What a store is built from.
pub struct Surroundings<'a> {
    /// The environment.
    pub env: &'a dyn Env,
    /// The HTTP client that everything shares.
    pub http: &'a reqwest::Client,
    /// The time.
    pub clock: &'a Arc<dyn Clock>,
}

/// Why a setting names no store. The setting's value is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Its scheme is nobody's.
    #[error("no such key store; write it as dynamodb:TABLE, vault or vault:PATH")]
    Unknown,
    /// What comes after the scheme cannot be used.
    #[error("it names no {0}")]
    Name(&'static str),
    /// What the environment says of Vault.
    #[error("Vault cannot be used")]
    Vault(#[from] SetupError),
}

/// Builds a store of a name.
type Constructor = fn(&str, &Surroundings<'_>) -> Result<Arc<dyn KeyStore>, PlaceError>;

/// Every store: its scheme and how it is built.
static STORES: &[(&str, Constructor)] = &[("dynamodb", dynamo), ("vault", vault)];

/// Builds the store that a setting names. It connects to nothing.
///
/// # Errors
///
/// [`PlaceError`] says what is wrong with the setting.
pub fn open_store(setting: &str, found: &Surroundings<'_>) -> Result<Arc<dyn KeyStore>, PlaceError> {
    let (scheme, name) = setting.split_once(':').unwrap_or((setting, ""));
    let store = STORES.iter().find(|(known, _)| *known == scheme);
    let (_, constructor) = store.ok_or(PlaceError::Unknown)?;
    constructor(name, found)
}

fn dynamo(table: &str, found: &Surroundings<'_>) -> Result<Arc<dyn KeyStore>, PlaceError> {
    if table.is_empty() {
        return Err(PlaceError::Name("table"));
    }
    let sdk = keyturn_http::aws::sdk_config(found.env, found.http, "DYNAMODB");
    Ok(Arc::new(DynamoKeyStore::new(aws_sdk_dynamodb::Client::new(&sdk), table.to_owned())))
}

fn vault(path: &str, found: &Surroundings<'_>) -> Result<Arc<dyn KeyStore>, PlaceError> {
    let path = if path.is_empty() { "keyturn" } else { path };
    if !keyturn_vault::is_path(path) {
        return Err(PlaceError::Name("path in Vault"));
    }
    let vault = Vault::from_env(found.env, found.http, Arc::clone(found.clock))?;
    Ok(Arc::new(VaultKeyStore::new(vault, path, Arc::clone(found.clock))))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use keyturn_ambient::SystemClock;

    use super::*;

    fn open(setting: &str, variables: &[(&str, &str)]) -> Result<bool, String> {
        let env: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let http = keyturn_http::client().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let found = Surroundings { env: &env, http: &http, clock: &clock };
        match open_store(setting, &found) {
            Ok(store) => Ok(store.shares()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_setting_names_a_store() {
        let token = [("HCP_VAULT_TOKEN", "t")];
        assert_eq!(open("dynamodb:keys", &[]), Ok(true));
        assert_eq!(open("vault", &token), Ok(false));
        assert_eq!(open("vault:prod/keys", &token), Ok(false));
        for (setting, expected) in [
            ("", "no such key store; write it as dynamodb:TABLE, vault or vault:PATH"),
            ("canary", "no such key store; write it as dynamodb:TABLE, vault or vault:PATH"),
            ("dynamodb", "it names no table"),
            ("vault:a/../canary", "it names no path in Vault"),
        ] {
            assert_eq!(open(setting, &token), Err(expected.to_owned()));
        }
        assert_eq!(open("vault", &[]), Err("Vault cannot be used".to_owned()));
    }
}
