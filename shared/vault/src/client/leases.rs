//! Credentials that Vault makes when it is asked for them, and the leases that they are good for.
//!
//! | call | path | capability |
//! |---|---|---|
//! | [`Vault::issue`] | the engine's own: `database/creds/ROLE` | `read`; with parameters `create`, `update` |
//! | [`Vault::renew`] | `sys/leases/renew` | `update`, which the policy `default` has |
//! | [`Vault::has_lease`] | `sys/leases/lookup` | `update`, which the policy `default` has |
//!
//! A lease ends with the token that it was issued to, at the latest. So it is never said to last longer than that
//! token, and one of a former token is not prolonged.
//!
//! <https://developer.hashicorp.com/vault/docs/concepts/lease>,
//! <https://developer.hashicorp.com/vault/api-docs/system/leases>

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError as RestError;
use secrecy::SecretString;
use serde_json::{Value, json};
use vaultrs::client::Client as _;
use vaultrs::error::ClientError;

use super::Vault;
use crate::caller::{answer, answer_of_issue};
use crate::error::{Outage, VaultError};
use crate::sessions::Session;
use crate::settings::is_path;

/// What is denied when a credential is not issued.
const ISSUE: &str = "request for a credential";

/// A lease, and the token that it belongs to.
#[derive(Clone)]
pub struct Lease {
    id: String,
    lasts: Duration,
    renewable: bool,
    owner: Arc<Session>,
}

impl Lease {
    /// Its id. It opens nothing, but whoever may renew or revoke leases can do so by it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long it lasts from the call on that it came of: not beyond the life of its token.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.lasts
    }

    /// Whether it can be renewed.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        self.renewable
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

/// A credential that was issued.
#[derive(Debug)]
pub struct Issued {
    /// Its fields, a JSON object.
    pub data: SecretString,
    /// What it is good for; `None` = Vault does not say.
    pub lease: Option<Lease>,
}

impl Vault {
    /// Has a credential issued: reads `path`, which is whole, or writes `parameters` to it.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`]: there is no such engine or role. An answer that is lost is not asked for again: its
    /// credential ends with its lease.
    pub async fn issue(&self, path: &str, parameters: Option<&Value>) -> Result<Issued, VaultError> {
        if !is_path(path) {
            return Err(VaultError::BadPath);
        }
        let call = &Call { path, body: parameters.cloned() };
        let issue = |session: Arc<Session>| async move {
            let body = answer_of_issue(ISSUE, run(&session, call)).await?;
            Ok((session, body))
        };
        let now = self.sessions.clock.now();
        let (session, body) = match self.writing(issue).await {
            Err(VaultError::Unavailable(Outage::Status(400..=499))) => Err(VaultError::Denied(ISSUE)),
            other => other,
        }?;
        let data = body.get("data").filter(|data| data.is_object()).ok_or(MALFORMED)?.to_string().into();
        Ok(Issued { data, lease: Lease::read(&body, &session, now) })
    }

    /// Renews a lease, for as long as it was granted first. `None`: it cannot be, because it is over, or not
    /// renewable, or ends with a token that has been replaced.
    ///
    /// # Errors
    ///
    /// When Vault does not tell.
    pub async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, VaultError> {
        let now = self.sessions.clock.now();
        let renewed = self.about(lease, "sys/leases/renew").await?;
        Ok(renewed.and_then(|(session, body)| Lease::read(&body, &session, now)))
    }

    /// Whether a lease is not over, and its token is still the one in use.
    ///
    /// # Errors
    ///
    /// When Vault does not tell.
    pub async fn has_lease(&self, lease: &Lease) -> Result<bool, VaultError> {
        Ok(self.about(lease, "sys/leases/lookup").await?.is_some())
    }

    /// Makes a call about a lease; `None` when Vault does not know it or will not do it, or when it is a former
    /// token's.
    async fn about(&self, lease: &Lease, path: &str) -> Result<Option<(Arc<Session>, Value)>, VaultError> {
        let call = &Call { path, body: Some(json!({"lease_id": lease.id})) };
        let ask = |session: Arc<Session>| async move {
            if !session.has_token_of(&lease.owner) {
                return Ok(None);
            }
            match answer("lease", run(&session, call)).await {
                Ok(body) => Ok(Some((session, body))),
                Err(VaultError::NotFound | VaultError::Unavailable(Outage::Status(400))) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.reading(ask).await
    }
}

const MALFORMED: VaultError = VaultError::Unavailable(Outage::Malformed);

impl Lease {
    /// The lease of an answer to a call that was begun at `now`.
    fn read(body: &Value, session: &Arc<Session>, now: jiff::Timestamp) -> Option<Self> {
        let id = body.get("lease_id")?.as_str().filter(|id| !id.is_empty())?;
        let granted = Duration::from_secs(body.get("lease_duration")?.as_u64()?);
        Some(Self {
            id: id.to_owned(),
            lasts: session.left(now).map_or(granted, |left| granted.min(left)),
            renewable: body.get("renewable").and_then(Value::as_bool).unwrap_or_default(),
            owner: Arc::clone(session),
        })
    }
}

/// A call: with a body a `POST`, without one a `GET`.
struct Call<'a> {
    path: &'a str,
    body: Option<Value>,
}

impl Endpoint for &Call<'_> {
    type Response = Value;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("/{}", self.path)
    }

    fn method(&self) -> RequestMethod {
        if self.body.is_some() { RequestMethod::POST } else { RequestMethod::GET }
    }

    fn body(&self) -> Result<Option<Vec<u8>>, RestError> {
        Ok(self.body.as_ref().map(|body| body.to_string().into_bytes()))
    }
}

/// Makes a call; its whole answer, in which the lease stands beside the data.
async fn run(session: &Session, call: &Call<'_>) -> Result<Value, ClientError> {
    let client = &session.caller;
    let result = call.with_middleware(client.middle()).exec(client.http()).await;
    let result = result.map_err(|error| match &error {
        RestError::ServerResponseError { code: 400, content: Some(content) } if says_no_role(content) => {
            ClientError::APIError { code: 404, errors: Vec::new() }
        }
        _ => ClientError::from(error),
    })?;
    serde_json::from_slice(&result.raw()).map_err(|_| ClientError::ResponseDataEmptyError)
}

/// Whether the engine does not know the role: each says so in its own words, with status 400.
fn says_no_role(content: &str) -> bool {
    let content = content.to_lowercase();
    content.contains("role")
        && ["unknown", "not found", "does not exist", "could not find"]
            .iter()
            .any(|words| content.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_is_not_there_is_told_from_a_request_that_is_wrong() {
        for content in [
            r#"{"errors":["unknown role: web"]}"#,
            r#"{"errors":["Role 'web' not found"]}"#,
            r#"{"errors":["role \"web\" does not exist"]}"#,
        ] {
            assert!(says_no_role(content), "{content}");
        }
        for content in [r#"{"errors":["the common_name field is required"]}"#, "", "unknown path"] {
            assert!(!says_no_role(content), "{content}");
        }
    }
}
