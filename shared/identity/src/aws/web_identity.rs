//! A role that a token of somebody else's opens: a Kubernetes service account's, for example (IRSA).

use std::fs;

use jiff::Timestamp;
use keyturn_ambient::Env;
use secrecy::SecretString;

use super::{AccessKey, Aws, sts};
use crate::{Granted, IdentityError};

/// A role and the token that opens it.
#[derive(Clone)]
pub(super) struct WebIdentity {
    pub(super) role: String,
    pub(super) session_name: Option<String>,
    /// A file, which the token's owner replaces from time to time.
    pub(super) token_file: String,
    pub(super) sts_endpoint: Option<String>,
}

impl WebIdentity {
    pub(super) fn from_env(env: &dyn Env) -> Option<Self> {
        Some(Self {
            role: env.var("AWS_ROLE_ARN")?,
            session_name: env.var("AWS_ROLE_SESSION_NAME"),
            token_file: env.var("AWS_WEB_IDENTITY_TOKEN_FILE")?,
            sts_endpoint: None,
        })
    }

    pub(super) async fn assume(&self, by: &Aws, now: Timestamp) -> Result<Granted<AccessKey>, IdentityError> {
        let unreadable =
            |_| IdentityError::setting("AWS_WEB_IDENTITY_TOKEN_FILE", "names a file that cannot be read");
        let token = SecretString::from(fs::read_to_string(&self.token_file).map_err(unreadable)?.trim());
        let name = self.session_name.as_deref().unwrap_or(sts::SESSION);
        let role = (self.role.as_str(), name);
        sts::assume_role_with_web_identity(by, self.sts_endpoint.as_deref(), role, &token, now).await
    }
}
