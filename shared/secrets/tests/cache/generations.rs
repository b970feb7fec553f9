//! Rotations that were heard of.

use crate::rig::{Rig, down, settle};

#[tokio::test]
async fn a_new_generation_makes_what_was_read_before_due_once() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.rotate("a", "two", "v2");
    rig.cache.generation(7);
    assert_eq!(rig.version("fake:a").await, "v1", "served while it is refreshed");
    settle().await;
    assert_eq!(rig.version("fake:a").await, "v2");
    for generation in [7, 6, 0, 7] {
        rig.cache.generation(generation);
        rig.version("fake:a").await;
        settle().await;
    }
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn what_is_read_afterwards_is_not_due() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.cache.generation(7);
    rig.version("fake:a").await;
    rig.version("fake:a").await;
    settle().await;
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn a_read_that_began_before_it_does_not_count_as_read_after_it() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.gate(false);
    let asking = rig.asking("fake:a").await;
    rig.store.rotate("a", "two", "v2");
    rig.cache.generation(7);
    rig.store.gate(true);
    asking.await.unwrap().unwrap();
    assert_eq!(rig.version("fake:a").await, "v1");
    settle().await;
    assert_eq!(rig.version("fake:a").await, "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_refresh_that_failed_stays_due() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.rotate("a", "two", "v2");
    rig.cache.generation(7);
    rig.store.fail(Some(down));
    rig.version("fake:a").await;
    settle().await;
    rig.store.fail(None);
    rig.pass(1);
    assert_eq!(rig.version("fake:a").await, "v1");
    settle().await;
    assert_eq!(rig.version("fake:a").await, "v2");
}

#[tokio::test]
async fn a_generation_never_falls() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.cache.generation(7);
    rig.cache.generation(6);
    rig.version("fake:a").await;
    rig.cache.generation(7);
    rig.version("fake:a").await;
    settle().await;
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn a_read_that_succeeds_ends_the_cooldown_of_one_that_failed() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    rig.store.fail(Some(down));
    rig.cache.generation(7);
    rig.version("fake:a").await;
    settle().await;
    rig.store.fail(None);
    assert_eq!(rig.refused("fake:a", "v1").await, "v1");
    rig.cache.generation(8);
    rig.version("fake:a").await;
    settle().await;
    assert_eq!(rig.store.reads(), 4);
}
