//! The key of a Google service account: its key file.
//!
//! **Strategy**: create, try, promote, disable, delete. The service account must be **there for this secret alone**: keys
//! have no names at Google, so whatever key of it no version of the secret holds is taken back. As long as the secret
//! holds a key of another account, nothing is. An account has ten keys at most. Google does not tell when a key was
//! used last, and lets none expire by itself unless the organisation says so. Access tokens that were had with a key
//! live on for up to an hour after it.
//!
//! A new key may take a minute or more to be known: until then it is refused like a wrong one, and the engine tries
//! again.
//!
//! | setting | meaning |
//! |---|---|
//! | `project` | the id of the account's project |
//! | `service_account` | its address (`gateway@project.iam.gserviceaccount.com`) |
//! | `key_file` | `field` (default): the key file is the text of one field, or of the whole secret if that had no other; `secret`: the secret's own fields are the key file's |
//! | `location`, `verify_models` | Gemini models on Vertex AI, and where, that a new key is tried with, one token each |
//! | `endpoint` | default `https://<location>-aiplatform.googleapis.com` |
//! | `admin_credentials` | a reference to the administrator's key file |
//! | `admin_token` | instead: a reference to its access token |
//! | `api_base` | default `https://iam.googleapis.com` |
//! | `token_url` | default `https://oauth2.googleapis.com/token` |
//!
//! A secret whose text is a key file is a JSON object, so without `keyturn:field` it needs `key_file` = `secret`.
//!
//! **The administrator needs** the role *Service Account Key Admin* (`roles/iam.serviceAccountKeyAdmin`) on the service
//! account: `iam.serviceAccountKeys.create`, `.list`, `.disable` and `.delete`. The organisation must allow keys
//! (`iam.disableServiceAccountKeyCreation`).
//!
//! - <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys>
//! - <https://docs.cloud.google.com/iam/docs/keys-create-delete>
//! - <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyturn_config::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::completions::PATIENCE;
use super::google::{Admin, KeyFile, Tokens, one_token};
use super::http_calls::{By, Calling as _, Meaning as _, Service};
use crate::settings::{OURS, Settings, SettingsError, list, optional_reference};
use crate::{Ask, Created, Credential, Issued, Part, RotationError, Rotator, Tools};

/// The IAM API.
const API_BASE: &str = "https://iam.googleapis.com";
/// How many keys an account has at most (<https://docs.cloud.google.com/iam/docs/keys-create-delete>).
const MOST_KEYS: usize = 10;

/// What changes of a secret whose fields are the key file's.
const KEY_FILE_PARTS: &[Part] = &[
    Part { name: "private_key", field: Some("private_key") },
    Part { name: "private_key_id", field: Some("private_key_id") },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    project: String,
    service_account: String,
    #[serde(default)]
    key_file: Shape,
    location: Option<String>,
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

/// Where the key file is.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Shape {
    /// In one field.
    #[default]
    Field,
    /// It is the secret.
    Secret,
}

/// Builds it.
pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    if own.location.is_none() && !own.verify_models.is_empty() {
        return Err(SettingsError::new(format!("{OURS}location"), "is required with verify_models"));
    }
    let location = own.location.unwrap_or_default();
    let usual = match location.as_str() {
        "" | "global" => "https://aiplatform.googleapis.com".to_owned(),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    };
    let tokens = Tokens::open(tools, own.token_url.as_deref())?;
    Ok(Box::new(GoogleServiceAccount {
        tools: tools.clone(),
        admin: Admin::open(tools, tokens.clone(), own.admin_credentials, own.admin_token)?,
        tokens,
        iam: Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?,
        vertex: Service::open(tools, "endpoint", own.endpoint.as_deref(), &usual)?,
        project: own.project,
        service_account: own.service_account,
        shape: own.key_file,
        location,
        verify_models: own.verify_models,
    }))
}

struct GoogleServiceAccount {
    tools: Tools,
    admin: Admin,
    tokens: Tokens,
    iam: Service,
    vertex: Service,
    project: String,
    service_account: String,
    shape: Shape,
    location: String,
    verify_models: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    private_key_data: SecretString,
}

/// Google leaves out what is empty.
#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    /// `projects/<project>/serviceAccounts/<address>/keys/<id>`.
    name: String,
    valid_after_time: Option<Timestamp>,
    #[serde(default)]
    disabled: bool,
}

impl GoogleServiceAccount {
    /// The path of the account's keys, and of one of them.
    fn path<'a>(&'a self, key: Option<&'a str>) -> Vec<&'a str> {
        let mut path =
            vec!["v1", "projects", &self.project, "serviceAccounts", &self.service_account, "keys"];
        path.extend(key);
        path
    }

