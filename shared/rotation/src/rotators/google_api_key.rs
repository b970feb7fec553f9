//! An API key of Google Cloud, as the Gemini API takes it.
//!
//! **Strategy**: create, try, promote, delete. A key's id is made from the rotation's name, and a project has an id
//! once: the same rotation always finds the same key, so that nothing is made twice. A key that was deleted keeps its id
//! for 30 days; a rotation that needs it again has it back. Keys cannot be stopped without deleting them, do not expire,
//! and Google does not tell when one was used last.
//!
//! A new key has the restrictions of the current one (and the service account that it is bound to), or is for the
//! `services` that the settings name. What cannot be found out is not left out: a key without restrictions is never made
//! by accident. A key that was made by hand stays: delete it after the first rotation.
//!
//! It may take minutes for a new key to be known: until then it is refused like a wrong one, and the engine tries again.
//!
//! | setting | meaning |
//! |---|---|
//! | `project` | the project's id or number |
//! | `services` | what new keys are for (`generativelanguage.googleapis.com`), instead of copying the current key's restrictions |
//! | `verify_models` | Gemini models that a new key is tried with, one token each |
//! | `endpoint` | the Gemini API; default `https://generativelanguage.googleapis.com` |
//! | `admin_credentials` | a reference to the administrator's key file |
//! | `admin_token` | instead: a reference to its access token |
//! | `api_base` | default `https://apikeys.googleapis.com` |
//! | `token_url` | default `https://oauth2.googleapis.com/token` |
//!
//! **The administrator needs** the role *API Keys Admin* (`roles/serviceusage.apiKeysAdmin`) on the project:
//! `apikeys.keys.create`, `.get`, `.getKeyString`, `.list`, `.lookup`, `.delete` and `.undelete`.
//!
//! - <https://cloud.google.com/api-keys/docs/reference/rest/v2/projects.locations.keys>
//! - <https://cloud.google.com/api-keys/docs/reference/rest/v2/keys/lookupKey>
//! - <https://ai.google.dev/api/models#method:-models.list>
//! - <https://cloud.google.com/docs/reference/rest/Shared.Types/ErrorReason>

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_config::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::completions::PATIENCE;
use super::google::{Admin, Tokens, one_token};
use super::hints;
use super::http_calls::{Answer, By, Call, Calling as _, Meaning as _, Service};
use crate::settings::{Settings, SettingsError, list, optional_reference};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

/// The API Keys API.
const API_BASE: &str = "https://apikeys.googleapis.com";
/// The Gemini API.
const ENDPOINT: &str = "https://generativelanguage.googleapis.com";
/// The longest id and the longest name of a key, in characters.
const LONGEST_ID: usize = 63;
/// The waits between looks at an operation that is not done: 16 s in all, of the seconds that it takes. What is not
/// done then is found done by the next call.
const WAITS: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    project: String,
    #[serde(default, deserialize_with = "list")]
    services: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    verify_models: Vec<String>,
    endpoint: Option<String>,
    #[serde(default, deserialize_with = "optional_reference")]
    admin_credentials: Option<SecretRef>,
    #[serde(default, deserialize_with = "optional_reference")]
    admin_token: Option<SecretRef>,
    api_base: Option<String>,
    token_url: Option<String>,
}

/// Builds it.
pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let tokens = Tokens::open(tools, own.token_url.as_deref())?;
    Ok(Box::new(GoogleApiKey {
        admin: Admin::open(tools, tokens, own.admin_credentials, own.admin_token)?,
        keys: Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?,
        gemini: Service::open(tools, "endpoint", own.endpoint.as_deref(), ENDPOINT)?,
        project: own.project,
        services: own.services,
        verify_models: own.verify_models,
    }))
}

struct GoogleApiKey {
    admin: Admin,
    keys: Service,
    gemini: Service,
    project: String,
    services: Vec<String>,
    verify_models: Vec<String>,
}

/// What takes its time.
#[derive(Deserialize)]
struct Operation {
    /// `operations/<id>`.
    name: String,
    #[serde(default)]
    done: bool,
    error: Option<Status>,
}

/// Why an operation failed: a number of <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
#[derive(Deserialize)]
struct Status {
    code: i32,
}

/// How an operation ended.
enum End {
    Done,
    /// What it was to make is there.
    Already,
    /// What it was about is not there.
    Absent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyString {
    key_string: SecretString,
}

#[derive(Deserialize)]
struct Found {
    /// Empty when the key is gone.
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    /// `projects/<number>/locations/global/keys/<id>`.
    name: String,
    create_time: Option<Timestamp>,
    delete_time: Option<Timestamp>,
    restrictions: Option<Value>,
    service_account_email: Option<String>,
}

/// Google leaves out what is empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(default)]
    next_page_token: String,
}

