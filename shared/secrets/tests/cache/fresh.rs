//! A store whose reads are cheap and see every change.

use keyturn_secrets::SecretError;

use crate::rig::{Rig, down, reference, settle};

#[tokio::test]
async fn every_change_is_seen_at_the_next_use() {
    let rig = Rig::always_fresh();
    for version in ["v1", "v2", "v3"] {
        rig.store.rotate("a", version, version);
        assert_eq!(rig.version("fake:a").await, version);
    }
    assert_eq!(rig.store.reads(), 3);
    assert_eq!(rig.cache.stats().total().stale_serves, 0);
}

#[tokio::test]
async fn what_is_held_bridges_a_failure_up_to_the_hard_ttl() {
    let rig = Rig::always_fresh();
    rig.store.rotate("a", r#"{"A": "1"}"#, "v1");
    rig.version("fake:a#A").await;
    rig.pass(1000);
    rig.version("fake:a#A").await;
    rig.store.fail(Some(down));
    rig.pass(3599);
    assert_eq!(rig.version("fake:a#A").await, "v1", "its last good read counts");
    rig.pass(1);
    let error = rig.cache.get(&reference("fake:a#A")).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    let stats = rig.cache.stats().total();
    assert_eq!((stats.reads, stats.failures, stats.stale_serves), (4, 2, 1));
}

#[tokio::test]
async fn a_half_written_document_keeps_the_last_good_field() {
    let rig = Rig::always_fresh();
    rig.store.rotate("a", "A='1'\nB='2'\n", "v1");
    rig.version("fake:a#B").await;
    for (text, version) in [("A='1'\nB='", "v2"), ("A='1'\n", "v3")] {
        rig.store.rotate("a", text, version);
        assert_eq!(rig.version("fake:a#B").await, "v1");
    }
    rig.store.rotate("a", "A='1'\nB='3'\n", "v4");
    assert_eq!(rig.version("fake:a#B").await, "v4");
}

#[tokio::test]
async fn a_refusal_looks_and_prefetching_needs_no_batch() {
    let rig = Rig::always_fresh();
    rig.store.rotate("a", "one", "v1");
    assert!(rig.cache.prefetch(&[reference("fake:a")]).await.is_empty());
    settle().await;
    assert!(rig.store.batches().is_empty());
    assert_eq!(rig.refused("fake:a", "v1").await, "v1");
    rig.store.rotate("a", "two", "v2");
    assert_eq!(rig.refused("fake:a", "v1").await, "v2");
}
