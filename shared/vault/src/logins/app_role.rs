//! AppRole: `HCP_VAULT_APPROLE_ROLE_ID`, `HCP_VAULT_APPROLE_SECRET_ID`, `HCP_VAULT_APPROLE_MOUNT_PATH` (`approle`).

use async_trait::async_trait;
use keyturn_ambient::Env;
use secrecy::{ExposeSecret, SecretString};

use super::{Grant, Login, grant, mount, needed};
use crate::caller::Desk;
use crate::error::{SetupError, VaultError};

const ROLE_ID: &str = "HCP_VAULT_APPROLE_ROLE_ID";
const SECRET_ID: &str = "HCP_VAULT_APPROLE_SECRET_ID";

struct AppRole {
    mount: String,
    role_id: SecretString,
    secret_id: SecretString,
}

pub(super) fn from_env(env: &dyn Env) -> Result<Option<Box<dyn Login>>, SetupError> {
    if env.var(ROLE_ID).is_none() && env.var(SECRET_ID).is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(AppRole {
        mount: mount(env, "HCP_VAULT_APPROLE_MOUNT_PATH", "approle")?,
        role_id: needed(env, ROLE_ID, "is needed with HCP_VAULT_APPROLE_SECRET_ID")?.into(),
        secret_id: needed(env, SECRET_ID, "is needed with HCP_VAULT_APPROLE_ROLE_ID")?.into(),
    })))
}

#[async_trait]
impl Login for AppRole {
    fn name(&self) -> &'static str {
        "AppRole login"
    }

    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError> {
        let (role_id, secret_id) = (self.role_id.expose_secret(), self.secret_id.expose_secret());
        let call = vaultrs::auth::approle::login(desk.caller, &self.mount, role_id, secret_id);
        grant(self.name(), call).await
    }
}
