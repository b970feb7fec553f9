//! What takes time at the service: deleting, recovering and purging.

use std::collections::HashMap;
use std::sync::Arc;

use keyturn_ambient::SystemClock;
use keyturn_http::call::Answer;
use keyturn_tests::azure::Azure;
use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::{About, StagedStore};

/// A store that asks again at once.
fn store(azure: &Azure) -> AzureKeyVault {
    let env: HashMap<String, String> = azure.variables().into_iter().collect();
    let found = Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    };
    AzureKeyVault { waits: [Duration::ZERO; WAITS.len()], ..AzureKeyVault::new(&found) }
}

#[tokio::test]
async fn a_secret_that_is_being_deleted_or_recovered_is_waited_for() {
    let azure = Azure::start().await;
    let store = store(&azure);
    let about = About { tags: [("team".to_owned(), "a".to_owned())].into(), ..About::default() };
    store.write("name", &"one".into(), &about).await.unwrap();
    azure.move_slowly(2);
    azure.delete("name");
    // It is recovered, which takes two calls, and keeps its tags.
    store.write("name", &"two".into(), &About::default()).await.unwrap();
    assert_eq!((azure.newest("name").unwrap().as_str(), azure.tags("name")), ("two", json!({"team": "a"})));
    // It is deleted, which takes two calls, and purged, which takes two more.
    store.remove("name").await.unwrap();
    assert!(azure.newest("name").is_none() && !azure.is_recoverable("name"));
    store.write("name", &"three".into(), &About::default()).await.unwrap();
    assert_eq!((azure.newest("name").unwrap().as_str(), azure.tags("name")), ("three", json!({})));
}

#[tokio::test]
async fn it_is_not_waited_for_without_end() {
    let azure = Azure::start().await;
    let store = store(&azure);
    store.write("name", &"one".into(), &About::default()).await.unwrap();
    azure.move_slowly(100);
    let error = store.remove("name").await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    let error = store.write("name", &"two".into(), &About::default()).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    // One deletion, two purges or so, and one write, each with all the waits at most.
    assert!(azure.vault.asked().len() < 4 * WAITS.len());
}

#[tokio::test]
async fn a_name_of_an_error_that_repeats_the_value_is_not_told() {
    let azure = Azure::start().await;
    let place = Place::of(&store(&azure).found, "name").unwrap();
    let body = json!({"error": {"code": "Conflict", "innererror": {"code": "sk-4f1d9b"}}}).to_string();
    for (sent, expected) in [("sk-4f1d9b", "HTTP 409 Conflict"), ("other", "HTTP 409 sk-4f1d9b")] {
        let answer = Answer::made_up(StatusCode::CONFLICT, body.as_bytes(), vec![sent.into()], ());
        let SecretError::Conflict { cause, .. } = place.refusal(&answer) else { panic!("{sent}") };
        assert_eq!(cause.to_string(), expected);
    }
}

#[test]
fn azures_own_vaults_are_known_with_what_their_tokens_are_for() {
    let env: HashMap<String, String> = HashMap::new();
    let found = Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    };
    for (name, vault, scope) in [
        ("v.vault.azure.net/n", "https://v.vault.azure.net/", "https://vault.azure.net/.default"),
        (
            "https://V.vault.azure.cn/secrets/n",
            "https://v.vault.azure.cn/",
            "https://vault.azure.cn/.default",
        ),
        (
            "v.vault.usgovcloudapi.net/n",
            "https://v.vault.usgovcloudapi.net/",
            "https://vault.usgovcloudapi.net/.default",
        ),
    ] {
        let place = Place::of(&found, name).unwrap();
        assert_eq!((place.vault.base().as_str(), place.scope), (vault, scope));
        assert_eq!(place.canonical(), format!("{}n", vault.trim_start_matches("https://")));
    }
}
