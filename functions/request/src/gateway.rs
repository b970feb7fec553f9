//! What a process holds for as long as it lives, and how it is put together from configuration.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use keyturn_config::{ConfigError, ResponseMode, SecretRef, StoredKeys};
use keyturn_entry::log::{Level, Log, with_causes};
use keyturn_entry::setup::{self, SetupError};
use keyturn_entry::{Door, Presented};
use keyturn_http::ClientError;
use keyturn_keys::{
    Admission, AdmissionStore, Identity, KeyError, KeyHash, Keys, KeysOptions, PlaceError, Surroundings,
};
use keyturn_secrets::CredentialCache;
use secrecy::SecretString;
use serde::Serialize;
use tokio::time::Instant;

use crate::attempt::Ask;
use crate::credential_numbers::CredentialNumbers;
use crate::deployment::Deployment;
use crate::error::GatewayError;
use crate::fallbacks::Fallbacks;
use crate::loaded::{Loaded, Source, Upstream};
use crate::router::{Cooldown, Router};
use crate::stream::Limit;

/// What a gateway is made from.
pub struct Options {
    /// The environment.
    pub env: Arc<dyn Env>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Takes the log lines.
    pub sink: fn(&[u8]),
    /// The client for every call.
    pub http: reqwest::Client,
    /// The configuration's place, before `KEYTURN_CONFIG`.
    pub config: Option<String>,
    /// The key store, before `KEYTURN_KEY_STORE` and `KEYTURN_TABLE`.
    pub keys: Option<Arc<dyn AdmissionStore>>,
    /// How long keys are served from memory, before `KEYTURN_KEY_CACHE_SECONDS`.
    pub key_cache: Option<Duration>,
    /// The master key when neither the environment nor the configuration has one.
    pub master_key: Option<SecretString>,
}

impl Options {
    /// Everything from the environment.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be built.
    pub fn new(env: Arc<dyn Env>, clock: Arc<dyn Clock>, sink: fn(&[u8])) -> Result<Self, LoadError> {
        let http = keyturn_http::client_through_proxy(env.as_ref())?;
        Ok(Self { env, clock, sink, http, config: None, keys: None, key_cache: None, master_key: None })
    }
}

