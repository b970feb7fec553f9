//! Secret ids of an AppRole: the passwords that machines log in with.
//!
//! | call | path under `auth/{mount}/role/{role}/` | capability |
//! |---|---|---|
//! | [`Vault::add_secret_id`] | `custom-secret-id` | `update` |
//! | [`Vault::secret_ids`] | `secret-id`, `secret-id-accessor/lookup` | `list`, `update` |
//! | [`Vault::find_secret_id`] | `secret-id/lookup` | `update` |
//! | [`Vault::destroy_secret_id`] | `secret-id-accessor/destroy`, `secret-id-accessor/lookup` | `update` |
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/approle>

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError as RestError;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use vaultrs::client::Client as _;
use vaultrs::error::ClientError;

use super::Vault;
use crate::caller::{answer, answer_of_list};
use crate::error::{Outage, VaultError};
use crate::sessions::Session;
use crate::settings::is_path;

/// A role of an AppRole authentication method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRole {
    path: String,
}

impl AppRole {
    /// The role `name` of the method that is mounted at `auth/{mount}`.
    ///
    /// # Errors
    ///
    /// [`VaultError::BadPath`].
    pub fn new(mount: &str, name: &str) -> Result<Self, VaultError> {
        if !is_path(mount) || !is_path(name) || name.contains('/') {
            return Err(VaultError::BadPath);
        }
        Ok(Self { path: format!("auth/{mount}/role/{name}") })
    }
}

/// A secret id as Vault lists it: without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretId {
    /// Names it in calls; it opens nothing.
    pub accessor: String,
    /// What was noted when it was made.
    pub metadata: BTreeMap<String, String>,
    /// When it was made, by Vault's clock.
    pub created: Timestamp,
    /// When it ends; `None` = never.
    pub expires: Option<Timestamp>,
}

impl Vault {
    /// Makes a secret id with a value of the caller's, which must be unguessable. It ends after `life`, at the role's own
    /// limit at the latest; `None` = at that.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`]: there is no such role.
    pub async fn add_secret_id(
        &self,
        role: &AppRole,
        value: &SecretString,
        metadata: &BTreeMap<String, String>,
        life: Option<Duration>,
    ) -> Result<(), VaultError> {
        let metadata =
            Value::Object(metadata.iter().map(|(name, text)| (name.clone(), json!(text))).collect());
        let mut body = Map::new();
        body.insert("secret_id".to_owned(), json!(value.expose_secret()));
        // A JSON object as a text, as the API has it.
        body.insert("metadata".to_owned(), json!(metadata.to_string()));
        if let Some(life) = life {
            body.insert("ttl".to_owned(), json!(format!("{}s", life.as_secs())));
        }
        let call = Call { path: format!("{}/custom-secret-id", role.path), body: Some(Value::Object(body)) };
        self.writing(|session| answer("secret id", run(session, &call))).await.map(drop)
    }

    /// The accessors of a role's secret ids; none when there are none, or no such role.
    ///
    /// # Errors
    ///
    /// When Vault does not tell.
    pub async fn secret_ids(&self, role: &AppRole) -> Result<Vec<String>, VaultError> {
        let call = Call { path: format!("{}/secret-id", role.path), body: None };
        let found = match self.reading(|session| answer_of_list("secret ids", run(session, &call))).await {
            Err(VaultError::NotFound) => return Ok(Vec::new()),
            found => found?,
        };
        let keys = found.as_ref().and_then(|data| data.get("keys")).and_then(Value::as_array);
        let keys = keys.ok_or(MALFORMED)?.iter().map(|key| key.as_str().map(str::to_owned));
        keys.collect::<Option<_>>().ok_or(MALFORMED)
    }

    /// The secret id with an accessor; `None` when it is not there any more.
    ///
    /// # Errors
    ///
    /// When Vault does not tell.
    pub async fn secret_id(&self, role: &AppRole, accessor: &str) -> Result<Option<SecretId>, VaultError> {
        let body = json!({"secret_id_accessor": accessor});
        self.look_up(Call { path: format!("{}/secret-id-accessor/lookup", role.path), body: Some(body) })
            .await
    }

    /// The secret id with a value; `None` when Vault does not know it. That uses none of the times that it may be used.
    ///
    /// # Errors
    ///
    /// When Vault does not tell.
    pub async fn find_secret_id(
        &self,
        role: &AppRole,
        value: &SecretString,
    ) -> Result<Option<SecretId>, VaultError> {
        let body = json!({"secret_id": value.expose_secret()});
        self.look_up(Call { path: format!("{}/secret-id/lookup", role.path), body: Some(body) }).await
    }

    /// Ends a secret id; one that is not there any more is no error. Tokens that were got with it go on.
    ///
    /// # Errors
    ///
    /// When Vault does not do it.
    pub async fn destroy_secret_id(&self, role: &AppRole, accessor: &str) -> Result<(), VaultError> {
        let body = json!({"secret_id_accessor": accessor});
        let call = Call { path: format!("{}/secret-id-accessor/destroy", role.path), body: Some(body) };
        match self.writing(|session| answer("secret id", run(session, &call))).await {
            Ok(_) | Err(VaultError::NotFound) => Ok(()),
            // Of one that is gone some versions say 500.
            Err(error @ VaultError::Unavailable(Outage::Status(_))) => {
                match self.secret_id(role, accessor).await {
                    Ok(None) => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn look_up(&self, call: Call) -> Result<Option<SecretId>, VaultError> {
        match self.reading(|session| answer("secret id", run(session, &call))).await {
            // One that is unknown is answered with nothing.
            Ok(None) | Err(VaultError::NotFound) => Ok(None),
            Ok(Some(data)) => read(&data).map(Some).ok_or(MALFORMED),
            Err(error) => Err(error),
        }
    }
}

const MALFORMED: VaultError = VaultError::Unavailable(Outage::Malformed);

fn read(data: &Value) -> Option<SecretId> {
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let metadata = data.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let metadata = metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    // Never is the year 1.
    let expires = text("expiration_time").filter(|time| !time.starts_with("0001-"));
    Some(SecretId {
        accessor: text("secret_id_accessor")?.to_owned(),
        metadata: metadata.collect(),
        created: text("creation_time")?.parse().ok()?,
        expires: expires.map(str::parse).transpose().ok()?,
    })
}

/// A call: with a body a `POST`, without one a `LIST`. vaultrs' own lack the life of a secret id, and what to do with an
/// empty answer. It has no `Debug`: the body may hold a value.
struct Call {
    path: String,
    body: Option<Value>,
}

impl Endpoint for &Call {
    type Response = Value;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("/{}", self.path)
    }

    fn method(&self) -> RequestMethod {
        if self.body.is_some() { RequestMethod::POST } else { RequestMethod::LIST }
    }

    fn body(&self) -> Result<Option<Vec<u8>>, RestError> {
        Ok(self.body.as_ref().map(|body| body.to_string().into_bytes()))
    }
}

/// Makes a call; the `data` of its answer, if it has any.
async fn run(session: Arc<Session>, call: &Call) -> Result<Option<Value>, ClientError> {
    let client = &session.caller;
    let result =
        call.with_middleware(client.middle()).exec(client.http()).await.map_err(ClientError::from)?;
    let body = result.raw();
    if body.is_empty() {
        return Ok(None);
    }
    let answer = serde_json::from_slice::<Value>(&body).map_err(|_| ClientError::ResponseDataEmptyError)?;
    Ok(answer.get("data").filter(|data| !data.is_null()).cloned())
}
