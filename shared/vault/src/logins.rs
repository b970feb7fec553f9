//! The logins there are: one file each, one line each in the list below.
//!
//! | login | variables | default mount |
//! |---|---|---|
//! | AppRole | `HCP_VAULT_APPROLE_ROLE_ID`, `_APPROLE_SECRET_ID`, `_APPROLE_MOUNT_PATH` | `approle` |
//! | TLS certificate | `HCP_VAULT_CLIENT_CERT`, `_CLIENT_KEY` (PEM files), `_CERT_ROLE`, `_CERT_MOUNT_PATH` | `cert` |
//! | Kubernetes | `HCP_VAULT_KUBERNETES_ROLE`, `_KUBERNETES_JWT_FILE`, `_KUBERNETES_MOUNT_PATH` | `kubernetes` |
//! | AWS IAM | `HCP_VAULT_AWS_ROLE`, `_AWS_SERVER_ID`, `_AWS_REGION`, `_AWS_MOUNT_PATH` | `aws` |
//! | JWT | `HCP_VAULT_JWT` or `_JWT_FILE`, `_JWT_ROLE`, `_JWT_MOUNT_PATH` | `jwt` |
//! | token | `HCP_VAULT_TOKEN` | |

mod app_role;
mod aws_iam;
mod certificate;
mod jwt;
mod kubernetes;
mod token;

use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use keyturn_ambient::Env;
use secrecy::SecretString;
use vaultrs::api::AuthInfo;
use vaultrs::error::ClientError;

use crate::caller::{Desk, answer};
use crate::error::{Outage, SetupError, VaultError};

/// A way to get a token.
#[async_trait]
pub trait Login: Send + Sync {
    /// What it is called in errors.
    fn name(&self) -> &'static str;

    /// A token that is there already; then the desk's calls are made with it.
    fn token(&self) -> Option<&SecretString> {
        None
    }

    /// Gets a token.
    ///
    /// # Errors
    ///
    /// [`VaultError::Denied`] when Vault does not accept what it is shown.
    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError>;
}

/// A token and how long it is good.
pub struct Grant {
    /// The token.
    pub token: SecretString,
    /// How long it is good; zero = for ever.
    pub lease: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
}

impl From<AuthInfo> for Grant {
    fn from(auth: AuthInfo) -> Self {
        let lease = Duration::from_secs(auth.lease_duration);
        Self { token: auth.client_token.into(), lease, renewable: auth.renewable }
    }
}

/// Builds a login, if the environment asks for it.
type Constructor = fn(&dyn Env) -> Result<Option<Box<dyn Login>>, SetupError>;

/// Every login, the first that is asked for wins.
static LOGINS: &[Constructor] = &[
    app_role::from_env,
    certificate::from_env,
    kubernetes::from_env,
    aws_iam::from_env,
    jwt::from_env,
    token::from_env,
];

/// The login that the environment asks for.
pub(crate) fn from_env(env: &dyn Env) -> Result<Box<dyn Login>, SetupError> {
    for login in LOGINS {
        if let Some(login) = login(env)? {
            return Ok(login);
        }
    }
    Err(SetupError::variable("HCP_VAULT_TOKEN", "is not set, and no other login to Vault is"))
}

/// A variable that has to be there because another one is.
fn needed(env: &dyn Env, variable: &'static str, problem: &'static str) -> Result<String, SetupError> {
    env.var(variable).ok_or(SetupError::Variable { variable, problem })
}

/// Where a login is mounted.
fn mount(env: &dyn Env, variable: &'static str, default: &str) -> Result<String, SetupError> {
    let mount = env.var(variable).unwrap_or_else(|| default.to_owned());
    crate::settings::path(variable, &mount)
}

/// Awaits a login of vaultrs'. `what` is the login's name.
async fn grant(
    what: &'static str,
    call: impl Future<Output = Result<AuthInfo, ClientError>>,
) -> Result<Grant, VaultError> {
    match answer(what, call).await {
        Ok(auth) => Ok(auth.into()),
        // Some logins answer 400 or 404 to what they do not accept.
        Err(VaultError::NotFound | VaultError::Unavailable(Outage::Status(400..=499))) => {
            Err(VaultError::Denied(what))
        }
        Err(error) => Err(error),
    }
}

/// A token of another system's in a file, which that system replaces from time to time.
fn token_file(path: &str) -> Result<SecretString, VaultError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(SecretString::from(text.trim())),
        Err(_) => {
            Err(VaultError::Unavailable(Outage::Login("the file with the login's token cannot be read")))
        }
    }
}
