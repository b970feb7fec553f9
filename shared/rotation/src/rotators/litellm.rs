//! `litellm`: a virtual key of a LiteLLM proxy.
//!
//! A rotation makes a further key with the settings of the current one: its models, limits, owners and metadata, and
//! what it has spent, so that a rotation lifts no limit. The former key is blocked after the overlap, and deleted after
//! that. `/key/regenerate` is not used: it is part of LiteLLM's enterprise edition, and a wrong `grace_period` ends the
//! former key at once. Keys are recognised by their aliases, which begin with the secret's prefix; one that was made by
//! hand before the first rotation has another alias, and stays until somebody deletes it. LiteLLM takes an alias once,
//! so each try at making a key adds random characters to it.
//!
//! | setting | |
//! |---|---|
//! | `api_base` | required: the proxy's address |
//! | `admin_key` | required: a secret reference to the proxy's master key, or to another key that may manage keys |
//! | `expires_in` | LiteLLM ends a key after this time (`90d`), at least one day; must outlast the rotation's interval and the overlap. Without it a new key lives as long as the current one was given |
//! | `verify_models` | chat models that a new key must be able to use |
//!
//! The administrator's credential: the proxy's master key, or a virtual key of a user with the role `proxy_admin`,
//! whose `allowed_routes`, if it has any, hold `/key/generate`, `/key/info`, `/key/list`, `/key/block` and
//! `/key/delete`.
//!
//! - <https://docs.litellm.ai/docs/proxy/virtual_keys>
//! - <https://litellm-api.up.railway.app/> (key management)

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_config::SecretRef;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http_calls::{By, Calling as _, Meaning as _, Service};
use super::{completions, hints, lifetimes};
use crate::settings::{self, Settings, SettingsError};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

/// The most keys of a page.
const PAGE: usize = 100;

/// What a new key takes over from the current one, by the names that `/key/info` and `/key/generate` share. Not taken
/// over: `auto_rotate` and its interval, by which LiteLLM would replace the key on its own.
const TAKEN_OVER: &[&str] = &[
    "access_group_ids",
    "agent_id",
    "aliases",
    "allowed_cache_controls",
    "allowed_routes",
    "budget_duration",
    "budget_fallbacks",
    "budget_id",
    "budget_limits",
    "config",
    "max_budget",
    "max_parallel_requests",
    "metadata",
    "model_max_budget",
    "models",
    "organization_id",
    "permissions",
    "policies",
    "project_id",
    "router_settings",
    "rpm_limit",
    "spend",
    "team_id",
    "tpd_limit",
    "tpm_limit",
    "user_id",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    api_base: String,
    #[serde(deserialize_with = "settings::reference")]
    admin_key: SecretRef,
    #[serde(default, deserialize_with = "settings::optional_duration")]
    expires_in: Option<SignedDuration>,
    #[serde(default, deserialize_with = "settings::list")]
    verify_models: Vec<String>,
}

struct LiteLlm {
    tools: Tools,
    own: Own,
    service: Service,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    lifetimes::checked(own.expires_in, None)?;
    let service = Service::open(tools, "api_base", Some(&own.api_base), "")?;
    Ok(Box::new(LiteLlm { tools: tools.clone(), own, service }))
}

impl LiteLlm {
    async fn admin(&self) -> Result<SecretString, RotationError> {
        self.tools.secret(&self.own.admin_key).await
    }

    /// What the proxy knows of a key. It is asked for by its hash, so that the key is in no address.
    async fn info(
        &self,
        admin: &SecretString,
        key: &SecretString,
    ) -> Result<Map<String, Value>, RotationError> {
        let call = self.service.get(By::Admin, &["key", "info"]).query("key", &hints::sha256(key));
        let found: Found = call.bearer(admin).read().await?;
        Ok(found.info)
    }
}

