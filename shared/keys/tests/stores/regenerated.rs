//! Keys with a second value: a pointer leads from its hash to the key.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use keyturn_ambient::Clock;
use keyturn_keys::{KeyError, KeyHash, KeyStore, NewKey};

use crate::contract::{ask, secret, spent};
use crate::dynamo::{CACHE_LIFE, Dynamo, n, pk, s};

/// Gives the key another value, as regeneration does; the first is good for another `grace`.
async fn regenerate(dynamo: &Dynamo, id: &KeyHash, value: &str, grace: Duration) -> KeyHash {
    let hash = KeyHash::of(&secret(value));
    let until = (dynamo.clock.now() + grace).as_second();
    let hashes = HashMap::from([(id.to_string(), n(until)), (hash.to_string(), n(0))]);
    dynamo.change(id, &[("hashes", AttributeValue::M(hashes))]).await;
    point(dynamo, &hash, &id.to_string()).await;
    hash
}

async fn point(dynamo: &Dynamo, hash: &KeyHash, to: &str) {
    let item = [("pk", pk(hash)), ("sk", s("KEY")), ("points_to", s(to))];
    dynamo.put(item.map(|(name, value)| (name.to_owned(), value)).into()).await;
}

#[tokio::test]
async fn both_values_open_the_key_during_the_grace_and_then_only_the_new_one() {
    for rpm_limit in [None, Some(1_000)] {
        let dynamo = Dynamo::start().await;
        let store = dynamo.store(CACHE_LIFE);
        let (_, key) = store.create(NewKey { rpm_limit, ..NewKey::default() }).await.unwrap();
        store.admit(&key.id, &ask(1, 0.0)).await.unwrap();
        let new = regenerate(&dynamo, &key.id, "sk-the-second-value", Duration::from_secs(60)).await;

        for hash in [key.id, new] {
            let admission = store.admit(&hash, &ask(1, 0.0)).await.unwrap();
            // Spend is the key's, whichever value was shown.
            assert_eq!(admission.key.id, key.id);
            store.settle(admission, &spent(1, 0.5)).await.unwrap();
        }
        dynamo.clock.advance(Duration::from_secs(59));
        store.admit(&key.id, &ask(1, 0.0)).await.unwrap();
        dynamo.clock.advance(Duration::from_secs(1));
        for store in [&store, &dynamo.store(CACHE_LIFE)] {
            assert!(matches!(store.admit(&key.id, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
            assert_eq!(store.admit(&new, &ask(1, 0.0)).await.unwrap().key.spend, 1.0);
        }
    }
}

#[tokio::test]
async fn following_the_pointer_costs_one_read_more() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(NewKey::default()).await.unwrap();
    let new = regenerate(&dynamo, &key.id, "sk-the-second-value", Duration::ZERO).await;
    dynamo.calls();
    store.admit(&new, &ask(1, 0.0)).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem", "GetItem"]);
    store.admit(&new, &ask(1, 0.0)).await.unwrap();
    assert_eq!(dynamo.calls(), [""; 0]);
}

#[tokio::test]
async fn a_pointer_alone_opens_nothing() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(NewKey::default()).await.unwrap();
    let [stranger, orphan, broken] =
        ["sk-stranger", "sk-orphan", "sk-broken"].map(|value| KeyHash::of(&secret(value)));

    // The key does not list this hash.
    point(&dynamo, &stranger, &key.id.to_string()).await;
    assert!(matches!(store.admit(&stranger, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
    // The key is gone.
    point(&dynamo, &orphan, &KeyHash::of(&secret("sk-gone")).to_string()).await;
    assert!(matches!(store.admit(&orphan, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
    // Nonsense in the table is our fault, not the caller's.
    point(&dynamo, &broken, "nonsense").await;
    assert!(matches!(store.admit(&broken, &ask(1, 0.0)).await, Err(KeyError::Unavailable(_))));
    // A pointer that leads to a pointer, here to itself, leads nowhere.
    let circle = KeyHash::of(&secret("sk-circle"));
    point(&dynamo, &circle, &circle.to_string()).await;
    assert!(matches!(store.admit(&circle, &ask(1, 0.0)).await, Err(KeyError::Unavailable(_))));
}