impl GoogleApiKey {
    /// The path of the project's keys, of one of them, and of something of it.
    fn path<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut path = vec!["v2", "projects", &self.project, "locations", "global", "keys"];
        path.extend(more);
        path
    }

    async fn key_string(&self, id: &str) -> Result<Answer, RotationError> {
        let token = self.admin.token().await?;
        Ok(self.keys.get(By::Admin, &self.path(&[id, "keyString"])).bearer(token).answer().await?)
    }

    /// Makes a call that begins an operation, and waits until that is done.
    async fn finished(&self, call: Call<'_>) -> Result<End, RotationError> {
        let answer = call.answer().await?;
        match answer.status().as_u16() {
            404 => return Ok(End::Absent),
            409 => return Ok(End::Already),
            _ => {}
        }
        let mut operation: Operation = answer.success()?;
        let token = self.admin.token().await?;
        let mut waits = WAITS.iter();
        while !operation.done {
            let Some(wait) = waits.next() else {
                return Err(RotationError::Unavailable("the operation is not done yet".to_owned()));
            };
            tokio::time::sleep(*wait).await;
            let path: Vec<&str> = std::iter::once("v2").chain(operation.name.split('/')).collect();
            operation = self.keys.get(By::Admin, &path).bearer(token).read().await?;
        }
        match operation.error.map(|status| status.code) {
            None => Ok(End::Done),
            Some(5) => Ok(End::Absent),
            Some(6) => Ok(End::Already),
            Some(code) => {
                let told = format!("the operation failed with code {code}");
                Err(match code {
                    7 | 16 => RotationError::Denied(told),
                    8 => RotationError::Full(told),
                    4 | 10 | 13 | 14 => RotationError::Unavailable(told),
                    _ => RotationError::Unfit(told),
                })
            }
        }
    }

    /// What a new key is for.
    async fn rights(&self, current: &Credential) -> Result<Map<String, Value>, RotationError> {
        let mut rights = Map::new();
        if !self.services.is_empty() {
            let targets: Vec<Value> =
                self.services.iter().map(|service| json!({"service": service})).collect();
            rights.insert("restrictions".to_owned(), json!({"apiTargets": targets}));
            return Ok(rights);
        }
        let unknown = || {
            RotationError::Unfit(
                "the current key's restrictions cannot be found out: it is no key of the project. Say in \
                 keyturn:services what new keys are for"
                    .to_owned(),
            )
        };
        let current = current.value()?;
        let token = self.admin.token().await?;
        let look_up = self.keys.get(By::Admin, &["v2", "keys:lookupKey"]);
        let look_up = look_up.query("keyString", current.expose_secret()).hiding(current).bearer(token);
        let answer = look_up.answer().await?;
        // 400 is what it says of a text that is no key at all.
        if matches!(answer.status().as_u16(), 400 | 404) {
            return Err(unknown());
        }
        let found: Found = answer.success()?;
        let path: Vec<&str> = std::iter::once("v2").chain(found.name.split('/')).collect();
        if path.len() != self.path(&["id"]).len() {
            return Err(unknown());
        }
        let key: Key = self.keys.get(By::Admin, &path).bearer(token).read().await?;
        rights.extend(key.restrictions.map(|restrictions| ("restrictions".to_owned(), restrictions)));
        rights
            .extend(key.service_account_email.map(|email| ("serviceAccountEmail".to_owned(), json!(email))));
        Ok(rights)
    }

    /// Has a key back that was deleted, if it was.
    async fn undeleted(&self, id: &str) -> Result<(), RotationError> {
        let token = self.admin.token().await?;
        let answer = self.keys.get(By::Admin, &self.path(&[id])).bearer(token).answer().await?;
        if answer.status().as_u16() == 404 {
            return Err(unfinished());
        }
        if answer.success::<Key>()?.delete_time.is_none() {
            return Ok(());
        }
        let action = format!("{id}:undelete");
        let call = self.keys.post(By::Admin, &self.path(&[&action])).json(&json!({})).bearer(token);
        // `Already`: somebody else had it back.
        match self.finished(call).await? {
            End::Done | End::Already => Ok(()),
            End::Absent => Err(unfinished()),
        }
    }
}

/// Somebody else is about to make or to delete the same key.
fn unfinished() -> RotationError {
    RotationError::Unavailable("the key is still being made or deleted".to_owned())
}

