//! The table is down, slow, throttled or holds nonsense: an outage of ours, never the caller's fault.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use keyturn_ambient::ManualClock;
use keyturn_keys::{DynamoKeyStore, KeyError, KeyHash, KeyStore, NewKey};

use crate::contract::{ask, secret, spent};
use crate::dynamo::{CACHE_LIFE, Dynamo, TABLE, config, s};

fn assert_outage<T>(outcome: Result<T, KeyError>) -> String {
    match outcome.err() {
        Some(error @ KeyError::Unavailable(_)) => error.source().unwrap().to_string(),
        Some(other) => panic!("{other}"),
        None => panic!("it succeeded"),
    }
}

#[tokio::test]
async fn while_the_table_is_down_cached_keys_work_until_their_cache_life_ends() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, free) = store.create(NewKey::default()).await.unwrap();
    let (_, limited) = store.create(NewKey { rpm_limit: Some(5), ..NewKey::default() }).await.unwrap();
    store.admit(&free.id, &ask(1, 0.1)).await.unwrap();
    store.admit(&limited.id, &ask(1, 0.1)).await.unwrap();
    dynamo.stop().await;

    let admission = store.admit(&free.id, &ask(1, 0.1)).await.unwrap();
    assert_outage(store.settle(admission, &spent(1, 0.1)).await);
    // Its limits cannot be held without the table.
    assert_outage(store.admit(&limited.id, &ask(1, 0.1)).await);
    assert_outage(store.admit(&KeyHash::of(&secret("sk-nobody")), &ask(1, 0.1)).await);
    assert_outage(store.create(NewKey::default()).await);
    dynamo.clock.advance(CACHE_LIFE);
    assert_outage(store.admit(&free.id, &ask(1, 0.1)).await);
}

#[tokio::test]
async fn an_outage_leaves_no_key_for_unknown() {
    let key = KeyHash::of(&secret("sk-somebody"));
    let (store, client) = canned([(500, "{}"), (200, r#"{"Responses":{"keys":[]}}"#)]);
    assert_outage(store.admit(&key, &ask(1, 0.0)).await);
    assert!(matches!(store.admit(&key, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
    assert_eq!(client.left(), 0, "the failure was remembered as an absence");
}

#[tokio::test]
async fn a_key_that_was_left_unread_is_not_unknown() {
    let key = KeyHash::of(&secret("sk-somebody"));
    let unread = format!(
        r#"{{"Responses":{{"keys":[]}},"UnprocessedKeys":{{"keys":{{"Keys":[{{"pk":{{"S":"KEY#{key}"}},"sk":{{"S":"KEY"}}}}]}}}}}}"#
    );
    let (store, client) = canned([(200, unread.as_str()), (200, unread.as_str())]);
    assert_outage(store.admit(&key, &ask(1, 0.0)).await);
    assert_eq!(client.left(), 0, "it was not asked again");

    let (store, _) = canned([(200, unread.as_str()), (200, r#"{"Responses":{"keys":[]}}"#)]);
    assert!(matches!(store.admit(&key, &ask(1, 0.0)).await, Err(KeyError::NotFound)));

    // Without the generation it is possible to go on.
    let only_the_generation = r#"{"Responses":{"keys":[]},"UnprocessedKeys":{"keys":{"Keys":[{"pk":{"S":"GENERATION"},"sk":{"S":"GENERATION"}}]}}}"#;
    let (store, _) = canned([(200, only_the_generation)]);
    assert!(matches!(store.admit(&key, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
}

#[tokio::test]
async fn what_dynamodb_says_is_for_the_log() {
    let key = KeyHash::of(&secret("sk-somebody"));
    let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized: BatchGetItem"}"#;
    let (store, _) = canned([(400, denied)]);
    let error = store.admit(&key, &ask(1, 0.0)).await.unwrap_err();
    assert_eq!(error.to_string(), "the key store is unavailable");
    let cause = assert_outage::<()>(Err(error));
    assert!(cause.contains("AccessDeniedException") && cause.contains("not authorized"), "{cause}");
}

#[tokio::test]
async fn nonsense_in_the_table_names_the_attribute_and_shows_no_value() {
    let dynamo = Dynamo::start().await;
    let nonsense = s("a-value-that-is-not-for-the-log");
    for limited in [None, Some(7)] {
        for attribute in
            ["id", "hashes", "rev", "committed", "spend", "created_at", "models", "expires", "rs#1"]
        {
            let store = dynamo.store(CACHE_LIFE);
            let (_, key) = store.create(NewKey { rpm_limit: limited, ..NewKey::default() }).await.unwrap();
            let mut item = dynamo.item(&key.id).await;
            item.insert(attribute.to_owned(), nonsense.clone());
            dynamo.put(item).await;
            let cause = assert_outage(store.admit(&key.id, &ask(1, 0.0)).await);
            assert!(cause.contains(attribute) && !cause.contains("a-value"), "{cause}");
        }
    }
}

/// A store whose DynamoDB gives these answers, one after the other.
fn canned<'a>(answers: impl IntoIterator<Item = (u16, &'a str)>) -> (DynamoKeyStore, Canned) {
    let answers = answers.into_iter().map(|(status, body)| (status, body.to_owned())).collect();
    let client = Canned(Arc::new(Mutex::new(answers)));
    let config = config("http://127.0.0.1:1").http_client(client.clone()).build();
    let clock = Arc::new(ManualClock::at("2026-11-20T12:00:00Z".parse().unwrap()));
    let life = Duration::from_secs(10);
    (DynamoKeyStore::new(Client::from_conf(config), TABLE.to_owned(), clock, life), client)
}

#[derive(Debug, Clone)]
struct Canned(Arc<Mutex<VecDeque<(u16, String)>>>);

impl Canned {
    /// How many answers have not been asked for.
    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl HttpClient for Canned {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = self.0.lock().unwrap().pop_front().expect("a call too many");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))))
    }
}
