//! Salt keys: where they are, and how they are read.
//!
//! | variable | what |
//! |---|---|
//! | `KEYTURN_SALT_KEYS` | `2:KEY 1:KEY`: salt keys by their versions, with spaces between them. The highest version seals, all open. |
//! | `KEYTURN_SALT_KEY`, else `LITELLM_SALT_KEY` | the salt key of version 1, where there is no `KEYTURN_SALT_KEYS` |
//!
//! `KEY` is the salt key, or a reference to it in another store: `KEYTURN_SALT_KEYS=1:aws-kms:env/SALT` has a KMS key
//! open the salt key, which opens the values. What is behind a reference is read once for all values and kept as a
//! credential is, with the cache's usual lives. `os.environ/NAME` is `env:NAME` here, whatever key management system a
//! configuration has.
//!
//! A salt key is never sealed itself, nor is what opens the store it is in: both would need the salt key first. So the
//! stores that salt keys are read with find none in their environment ([`WithoutSaltKeys`]).
//! A version's key never changes: another key is another version.

use std::sync::Arc;

use keyturn_ambient::Env;
use keyturn_config::{RefError, SecretRef, Value};
use keyturn_sealed::{SCHEME, SaltKey, SealError, Sealed, Version, Weak};
use secrecy::{ExposeSecret, SecretString};

use super::super::{Environment, Stores, Surroundings};
use crate::{CacheSettings, CredentialCache, SecretError};

/// Several salt keys.
const SEVERAL: &str = "KEYTURN_SALT_KEYS";
/// What LiteLLM writes before a variable's name.
const LOOKED_UP: &str = "os.environ/";
/// What is wrong with a salt key that needs a salt key.
const SEALED_ITSELF: &str = "has a salt key that is sealed itself";
/// The one salt key, ours first.
const ONE: [&str; 2] = ["KEYTURN_SALT_KEY", "LITELLM_SALT_KEY"];

/// Why a value cannot be sealed or opened. It repeats no salt key and no value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SaltKeyError {
    /// There is no salt key.
    #[error("{} is not set", ONE[0])]
    Unset,
    /// A setting is wrong.
    #[error("{variable} {problem}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it, without its value.
        problem: &'static str,
    },
    /// The reference to a salt key is wrong.
    #[error("a salt key in {variable} {problem}")]
    Reference {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: RefError,
    },
    /// There is no salt key of this version.
    #[error("there is no version {version} of the salt key in {variable}")]
    NoVersion {
        /// The version that is asked for.
        version: Version,
        /// Where the others are.
        variable: &'static str,
    },
    /// A salt key is too easy to guess.
    #[error("version {version} of the salt key ({variable}) {problem}")]
    Weak {
        /// Its version.
        version: Version,
        /// Where it, or the reference to it, is.
        variable: &'static str,
        /// What is wrong with it.
        problem: Weak,
    },
    /// A salt key that is in another store cannot be read.
    #[error("version {version} of the salt key cannot be read")]
    Secret {
        /// Its version.
        version: Version,
        /// What the store said.
        #[source]
        source: SecretError,
    },
    /// The value itself.
    #[error(transparent)]
    Sealed(#[from] SealError),
}

/// The salt keys that the environment names. The environment is read at each use.
pub struct SaltKeys {
    env: Arc<dyn Env>,
    /// Keeps those that are in other stores.
    cache: CredentialCache,
}

/// A salt key as it is named, unread.
struct Named {
    version: Version,
    variable: &'static str,
    value: Value,
}

