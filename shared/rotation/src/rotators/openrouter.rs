//! `openrouter`: an API key of OpenRouter.
//!
//! A rotation makes a further key; the former one is disabled after the overlap, and deleted after that. Keys are
//! recognised by their names, which begin with the secret's prefix; one that was made by hand before the first
//! rotation has another name, and stays until somebody deletes it. A new key begins without any use counted against
//! its limit.
//!
//! | setting | |
//! |---|---|
//! | `admin_key` | required: a secret reference to a management key |
//! | `workspace` | the id of the workspace of the keys; default: the default workspace |
//! | `limit` | what a new key may spend, in US dollars; without it, as much as the account has |
//! | `limit_reset` | when that begins anew: `daily`, `weekly` or `monthly` |
//! | `expires_in` | OpenRouter ends a key after this time (`90d`), at least one day; must outlast the rotation's interval and the overlap |
//! | `verify_models` | chat models that a new key must be able to use |
//! | `api_base` | default `https://openrouter.ai/api/v1` |
//!
//! The administrator's credential: a management key (Settings, Management Keys). It can do nothing else than manage
//! keys, and cannot be restricted further.
//!
//! - <https://openrouter.ai/docs/guides/overview/auth/management-api-keys>
//! - <https://openrouter.ai/docs/api/api-reference/api-keys/create-keys>

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_config::SecretRef;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::http_calls::{By, Calling as _, Service};
use super::{completions, hints, lifetimes};
use crate::settings::{self, OURS, Settings, SettingsError};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

const API_BASE: &str = "https://openrouter.ai/api/v1";
/// Some of the services behind OpenRouter take no smaller limit than this many tokens.
const LIMIT: completions::Limit = ("max_tokens", 16);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(deserialize_with = "settings::reference")]
    admin_key: SecretRef,
    workspace: Option<String>,
    #[serde(default)]
    limit: Option<Dollars>,
    #[serde(default)]
    limit_reset: Option<Reset>,
    #[serde(default, deserialize_with = "settings::optional_duration")]
    expires_in: Option<SignedDuration>,
    #[serde(default, deserialize_with = "settings::list")]
    verify_models: Vec<String>,
    api_base: Option<String>,
}

/// A number, or the text of one: a tag's value is a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Dollars {
    Number(f64),
    Text(String),
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Reset {
    Daily,
    Weekly,
    Monthly,
}

struct OpenRouter {
    tools: Tools,
    admin_key: SecretRef,
    workspace: Option<String>,
    limit: Option<f64>,
    limit_reset: Option<Reset>,
    expires_in: Option<SignedDuration>,
    verify_models: Vec<String>,
    service: Service,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let wrong = |name: &str, problem: &str| SettingsError::new(format!("{OURS}{name}"), problem);
    let limit = match own.limit {
        None => None,
        Some(Dollars::Number(number)) => Some(number),
        Some(Dollars::Text(text)) => {
            Some(text.parse().map_err(|_| wrong("limit", "is not an amount of dollars"))?)
        }
    };
    if limit.is_some_and(|limit| !(limit > 0.0 && limit.is_finite())) {
        return Err(wrong("limit", "is not an amount of dollars"));
    }
    if own.limit_reset.is_some() && limit.is_none() {
        return Err(wrong("limit_reset", "needs keyturn:limit"));
    }
    Ok(Box::new(OpenRouter {
        tools: tools.clone(),
        admin_key: own.admin_key,
        workspace: own.workspace,
        limit,
        limit_reset: own.limit_reset,
        expires_in: lifetimes::checked(own.expires_in, None)?,
        verify_models: own.verify_models,
        service: Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?,
    }))
}

impl OpenRouter {
    async fn admin(&self) -> Result<SecretString, RotationError> {
        self.tools.secret(&self.admin_key).await
    }
}

#[async_trait]
impl Rotator for OpenRouter {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let body = NewKey {
            name: &ask.name,
            workspace_id: self.workspace.as_deref(),
            limit: self.limit,
            limit_reset: self.limit_reset,
            expires_at: self.expires_in.map(|span| lifetimes::end(ask.now, span)),
        };
        let call = self.service.post(By::Admin, &["keys"]).bearer(&self.admin().await?);
        let made: MadeKey = call.json(&body).read().await?;
        Ok(Credential::of(made.key).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = credential.value()?;
        self.service.get(By::Tested, &["key"]).bearer(key).done().await?;
        completions::prove(&self.service, key, &self.verify_models, LIMIT).await
    }

    async fn issued(&self, prefix: &str, _current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let admin = self.admin().await?;
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        let mut offset = 0;
        loop {
            let call = self.service.get(By::Admin, &["keys"]).query("include_disabled", "true");
            let call = match &self.workspace {
                Some(workspace) => call.query("workspace_id", workspace),
                None => call,
            };
            let page: Page = call.query("offset", &offset.to_string()).bearer(&admin).read().await?;
            offset += page.data.len();
            let before = seen.len();
            for key in page.data {
                if seen.insert(key.hash.clone()) && key.name.starts_with(prefix) {
                    found.push(Issued::from(key));
                }
            }
            // Newest first: a key that is made meanwhile only moves others to the next page.
            if seen.len() == before {
                return Ok(found);
            }
        }
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_none_or(|value| {
            issued.id == hints::sha256(value) || hints::may_be(issued.hint.as_deref(), value)
        })
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let call = self.service.patch(By::Admin, &["keys", &issued.id]).bearer(&self.admin().await?);
        call.json(&serde_json::json!({"disabled": true})).done_or_gone().await?;
        Ok(true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        self.service
            .delete(By::Admin, &["keys", &issued.id])
            .bearer(&self.admin().await?)
            .done_or_gone()
            .await
    }
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_reset: Option<Reset>,
    /// In UTC; other time zones are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct MadeKey {
    key: SecretString,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    /// The key's id: a hash of it.
    hash: String,
    name: String,
    /// What is shown of the key, unless somebody gave it words of their own.
    label: Option<String>,
    #[serde(default)]
    disabled: bool,
    created_at: Option<Timestamp>,
}

impl From<Key> for Issued {
    fn from(key: Key) -> Self {
        Self {
            id: key.hash,
            hint: key.label,
            created_at: key.created_at,
            last_used_at: None,
            disabled: key.disabled,
        }
    }
}
