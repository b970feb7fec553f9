//! Environment variables: `env:OPENAI_API_KEY`.
//!
//! Authentication: none. Naming: the variable. Versions: a digest of the value
//! ([`VersionId::of_value`](crate::VersionId::of_value)); there are no stages.

use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::Env;

use crate::{Secret, SecretError, SecretStore, Stage};

/// The process environment as a store.
pub struct Environment(Arc<dyn Env>);

impl Environment {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "env";

    /// The store over `env`.
    #[must_use]
    pub fn new(env: Arc<dyn Env>) -> Self {
        Self(env)
    }
}

#[async_trait]
impl SecretStore for Environment {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let reference = || format!("{}:{name}", Self::SCHEME);
        if *stage != Stage::Current {
            return Err(SecretError::not_found(reference(), "environment variables have no stages"));
        }
        let value = self.0.var(name);
        let value =
            value.ok_or_else(|| SecretError::not_found(reference(), "the variable is unset or empty"))?;
        Ok(Secret::unversioned(value))
    }
}
