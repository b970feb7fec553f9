//! The way to Vault, for the stores that are in it.

use std::sync::{Mutex, PoisonError};

use keyturn_ambient::{Clock, Env};
use keyturn_vault::{Vault, VaultError};

use crate::stores::Surroundings;
use crate::{Cause, SecretError};

/// A login to Vault, made at first use.
pub(in crate::stores) struct Connection {
    found: Surroundings,
    /// A setting that is wrong is looked at again at the next use.
    vault: Mutex<Option<Vault>>,
}

impl Connection {
    pub(in crate::stores) fn new(found: &Surroundings) -> Self {
        Self { found: found.clone(), vault: Mutex::default() }
    }

    pub(in crate::stores) fn env(&self) -> &dyn Env {
        &*self.found.env
    }

    pub(in crate::stores) fn clock(&self) -> &dyn Clock {
        &*self.found.clock
    }

    /// Vault, as the environment says. `reference` is for the error.
    pub(in crate::stores) fn vault(&self, reference: &str) -> Result<Vault, SecretError> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = &*vault {
            return Ok(vault.clone());
        }
        let clock = self.found.clock.clone();
        // An operator's work, and it names the variable.
        let made = Vault::from_env(&*self.found.env, &self.found.http, clock).map_err(|error| {
            SecretError::Denied { reference: reference.to_owned(), cause: Cause::of(&error) }
        })?;
        Ok(vault.insert(made).clone())
    }
}

/// What a failure of Vault's means for the caller.
pub(in crate::stores) fn failure(reference: &str, error: &VaultError) -> SecretError {
    let (reference, cause) = (reference.to_owned(), Cause::of(error));
    match error {
        VaultError::NotFound | VaultError::BadPath => SecretError::NotFound { reference, cause },
        VaultError::Denied(_) => SecretError::Denied { reference, cause },
        VaultError::CasMismatch => SecretError::Conflict { reference, cause },
        VaultError::Unavailable(_) => SecretError::Unavailable { reference, cause },
    }
}
