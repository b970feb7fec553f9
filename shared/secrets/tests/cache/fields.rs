//! Fields of one secret.

use keyturn_secrets::SecretError;

use crate::rig::{Rig, reference, settle};

#[tokio::test]
async fn fields_of_one_secret_share_its_reads() {
    let rig = Rig::new();
    rig.store.rotate("a", r#"{"A": "1", "B": 2}"#, "v1");
    assert_eq!(rig.cache.get(&reference("fake:a#A")).await.unwrap().value.expose(), "1");
    assert_eq!(rig.cache.get(&reference("fake:a#B")).await.unwrap().value.expose(), "2");
    assert_eq!(rig.version("fake:a").await, "v1");
    assert_eq!(rig.version("fake:a?stage=AWSCURRENT").await, "v1");
    assert_eq!(rig.store.reads(), 1);
    rig.store.rotate("a", r#"{"A": "3", "B": 4}"#, "v2");
    assert_eq!(rig.refused("fake:a#A", "v1").await, "v2");
    assert_eq!(rig.refused("fake:a#B", "v1").await, "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_missing_field_is_an_error_that_names_the_reference_and_is_looked_for_once_a_second() {
    let rig = Rig::new();
    rig.store.rotate("a", r#"{"A": "1"}"#, "v1");
    for _ in 0..10 {
        let error = rig.cache.get(&reference("fake:a#B")).await.unwrap_err();
        assert!(matches!(&error, SecretError::NotFound { reference, .. } if reference == "fake:a#B"));
    }
    assert_eq!(rig.store.reads(), 1);
    rig.store.rotate("a", r#"{"A": "1", "B": "2"}"#, "v2");
    rig.pass(1);
    assert_eq!(rig.version("fake:a#B").await, "v2");
    assert_eq!(rig.store.reads(), 2);
}

#[tokio::test]
async fn a_field_that_a_newer_version_lacks_is_kept_to_its_hard_ttl() {
    for broken in [r#"{"A": "3"}"#, r#"{"A": "3", "B": "#] {
        let rig = Rig::new();
        rig.store.rotate("a", r#"{"A": "1", "B": "2"}"#, "v1");
        rig.version("fake:a#B").await;
        rig.store.rotate("a", broken, "v2");
        rig.pass(300);
        rig.version("fake:a#B").await;
        settle().await;
        assert_eq!(rig.version("fake:a").await, "v2");
        assert_eq!(rig.version("fake:a#B").await, "v1");
        rig.pass(3299);
        assert_eq!(rig.version("fake:a#B").await, "v1");
        settle().await;
        rig.pass(1);
        rig.cache.get(&reference("fake:a#B")).await.unwrap_err();
        assert_eq!(rig.version("fake:a").await, "v2");
    }
}

#[tokio::test]
async fn a_kept_field_that_is_refused_is_read_for() {
    let rig = Rig::new();
    rig.store.rotate("a", r#"{"A": "1"}"#, "v1");
    rig.version("fake:a#A").await;
    rig.store.rotate("a", "{", "v2");
    assert_eq!(rig.refused("fake:a#A", "v1").await, "v1");
    rig.store.rotate("a", r#"{"A": "3"}"#, "v3");
    rig.pass(10);
    assert_eq!(rig.refused("fake:a#A", "v1").await, "v3");
}
