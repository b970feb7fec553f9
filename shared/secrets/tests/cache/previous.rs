//! The version before the current one.

use keyturn_secrets::SecretError;

use crate::rig::{Rig, down, reference};

async fn version(rig: &Rig, text: &str) -> Option<String> {
    let secret = rig.cache.previous(&reference(text)).await.unwrap();
    secret.map(|secret| secret.version.to_string())
}

#[tokio::test]
async fn it_is_read_and_cached_like_the_rest() {
    let rig = Rig::new();
    rig.store.rotate("a", r#"{"K": "one"}"#, "v1");
    rig.store.rotate("a", r#"{"K": "two"}"#, "v2");
    rig.version("fake:a#K").await;
    let secret = rig.cache.previous(&reference("fake:a#K")).await.unwrap().unwrap();
    assert_eq!((secret.value.expose(), secret.version.as_str()), ("one", "v1"));
    rig.pass(299);
    assert_eq!(version(&rig, "fake:a#K").await.as_deref(), Some("v1"));
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn what_is_not_there_is_no_error_and_asked_for_once_per_refusal_cooldown() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.version("fake:a").await;
    for _ in 0..20 {
        assert_eq!(version(&rig, "fake:a").await, None);
        rig.pass(1);
    }
    assert_eq!(rig.store.reads(), 1 + 2);
}

#[tokio::test]
async fn a_rotation_moves_it() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.rotate("a", "two", "v2");
    rig.version("fake:a").await;
    assert_eq!(version(&rig, "fake:a").await.as_deref(), Some("v1"));
    rig.store.rotate("a", "three", "v3");
    assert_eq!(rig.refused("fake:a", "v2").await, "v3");
    assert_eq!(version(&rig, "fake:a").await.as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_reference_that_names_a_stage_has_none() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.rotate("a", "two", "v2");
    assert_eq!(version(&rig, "fake:a?stage=AWSPREVIOUS").await, None);
    assert_eq!(rig.version("fake:a?stage=AWSPREVIOUS").await, "v1");
    assert_eq!(version(&rig, "fake:a?stage=AWSCURRENT").await.as_deref(), Some("v1"));
}

#[tokio::test]
async fn an_outage_is_an_error() {
    let rig = Rig::new();
    rig.store.fail(Some(down));
    let error = rig.cache.previous(&reference("fake:a")).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
}
