//! The stores there are: one file each, one line each in the list below.

mod answers;
mod aws_kms;
mod aws_secrets_manager;
mod azure_key_vault;
mod custom;
mod cyberark;
mod decrypted_once;
mod environment;
mod federation;
mod file;
mod google;
mod google_kms;
mod google_secret_manager;
mod refresh_interval;
mod sealed;
mod vault;
mod vault_dynamic;

use std::fmt;
use std::sync::{Arc, LazyLock};

use keyturn_ambient::{Clock, Env};

use crate::{SecretStore, StagedStore};

pub use aws_kms::AwsKms;
pub use aws_secrets_manager::AwsSecretsManager;
pub use azure_key_vault::AzureKeyVault;
pub use custom::Custom;
pub use cyberark::CyberArk;
pub use environment::Environment;
pub use federation::Federation;
pub use file::Files;
pub use google_kms::GoogleKms;
pub use google_secret_manager::GoogleSecretManager;
pub use sealed::{SaltKeyError, SaltKeys, SealedValues};
pub use vault::HashiCorpVault;
pub use vault_dynamic::VaultDynamic;

/// What a store is built from.
#[derive(Clone)]
pub struct Surroundings {
    /// The environment.
    pub env: Arc<dyn Env>,
    /// The HTTP client that everything shares.
    pub http: reqwest::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Builds a store.
type Constructor = fn(&Surroundings) -> Arc<dyn SecretStore>;

/// Every store: its scheme and how it is built.
static STORES: &[(&str, Constructor)] = &[
    (AwsKms::SCHEME, |found| Arc::new(AwsKms::new(found))),
    (AwsSecretsManager::SCHEME, |found| Arc::new(AwsSecretsManager::new(found))),
    (AzureKeyVault::SCHEME, |found| Arc::new(AzureKeyVault::new(found))),
    (Custom::SCHEME, |found| Arc::new(Custom::new(found))),
    (CyberArk::SCHEME, |found| Arc::new(CyberArk::new(found))),
    (Environment::SCHEME, |found| Arc::new(Environment::opening(found))),
    (Federation::SCHEME, |found| Arc::new(Federation::new(found))),
    (Files::SCHEME, |_| Arc::new(Files::new())),
    (GoogleKms::SCHEME, |found| Arc::new(GoogleKms::new(found))),
    (GoogleSecretManager::SCHEME, |found| Arc::new(GoogleSecretManager::new(found))),
    (SealedValues::SCHEME, |found| Arc::new(SealedValues::new(found))),
    (HashiCorpVault::SCHEME, |found| Arc::new(HashiCorpVault::new(found))),
    (VaultDynamic::SCHEME, |found| Arc::new(VaultDynamic::new(found))),
];

/// The schemes of all stores: what a reference may begin with.
#[must_use]
pub fn schemes() -> Vec<&'static str> {
    STORES.iter().map(|(scheme, _)| *scheme).collect()
}

/// Builds the store of a scheme; `None` when there is none. It connects to nothing. It is for stores that read their own
/// credential from another one.
#[must_use]
pub fn open(scheme: &str, found: &Surroundings) -> Option<Arc<dyn SecretStore>> {
    let (_, constructor) = STORES.iter().find(|(known, _)| *known == scheme)?;
    Some(constructor(found))
}

/// Builds a store that writes.
type StagedConstructor = fn(&Surroundings) -> Arc<dyn StagedStore>;

/// Every store that writes. It is a list of its own, so that what only reads does not hold the code that writes.
static STAGED_STORES: &[(&str, StagedConstructor)] = &[
    (AwsSecretsManager::SCHEME, |found| Arc::new(AwsSecretsManager::new(found))),
    (AzureKeyVault::SCHEME, |found| Arc::new(AzureKeyVault::new(found))),
    (GoogleSecretManager::SCHEME, |found| Arc::new(GoogleSecretManager::new(found))),
    (HashiCorpVault::SCHEME, |found| Arc::new(HashiCorpVault::new(found))),
];

/// The schemes of the stores that write.
#[must_use]
pub fn staged_schemes() -> Vec<&'static str> {
    STAGED_STORES.iter().map(|(scheme, _)| *scheme).collect()
}

/// Builds the store of a scheme that writes; `None` when there is none. It connects to nothing.
#[must_use]
pub fn open_staged(scheme: &str, found: &Surroundings) -> Option<Arc<dyn StagedStore>> {
    let (_, constructor) = STAGED_STORES.iter().find(|(known, _)| *known == scheme)?;
    Some(constructor(found))
}

