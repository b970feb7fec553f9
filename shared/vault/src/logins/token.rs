//! A token that somebody made: `HCP_VAULT_TOKEN`. How long it is good is looked up, so that it is renewed in time.

use std::time::Duration;

use async_trait::async_trait;
use keyturn_ambient::Env;
use secrecy::SecretString;

use super::{Grant, Login};
use crate::caller::{Desk, answer};
use crate::error::{SetupError, VaultError};

struct Token(SecretString);

pub(super) fn from_env(env: &dyn Env) -> Result<Option<Box<dyn Login>>, SetupError> {
    let token = env.var("HCP_VAULT_TOKEN");
    Ok(token.map(|token| Box::new(Token(token.into())) as Box<dyn Login>))
}

#[async_trait]
impl Login for Token {
    fn name(&self) -> &'static str {
        "token"
    }

    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError> {
        let token = self.0.clone();
        match answer(self.name(), vaultrs::token::lookup_self(desk.caller)).await {
            Ok(found) => {
                let lease = Duration::from_secs(found.ttl);
                Ok(Grant { token, lease, renewable: found.renewable.unwrap_or_default() })
            }
            // A token without the default policy may not look itself up; what it may do shows when it is used.
            Err(VaultError::Denied(_)) => Ok(Grant { token, lease: Duration::ZERO, renewable: false }),
            Err(error) => Err(error),
        }
    }

    fn token(&self) -> Option<&SecretString> {
        Some(&self.0)
    }
}
