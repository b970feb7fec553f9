//! How the function is put together from its environment.
//!
//! | variable | meaning |
//! |---|---|
//! | `KEYTURN_TABLE` or `KEYTURN_KEY_STORE` | the virtual keys; without them there are no rotators for our own keys, and the environments of the request function learn of a rotation when their cache has aged |
//! | `KEYTURN_CONFIG` | the configuration; of it, only what it says of stores is needed, and where created virtual keys are stored too. It is read only when this is set |
//! | `KEYTURN_CREDENTIAL_HARD_TTL_SECONDS` | as the request function has it: the former credential goes on working for as long, and the longest call |
//! | `KEYTURN_LONGEST_CALL_SECONDS` | the longest that a request or a step lasts: the timeout of the request function and of this one, whichever is longer; default 900, the longest there is |
//! | `KEYTURN_ROTATED_SECRETS` | references, with spaces between, of the secrets from which former credentials are taken back; default `aws-secretsmanager:*`: all there that have the tag `keyturn:rotator` |
//! | `KEYTURN_LOG_LEVEL` | `info`, `warn` or `error` |

use std::sync::Arc;

use jiff::SignedDuration;
use keyturn_ambient::{Clock, Env};
use keyturn_config::{ConfigError, General, RefError, SecretRef, Settings, StoredKeys};
use keyturn_entry::log::Log;
use keyturn_entry::setup::{self, SetupError};
use keyturn_http::ClientError;
use keyturn_keys::manage::{Manager, ManagerOptions};
use keyturn_keys::{KeyStore, PlaceError};
use keyturn_rotation::{Engine, EngineOptions, Tools, rotators};
use keyturn_secrets::stores::{Surroundings, staged_schemes};
use keyturn_secrets::{CacheSettings, CredentialCache, SecretError, Stores};

use crate::Handler;
use crate::report::Report;
use crate::stores::StagedStores;

const LONGEST_CALL: &str = "KEYTURN_LONGEST_CALL_SECONDS";

/// Why the function cannot start. Each names the setting to look at, and none shows its value.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An environment variable.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// A reference in the list.
    #[error("KEYTURN_ROTATED_SECRETS: one of its references {0}")]
    Listed(RefError),
    /// The store of a reference in the list.
    #[error("KEYTURN_ROTATED_SECRETS")]
    ListedStore(#[source] SecretError),
    /// The longest call.
    #[error("KEYTURN_LONGEST_CALL_SECONDS must be a whole number of seconds")]
    LongestCall,
    /// The place of the keys.
    #[error("KEYTURN_KEY_STORE, or KEYTURN_TABLE")]
    KeyStore(#[from] PlaceError),
    /// The configuration file.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Where created keys are stored too.
    #[error(transparent)]
    StoredKeys(#[from] keyturn_kept::NotWritable),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Puts the function together.
///
/// # Errors
///
/// [`LoadError`].
pub async fn load(env: &Arc<dyn Env>, clock: &Arc<dyn Clock>, sink: fn(&[u8])) -> Result<Handler, LoadError> {
    let settings = Settings::from_env(env.as_ref())?;
    let http = keyturn_http::client_through_proxy(env.as_ref())?;
    let listed = env.var("KEYTURN_ROTATED_SECRETS").unwrap_or_else(|| "aws-secretsmanager:*".to_owned());
    let explicit = |text| SecretRef::explicit(text)?.ok_or(RefError::NoScheme);
    let listed: Result<Vec<SecretRef>, RefError> = listed.split_whitespace().map(explicit).collect();
    let listed = listed.map_err(LoadError::Listed)?;
    let written = staged_schemes();
    if listed.iter().any(|listed| !written.contains(&listed.scheme.as_str())) {
        return Err(LoadError::ListedStore(SecretError::unknown_scheme(&written)));
    }
    let secrets = |env: &Arc<dyn Env>| {
        let stores = Stores::new(Arc::clone(env), &http, Arc::clone(clock));
        CredentialCache::new(stores, Arc::clone(clock), CacheSettings::default())
    };
    let general = match env.var("KEYTURN_CONFIG") {
        None => General::default(),
        Some(_) => {
            let text = setup::configuration(&settings.config, &secrets(env)).await?;
            setup::parsed(&text, env.as_ref())?.general
        }
    };
    // What the configuration says of stores holds from here on; the key store is another thing.
    let stores_env = general.stores_env(env);
    let secrets = secrets(&stores_env);
    let found = Surroundings { env: stores_env, http: http.clone(), clock: Arc::clone(clock) };
    let (fleet, keys) = match &settings.key_store {
        None => (None, None),
        Some(place) => {
            let at = keyturn_keys::Surroundings { env, http: &http, clock };
            let (store, manager) = manager(place, &at, general.stored_keys.as_ref(), &found)?;
            (Some(store), Some(manager))
        }
    };
    let hard_ttl = SignedDuration::try_from(settings.credential_hard_ttl).unwrap_or(SignedDuration::MAX);
    let longest_call = match env.var(LONGEST_CALL) {
        None => keyturn_rotation::engine::LONGEST_CALL,
        Some(text) => {
            let seconds: u32 = text.parse().map_err(|_| LoadError::LongestCall)?;
            SignedDuration::from_secs(seconds.into())
        }
    };
    let overlap = hard_ttl.saturating_add(longest_call);
    let options = EngineOptions { overlap, longest_call, ..EngineOptions::default() };
    let tools = Tools { env: Arc::clone(env), http, clock: Arc::clone(clock), secrets, keys: keys.clone() };
    Ok(Handler {
        engine: Engine::new(tools, Arc::new(rotators::open), fleet, options),
        stores: StagedStores::new(found),
        keys,
        listed,
        report: Report { log: Log { level: settings.log_level.into(), sink }, clock: Arc::clone(clock) },
    })
}

/// The key store, and what manages it: with the place where created keys are stored too, if there is one.
fn manager(
    place: &str,
    at: &keyturn_keys::Surroundings<'_>,
    stored: Option<&StoredKeys>,
    found: &Surroundings,
) -> Result<(Arc<dyn KeyStore>, Manager), LoadError> {
    let store = keyturn_keys::open_store(place, at)?;
    let kept = stored.map(|settings| keyturn_kept::open(settings, place, found)).transpose()?;
    let options = ManagerOptions { kept, ..ManagerOptions::default() };
    Ok((Arc::clone(&store), Manager::new(store, Arc::clone(at.clock), options)))
}