#[async_trait]
impl Rotator for LiteLlm {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let admin = self.admin().await?;
        let mut current = self.info(&admin, ask.current.value()?).await?;
        if current.get("blocked") == Some(&Value::Bool(true)) {
            // A new key would undo what somebody did on purpose.
            return Err(RotationError::Unfit("the current key is blocked at the proxy".to_owned()));
        }
        let mut body = Map::new();
        for name in TAKEN_OVER {
            if let Some(value) = current.remove(*name).filter(says_something) {
                body.insert((*name).to_owned(), value);
            }
        }
        if let Some(Value::Object(mut permission)) = current.remove("object_permission") {
            // The new key gets a row of its own there.
            permission.remove("object_permission_id");
            permission.retain(|_, value| says_something(value));
            if !permission.is_empty() {
                body.insert("object_permission".to_owned(), Value::Object(permission));
            }
        }
        if let Some(span) = self.own.expires_in.or_else(|| given_life(&current)) {
            body.insert("duration".to_owned(), Value::String(format!("{}s", span.as_secs())));
        }
        let alias = format!("{}-{}", ask.name, hex::encode(fastrand::u32(..).to_be_bytes()));
        body.insert("key_alias".to_owned(), Value::String(alias));
        let made: MadeKey =
            self.service.post(By::Admin, &["key", "generate"]).bearer(&admin).json(&body).read().await?;
        Ok(Credential::of(made.key).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = credential.value()?;
        let answer = self.service.get(By::Tested, &["key", "info"]).bearer(key).answer().await?;
        // A key that may not call this route is refused for that after it was found valid.
        if !answer.status().is_success() && answer.status() != 403 {
            return Err(answer.error());
        }
        completions::prove(&self.service, key, &self.own.verify_models, ("max_tokens", 1)).await
    }

    async fn issued(&self, prefix: &str, _current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let admin = self.admin().await?;
        let mut found = Vec::new();
        for number in 1_usize.. {
            // An older proxy does not know `search` and lists all keys.
            let call = self.service.get(By::Admin, &["key", "list"]).query("search", prefix);
            let call = call.query("return_full_object", "true").query("sort_by", "created_at");
            let call = call.query("sort_order", "asc").query("size", &PAGE.to_string());
            let page: Page = call.query("page", &number.to_string()).bearer(&admin).read().await?;
            let is_last = page.keys.is_empty() || number >= page.total_pages;
            let ours = page
                .keys
                .into_iter()
                .filter(|key| key.key_alias.as_ref().is_some_and(|alias| alias.starts_with(prefix)));
            found.extend(ours.map(Issued::from));
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_none_or(|value| issued.id == hints::sha256(value))
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let call = self.service.post(By::Admin, &["key", "block"]).bearer(&self.admin().await?);
        call.json(&json!({"key": issued.id})).done_or_gone().await?;
        Ok(true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let call = self.service.post(By::Admin, &["key", "delete"]).bearer(&self.admin().await?);
        call.json(&json!({"keys": [issued.id]})).done_or_gone().await
    }
}

/// Whether a setting of a key is more than the absence of one.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// How long a key was to live when it was made, if it was to end.
fn given_life(key: &Map<String, Value>) -> Option<SignedDuration> {
    let time = |name: &str| key.get(name)?.as_str()?.parse::<Timestamp>().ok();
    Some(time("expires")?.duration_since(time("created_at")?)).filter(|span| *span >= lifetimes::SHORTEST)
}

#[derive(Deserialize)]
struct Found {
    info: Map<String, Value>,
}

#[derive(Deserialize)]
struct MadeKey {
    key: SecretString,
}

#[derive(Deserialize)]
struct Page {
    keys: Vec<Key>,
    total_pages: usize,
}

#[derive(Deserialize)]
struct Key {
    /// The key's SHA-256.
    token: String,
    key_alias: Option<String>,
    created_at: Option<Timestamp>,
    last_active: Option<Timestamp>,
    blocked: Option<bool>,
}

impl From<Key> for Issued {
    fn from(key: Key) -> Self {
        Self {
            id: key.token,
            hint: None,
            created_at: key.created_at,
            last_used_at: key.last_active,
            disabled: key.blocked == Some(true),
        }
    }
}
