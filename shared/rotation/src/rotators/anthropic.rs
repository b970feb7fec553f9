//! `anthropic`: an API key of the Claude API, out of a pool that a person fills.
//!
//! Anthropic has no call that makes a key. A person makes some in the Console and puts them into the pool; a rotation
//! takes the first one that is left. The key that it replaces is set inactive after the overlap, which can be undone,
//! and archived after that, which cannot.
//!
//! What became of a key is told by its name at Anthropic, so that it is known whatever becomes of the secret's
//! versions. The rotator renames keys:
//!
//! | name | meaning |
//! |---|---|
//! | `keyturn-<secret>-<rotation>` | taken from the pool for this secret, by that rotation |
//! | `keyturn-<secret>-used-<rotation>` | it was the current key when that rotation began, and is to be archived |
//! | any other | never used by Keyturn |
//!
//! Only keys with a name of the second kind are ever set inactive or archived. So a key in the pool is safe, also one
//! that a rotation took which then was abandoned: the next rotation takes it again. A used key that is put back into
//! the pool, one that another secret has taken, and one that is not active at Anthropic are passed over.
//!
//! | setting | |
//! |---|---|
//! | `admin_key` | required: a secret reference to an Admin API key |
//! | `pool` | the field of the secret that holds the pool, an array of keys; default: the name of the credential's field and `_POOL`. Or a secret reference to the pool, an array of keys or keys with spaces between: that is only read |
//! | `verify_models` | models that a new key must be able to use |
//! | `api_base` | default `https://api.anthropic.com` |
//!
//! The administrator's credential: an Admin API key (`sk-ant-admin…`; an organization admin makes it). It cannot be
//! restricted.
//!
//! - <https://platform.claude.com/docs/en/manage-claude/admin-api>
//! - <https://platform.claude.com/docs/en/api/admin/api_keys/list>
//! - <https://platform.claude.com/docs/en/api/admin/api_keys/update>

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_config::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http_calls::{By, Calling as _, Service};
use super::{completions, hints};
use crate::settings::{self, OURS, Settings, SettingsError};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

const API_BASE: &str = "https://api.anthropic.com";
/// The version of the API that this was written for; Anthropic keeps it (<https://platform.claude.com/docs/en/api/versioning>).
const VERSION: &str = "2023-06-01";
/// The most keys of a page.
const PAGE: &str = "1000";
/// What the names that Keyturn gives begin with.
const TAKEN: &str = "keyturn-";
/// What follows the prefix in the name of a key that was replaced.
const USED: &str = "used-";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(deserialize_with = "settings::reference")]
    admin_key: SecretRef,
    pool: Option<String>,
    #[serde(default, deserialize_with = "settings::list")]
    verify_models: Vec<String>,
    api_base: Option<String>,
}

/// Where the pool is.
enum Pool {
    /// In the field that is called like the credential's, and `_POOL`.
    Beside,
    /// In this field of the secret.
    Field(String),
    /// In another secret.
    Reference(SecretRef),
}

struct Anthropic {
    tools: Tools,
    admin_key: SecretRef,
    pool: Pool,
    verify_models: Vec<String>,
    service: Service,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let wrong = |problem: String| SettingsError::new(format!("{OURS}pool"), problem);
    let pool = match own.pool {
        None => Pool::Beside,
        Some(text) => match SecretRef::explicit(&text).map_err(|error| wrong(error.to_string()))? {
            Some(reference) => Pool::Reference(reference),
            None if text.is_empty() || text.contains(':') => {
                return Err(wrong("is neither a field's name nor a secret reference".to_owned()));
            }
            None => Pool::Field(text),
        },
    };
    Ok(Box::new(Anthropic {
        tools: tools.clone(),
        admin_key: own.admin_key,
        pool,
        verify_models: own.verify_models,
        service: Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?
            .always("anthropic-version", VERSION),
    }))
}

impl Anthropic {
    async fn admin(&self) -> Result<SecretString, RotationError> {
        self.tools.secret(&self.admin_key).await
    }

    /// All keys of the organization.
    async fn keys(&self, admin: &SecretString) -> Result<Vec<Key>, RotationError> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let call = self.service.get(By::Admin, &["v1", "organizations", "api_keys"]).query("limit", PAGE);
            let call = match &after {
                Some(after) => call.query("after_id", after),
                None => call,
            };
            let page: Page = call.secret_header("x-api-key", admin).read().await?;
            found.extend(page.data);
            if !page.has_more {
                return Ok(found);
            }
            if page.last_id.is_none() || page.last_id == after {
                return Err(RotationError::Malformed("a page of keys that leads nowhere".to_owned()));
            }
            after = page.last_id;
        }
    }

    /// Changes a key's name or status.
    async fn update(&self, admin: &SecretString, id: &str, change: Value) -> Result<(), RotationError> {
        let call = self.service.post(By::Admin, &["v1", "organizations", "api_keys", id]);
        call.secret_header("x-api-key", admin).json(&change).done().await
    }

    async fn set_status(&self, issued: &Issued, status: &str) -> Result<(), RotationError> {
        let call = self.service.post(By::Admin, &["v1", "organizations", "api_keys", &issued.id]);
        let call = call.secret_header("x-api-key", &self.admin().await?);
        call.json(&json!({"status": status})).done_or_gone().await
    }

    /// The keys in the pool, and the field that they are in.
    async fn pool(&self, ask: &Ask<'_>) -> Result<(Vec<SecretString>, Option<String>), RotationError> {
        let field = match (&self.pool, ask.field) {
            (Pool::Reference(reference), _) => {
                let text = self.tools.secret(reference).await?;
                let keys = match serde_json::from_str::<Vec<String>>(text.expose_secret()) {
                    Ok(keys) => keys.into_iter().map(SecretString::from).collect(),
                    Err(_) => text.expose_secret().split_whitespace().map(SecretString::from).collect(),
                };
                return Ok((keys, None));
            }
            (Pool::Field(field), _) => field.clone(),
            (Pool::Beside, Some(field)) => format!("{field}_POOL"),
            (Pool::Beside, None) => {
                return Err(RotationError::Unfit(format!(
                    "the secret is one text: {OURS}pool must be a reference to the secret that holds the pool"
                )));
            }
        };
        let keys = match ask.document.json(&field) {
            None => Some(Vec::new()),
            Some(Value::Array(keys)) => keys.iter().map(|key| key.as_str().map(SecretString::from)).collect(),
            Some(_) => None,
        };
        let keys = keys.ok_or_else(|| RotationError::Unfit(format!("{field} is not an array of keys")))?;
        Ok((keys, Some(field)))
    }
}

