//! A credential that the upstream refuses.

use futures_util::future::join_all;
use keyturn_secrets::{SecretError, VersionId};

use crate::rig::{Rig, down, reference, settle};

/// A cache that holds v1.
async fn warm() -> Rig {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig
}

#[tokio::test]
async fn a_refusal_reads_once_and_late_refusals_get_the_answer_without_a_read() {
    let rig = warm().await;
    rig.store.rotate("a", "two", "v2");
    assert_eq!(rig.refused("fake:a", "v1").await, "v2");
    assert_eq!(rig.refused("fake:a", "v1").await, "v2");
    rig.pass(60);
    assert_eq!(rig.refused("fake:a", "v1").await, "v2");
    assert_eq!(rig.store.reads(), 2);
    assert_eq!(rig.cache.stats().total().refusals, 1);
}

#[tokio::test]
async fn two_hundred_refusals_are_one_read() {
    let rig = warm().await;
    rig.store.rotate("a", "two", "v2");
    let (reference, v1) = (reference("fake:a"), VersionId::new("v1"));
    for answer in join_all((0..200).map(|_| rig.cache.refused(&reference, &v1))).await {
        assert_eq!(answer.unwrap().version.as_str(), "v2");
    }
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn two_hundred_refusals_without_a_newer_version_are_one_read_too() {
    let rig = warm().await;
    let (reference, v1) = (reference("fake:a"), VersionId::new("v1"));
    for answer in join_all((0..200).map(|_| rig.cache.refused(&reference, &v1))).await {
        assert_eq!(answer.unwrap().version.as_str(), "v1");
    }
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn forged_refusals_cause_one_read_per_cooldown() {
    let rig = warm().await;
    for second in 0..30 {
        for _ in 0..20 {
            assert_eq!(rig.refused("fake:a", "v1").await, "v1", "{second}");
        }
        rig.pass(1);
    }
    assert_eq!(rig.store.reads(), 1 + 3);
}

#[tokio::test]
async fn the_cooldown_is_the_secret_s_and_not_the_version_s() {
    let rig = warm().await;
    rig.store.rotate("a", "two", "v2");
    assert_eq!(rig.refused("fake:a", "v1").await, "v2");
    rig.store.rotate("a", "three", "v3");
    rig.pass(9);
    assert_eq!(rig.refused("fake:a", "v2").await, "v2");
    assert_eq!(rig.store.reads(), 2);
    rig.pass(1);
    assert_eq!(rig.refused("fake:a", "v2").await, "v3");
    assert_eq!(rig.store.reads(), 3);
}

#[tokio::test]
async fn a_read_from_before_the_rotation_is_not_taken_for_the_answer() {
    let rig = warm().await;
    rig.pass(300);
    rig.store.gate(false);
    rig.version("fake:a").await;
    settle().await;
    rig.store.rotate("a", "two", "v2");
    let refusing = join_all((0..50).map(|_| rig.refusing("fake:a", "v1"))).await;
    assert_eq!(rig.store.reads(), 2);
    rig.store.gate(true);
    for answer in join_all(refusing).await {
        assert_eq!(answer.unwrap().unwrap().version.as_str(), "v2");
    }
    assert_eq!(rig.store.reads(), 3);
}

#[tokio::test]
async fn a_read_under_way_that_brings_another_version_is_enough() {
    let rig = warm().await;
    rig.store.rotate("a", "two", "v2");
    rig.pass(300);
    rig.store.gate(false);
    rig.version("fake:a").await;
    let refusing = rig.refusing("fake:a", "v1").await;
    rig.store.gate(true);
    assert_eq!(refusing.await.unwrap().unwrap().version.as_str(), "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_refusal_outlives_whoever_reported_it() {
    let rig = warm().await;
    rig.store.rotate("a", "two", "v2");
    rig.store.gate(false);
    let leader = rig.refusing("fake:a", "v1").await;
    let follower = rig.refusing("fake:a", "v1").await;
    leader.abort();
    rig.store.gate(true);
    assert_eq!(follower.await.unwrap().unwrap().version.as_str(), "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn when_the_store_is_down_the_refusal_says_so_and_what_is_held_stays() {
    let rig = warm().await;
    rig.store.fail(Some(down));
    let error = rig.refusing("fake:a", "v1").await.await.unwrap().unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    assert_eq!(rig.refused("fake:a", "v1").await, "v1");
    assert_eq!(rig.version("fake:a").await, "v1");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_refusal_with_nothing_held_reads() {
    let rig = Rig::new();
    rig.store.rotate("a", "two", "v2");
    assert_eq!(rig.refused("fake:a", "v1").await, "v2");
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn within_the_cooldown_too_nothing_is_served_past_its_hard_ttl() {
    let rig = warm().await;
    rig.pass(3595);
    rig.store.fail(Some(down));
    rig.refusing("fake:a", "v1").await.await.unwrap().unwrap_err();
    rig.pass(4);
    assert_eq!(rig.refused("fake:a", "v1").await, "v1");
    rig.pass(1);
    rig.refusing("fake:a", "v1").await.await.unwrap().unwrap_err();
}