#[async_trait]
impl Rotator for GoogleApiKey {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let id = id_of(ask);
        let mut body = self.rights(ask.current).await?;
        body.insert("displayName".to_owned(), json!(id));
        let token = self.admin.token().await?;
        let call = self.keys.post(By::Admin, &self.path(&[])).query("keyId", &id).json(&body).bearer(token);
        match self.finished(call).await? {
            End::Done => {}
            // An earlier try made it.
            End::Already => self.undeleted(&id).await?,
            End::Absent => return Err(RotationError::Unfit("the project is not there".to_owned())),
        }
        let answer = self.key_string(&id).await?;
        if answer.status().as_u16() == 404 {
            return Err(unfinished());
        }
        Ok(Credential::of(answer.success::<KeyString>()?.key_string).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = credential.value()?;
        let call = self.gemini.get(By::Tested, &["v1beta", "models"]).query("pageSize", "1");
        let answer = call.secret_header("x-goog-api-key", key).answer().await?;
        if !answer.status().is_success() && !is_not_for_us(&answer) {
            return Err(refusal(&answer));
        }
        for model in &self.verify_models {
            let action = format!("{model}:generateContent");
            let call = self.gemini.post(By::Tested, &["v1beta", "models", &action]).json(&one_token());
            let answer = call.secret_header("x-goog-api-key", key).within(PATIENCE).answer().await?;
            if !answer.status().is_success() {
                return Err(refusal(&answer));
            }
        }
        Ok(())
    }

    async fn issued(&self, prefix: &str, _: &Credential) -> Result<Vec<Issued>, RotationError> {
        let token = self.admin.token().await?;
        let mut issued = Vec::new();
        let mut from = String::new();
        loop {
            let mut call = self.keys.get(By::Admin, &self.path(&[])).query("pageSize", "100").bearer(token);
            if !from.is_empty() {
                call = call.query("pageToken", &from);
            }
            let page: Page = call.read().await?;
            for key in page.keys {
                let id = key.name.rsplit('/').next().unwrap_or_default();
                if !id.starts_with(prefix) || key.delete_time.is_some() {
                    continue;
                }
                let answer = self.key_string(id).await?;
                // Somebody deleted it meanwhile.
                if answer.status().as_u16() == 404 {
                    continue;
                }
                let value: KeyString = answer.success()?;
                issued.push(Issued {
                    id: id.to_owned(),
                    hint: Some(hints::sha256(&value.key_string)),
                    created_at: key.create_time,
                    last_used_at: None,
                    disabled: false,
                });
            }
            if page.next_page_token.is_empty() {
                return Ok(issued);
            }
            from = page.next_page_token;
        }
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        match (&issued.hint, credential.value()) {
            (hint, Ok(value)) => hints::may_be(hint.as_deref(), value),
            (_, Err(_)) => true,
        }
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let token = self.admin.token().await?;
        let call = self.keys.delete(By::Admin, &self.path(&[&issued.id])).bearer(token);
        match self.finished(call).await? {
            End::Done | End::Absent => Ok(()),
            End::Already => Err(unfinished()),
        }
    }
}

/// The id that a rotation's key has: letters, digits and `-`, in lower case, none of them a UUID.
fn id_of(ask: &Ask<'_>) -> String {
    let fits = ask.name.len() <= LONGEST_ID
        && !ask.name.ends_with('-')
        && ask.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        ask.name.clone()
    } else {
        format!("{}{}", ask.prefix, &hex::encode(Sha256::digest(ask.token))[..32])
    }
}

/// Why the API refuses a request, by its own name for it.
fn reason(answer: &Answer) -> Option<String> {
    let body = answer.value();
    let details = body.pointer("/error/details")?.as_array()?;
    let reason = details.iter().find_map(|detail| detail.get("reason")?.as_str())?;
    answer.may_tell(reason).then(|| reason.to_owned())
}

/// Whether the API knows the key and only will not serve it here: it is for another API, for other callers, or the API
/// is off. That says nothing against the key.
fn is_not_for_us(answer: &Answer) -> bool {
    let blocked = |reason: String| {
        reason == "SERVICE_DISABLED" || (reason.starts_with("API_KEY_") && reason.ends_with("_BLOCKED"))
    };
    answer.status().as_u16() == 403 && reason(answer).is_some_and(blocked)
}

/// What it means that the Gemini API does not answer: a wrong key is a 400 there.
fn refusal(answer: &Answer) -> RotationError {
    match (answer.status().as_u16(), reason(answer)) {
        (400, Some(reason)) if reason == "API_KEY_INVALID" => {
            RotationError::Refused(format!("HTTP 400 {reason}"))
        }
        _ => answer.error(),
    }
}