/// A store, built when it is first asked for.
type Lazy = LazyLock<Arc<dyn SecretStore>, Box<dyn FnOnce() -> Arc<dyn SecretStore> + Send>>;

/// The stores by scheme. A store that no reference names is never built.
pub struct Stores(Vec<(&'static str, Lazy)>);

impl Stores {
    /// Every store of the list.
    #[must_use]
    pub fn new(env: Arc<dyn Env>, http: &reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        let found = Arc::new(Surroundings { env, http: http.clone(), clock });
        let lazy = |&(scheme, constructor): &(&'static str, Constructor)| {
            let found = Arc::clone(&found);
            let build: Box<dyn FnOnce() -> Arc<dyn SecretStore> + Send> =
                Box::new(move || constructor(&found));
            (scheme, LazyLock::new(build))
        };
        Self(STORES.iter().map(lazy).collect())
    }

    /// No store at all, to be filled by [`Stores::with`].
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a store; one with the same scheme is replaced.
    #[must_use]
    pub fn with(mut self, store: Arc<dyn SecretStore>) -> Self {
        let scheme = store.scheme();
        self.0.retain(|(other, _)| *other != scheme);
        self.0.push((scheme, LazyLock::new(Box::new(move || store))));
        self
    }

    /// The schemes of these stores.
    #[must_use]
    pub fn schemes(&self) -> Vec<&'static str> {
        self.0.iter().map(|(scheme, _)| *scheme).collect()
    }

    /// The store of a scheme.
    #[must_use]
    pub fn find(&self, scheme: &str) -> Option<&Arc<dyn SecretStore>> {
        self.0.iter().find(|(other, _)| *other == scheme).map(|(_, store)| &**store)
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(scheme, _)| scheme)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use keyturn_ambient::SystemClock;
    use keyturn_config::SecretRef;

    use super::*;

    fn stores(env: Arc<dyn Env>) -> Stores {
        Stores::new(env, &keyturn_http::client().unwrap(), Arc::new(SystemClock))
    }

    #[test]
    fn each_scheme_builds_the_store_that_answers_to_it() {
        let stores = stores(Arc::new(HashMap::new()));
        for scheme in schemes() {
            assert_eq!(stores.find(scheme).unwrap().scheme(), scheme);
            let reference = format!("{scheme}:x");
            assert!(SecretRef::explicit(&reference).unwrap().is_some(), "{reference} is no reference");
        }
        assert_eq!(stores.schemes(), schemes());
        assert!(stores.find("nonesuch").is_none());
    }

    #[test]
    fn one_store_can_be_opened_by_its_scheme() {
        let found = Surroundings {
            env: Arc::new(HashMap::new()),
            http: keyturn_http::client().unwrap(),
            clock: Arc::new(SystemClock),
        };
        assert_eq!(open(Files::SCHEME, &found).unwrap().scheme(), Files::SCHEME);
        assert!(open("nonesuch", &found).is_none());
    }

    #[test]
    fn each_scheme_builds_the_writing_store_that_answers_to_it() {
        let found = Surroundings {
            env: Arc::new(HashMap::new()),
            http: keyturn_http::client().unwrap(),
            clock: Arc::new(SystemClock),
        };
        for scheme in staged_schemes() {
            assert_eq!(open_staged(scheme, &found).unwrap().scheme(), scheme);
        }
        assert!(open_staged(Files::SCHEME, &found).is_none());
    }

    #[test]
    fn a_store_is_built_at_first_use_only() {
        let env: Arc<dyn Env> = Arc::new(HashMap::new());
        let stores = stores(Arc::clone(&env));
        let untouched = Arc::strong_count(&env);
        assert!(stores.find(Files::SCHEME).is_some());
        assert_eq!(Arc::strong_count(&env), untouched);
        assert!(stores.find(Environment::SCHEME).is_some());
        assert_eq!(Arc::strong_count(&env), untouched + 1, "the environment's store holds it");
    }

    #[test]
    fn a_store_can_be_replaced() {
        let stores = stores(Arc::new(HashMap::new()));
        let mine: Arc<dyn SecretStore> = Arc::new(Files::new());
        let stores = stores.with(Arc::clone(&mine));
        assert!(Arc::ptr_eq(stores.find("file").unwrap(), &mine));
        let mut schemes: Vec<&str> = STORES.iter().map(|(scheme, _)| *scheme).collect();
        schemes.retain(|scheme| *scheme != Files::SCHEME);
        schemes.push(Files::SCHEME);
        assert_eq!(format!("{stores:?}"), format!("{schemes:?}"));
    }
}