#[async_trait]
impl Rotator for Anthropic {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let (pool, field) = self.pool(ask).await?;
        let admin = self.admin().await?;
        let keys = self.keys(&admin).await?;
        let used = format!("{}{USED}", ask.prefix);
        let current = ask.current.get("value");
        let is_current = |value: &SecretString| {
            current.is_some_and(|current| current.expose_secret() == value.expose_secret())
        };

        let mut next = None;
        let mut left = Vec::new();
        for value in &pool {
            let key = only(&keys, value)?;
            let is_used = is_current(value) || key.is_some_and(|key| key.name.starts_with(&used));
            let is_free = key.is_some_and(|key| {
                let is_ours = key.name.starts_with(ask.prefix);
                key.status == Status::Active && (is_ours || !key.name.starts_with(TAKEN))
            });
            if next.is_none() && is_free && !is_used {
                next = Some((value, key));
            } else if !is_used && next.is_none_or(|(next, _)| next.expose_secret() != value.expose_secret()) {
                left.push(Value::from(value.expose_secret()));
            }
        }
        let Some((value, Some(key))) = next else {
            let place = field.unwrap_or_else(|| format!("the secret that {OURS}pool names"));
            return Err(RotationError::Full(format!(
                "no key of the pool is active and unused ({} in it); make one in the Claude Console and add it to {place}",
                pool.len()
            )));
        };
        if key.name != ask.name {
            self.update(&admin, &key.id, json!({"name": ask.name})).await?;
        }
        // From here on it is known that the current one is to be archived, when its turn comes.
        if let Some(current) = current
            && let Some(key) = only(&keys, current)?
            && !key.name.starts_with(&used)
        {
            self.update(&admin, &key.id, json!({"name": format!("{used}{}", ask.token)})).await?;
        }
        let fields = field.map(|field| (field, Some(Value::Array(left))));
        Ok(Created { credential: Credential::of(value.clone()), fields: BTreeMap::from_iter(fields) })
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let value = credential.value()?;
        let call = self.service.get(By::Tested, &["v1", "models"]).query("limit", "1");
        call.secret_header("x-api-key", value).done().await?;
        for model in &self.verify_models {
            let body =
                json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]});
            let call = self.service.post(By::Tested, &["v1", "messages"]).secret_header("x-api-key", value);
            call.json(&body).within(completions::PATIENCE).done().await?;
        }
        Ok(())
    }

    async fn issued(&self, prefix: &str, _current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let used = format!("{prefix}{USED}");
        let keys = self.keys(&self.admin().await?).await?;
        let ours = keys.into_iter().filter(|key| {
            key.name.starts_with(&used) && matches!(key.status, Status::Active | Status::Inactive)
        });
        Ok(ours.map(Issued::from).collect())
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_none_or(|value| hints::may_be(issued.hint.as_deref(), value))
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        self.set_status(issued, "inactive").await.map(|()| true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        self.set_status(issued, "archived").await
    }
}

/// The key with this value. Archived ones are gone.
fn only<'a>(keys: &'a [Key], value: &SecretString) -> Result<Option<&'a Key>, RotationError> {
    let mut found = keys.iter().filter(|key| {
        let hint = key.partial_key_hint.as_deref();
        key.status != Status::Archived && hint.is_some() && hints::may_be(hint, value)
    });
    match (found.next(), found.next()) {
        (one, None) => Ok(one),
        (Some(one), Some(other)) => Err(RotationError::Unfit(format!(
            "the keys {} and {} look alike at Anthropic, and one of them is in this secret: archive the other",
            one.id, other.id
        ))),
        (None, Some(_)) => Ok(None),
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Key>,
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    name: String,
    partial_key_hint: Option<String>,
    status: Status,
    created_at: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
    Inactive,
    Archived,
    /// Expired, or a status that there was not when this was written.
    #[serde(other)]
    Other,
}

impl From<Key> for Issued {
    fn from(key: Key) -> Self {
        Self {
            disabled: key.status == Status::Inactive,
            id: key.id,
            hint: key.partial_key_hint,
            created_at: Some(key.created_at),
            last_used_at: None,
        }
    }
}
