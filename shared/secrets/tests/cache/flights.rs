//! One read for all, whoever asked first.

use std::time::Duration;

use futures_util::future::join_all;
use keyturn_secrets::SecretError;

use crate::rig::{Rig, down, reference, settle};

#[tokio::test]
async fn two_hundred_questions_are_one_read() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    let reference = reference("fake:a");
    let answers = join_all((0..200).map(|_| rig.cache.get(&reference))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().version.as_str() == "v1"));
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_questions_from_several_threads_are_one_read() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    let ask = |_| {
        let (cache, reference) = (rig.cache.clone(), reference("fake:a"));
        tokio::spawn(async move { cache.get(&reference).await })
    };
    for answer in join_all((0..200).map(ask)).await {
        assert_eq!(answer.unwrap().unwrap().version.as_str(), "v1");
    }
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn all_who_wait_get_the_error() {
    let rig = Rig::new();
    rig.store.fail(Some(down));
    let reference = reference("fake:a");
    for answer in join_all((0..200).map(|_| rig.cache.get(&reference))).await {
        assert!(matches!(answer, Err(SecretError::Unavailable { reference, .. }) if reference == "fake:a"));
    }
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn whoever_asked_first_may_go_away() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.gate(false);
    let leader = rig.asking("fake:a").await;
    let follower = rig.asking("fake:a").await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    rig.store.gate(true);
    assert_eq!(follower.await.unwrap().unwrap().version.as_str(), "v1");
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_is_not_lost() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.gate(false);
    let leader = rig.asking("fake:a").await;
    leader.abort();
    rig.store.gate(true);
    settle().await;
    assert_eq!(rig.version("fake:a").await, "v1");
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn a_failed_read_answers_for_a_second() {
    let rig = Rig::new();
    let reference = reference("fake:a");
    for _ in 0..100 {
        assert!(matches!(rig.cache.get(&reference).await, Err(SecretError::NotFound { .. })));
    }
    assert_eq!(rig.store.reads(), 1);
    rig.store.rotate("a", "one", "v1");
    assert!(rig.cache.get(&reference).await.is_err());
    rig.pass(1);
    assert_eq!(rig.version("fake:a").await, "v1");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_read_that_panics_lets_its_waiters_go_and_blocks_nothing() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.panic(true);
    let error = rig.cache.get(&reference("fake:a")).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    rig.store.panic(false);
    assert_eq!(rig.version("fake:a").await, "v1");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up() {
    let rig = Rig::new();
    rig.store.gate(false);
    let began = tokio::time::Instant::now();
    let error = rig.cache.get(&reference("fake:a")).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), Duration::from_secs(9).as_secs());
}

#[tokio::test]
async fn a_scheme_without_a_store_is_an_error_that_names_those_that_there_are() {
    let error = Rig::new().cache.get(&reference("user:password#b")).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no such secret store: expected fake:");
    assert!(!format!("{error:?}").contains("user"), "{error:?}");
}
