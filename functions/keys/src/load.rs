//! How the API is put together from configuration.
//!
//! The function reads no provider's secret. Of the configuration file it needs `general_settings`: `master_key`, unless
//! `KEYTURN_MASTER_KEY` is set, `litellm_key_header_name`, and what says where created keys are stored too; the file is
//! read only when `KEYTURN_CONFIG` names it.

use std::sync::Arc;

use http::HeaderName;
use keyturn_ambient::{Clock, Env};
use keyturn_config::{ConfigError, Settings};
use keyturn_entry::Door;
use keyturn_entry::log::Log;
use keyturn_entry::setup::{self, SetupError};
use keyturn_http::ClientError;
use keyturn_keys::manage::{Manager, ManagerOptions};
use keyturn_keys::{KeyStore, PlaceError, Surroundings};
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};

use crate::api::{Api, Parts};

/// Why the function cannot start. Each names the setting to look at, and none shows a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An environment variable, or what stands in the configuration.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The configuration file, or a secret that is needed at once.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There is nothing to manage.
    #[error("there are no virtual keys to manage: set KEYTURN_TABLE or KEYTURN_KEY_STORE")]
    NoKeyStore,
    /// The place of the keys.
    #[error("KEYTURN_KEY_STORE, or KEYTURN_TABLE")]
    KeyStore(#[from] PlaceError),
    /// Where created keys are stored too.
    #[error(transparent)]
    StoredKeys(#[from] keyturn_kept::NotWritable),
    /// The header for keys.
    #[error("general_settings.litellm_key_header_name is no header name")]
    KeyHeader,
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Puts the API together from the environment.
///
/// # Errors
///
/// [`LoadError`].
pub async fn load(env: Arc<dyn Env>, clock: Arc<dyn Clock>, sink: fn(&[u8])) -> Result<Arc<Api>, LoadError> {
    let settings = Settings::from_env(env.as_ref())?;
    let place = settings.key_store.clone().ok_or(LoadError::NoKeyStore)?;
    let http = keyturn_http::client_through_proxy(env.as_ref())?;
    let secrets = |env: &Arc<dyn Env>| {
        let stores = Stores::new(Arc::clone(env), &http, Arc::clone(&clock));
        CredentialCache::new(stores, Arc::clone(&clock), CacheSettings::default())
    };
    let config = match env.var("KEYTURN_CONFIG") {
        None => None,
        Some(_) => {
            let text = setup::configuration(&settings.config, &secrets(&env)).await?;
            Some(setup::parsed(&text, env.as_ref())?)
        }
    };
    let master_key = match &config {
        Some(config) => settings.master_key(config),
        None => settings.master_key.as_ref(),
    };
    let master_key = master_key.cloned();
    let general = config.map(|config| config.general).unwrap_or_default();
    // What the configuration says of stores holds from here on; the key store is another thing.
    let stores_env = general.stores_env(&env);
    let master_key = setup::master_key(master_key.as_ref(), &secrets(&stores_env)).await?;
    let key_header = general.litellm_key_header_name.map(|name| name.parse::<HeaderName>()).transpose();
    let key_header = key_header.map_err(|_| LoadError::KeyHeader)?;
    let found = Surroundings { env: &env, http: &http, clock: &clock };
    let store: Arc<dyn KeyStore> = keyturn_keys::open_store(&place, &found)?;
    let kept = match &general.stored_keys {
        None => None,
        Some(settings) => {
            let (http, clock) = (http.clone(), Arc::clone(&clock));
            let found = keyturn_kept::Surroundings { env: stores_env, http, clock };
            Some(keyturn_kept::open(settings, &place, &found)?)
        }
    };
    // Repeated regenerations are answered with the same value, which is derived from the master key.
    let options = ManagerOptions { kept, derivation: master_key.clone(), ..ManagerOptions::default() };
    Ok(Arc::new(Api::new(Parts {
        manager: Manager::new(Arc::clone(&store), Arc::clone(&clock), options),
        store,
        door: Door::new(master_key, key_header),
        log: Log { level: settings.log_level.into(), sink },
        clock,
    })))
}
