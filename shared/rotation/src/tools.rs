//! What rotators work with.

use std::sync::Arc;

use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use keyturn_config::SecretRef;
use keyturn_keys::manage::Manager;
use keyturn_secrets::CredentialCache;
use secrecy::SecretString;

use crate::RotationError;

/// What rotators work with.
#[derive(Clone)]
pub struct Tools {
    /// The environment.
    pub env: Arc<dyn Env>,
    /// The HTTP client that everything shares.
    pub http: reqwest::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where administrators' credentials are read.
    pub secrets: CredentialCache,
    /// The gateway's own keys, where there are any.
    pub keys: Option<Manager>,
}

impl Tools {
    /// Reads a secret that the settings name.
    ///
    /// # Errors
    ///
    /// [`RotationError::Secret`].
    pub async fn secret(&self, reference: &SecretRef) -> Result<SecretString, RotationError> {
        let secret = self.secrets.get(reference).await?;
        Ok(SecretString::from(secret.value.expose()))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
