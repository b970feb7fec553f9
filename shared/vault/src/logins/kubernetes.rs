//! Kubernetes: `HCP_VAULT_KUBERNETES_ROLE`, `HCP_VAULT_KUBERNETES_JWT_FILE` (the pod's service account),
//! `HCP_VAULT_KUBERNETES_MOUNT_PATH` (`kubernetes`). The file is read at each login: Kubernetes replaces the token.

use async_trait::async_trait;
use keyturn_ambient::Env;
use secrecy::ExposeSecret;

use super::{Grant, Login, grant, mount, token_file};
use crate::caller::Desk;
use crate::error::{SetupError, VaultError};

/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

struct Kubernetes {
    mount: String,
    role: String,
    file: String,
}

pub(super) fn from_env(env: &dyn Env) -> Result<Option<Box<dyn Login>>, SetupError> {
    let Some(role) = env.var("HCP_VAULT_KUBERNETES_ROLE") else { return Ok(None) };
    Ok(Some(Box::new(Kubernetes {
        mount: mount(env, "HCP_VAULT_KUBERNETES_MOUNT_PATH", "kubernetes")?,
        role,
        file: env.var("HCP_VAULT_KUBERNETES_JWT_FILE").unwrap_or_else(|| SERVICE_ACCOUNT.to_owned()),
    })))
}

#[async_trait]
impl Login for Kubernetes {
    fn name(&self) -> &'static str {
        "Kubernetes login"
    }

    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError> {
        let jwt = token_file(&self.file)?;
        let call =
            vaultrs::auth::kubernetes::login(desk.caller, &self.mount, &self.role, jwt.expose_secret());
        grant(self.name(), call).await
    }
}
