//! The stores there are, one line each in the list below, and how a setting names one of them: `scheme:name`.
//!
//! | setting | store |
//! |---|---|
//! | `dynamodb:<table>` | [`DynamoKeyStore`]; region and credentials are the environment's (`keyturn_identity::aws`) |
//! | `vault`, `vault:<path>` | [`VaultKeyStore`] at this path, default `keyturn`, under the mount and the prefix that `HCP_VAULT_*` name (`keyturn_vault`) |

use std::sync::Arc;

use keyturn_ambient::{Clock, Env};
use keyturn_identity::aws::Aws;
use keyturn_vault::{SetupError, Vault};

use crate::dynamo::DynamoKeyStore;
use crate::store::{AdmissionStore, KeyStore};
use crate::vault::VaultKeyStore;

/// What a store is built from.
pub struct Surroundings<'a> {
    /// The environment.
    pub env: &'a Arc<dyn Env>,
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
type Constructor<S> = fn(&str, &Surroundings<'_>) -> Result<Arc<S>, PlaceError>;

/// A store by its scheme.
type Place<S> = (&'static str, Constructor<S>);

/// Every store: its scheme and how it is built.
static STORES: &[Place<dyn KeyStore>] = &[
    ("dynamodb", |name, found| Ok(Arc::new(dynamo(name, found)?))),
    ("vault", |name, found| Ok(Arc::new(vault(name, found)?))),
];

/// The same for requests. It is a list of its own, so that who only admits does not hold the code that manages.
static ADMISSION_STORES: &[Place<dyn AdmissionStore>] = &[
    ("dynamodb", |name, found| Ok(Arc::new(dynamo(name, found)?))),
    ("vault", |name, found| Ok(Arc::new(vault(name, found)?))),
];

/// Builds the store that a setting names. It connects to nothing.
///
/// # Errors
///
/// [`PlaceError`] says what is wrong with the setting.
pub fn open_store(setting: &str, found: &Surroundings<'_>) -> Result<Arc<dyn KeyStore>, PlaceError> {
    open(STORES, setting, found)
}

/// The same for requests.
///
/// # Errors
///
/// As [`open_store`].
pub fn open_admission_store(
    setting: &str,
    found: &Surroundings<'_>,
) -> Result<Arc<dyn AdmissionStore>, PlaceError> {
    open(ADMISSION_STORES, setting, found)
}

fn open<S: ?Sized>(
    places: &[Place<S>],
    setting: &str,
    found: &Surroundings<'_>,
) -> Result<Arc<S>, PlaceError> {
    let (scheme, name) = setting.split_once(':').unwrap_or((setting, ""));
    let place = places.iter().find(|(known, _)| *known == scheme);
    let (_, constructor) = place.ok_or(PlaceError::Unknown)?;
    constructor(name, found)
}

fn dynamo(table: &str, found: &Surroundings<'_>) -> Result<DynamoKeyStore, PlaceError> {
    if table.is_empty() {
        return Err(PlaceError::Name("table"));
    }
    let sdk = Aws::from_env(found.env, found.http, found.clock).sdk_config("DYNAMODB");
    Ok(DynamoKeyStore::new(aws_sdk_dynamodb::Client::new(&sdk), table.to_owned()))
}

fn vault(path: &str, found: &Surroundings<'_>) -> Result<VaultKeyStore, PlaceError> {
    let path = if path.is_empty() { "keyturn" } else { path };
    if !keyturn_vault::is_path(path) {
        return Err(PlaceError::Name("path in Vault"));
    }
    let vault = Vault::from_env(&**found.env, found.http, Arc::clone(found.clock))?;
    Ok(VaultKeyStore::new(vault, path, Arc::clone(found.clock)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use keyturn_ambient::SystemClock;

    use super::*;

    fn open(setting: &str, variables: &[(&str, &str)]) -> Result<bool, String> {
        let env: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let env: Arc<dyn Env> = Arc::new(env);
        let http = keyturn_http::client().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let found = Surroundings { env: &env, http: &http, clock: &clock };
        let admitting = open_admission_store(setting, &found).map(|store| store.shares());
        let managing = open_store(setting, &found).map(|store| store.shares());
        let [admitting, managing] = [admitting, managing].map(|one| one.map_err(|error| error.to_string()));
        assert_eq!(admitting, managing);
        managing
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
