//! What is counted, and for which store.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::ManualClock;
use keyturn_secrets::{
    CacheSettings, CredentialCache, Secret, SecretError, SecretStore, Stage, StoreStats, Stores,
};

use crate::fake::Fake;
use crate::rig::{Rig, down, reference, settle};

/// Another store than `fake:`.
struct Other(Arc<Fake>);

#[async_trait]
impl SecretStore for Other {
    fn scheme(&self) -> &'static str {
        "other"
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        self.0.get(name, stage).await
    }
}

#[tokio::test]
async fn each_store_has_its_own_figures_and_all_have_a_sum() {
    let (one, two) = (Arc::new(Fake::new(false)), Arc::new(Fake::new(false)));
    one.rotate("a", "one", "v1");
    one.rotate("b", "one", "v1");
    two.rotate("a", "two", "v1");
    let stores = Stores::none()
        .with(Arc::clone(&one) as Arc<dyn SecretStore>)
        .with(Arc::new(Other(Arc::clone(&two))) as Arc<dyn SecretStore>);
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let settings = CacheSettings { jitter: 0.0, ..CacheSettings::default() };
    let cache = CredentialCache::new(stores, Arc::clone(&clock) as _, settings);
    assert_eq!(cache.stats().stores().count(), 0, "no store was asked");

    let ask = async |text: &str| cache.get(&reference(text)).await;
    for name in ["fake:a", "fake:a", "fake:b", "other:a"] {
        ask(name).await.unwrap();
    }
    assert!(ask("nowhere:a").await.is_err());
    clock.advance(settings.soft_ttl);
    two.fail(Some(down));
    ask("other:a").await.unwrap();
    settle().await;

    let stats = cache.stats();
    let fake = StoreStats { reads: 2, hits: 1, ..StoreStats::default() };
    let other =
        StoreStats { reads: 2, hits: 1, refreshes: 1, stale_serves: 1, failures: 1, ..StoreStats::default() };
    assert_eq!(stats.stores().collect::<Vec<_>>(), [("fake", fake), ("other", other)]);
    assert_eq!((stats.of("fake"), stats.of("other")), (fake, other));
    assert_eq!(stats.of("nowhere"), StoreStats::default());
    let total = stats.total();
    assert_eq!((total.reads, total.hits, total.refreshes, total.failures), (4, 2, 1, 1));
}

#[tokio::test]
async fn a_batch_counts_each_secret_for_its_store() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    let failed = rig.cache.prefetch(&[reference("fake:a"), reference("fake:gone")]).await;
    assert_eq!(failed.len(), 1);
    assert_eq!((rig.cache.stats().of("fake").reads, rig.cache.stats().of("fake").failures), (2, 1));
}

#[test]
fn what_happened_between_two_moments() {
    let before = StoreStats { reads: 2, hits: 10, ..StoreStats::default() };
    let after = StoreStats { reads: 2, hits: 15, ..StoreStats::default() };
    let between = after.since(&before);
    assert_eq!(between, StoreStats { hits: 5, ..StoreStats::default() });
    assert!(!between.is_eventful());
    assert!(StoreStats { failures: 1, ..between }.is_eventful());
}
