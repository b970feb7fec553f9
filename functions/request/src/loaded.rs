//! A configuration that was read: what the gateway is put together from, and what `keyturn check` and `keyturn env`
//! look at.

use std::sync::Arc;

use keyturn_ambient::{Clock, Env};
use keyturn_config::{Config, ConfigError, ConfigSource, Settings, Value};
use keyturn_entry::setup;
use keyturn_providers::{Provider, Target};
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};
use secrecy::{ExposeSecret, SecretString};

use crate::deployment::Deployment;
use crate::gateway::LoadError;

/// A configuration's text, and what it takes to understand it.
pub struct Source {
    /// Keyturn's own settings.
    pub settings: Settings,
    /// The file, or the reference to the secret.
    pub place: String,
    /// It may hold keys.
    text: SecretString,
    env: Arc<dyn Env>,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
}

/// A configuration that can be used.
pub struct Loaded {
    /// All of it but its deployments.
    pub config: Config,
    /// Its deployments, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// The environment that secret stores are built from: with what the configuration says of them.
    pub stores_env: Arc<dyn Env>,
    /// The secret stores, behind a cache of theirs.
    pub credentials: CredentialCache,
}

/// A deployment and its provider.
pub struct Upstream(pub(crate) Deployment);

impl Source {
    /// Reads the settings and the text; `config` is its place, before `KEYTURN_CONFIG`.
    ///
    /// # Errors
    ///
    /// A setting is wrong, or the text cannot be read.
    pub async fn open(
        env: &Arc<dyn Env>,
        clock: &Arc<dyn Clock>,
        http: &reqwest::Client,
        config: Option<&str>,
    ) -> Result<Self, LoadError> {
        let settings = Settings::from_env(env.as_ref())?;
        let source = match config {
            Some(text) => ConfigSource::read(text).map_err(|_| LoadError::ConfigReference)?,
            None => settings.config.clone(),
        };
        let place = match &source {
            ConfigSource::File(path) => path.display().to_string(),
            ConfigSource::Secret(reference) => reference.to_string(),
        };
        let (text, clock, http) = (SecretString::default(), Arc::clone(clock), http.clone());
        let unread = Self { settings, place, text, env: Arc::clone(env), clock, http };
        // What the configuration says of stores is not known yet.
        let text = setup::configuration(&source, &unread.credentials(env)).await?;
        Ok(Self { text: text.into(), ..unread })
    }

    /// The text. It may hold keys.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.expose_secret()
    }

    /// The secret stores that are built from an environment, behind a cache of theirs.
    #[must_use]
    pub fn credentials(&self, stores_env: &Arc<dyn Env>) -> CredentialCache {
        let cache_settings = CacheSettings {
            soft_ttl: self.settings.credential_soft_ttl,
            hard_ttl: self.settings.credential_hard_ttl,
            ..CacheSettings::default()
        };
        let stores = Stores::new(Arc::clone(stores_env), &self.http, Arc::clone(&self.clock));
        CredentialCache::new(stores, Arc::clone(&self.clock), cache_settings)
    }

    /// An error in the text: with the place of the text, and the line.
    #[must_use]
    pub fn error(&self, error: ConfigError) -> LoadError {
        LoadError::Config { place: self.place.clone(), source: error.in_file(self.text()) }
    }

    /// Understands the text.
    ///
    /// # Errors
    ///
    /// It is not a configuration, or names what there is not.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let env = self.env.as_ref();
        let mut config = setup::parsed(self.text(), env).map_err(|error| self.error(error))?;
        let upstreams = std::mem::take(&mut config.deployments)
            .into_iter()
            .map(|entry| Deployment::new(entry, &config.general.lookup, env, config.litellm.drop_params))
            .map(|deployment| deployment.map(Upstream))
            .collect::<Result<_, _>>()
            .map_err(|error| match error {
                LoadError::Settings(error) => self.error(error),
                other => other,
            })?;
        let stores_env = config.general.stores_env(&self.env);
        let credentials = self.credentials(&stores_env);
        Ok(Loaded { config, upstreams, stores_env, credentials })
    }
}

impl Upstream {
    /// Its place in `model_list`, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// `model_name`.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.0.group
    }

    /// Who serves it.
    #[must_use]
    pub fn provider(&self) -> &'static dyn Provider {
        self.0.provider
    }

    /// The provider's model, parameters and endpoint; the model may hold a `*`.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// The secret fields that the provider reads.
    #[must_use]
    pub fn secrets(&self) -> &[(&'static str, Value)] {
        &self.0.secrets
    }

    /// Whether it answers by itself, without an upstream.
    #[must_use]
    pub fn is_mock(&self) -> bool {
        self.0.mock_response.is_some()
    }
}
