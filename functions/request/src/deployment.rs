//! One entry of `model_list`, ready to serve: its provider, its secret references, its price, its health.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Env;
use keyturn_config::{Lookup, SecretRef, Value};
use keyturn_providers::{Price, Provider, Surface, Target, Usage, prices};

use crate::gateway::LoadError;
use crate::router::Cooldown;

/// Failures are counted within windows of this length, as LiteLLM counts them.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// The longest rest that an upstream may ask for: what it says of itself is not to be trusted with more.
const LONGEST_REST: Duration = Duration::from_secs(60);

pub(crate) struct Deployment {
    /// Its place in `model_list`, from 0.
    pub(crate) index: usize,
    /// `model_info.id`, or one made from the entry: `x-litellm-model-id`.
    pub(crate) id: String,
    /// `model_name`.
    pub(crate) group: String,
    pub(crate) provider: &'static dyn Provider,
    /// The provider's model, parameters and endpoint; the model may hold a `*`.
    pub(crate) target: Target,
    /// The secret fields that the provider reads.
    pub(crate) secrets: Vec<(&'static str, Value)>,
    /// Those that stand in for them when they cannot be had; empty: nothing does.
    pub(crate) fallback: Vec<(&'static str, Value)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) stream_timeout: Option<Duration>,
    pub(crate) num_retries: Option<u32>,
    pub(crate) mock_response: Option<String>,
    weight: Option<f64>,
    rpm: Option<u64>,
    tpm: Option<u64>,
    info: keyturn_config::ModelInfo,
    price: OnceLock<Option<Price>>,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    window: Timestamp,
    failures: u32,
    cooled_until: Timestamp,
}

impl Deployment {
    /// Checks one entry of `model_list` against what its provider understands.
    ///
    /// # Errors
    ///
    /// Names the entry and the field that nobody understands.
    pub(crate) fn new(
        entry: keyturn_config::Deployment,
        lookup: &Lookup,
        env: &dyn Env,
        drop_params: bool,
    ) -> Result<Self, LoadError> {
        let (provider, model) = resolve(&entry)?;
        let fields: Vec<&str> = provider.credential_fields().iter().map(|field| field.name).collect();
        entry.accept(provider.params(), &fields)?;
        let secrets = secrets(provider, &entry, lookup, env)?;
        Ok(Self {
            target: Target {
                model,
                base_model: entry.info.base_model.clone(),
                api_base: entry.api_base,
                params: entry.params,
                drop_params: entry.drop_params.unwrap_or(drop_params),
                max_output_tokens: entry.info.max_output_tokens.or(entry.info.max_tokens),
            },
            index: entry.index,
            id: entry.id,
            group: entry.model_name,
            provider,
            secrets,
            fallback: entry.fallback_api_key.map(|key| ("api_key", key)).into_iter().collect(),
            timeout: entry.timeout,
            stream_timeout: entry.stream_timeout,
            num_retries: entry.num_retries,
            mock_response: entry.mock_response,
            weight: entry.weight,
            rpm: entry.rpm,
            tpm: entry.tpm,
            info: entry.info,
            price: OnceLock::new(),
            health: Mutex::default(),
        })
    }

    /// The target for one request; `wildcard` is what the `*` of the model group stood for.
    pub(crate) fn target(&self, wildcard: Option<&str>) -> Cow<'_, Target> {
        match wildcard {
            Some(captured) if self.target.model.contains('*') => {
                let model = self.target.model.replacen('*', captured, 1);
                Cow::Owned(Target { model, ..self.target.clone() })
            }
            _ => Cow::Borrowed(&self.target),
        }
    }

    /// What a request cost in US dollars, when the model has a price.
    pub(crate) fn cost(&self, model: &str, usage: &Usage) -> Option<f64> {
        usage.cost.or_else(|| self.with_price(model, |price| price.cost(usage)))
    }

    /// What a request may cost at most, in US dollars: for the reservation.
    pub(crate) fn estimate(&self, model: &str, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        let usage = Usage { prompt_tokens, completion_tokens, ..Usage::default() };
        self.with_price(model, |price| price.cost(&usage)).unwrap_or_default()
    }

    fn with_price<R>(&self, model: &str, use_it: impl FnOnce(&Price) -> R) -> Option<R> {
        if self.target.model.contains('*') {
            return self.look_up(model).as_ref().map(use_it);
        }
        self.price.get_or_init(|| self.look_up(model)).as_ref().map(use_it)
    }

    fn look_up(&self, model: &str) -> Option<Price> {
        let name = self.info.base_model.as_deref().unwrap_or(model);
        let listed = prices::lookup(self.provider.name(), name);
        match (self.info.input_cost_per_token, self.info.output_cost_per_token) {
            (None, None) => listed,
            (input, output) => Some(Price::custom(listed, input, output)),
        }
    }

    /// Whether it can answer a client of this format.
    pub(crate) fn serves(&self, surface: Surface) -> bool {
        self.mock_response.is_some() || self.provider.surfaces().contains(&surface)
    }

    /// The secrets to read before the first request. One that stands in is among them: that it cannot be read should
    /// not be learnt on the day that it is needed.
    pub(crate) fn references(&self) -> impl Iterator<Item = &SecretRef> {
        self.secrets.iter().chain(&self.fallback).filter_map(|(_, value)| match value {
            Value::Reference(reference) => Some(reference),
            Value::Literal(_) => None,
        })
    }

    /// Its share in a shuffle, by the figure that `first` goes by.
    pub(crate) fn share(&self, first: &Self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
        let share = if first.weight.is_some() {
            self.weight
        } else if first.rpm.is_some() {
            self.rpm.map(|rpm| rpm as f64)
        } else if first.tpm.is_some() {
            self.tpm.map(|tpm| tpm as f64)
        } else {
            None
        };
        share.unwrap_or(1.0)
    }

    pub(crate) fn cooled_until(&self) -> Timestamp {
        self.health().cooled_until
    }

    /// Counts a failure; `rest` is how long the upstream itself asked to be left alone.
    pub(crate) fn note_failure(&self, now: Timestamp, cooldown: Cooldown, rest: Option<Duration>) {
        if cooldown.time.is_zero() {
            return;
        }
        let mut health = self.health();
        if now.duration_since(health.window).unsigned_abs() >= FAILURE_WINDOW {
            health.window = now;
            health.failures = 0;
        }
        health.failures += 1;
        if rest.is_some() || health.failures > cooldown.allowed_fails {
            health.cooled_until = now + rest.unwrap_or_default().min(LONGEST_REST).max(cooldown.time);
            health.failures = 0;
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The provider and its own model name: `custom_llm_provider`, else the prefix, else who the price table says
/// has a model of that name.
fn resolve(entry: &keyturn_config::Deployment) -> Result<(&'static dyn Provider, String), LoadError> {
    provider_of(entry.custom_llm_provider.as_deref(), &entry.model).ok_or_else(|| {
        LoadError::UnknownProvider { model_name: entry.model_name.clone(), model: entry.model.clone() }
    })
}

/// The provider that `custom_llm_provider` and `model` of an entry mean, and its own name of the model.
#[must_use]
pub fn provider_of(custom: Option<&str>, model: &str) -> Option<(&'static dyn Provider, String)> {
    if let Some(name) = custom {
        let own = model.strip_prefix(&format!("{name}/")).unwrap_or(model);
        return Some((keyturn_providers::find(name)?, own.to_owned()));
    }
    if let Some((prefix, own)) = model.split_once('/')
        && let Some(provider) = keyturn_providers::find(prefix)
    {
        return Some((provider, own.to_owned()));
    }
    Some((prices::provider_of(model).and_then(keyturn_providers::find)?, model.to_owned()))
}

/// The secret fields of an entry. If it has none, they fall back to the variables that LiteLLM reads, except when it
/// names another endpoint: the default credential is not for that one.
fn secrets(
    provider: &dyn Provider,
    entry: &keyturn_config::Deployment,
    lookup: &Lookup,
    env: &dyn Env,
) -> Result<Vec<(&'static str, Value)>, LoadError> {
    let mut secrets = Vec::new();
    let fields = provider.credential_fields();
    let by_default = entry.api_base.is_none()
        && entry.mock_response.is_none()
        && !fields.iter().any(|field| entry.secrets.contains_key(field.name));
    for field in fields {
        if let Some(value) = entry.secrets.get(field.name) {
            secrets.push((field.name, value.clone()));
        } else if let Some(variable) = field.default_env.filter(|_| by_default) {
            let value = lookup.secret(variable, env).map_err(|_| LoadError::DefaultCredential {
                model_name: entry.model_name.clone(),
                variable,
            })?;
            secrets.push((field.name, value));
        }
    }
    Ok(secrets)
}
