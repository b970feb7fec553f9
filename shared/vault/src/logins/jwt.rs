//! JWT: `HCP_VAULT_JWT`, or `HCP_VAULT_JWT_FILE`, which is read at each login; `HCP_VAULT_JWT_ROLE` (the mount's
//! default role), `HCP_VAULT_JWT_MOUNT_PATH` (`jwt`).

use async_trait::async_trait;
use keyturn_ambient::Env;
use secrecy::{ExposeSecret, SecretString};

use super::{Grant, Login, grant, mount, token_file};
use crate::caller::Desk;
use crate::error::{SetupError, VaultError};

struct Jwt {
    mount: String,
    role: Option<String>,
    source: Source,
}

enum Source {
    Value(SecretString),
    File(String),
}

pub(super) fn from_env(env: &dyn Env) -> Result<Option<Box<dyn Login>>, SetupError> {
    let value = env.var("HCP_VAULT_JWT").map(|jwt| Source::Value(jwt.into()));
    let source = match (value, env.var("HCP_VAULT_JWT_FILE")) {
        (None, None) => return Ok(None),
        (Some(source), None) => source,
        (None, Some(path)) => Source::File(path),
        (Some(_), Some(_)) => {
            return Err(SetupError::variable("HCP_VAULT_JWT_FILE", "must not be set with HCP_VAULT_JWT"));
        }
    };
    Ok(Some(Box::new(Jwt {
        mount: mount(env, "HCP_VAULT_JWT_MOUNT_PATH", "jwt")?,
        role: env.var("HCP_VAULT_JWT_ROLE"),
        source,
    })))
}

#[async_trait]
impl Login for Jwt {
    fn name(&self) -> &'static str {
        "JWT login"
    }

    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError> {
        let jwt = match &self.source {
            Source::Value(jwt) => jwt.clone(),
            Source::File(path) => token_file(path)?,
        };
        let role = self.role.clone();
        let call = vaultrs::auth::oidc::login(desk.caller, &self.mount, jwt.expose_secret(), role);
        grant(self.name(), call).await
    }
}
