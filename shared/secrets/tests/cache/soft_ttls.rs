//! A store's own soft TTL.

use std::time::Duration;

use keyturn_secrets::CacheSettings;

use crate::fake::Fake;
use crate::rig::{Rig, down, settle};

fn rig(seconds: u64) -> Rig {
    let store = Fake::with_soft_ttl(Duration::from_secs(seconds));
    Rig::with(store, CacheSettings { jitter: 0.0, ..CacheSettings::default() })
}

#[tokio::test]
async fn it_counts_in_the_place_of_the_caches() {
    for (own, last) in [(60, 59), (1000, 999), (86_400, 2699)] {
        let rig = rig(own);
        rig.store.rotate("a", "one", "v1");
        rig.version("fake:a").await;
        rig.pass(last);
        rig.version("fake:a").await;
        settle().await;
        assert_eq!(rig.store.reads(), 1, "{own}");
        rig.pass(1);
        rig.version("fake:a").await;
        settle().await;
        assert_eq!(rig.store.reads(), 2, "{own}");
    }
}

#[tokio::test]
async fn it_makes_no_value_live_longer() {
    let rig = rig(86_400);
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.fail(Some(down));
    rig.pass(3599);
    assert_eq!(rig.version("fake:a").await, "v1");
    settle().await;
    rig.pass(1);
    assert!(rig.asking("fake:a").await.await.unwrap().is_err());
}
