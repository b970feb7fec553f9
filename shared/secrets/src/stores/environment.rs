//! Environment variables: `env:OPENAI_API_KEY`.
//!
//! Authentication: none. Naming: the variable. A value that is sealed (`sealed:1.AbCd…`) is opened. Versions: a digest of
//! the value ([`VersionId::of_value`](crate::VersionId::of_value)); there are no stages.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use keyturn_ambient::{Clock, Env};

use super::{SealedValues, Surroundings};
use crate::{Secret, SecretError, SecretStore, Stage};

/// The process environment as a store.
pub struct Environment {
    env: Arc<dyn Env>,
    /// What opens sealed values: it is made for the first.
    opener: Option<(reqwest::Client, Arc<dyn Clock>)>,
    sealed: OnceLock<SealedValues>,
}

impl Environment {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "env";

    /// The store over `env`. Values are handed out as they are, sealed ones too.
    #[must_use]
    pub fn new(env: Arc<dyn Env>) -> Self {
        Self { env, opener: None, sealed: OnceLock::new() }
    }

    /// The store that opens sealed values.
    #[must_use]
    pub fn opening(found: &Surroundings) -> Self {
        let opener = Some((found.http.clone(), Arc::clone(&found.clock)));
        Self { opener, ..Self::new(Arc::clone(&found.env)) }
    }

    fn sealed(&self, value: &str) -> Option<&SealedValues> {
        let (http, clock) = self.opener.as_ref()?;
        let is_sealed = value.strip_prefix(SealedValues::SCHEME).is_some_and(|rest| rest.starts_with(':'));
        let found =
            || Surroundings { env: Arc::clone(&self.env), http: http.clone(), clock: Arc::clone(clock) };
        is_sealed.then(|| self.sealed.get_or_init(|| SealedValues::new(&found())))
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
        let value = self.env.var(name);
        let value =
            value.ok_or_else(|| SecretError::not_found(reference(), "the variable is unset or empty"))?;
        match self.sealed(&value) {
            None => Ok(Secret::unversioned(value)),
            Some(sealed) => sealed.open(&reference(), &value).await,
        }
    }
}
