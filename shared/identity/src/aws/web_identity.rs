//! A role that a token of somebody else's opens: a Kubernetes service account's, for example (IRSA).

use std::fs;

use jiff::Timestamp;
use keyturn_ambient::Env;
use secrecy::{ExposeSecret, SecretString};

use super::{AccessKey, Aws, sts};
use crate::{Granted, IdentityError};

/// A role and the token that opens it.
#[derive(Clone)]
pub(super) struct WebIdentity {
    pub(super) role: String,
    pub(super) session_name: Option<String>,
    /// Where the token is: [`super::Role::web_identity_token`]. Its owner replaces it from time to time.
    pub(super) token: String,
    /// Where that is written.
    pub(super) setting: &'static str,
    pub(super) sts_endpoint: Option<String>,
}

impl WebIdentity {
    pub(super) fn from_env(env: &dyn Env) -> Option<Self> {
        Some(Self {
            role: env.var("AWS_ROLE_ARN")?,
            session_name: env.var("AWS_ROLE_SESSION_NAME"),
            token: env.var("AWS_WEB_IDENTITY_TOKEN_FILE")?,
            setting: "AWS_WEB_IDENTITY_TOKEN_FILE",
            sts_endpoint: None,
        })
    }

    pub(super) async fn assume(&self, by: &Aws, now: Timestamp) -> Result<Granted<AccessKey>, IdentityError> {
        let token = self.token(&*by.0.env)?;
        let name = self.session_name.as_deref().unwrap_or(sts::SESSION);
        let role = (self.role.as_str(), name);
        sts::assume_role_with_web_identity(by, self.sts_endpoint.as_deref(), role, &token, now).await
    }

    /// Reads the token.
    fn token(&self, env: &dyn Env) -> Result<SecretString, IdentityError> {
        let wrong = |problem| IdentityError::setting(self.setting, problem);
        let var = |name| env.var(name).ok_or_else(|| wrong("names a variable that is not set"));
        let read = |path: &str| {
            let text = fs::read_to_string(path).map_err(|_| wrong("names a file that cannot be read"));
            text.map(SecretString::from)
        };
        // LiteLLM's ways to say where a token is (`get_secret` in its `secret_managers/main.py`).
        let token = match self.token.strip_prefix("oidc/").and_then(|rest| rest.split_once('/')) {
            None => read(&self.token),
            Some(("file", path)) => read(path),
            Some(("env_path", name)) => read(&var(name)?),
            Some(("env", name)) => var(name).map(SecretString::from),
            Some(_) => Err(wrong("must be a file, or begin with oidc/file/, oidc/env_path/ or oidc/env/")),
        }?;
        let token = token.expose_secret().trim();
        if token.is_empty() { Err(wrong("names a token that is empty")) } else { Ok(token.into()) }
    }
}
