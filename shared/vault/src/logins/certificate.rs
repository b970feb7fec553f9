//! TLS certificate: `HCP_VAULT_CLIENT_CERT` and `HCP_VAULT_CLIENT_KEY` (PEM files), `HCP_VAULT_CERT_ROLE`,
//! `HCP_VAULT_CERT_MOUNT_PATH` (`cert`). The certificate itself is shown by the HTTP client.

use async_trait::async_trait;
use keyturn_ambient::Env;
use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde_json::json;

use super::{Grant, Login, grant, mount};
use crate::caller::Desk;
use crate::error::{SetupError, VaultError};
use crate::settings::identity_files;

struct Certificate {
    mount: String,
    role: Option<String>,
}

pub(super) fn from_env(env: &dyn Env) -> Result<Option<Box<dyn Login>>, SetupError> {
    if identity_files(env)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(Certificate {
        mount: mount(env, "HCP_VAULT_CERT_MOUNT_PATH", "cert")?,
        role: env.var("HCP_VAULT_CERT_ROLE"),
    })))
}

#[async_trait]
impl Login for Certificate {
    fn name(&self) -> &'static str {
        "TLS certificate login"
    }

    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError> {
        let request = Request { mount: self.mount.clone(), role: self.role.clone() };
        grant(self.name(), vaultrs::api::auth(desk.caller, request)).await
    }
}

/// vaultrs' own sends the role as `cert_name`, which Vault does not read: then any role that fits is taken.
/// <https://developer.hashicorp.com/vault/api-docs/auth/cert#login-with-tls-certificate-method>
#[derive(Debug)]
struct Request {
    mount: String,
    role: Option<String>,
}

impl Endpoint for Request {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("auth/{}/login", self.mount)
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        let body = self.role.as_ref().map_or_else(|| json!({}), |role| json!({"name": role}));
        Ok(Some(body.to_string().into_bytes()))
    }
}
