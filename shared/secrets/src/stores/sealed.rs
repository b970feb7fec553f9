//! Sealed values: `sealed:1.AbCd…`, a secret that stands in the reference itself, encrypted (`keyturn_sealed`).
//!
//! Authentication: the salt key of the value's version ([`keys`]). Naming: what is behind `sealed:` is all there is; so a
//! configuration with such references may be committed. The values of environment variables that begin with `sealed:`
//! are opened too ([`Environment`](super::Environment)). Versions: a digest of the value
//! ([`VersionId::of_value`](crate::VersionId::of_value)), so that a change of the salt key is no change of the value;
//! there are no stages.
//!
//! A value is bound to no name and no place: whoever may write a configuration may put one in another's place, as with any
//! reference.
//!
//! `keyturn seal` makes them.

mod keys;

use async_trait::async_trait;
use keyturn_ambient::with_causes;
use keyturn_sealed::{SCHEME, SealError};

use super::Surroundings;
use crate::{Secret, SecretError, SecretStore, Stage};

pub use keys::{SaltKeyError, SaltKeys};

/// Sealed values as a store.
pub struct SealedValues(SaltKeys);

impl SealedValues {
    /// The scheme of its references.
    pub const SCHEME: &'static str = SCHEME;

    /// The store, with the salt keys that the environment names.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        Self::with(SaltKeys::new(found))
    }

    /// The store with these salt keys.
    #[must_use]
    pub fn with(keys: SaltKeys) -> Self {
        Self(keys)
    }

    /// Opens a sealed value. Errors name `reference`.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    pub(super) async fn open(&self, reference: &str, text: &str) -> Result<Secret, SecretError> {
        let value = self.0.open(text).await.map_err(|error| failure(reference, &error))?;
        let version = crate::VersionId::of_value(secrecy::ExposeSecret::expose_secret(&value));
        Ok(Secret::new(value, version))
    }
}

#[async_trait]
impl SecretStore for SealedValues {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        if *stage != Stage::Current {
            return Err(SecretError::not_found(reference, "sealed values have no stages"));
        }
        self.open(&reference, &reference).await
    }
}

/// What it means that a value does not open. That a salt key cannot be had now is the one thing that passes.
fn failure(reference: &str, error: &SaltKeyError) -> SecretError {
    let told = with_causes(error);
    match error {
        SaltKeyError::Sealed(SealError::Form | SealError::Format(_) | SealError::Changed(_)) => {
            SecretError::malformed(reference, &told)
        }
        SaltKeyError::Secret {
            source: SecretError::Unavailable { .. } | SecretError::Conflict { .. },
            ..
        } => SecretError::unavailable(reference, &told),
        SaltKeyError::Sealed(SealError::Version(_) | SealError::Random)
        | SaltKeyError::Unset
        | SaltKeyError::Setting { .. }
        | SaltKeyError::Reference { .. }
        | SaltKeyError::NoVersion { .. }
        | SaltKeyError::Weak { .. }
        | SaltKeyError::Secret { .. } => SecretError::denied(reference, &told),
    }
}
