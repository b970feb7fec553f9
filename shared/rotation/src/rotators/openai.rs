//! `openai`: an API key of a service account of an OpenAI project.
//!
//! One service account has several keys, and each can be deleted by itself: a rotation makes a further key, and the
//! former one is deleted after the overlap. Keys are recognised by their names, which begin with the secret's prefix;
//! one that was made by hand before the first rotation has another name, and stays until somebody deletes it.
//! OpenAI cannot stop a key without deleting it, and tells when one was used last.
//!
//! | setting | |
//! |---|---|
//! | `project` | required: the project, `proj_…` |
//! | `service_account` | required: the service account in it that the keys belong to |
//! | `admin_key` | required: a secret reference to an admin API key |
//! | `expires_in` | OpenAI ends a key after this time (`90d`): from one day to a year; must outlast the rotation's interval and the overlap |
//! | `scopes` | the scopes of new keys; without them a key may do all that the service account may |
//! | `verify_models` | chat models that a new key must be able to use |
//! | `api_base` | default `https://api.openai.com/v1` |
//!
//! The administrator's credential: an admin API key (an organization owner makes it), with all permissions or
//! restricted to Administration: Write (`api.management.write`).
//!
//! - <https://platform.openai.com/docs/api-reference/project-service-accounts>
//! - <https://platform.openai.com/docs/api-reference/project-api-keys>

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_config::SecretRef;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::http_calls::{By, Calling as _, Meaning as _, Service};
use super::{completions, hints, lifetimes};
use crate::settings::{self, Settings, SettingsError};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

const API_BASE: &str = "https://api.openai.com/v1";
/// The longest life that OpenAI takes: 31,536,000 seconds.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The most keys of a page.
const PAGE: &str = "100";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    project: String,
    service_account: String,
    #[serde(deserialize_with = "settings::reference")]
    admin_key: SecretRef,
    #[serde(default, deserialize_with = "settings::optional_duration")]
    expires_in: Option<SignedDuration>,
    #[serde(default, deserialize_with = "settings::list")]
    scopes: Vec<String>,
    #[serde(default, deserialize_with = "settings::list")]
    verify_models: Vec<String>,
    api_base: Option<String>,
}

struct OpenAi {
    tools: Tools,
    own: Own,
    service: Service,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    lifetimes::checked(own.expires_in, Some(LONGEST_LIFE))?;
    let service = Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?;
    Ok(Box::new(OpenAi { tools: tools.clone(), own, service }))
}

impl OpenAi {
    async fn admin(&self) -> Result<SecretString, RotationError> {
        self.tools.secret(&self.own.admin_key).await
    }
}

#[async_trait]
impl Rotator for OpenAi {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let Own { project, service_account, .. } = &self.own;
        let body = NewKey {
            name: &ask.name,
            scopes: &self.own.scopes,
            expires_in_seconds: self.own.expires_in.map(|span| span.as_secs()),
        };
        let path = ["organization", "projects", project, "service_accounts", service_account, "api_keys"];
        let made: MadeKey =
            self.service.post(By::Admin, &path).bearer(&self.admin().await?).json(&body).read().await?;
        Ok(Credential::of(made.value).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = credential.value()?;
        let answer = self.service.get(By::Tested, &["models"]).bearer(key).answer().await?;
        // A key without the scope to list models is refused for that after it was found valid.
        let lacks_scope = answer.status() == 403
            && answer.value()["error"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("Missing scopes"));
        if !answer.status().is_success() && !lacks_scope {
            return Err(answer.error());
        }
        completions::prove(&self.service, key, &self.own.verify_models, ("max_completion_tokens", 1)).await
    }

    async fn issued(&self, prefix: &str, _current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let admin = self.admin().await?;
        let path = ["organization", "projects", &self.own.project, "api_keys"];
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            // Without this filter OpenAI leaves out keys whose owner is no member of the project.
            let call =
                self.service.get(By::Admin, &path).query("limit", PAGE).query("owner_project_access", "any");
            let call = match &after {
                Some(after) => call.query("after", after),
                None => call,
            };
            let page: Page = call.bearer(&admin).read().await?;
            let last = page.data.last().map(|key| key.id.clone());
            let ours = page.data.into_iter().filter(|key| {
                key.name.as_ref().is_some_and(|name| name.starts_with(prefix))
                    && key
                        .owner
                        .service_account
                        .as_ref()
                        .is_some_and(|owner| owner.id == self.own.service_account)
            });
            found.extend(ours.map(Issued::from));
            if !page.has_more {
                return Ok(found);
            }
            if last.is_none() || last == after {
                return Err(RotationError::Malformed("a page of keys that leads nowhere".to_owned()));
            }
            after = last;
        }
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_none_or(|value| hints::may_be(issued.hint.as_deref(), value))
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let path = ["organization", "projects", &self.own.project, "api_keys", &issued.id];
        self.service.delete(By::Admin, &path).bearer(&self.admin().await?).done_or_gone().await
    }
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct MadeKey {
    value: SecretString,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Key>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    name: Option<String>,
    redacted_value: Option<String>,
    /// Seconds since 1970, as the other times.
    created_at: i64,
    last_used_at: Option<i64>,
    owner: Owner,
}

#[derive(Deserialize)]
struct Owner {
    service_account: Option<ServiceAccount>,
}

#[derive(Deserialize)]
struct ServiceAccount {
    id: String,
}

impl From<Key> for Issued {
    fn from(key: Key) -> Self {
        let time = |seconds: i64| Timestamp::from_second(seconds).ok();
        Self {
            id: key.id,
            hint: key.redacted_value,
            created_at: time(key.created_at),
            // Zero in the place of "never".
            last_used_at: key.last_used_at.filter(|seconds| *seconds > 0).and_then(time),
            disabled: false,
        }
    }
}