impl SaltKeys {
    /// The salt keys of an environment; those that are references are read from the stores there are.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let Surroundings { env, http, clock } = found;
        // A variable that is itself sealed would ask for the salt key again, as would a store whose own credential is.
        let plain = Arc::new(Environment::new(Arc::clone(env)));
        let without = Arc::new(WithoutSaltKeys(Arc::clone(env)));
        let stores = Stores::new(without, http, Arc::clone(clock)).with(plain);
        let cache = CredentialCache::new(stores, Arc::clone(clock), CacheSettings::default());
        Self::over(Arc::clone(env), cache)
    }

    /// The salt keys of an environment; those that are references are read through `cache`.
    #[must_use]
    pub fn over(env: Arc<dyn Env>, cache: CredentialCache) -> Self {
        Self { env, cache }
    }

    /// Opens a sealed value.
    ///
    /// # Errors
    ///
    /// [`SaltKeyError`].
    pub async fn open(&self, text: &str) -> Result<SecretString, SaltKeyError> {
        let sealed: Sealed = text.parse()?;
        Ok(sealed.open(&self.version(sealed.version()).await?)?)
    }

    /// The salt key of a version.
    ///
    /// # Errors
    ///
    /// [`SaltKeyError`].
    pub async fn version(&self, version: Version) -> Result<SaltKey, SaltKeyError> {
        let named = self.named()?;
        let variable = named.first().ok_or(SaltKeyError::Unset)?.variable;
        let found = named.into_iter().find(|named| named.version == version);
        self.read(found.ok_or(SaltKeyError::NoVersion { version, variable })?).await
    }

    /// The salt key that seals; `None` where there is none at all.
    ///
    /// # Errors
    ///
    /// [`SaltKeyError`].
    pub async fn newest(&self) -> Result<Option<SaltKey>, SaltKeyError> {
        match self.named()?.into_iter().max_by_key(|named| named.version) {
            None => Ok(None),
            Some(named) => self.read(named).await.map(Some),
        }
    }

    async fn read(&self, Named { version, variable, value }: Named) -> Result<SaltKey, SaltKeyError> {
        let secret = match value {
            Value::Literal(secret) => secret,
            Value::Reference(reference) => {
                let read = self.cache.get(&reference).await;
                let secret = read.map_err(|source| SaltKeyError::Secret { version, source })?;
                let text = secret.value.expose();
                if is_sealed(text) {
                    return Err(SaltKeyError::Setting { variable, problem: SEALED_ITSELF });
                }
                SecretString::from(text)
            }
        };
        SaltKey::new(version, secret).map_err(|problem| SaltKeyError::Weak { version, variable, problem })
    }

    /// What the environment names.
    fn named(&self) -> Result<Vec<Named>, SaltKeyError> {
        let Some(list) = self.env.var(SEVERAL).map(SecretString::from) else {
            let one = ONE.into_iter().find_map(|name| Some((name, SecretString::from(self.env.var(name)?))));
            let named = one.map(|(name, text)| named(name, Version::MIN, text.expose_secret()));
            return named.transpose().map(|named| named.into_iter().collect());
        };
        let wrong = |problem| SaltKeyError::Setting { variable: SEVERAL, problem };
        let mut all: Vec<Named> = Vec::new();
        for entry in list.expose_secret().split_whitespace() {
            let parts = entry.split_once(':').filter(|(_, text)| !text.is_empty());
            let parts = parts.and_then(|(version, text)| Some((version.parse().ok()?, text)));
            let (version, text) = parts
                .ok_or(wrong("is not a list of salt keys: expected VERSION:KEY, with spaces between them"))?;
            if all.iter().any(|named| named.version == version) {
                return Err(wrong("has two salt keys of one version"));
            }
            all.push(named(SEVERAL, version, text)?);
        }
        if all.is_empty() { Err(wrong("has no salt key")) } else { Ok(all) }
    }
}

fn named(variable: &'static str, version: Version, text: &str) -> Result<Named, SaltKeyError> {
    let read = match text.strip_prefix(LOOKED_UP) {
        Some(name) => format!("{}:{name}", Environment::SCHEME).parse().map(Value::Reference),
        None => Value::read(text),
    };
    let value = read.map_err(|problem| SaltKeyError::Reference { variable, problem })?;
    if value.reference().is_some_and(|reference: &SecretRef| reference.scheme == SCHEME) {
        return Err(SaltKeyError::Setting { variable, problem: SEALED_ITSELF });
    }
    Ok(Named { version, variable, value })
}

/// Whether a text is a sealed value, or passes for one.
fn is_sealed(text: &str) -> bool {
    text.trim_start().strip_prefix(SCHEME).is_some_and(|rest| rest.starts_with(':'))
}

/// An environment without salt keys: in it no sealed value opens.
struct WithoutSaltKeys(Arc<dyn Env>);

impl Env for WithoutSaltKeys {
    fn var(&self, name: &str) -> Option<String> {
        let is_one = name == SEVERAL || ONE.contains(&name);
        if is_one { None } else { self.0.var(name) }
    }
}