    /// The user's own keys. Google's, which nobody else has, are none of ours.
    async fn keys(&self) -> Result<Vec<Key>, RotationError> {
        let token = self.admin.token().await?;
        // All of them come at once: there are no pages.
        let call = self.iam.get(By::Admin, &self.path(None)).query("keyTypes", "USER_MANAGED").bearer(token);
        Ok(call.read::<Keys>().await?.keys)
    }

    /// The key file that a credential is.
    fn key_file(&self, credential: &Credential) -> Result<KeyFile, RotationError> {
        match self.shape {
            Shape::Field => KeyFile::parse(credential.value()?),
            Shape::Secret => Ok(KeyFile {
                client_email: self.service_account.clone(),
                private_key_id: credential.part("private_key_id")?.expose_secret().to_owned(),
                private_key: credential.part("private_key")?.clone(),
            }),
        }
    }

    /// What a new key file makes of the secret.
    fn created(&self, text: &SecretString) -> Result<Created, RotationError> {
        let malformed = || RotationError::Malformed("privateKeyData is no key file".to_owned());
        let file = KeyFile::parse(text).map_err(|_| malformed())?;
        if self.shape == Shape::Field {
            return Ok(Credential::of(text.clone()).into());
        }
        let fields: Map<String, Value> =
            serde_json::from_str(text.expose_secret()).map_err(|_| malformed())?;
        let others =
            fields.into_iter().filter(|(name, _)| KEY_FILE_PARTS.iter().all(|part| part.name != name));
        let fields: BTreeMap<_, _> = others.map(|(name, value)| (name, Some(value))).collect();
        let credential = Credential::default()
            .with("private_key", file.private_key)
            .with("private_key_id", file.private_key_id.into());
        Ok(Created { credential, fields })
    }
}

#[async_trait]
impl Rotator for GoogleServiceAccount {
    fn parts(&self) -> &'static [Part] {
        match self.shape {
            Shape::Field => &[Part { name: "value", field: None }],
            Shape::Secret => KEY_FILE_PARTS,
        }
    }

    async fn create(&self, _: &Ask<'_>) -> Result<Created, RotationError> {
        let body =
            json!({"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "keyAlgorithm": "KEY_ALG_RSA_2048"});
        let token = self.admin.token().await?;
        let answer = self.iam.post(By::Admin, &self.path(None)).json(&body).bearer(token).answer().await?;
        // Said of an account that is full, and of other things too.
        if matches!(answer.code().as_deref(), Some("FAILED_PRECONDITION" | "RESOURCE_EXHAUSTED"))
            && self.keys().await?.len() >= MOST_KEYS
        {
            return Err(RotationError::Full(format!(
                "the service account has {MOST_KEYS} keys, as many as it may"
            )));
        }
        let made: Made = answer.success()?;
        let file = STANDARD.decode(made.private_key_data.expose_secret()).map(Zeroizing::new);
        let file = file.ok().and_then(|file| std::str::from_utf8(&file).map(SecretString::from).ok());
        match file {
            Some(file) => self.created(&file),
            None => Err(RotationError::Malformed("privateKeyData is not base64 of a text".to_owned())),
        }
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = self.key_file(credential)?;
        let token = self.tokens.token(By::Tested, &key, self.tools.now()).await?;
        for model in &self.verify_models {
            let action = format!("{model}:generateContent");
            let (project, location) = (self.project.as_str(), self.location.as_str());
            let path = [
                "v1",
                "projects",
                project,
                "locations",
                location,
                "publishers",
                "google",
                "models",
                action.as_str(),
            ];
            self.vertex
                .post(By::Tested, &path)
                .json(&one_token())
                .bearer(&token)
                .within(PATIENCE)
                .done()
                .await?;
        }
        Ok(())
    }

    async fn issued(&self, _: &str, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let issued = self.keys().await?.into_iter().map(|key| Issued {
            id: key.name.rsplit('/').next().unwrap_or_default().to_owned(),
            hint: None,
            created_at: key.valid_after_time,
            last_used_at: None,
            disabled: key.disabled,
        });
        let issued: Vec<Issued> = issued.collect();
        let in_use = self.key_file(current)?.private_key_id;
        if issued.iter().any(|key| key.id == in_use) {
            return Ok(issued);
        }
        Err(RotationError::Unfit(
            "the secret's current key is none of the service account's, so its other keys may be somebody else's: write \
             one of them to the secret"
                .to_owned(),
        ))
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        match self.key_file(credential) {
            Ok(key) => key.private_key_id == issued.id,
            Err(_) => true,
        }
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let token = self.admin.token().await?;
        let action = format!("{}:disable", issued.id);
        self.iam
            .post(By::Admin, &self.path(Some(&action)))
            .json(&json!({}))
            .bearer(token)
            .done_or_gone()
            .await?;
        Ok(true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let token = self.admin.token().await?;
        self.iam.delete(By::Admin, &self.path(Some(&issued.id))).bearer(token).done_or_gone().await
    }
}
