//! Many secrets at once, in the init phase.

use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::{
    CacheSettings, CredentialCache, Secret, SecretError, SecretStore, Stage, Stores, VersionId,
};

use crate::rig::{Rig, down, reference, settle};

fn references(texts: &[&str]) -> Vec<SecretRef> {
    texts.iter().map(|text| reference(text)).collect()
}

#[tokio::test]
async fn it_reads_each_secret_once_in_one_batch() {
    let rig = Rig::new();
    rig.store.rotate("json", r#"{"A": "1", "B": "2"}"#, "v1");
    rig.store.rotate("b", "x", "v1");
    let wanted = references(&["fake:json#A", "fake:json#B", "fake:b", "fake:json#A", "fake:json"]);
    assert!(rig.cache.prefetch(&wanted).await.is_empty());
    assert_eq!(rig.store.batches(), [["json", "b"]]);
    for reference in &wanted {
        rig.cache.get(reference).await.unwrap();
    }
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn it_tells_what_could_not_be_had_and_keeps_the_rest() {
    let rig = Rig::new();
    rig.store.rotate("json", r#"{"A": "1"}"#, "v1");
    let wanted = references(&["fake:json#A", "fake:json#B", "fake:absent", "nowhere:x"]);
    let failed = rig.cache.prefetch(&wanted).await;
    let names: Vec<String> = failed.iter().map(|(reference, _)| reference.to_string()).collect();
    assert_eq!(names, ["fake:json#B", "fake:absent", "nowhere:x"]);
    assert!(matches!(failed[0].1, SecretError::NotFound { .. }));
    assert!(matches!(failed[1].1, SecretError::NotFound { .. }));
    assert!(matches!(failed[2].1, SecretError::UnknownScheme { .. }));
    assert_eq!(rig.version("fake:json#A").await, "v1");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_question_meanwhile_joins_it_and_what_is_held_is_not_read_again() {
    let rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.store.rotate(name, "x", "v1");
    }
    rig.version("fake:a").await;
    rig.store.gate(false);
    let before = rig.asking("fake:b").await;
    let cache = rig.cache.clone();
    let wanted = references(&["fake:a", "fake:b", "fake:c"]);
    let prefetch = tokio::spawn(async move { cache.prefetch(&wanted).await });
    settle().await;
    let during = rig.asking("fake:c").await;
    rig.store.gate(true);
    assert!(prefetch.await.unwrap().is_empty());
    before.await.unwrap().unwrap();
    during.await.unwrap().unwrap();
    assert_eq!(rig.store.batches(), [["c"]]);
    assert_eq!(rig.store.reads(), 3);
}

#[tokio::test]
async fn a_stage_is_read_by_itself() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.rotate("a", "two", "v2");
    let wanted = references(&["fake:a?stage=AWSPREVIOUS", "fake:a"]);
    assert!(rig.cache.prefetch(&wanted).await.is_empty());
    assert_eq!(rig.version("fake:a?stage=AWSPREVIOUS").await, "v1");
    assert_eq!(rig.version("fake:a").await, "v2");
    assert_eq!(rig.store.batches(), [["a"]]);
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn it_outlives_whoever_asked_for_it() {
    let rig = Rig::new();
    rig.store.rotate("a", "one", "v1");
    rig.store.gate(false);
    let cache = rig.cache.clone();
    let prefetch = tokio::spawn(async move { cache.prefetch(&references(&["fake:a"])).await });
    settle().await;
    prefetch.abort();
    rig.store.gate(true);
    assert_eq!(rig.version("fake:a").await, "v1");
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_or_fails_is_an_error_for_each() {
    let rig = Rig::new();
    let wanted = references(&["fake:a", "fake:b"]);
    rig.store.gate(false);
    let failed = rig.cache.prefetch(&wanted).await;
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|(_, error)| matches!(error, SecretError::Unavailable { .. })));
    rig.store.gate(true);
    rig.store.fail(Some(down));
    rig.pass(1);
    assert_eq!(rig.cache.prefetch(&wanted).await.len(), 2);
    assert_eq!(rig.store.batches().len(), 2);
}

/// A store with the port's own `get_many`.
struct Plain;

#[async_trait]
impl SecretStore for Plain {
    fn scheme(&self) -> &'static str {
        "plain"
    }

    async fn get(&self, name: &str, _: &Stage) -> Result<Secret, SecretError> {
        if name == "13" {
            return Err(SecretError::not_found("plain:13", "unlucky"));
        }
        Ok(Secret::new(name.to_owned(), VersionId::new(name)))
    }
}

#[tokio::test]
async fn a_store_without_a_batch_call_is_asked_one_by_one_in_order() {
    let names: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = Plain.get_many(&names).await;
    assert_eq!(answers.len(), 25);
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(secret) => assert_eq!(secret.value.expose(), *name),
            Err(_) => assert_eq!(*name, "13"),
        }
    }
    let stores = Stores::none().with(Arc::new(Plain));
    let cache = CredentialCache::new(stores, Arc::new(SystemClock), CacheSettings::default());
    let failed = cache.prefetch(&references(&["plain:12", "plain:13"])).await;
    assert_eq!(failed.len(), 1);
}