/// Why a gateway cannot start. Each names the setting to look at, and none shows a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An environment variable.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// What stands in the configuration.
    #[error("cannot use the configuration {place}")]
    Config {
        /// The file, or the reference to the secret.
        place: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// The configuration file, or a secret that is needed before the first request.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Nobody serves this model.
    #[error(
        "model_list: {model_name}: litellm_params.model {model:?} names no provider that is supported; write it as <provider>/<model>"
    )]
    UnknownProvider {
        /// The entry's `model_name`.
        model_name: String,
        /// Its `litellm_params.model`.
        model: String,
    },
    /// The name of the variable that stands for an absent credential cannot be looked up.
    #[error("model_list: {model_name}: the default credential {variable} cannot be looked up")]
    DefaultCredential {
        /// The entry's `model_name`.
        model_name: String,
        /// The variable.
        variable: &'static str,
    },
    /// The place of the configuration.
    #[error(
        "the place of the configuration is a malformed secret reference; write it as scheme:name, or as a path"
    )]
    ConfigReference,
    /// The header for keys.
    #[error("general_settings.litellm_key_header_name is no header name")]
    KeyHeader,
    /// Nobody could use the gateway.
    #[error("nothing opens the gateway: set KEYTURN_MASTER_KEY, KEYTURN_TABLE or KEYTURN_KEY_STORE")]
    NoKeys,
    /// The key store.
    #[error("KEYTURN_KEY_STORE cannot be used")]
    KeyStore(#[from] PlaceError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// When an invocation ends: a Lambda function is stopped there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(pub(crate) Timestamp);

/// The time that is kept back before a [`Deadline`], so that a timeout can still be told to the client.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long the init phase waits for secrets at most. A store that is well answers in milliseconds; one that is not delays
/// no request that does not need it.
const WARM_UP: Duration = Duration::from_secs(1);

/// The longest request when no timeout is configured: LiteLLM's `request_timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(6000);

/// The gateway: configuration, credentials, keys. One for each process; every request shares it.
pub struct Gateway {
    pub(crate) log: Log,
    pub(crate) http: reqwest::Client,
    pub(crate) door: Door,
    pub(crate) router: Router,
    /// In the order of the configuration.
    pub(crate) deployments: Vec<Arc<Deployment>>,
    pub(crate) fallbacks: Fallbacks,
    pub(crate) credentials: CredentialCache,
    pub(crate) numbers: CredentialNumbers,
    pub(crate) keys: Option<Keys>,
    pub(crate) num_retries: u32,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    stream_timeout: Option<Duration>,
    default_master_key: bool,
    stored_keys: Option<StoredKeys>,
    stores_env: Arc<dyn Env>,
    pub(crate) response_mode: ResponseMode,
}

impl Gateway {
    /// Puts a gateway together: reads the configuration, resolves what must be known at once, and starts reading
    /// the rest, so that the first request finds it.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the setting. A provider's secret that cannot be read is no such error: it is logged, and
    /// the requests that need it are refused until it can.
    pub async fn load(options: Options) -> Result<Arc<Self>, LoadError> {
        let Options { env, clock, sink, http, config, keys, key_cache, master_key } = options;
        let source = Source::open(&env, &clock, &http, config.as_deref()).await?;
        let Loaded { config, upstreams, stores_env, credentials } = source.load()?;
        let settings = source.settings;
        let log = Log { level: settings.log_level.into(), sink };
        let configured = settings.master_key(&config).cloned();
        for warning in &config.warnings {
            log.write(
                Level::Warn,
                clock.now(),
                "configuration",
                &ConfigWarning { path: &warning.path, why: &warning.why },
            );
        }

        let deployments: Vec<Arc<Deployment>> =
            upstreams.into_iter().map(|Upstream(deployment)| Arc::new(deployment)).collect();
        let keys = match (keys, &settings.key_store) {
            (Some(keys), _) => Some(keys),
            (None, Some(setting)) => {
                let found = Surroundings { env: &env, http: &http, clock: &clock };
                Some(keyturn_keys::open_admission_store(setting, &found)?)
            }
            (None, None) => None,
        };
        let keys = keys.map(|store| {
            let usual = KeysOptions::default();
            let options = KeysOptions {
                cache_life: key_cache.unwrap_or(settings.key_cache),
                usage_every: usual.usage_every.filter(|_| !config.general.disable_spend_logs),
                ..usual
            };
            Keys::new(store, Arc::clone(&clock), options)
        });

        let references: Vec<SecretRef> =
            deployments.iter().flat_map(|deployment| deployment.references().cloned()).collect();
        let default_master_key = configured.is_none() && master_key.is_some();
        let warm_up = tokio::spawn(prefetch(credentials.clone(), references, log, Arc::clone(&clock)));
        // The warm-up and the master key share the same wait. What is not there in time is read on: a request that needs
        // it joins the read, and no other one waits for it.
        let (_, master_key) = tokio::join!(tokio::time::timeout(WARM_UP, warm_up), async {
            Ok::<_, SetupError>(setup::master_key(configured.as_ref(), &credentials).await?.or(master_key))
        });
        let master_key = master_key?;
        if master_key.is_none() && keys.is_none() {
            return Err(LoadError::NoKeys);
        }
        let key_header = config.general.litellm_key_header_name.map(|name| name.parse());
        let key_header = key_header.transpose().map_err(|_| LoadError::KeyHeader)?;

        let router = config.router;
        Ok(Arc::new(Self {
            log,
            http,
            door: Door::new(master_key, key_header),
            router: Router::new(
                &deployments,
                router.model_group_alias.into_iter().collect(),
                Cooldown { allowed_fails: router.allowed_fails, time: router.cooldown_time },
            ),
            deployments,
            fallbacks: Fallbacks {
                general: router.fallbacks,
                context_window: router.context_window_fallbacks,
                content_policy: router.content_policy_fallbacks,
                default: router.default_fallbacks,
                max: router.max_fallbacks as usize,
            },
            credentials,
            numbers: CredentialNumbers::new(),
            keys,
            num_retries: router.num_retries,
            clock,
            timeout: router.timeout.or(config.litellm.request_timeout).unwrap_or(DEFAULT_TIMEOUT),
            stream_timeout: router.stream_timeout,
            default_master_key,
            stored_keys: config.general.stored_keys,
            stores_env,
            response_mode: settings.response_mode,
        }))
    }

    /// The names that clients may ask for, wildcards as they are written.
    #[must_use]
    pub fn model_groups(&self) -> Vec<&str> {
        self.router.groups()
    }

    /// Whether [`Options::master_key`] is the one that counts.
    #[must_use]
    pub fn uses_default_master_key(&self) -> bool {
        self.default_master_key
    }

    /// Where the values of created keys are stored too. The gateway makes none: it is for who manages keys beside it.
    #[must_use]
    pub fn stored_keys(&self) -> Option<&StoredKeys> {
        self.stored_keys.as_ref()
    }

    /// The environment that secret stores are built from.
    #[must_use]
    pub fn stores_env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.stores_env)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time since `start`; zero when the clock was set back.
    pub(crate) fn since(&self, start: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(start)).unwrap_or_default()
    }

    /// How long an attempt may take.
    pub(crate) fn time_limit(&self, ask: &Ask<'_>, deployment: &Deployment) -> Limit {
        let streamed = deployment.stream_timeout.or(self.stream_timeout).filter(|_| ask.facts.stream);
        Limit { idle: streamed.or(deployment.timeout).unwrap_or(self.timeout), end: ask.end }
    }

    /// When a request that came with this deadline has to be over, with time for the last words.
    pub(crate) fn end(&self, deadline: Deadline) -> Instant {
        let left = Duration::try_from(deadline.0.duration_since(self.now())).unwrap_or_default();
        // No freeze falls within an invocation, so the runtime's own clock will do.
        Instant::now() + left.saturating_sub(LAST_WORDS)
    }

    /// Whose key the request shows. A master key that was replaced is a key of the store's, which says how long it
    /// still works.
    pub(crate) async fn presented(&self, headers: &HeaderMap) -> Result<Presented, GatewayError> {
        let presented = self.door.presented(headers)?;
        let (Presented::Master(hash), Some(keys)) = (&presented, &self.keys) else { return Ok(presented) };
        match keys.replaced_master(hash).await {
            Ok(false) => Ok(presented),
            Ok(true) => Ok(Presented::Virtual(*hash)),
            Err(error) => Err(self.key_refusal(hash, error)),
        }
    }

    /// What opens the gateway besides virtual keys.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// The virtual keys, with what is remembered of them.
    #[must_use]
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Where log lines go.
    #[must_use]
    pub fn log(&self) -> Log {
        self.log
    }

    /// Admits a request of a virtual key.
    pub(crate) async fn admit(
        &self,
        hash: &KeyHash,
        ask: &keyturn_keys::Ask<'_>,
    ) -> Result<Admission, GatewayError> {
        let Some(keys) = &self.keys else { return Err(self.key_refusal(hash, KeyError::NotFound)) };
        let admission = keys.admit(hash, ask).await.map_err(|error| self.key_refusal(hash, error))?;
        self.credentials.generation(admission.generation);
        Ok(admission)
    }

    /// Whose key it is, for a route that uses nothing up.
    pub(crate) async fn known(&self, hash: &KeyHash, path: &str) -> Result<Identity, GatewayError> {
        let Some(keys) = &self.keys else { return Err(self.key_refusal(hash, KeyError::NotFound)) };
        let identity = keys.authenticate(hash).await;
        let allowed = identity.and_then(|identity| identity.check_route(path).map(|()| identity));
        allowed.map_err(|error| self.key_refusal(hash, error))
    }

    fn key_refusal(&self, hash: &KeyHash, error: KeyError) -> GatewayError {
        if let KeyError::Unavailable(source) = &error {
            self.warn("key store unavailable", &source.to_string());
        }
        GatewayError::Key { hash: hash.to_string(), error: Box::new(error), now: self.now() }
    }

    /// A line for the operator.
    pub(crate) fn warn(&self, message: &'static str, detail: &str) {
        self.log.write(Level::Warn, self.now(), message, &Detail { detail });
    }
}

#[derive(Serialize)]
struct Detail<'a> {
    detail: &'a str,
}

#[derive(Serialize)]
struct ConfigWarning<'a> {
    path: &'a str,
    why: &'a str,
}

/// Reads every secret that the configuration names; those of the environment and of files cost nothing to read
/// later, and one that is not set is no news.
async fn prefetch(credentials: CredentialCache, references: Vec<SecretRef>, log: Log, clock: Arc<dyn Clock>) {
    let remote: Vec<SecretRef> = references
        .into_iter()
        .filter(|reference| !matches!(reference.scheme.as_str(), "env" | "file"))
        .collect();
    for (_, error) in credentials.prefetch(&remote).await {
        let detail = with_causes(&error);
        log.write(Level::Warn, clock.now(), "secret unavailable", &Detail { detail: &detail });
    }
}
