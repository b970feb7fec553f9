//! Soft TTL, hard TTL, jitter.

use keyturn_secrets::{CacheSettings, SecretError};

use crate::fake::Fake;
use crate::rig::{Rig, down, reference, settle};

#[tokio::test]
async fn a_value_is_read_once_and_then_served() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    assert_eq!(rig.cache.get(&reference("fake:a")).await.unwrap().value.expose(), "one");
    rig.pass(299);
    assert_eq!(rig.version("fake:a").await, "v1");
    settle().await;
    assert_eq!(rig.store.reads(), 1);
    let stats = rig.cache.stats().total();
    assert_eq!((stats.reads, stats.hits, stats.refreshes, stats.stale_serves), (1, 1, 0, 0));
}

#[tokio::test]
async fn from_the_soft_ttl_on_it_is_served_while_one_refresh_runs() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.rotate("a", "two", "v2");
    rig.pass(300);
    rig.store.gate(false);
    for _ in 0..100 {
        assert_eq!(rig.version("fake:a").await, "v1");
        settle().await;
    }
    assert_eq!(rig.store.reads(), 2);
    rig.store.gate(true);
    settle().await;
    assert_eq!(rig.version("fake:a").await, "v2");
    settle().await;
    assert_eq!(rig.store.reads(), 2);
    let stats = rig.cache.stats().total();
    assert_eq!((stats.reads, stats.refreshes, stats.stale_serves), (2, 1, 100));
}

#[tokio::test]
async fn an_age_counts_from_the_beginning_of_the_read() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.gate(false);
    let asking = rig.asking("fake:a").await;
    rig.pass(299);
    rig.store.gate(true);
    asking.await.unwrap().unwrap();
    rig.version("fake:a").await;
    settle().await;
    assert_eq!(rig.store.reads(), 1);
    rig.pass(1);
    rig.version("fake:a").await;
    settle().await;
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_failing_refresh_extends_no_life_and_the_hard_ttl_ends_it_to_the_second() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.fail(Some(down));
    rig.pass(300);
    for _ in 0..3300 {
        assert_eq!(rig.version("fake:a").await, "v1");
        settle().await;
        rig.pass(1);
    }
    let asking = rig.asking("fake:a").await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    let stats = rig.cache.stats().total();
    assert_eq!(stats.failures, 3301, "one try a second, and the last that was waited for");
    rig.store.fail(None);
    rig.pass(1);
    assert_eq!(rig.version("fake:a").await, "v1");
}

#[tokio::test]
async fn a_refresh_that_fails_is_not_tried_again_within_the_cooldown() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.fail(Some(down));
    rig.pass(300);
    for _ in 0..100 {
        rig.version("fake:a").await;
        settle().await;
    }
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn past_the_hard_ttl_a_question_waits_for_a_read() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.rotate("a", "two", "v2");
    rig.pass(3600);
    assert_eq!(rig.version("fake:a").await, "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_read_that_was_frozen_past_the_hard_ttl_is_made_again_for_those_who_joined_it() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.gate(false);
    let first = rig.asking("fake:a").await;
    rig.store.rotate("a", "two", "v2");
    rig.pass(3600);
    let second = rig.asking("fake:a").await;
    assert_eq!(rig.store.reads(), 1);
    rig.store.gate(true);
    assert_eq!(first.await.unwrap().unwrap().version.as_str(), "v1");
    assert_eq!(second.await.unwrap().unwrap().version.as_str(), "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_clock_set_back_causes_a_refresh_and_no_failure() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.set_back(7200);
    rig.store.fail(Some(down));
    assert_eq!(rig.version("fake:a").await, "v1");
    settle().await;
    assert_eq!(rig.store.reads(), 2);
    rig.store.fail(None);
    rig.pass(1);
    for _ in 0..3 {
        assert_eq!(rig.version("fake:a").await, "v1");
        settle().await;
        assert_eq!(rig.store.reads(), 3);
    }
}

#[tokio::test]
async fn jitter_spreads_the_refreshes_over_a_fifth_either_way() {
    let rig = Rig::with(Fake::new(false), CacheSettings::default());
    let names: Vec<String> = (0..200).map(|number| format!("fake:s{number}")).collect();
    let ask = async |expected: std::ops::RangeInclusive<usize>| {
        let before = rig.store.reads();
        for name in &names {
            rig.version(name).await;
        }
        settle().await;
        let read = rig.store.reads() - before;
        assert!(expected.contains(&read), "{read} of {expected:?}");
    };
    for name in &names {
        rig.store.rotate(name.trim_start_matches("fake:"), "x", "v1");
    }
    ask(200..=200).await;
    rig.pass(239);
    ask(0..=0).await;
    rig.pass(61);
    ask(60..=140).await;
    rig.pass(60);
    // Those refreshed a minute ago are not due again.
    ask(60..=140).await;
    assert_eq!(rig.store.reads(), 400);
}
