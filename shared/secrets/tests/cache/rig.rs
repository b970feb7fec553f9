//! A cache, its store and its clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Clock;
use keyturn_config::SecretRef;
use keyturn_secrets::{CacheSettings, CredentialCache, Secret, SecretError, SecretStore, Stores};
use tokio::task::JoinHandle;

use crate::fake::Fake;

/// A clock that can be set, back too.
pub(crate) struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// What a test stands on. Times are the defaults, without jitter: 300 s soft, 3600 s hard, 10 s after a
/// refusal, 1 s after a failure.
pub(crate) struct Rig {
    pub(crate) store: Arc<Fake>,
    pub(crate) cache: CredentialCache,
    clock: Arc<Hands>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Fake::new(false), CacheSettings { jitter: 0.0, ..CacheSettings::default() })
    }

    pub(crate) fn always_fresh() -> Self {
        Self::with(Fake::new(true), CacheSettings { jitter: 0.0, ..CacheSettings::default() })
    }

    pub(crate) fn with(store: Fake, settings: CacheSettings) -> Self {
        let store = Arc::new(store);
        let clock = Arc::new(Hands(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap())));
        let stores = Stores::none().with(Arc::clone(&store) as Arc<dyn SecretStore>);
        let rng = fastrand::Rng::with_seed(1);
        let cache = CredentialCache::with_rng(stores, Arc::clone(&clock) as Arc<dyn Clock>, settings, rng);
        Self { store, cache, clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        *self.clock.0.lock().unwrap() += Duration::from_secs(seconds);
    }

    pub(crate) fn set_back(&self, seconds: u64) {
        *self.clock.0.lock().unwrap() -= Duration::from_secs(seconds);
    }

    /// Asks and returns the version.
    pub(crate) async fn version(&self, text: &str) -> String {
        self.cache.get(&reference(text)).await.unwrap().version.to_string()
    }

    /// Asks in a task of its own, up to where the answer has to be waited for.
    pub(crate) async fn asking(&self, text: &str) -> JoinHandle<Result<Secret, SecretError>> {
        let (cache, reference) = (self.cache.clone(), reference(text));
        let task = tokio::spawn(async move { cache.get(&reference).await });
        settle().await;
        task
    }

    /// Reports a refusal in a task of its own, up to where the answer has to be waited for.
    pub(crate) async fn refusing(
        &self,
        text: &str,
        version: &str,
    ) -> JoinHandle<Result<Secret, SecretError>> {
        let (cache, reference) = (self.cache.clone(), reference(text));
        let version = keyturn_secrets::VersionId::new(version);
        let task = tokio::spawn(async move { cache.refused(&reference, &version).await });
        settle().await;
        task
    }

    /// Reports a refusal and returns the version of the answer.
    pub(crate) async fn refused(&self, text: &str, version: &str) -> String {
        self.refusing(text, version).await.await.unwrap().unwrap().version.to_string()
    }
}

/// Lets every task run until it waits.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

pub(crate) fn down(reference: String) -> SecretError {
    SecretError::unavailable(reference, "down")
}
