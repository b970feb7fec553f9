//! How many calls an admission costs, and for how long memory is trusted.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use keyturn_keys::{KeyError, KeyHash, KeyStore, NewKey, Spent};

use crate::contract::{ask, secret, spent};
use crate::dynamo::{CACHE_LIFE, Dynamo, n, s};

fn limited() -> NewKey {
    NewKey { max_budget: Some(1.0), rpm_limit: Some(1_000), tpm_limit: Some(100_000), ..NewKey::default() }
}

#[tokio::test]
async fn a_key_without_limits_is_read_once_in_its_cache_life() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(NewKey::default()).await.unwrap();
    dynamo.calls();

    let admission = store.admit(&key.id, &ask(1, 1.0)).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem"], "cold");
    dynamo.clock.advance(CACHE_LIFE - Duration::from_millis(1));
    store.admit(&key.id, &ask(1, 1.0)).await.unwrap();
    assert_eq!(dynamo.calls(), [""; 0], "cached");
    // Spend is one write, and it makes nothing in memory look younger; nothing spent is none.
    store.settle(admission, &spent(1, 0.5)).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem"], "settled");
    let admission = store.admit(&key.id, &ask(1, 1.0)).await.unwrap();
    store.settle(admission, &Spent::default()).await.unwrap();
    assert_eq!(dynamo.calls(), [""; 0], "nothing spent");
    dynamo.clock.advance(Duration::from_millis(1));
    store.admit(&key.id, &ask(1, 1.0)).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem"], "after the cache life");
}

#[tokio::test]
async fn without_a_cache_life_the_table_is_always_asked() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(Duration::ZERO);
    let (_, key) = store.create(NewKey::default()).await.unwrap();
    dynamo.calls();
    for _ in 0..2 {
        store.admit(&key.id, &ask(1, 1.0)).await.unwrap();
        assert_eq!(dynamo.calls(), ["BatchGetItem"]);
    }
    let unknown = KeyHash::of(&secret("sk-unknown"));
    for _ in 0..2 {
        assert!(matches!(store.admit(&unknown, &ask(1, 1.0)).await, Err(KeyError::NotFound)));
        assert_eq!(dynamo.calls(), ["BatchGetItem"]);
    }
}

#[tokio::test]
async fn a_key_with_limits_costs_one_write() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(limited()).await.unwrap();
    dynamo.calls();

    let admission = store.admit(&key.id, &ask(10, 0.1)).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem", "UpdateItem"], "cold");
    store.settle(admission, &spent(5, 0.05)).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem"], "settled");
    for _ in 0..3 {
        store.admit(&key.id, &ask(10, 0.1)).await.unwrap();
        assert_eq!(dynamo.calls(), ["UpdateItem"], "warm");
    }
    // The generation's time is over; it is read beside the write.
    dynamo.clock.advance(CACHE_LIFE);
    store.admit(&key.id, &ask(10, 0.1)).await.unwrap();
    let mut calls = dynamo.calls();
    calls.sort();
    assert_eq!(calls, ["GetItem", "UpdateItem"], "after the cache life");
    // A refusal is one write too: it tells why.
    assert!(matches!(store.admit(&key.id, &ask(10, 5.0)).await, Err(KeyError::BudgetExceeded { .. })));
    assert_eq!(dynamo.calls(), ["UpdateItem"], "refused");
}

#[tokio::test]
async fn a_request_of_unknown_cost_still_proves_the_key() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(NewKey { max_budget: Some(1.0), ..NewKey::default() }).await.unwrap();
    store.admit(&key.id, &ask(0, 0.0)).await.unwrap();
    dynamo.calls();
    let admission = store.admit(&key.id, &ask(0, 0.0)).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem"]);
    store.settle(admission, &spent(0, 0.25)).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem"]);
}

#[tokio::test]
async fn a_change_of_a_limited_key_holds_at_its_next_request() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(limited()).await.unwrap();
    store.admit(&key.id, &ask(1, 0.9)).await.unwrap();
    assert!(matches!(store.admit(&key.id, &ask(1, 0.9)).await, Err(KeyError::BudgetExceeded { .. })));

    dynamo.change(&key.id, &[("max_budget", n(2_000_000_000))]).await;
    dynamo.calls();
    let admission = store.admit(&key.id, &ask(1, 0.9)).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem", "UpdateItem"]);
    assert_eq!(admission.key.max_budget, Some(2.0));

    dynamo.change(&key.id, &[("models", AttributeValue::L(vec![s("other")]))]).await;
    assert!(matches!(store.admit(&key.id, &ask(1, 0.1)).await, Err(KeyError::ModelDenied { .. })));
    dynamo.change(&key.id, &[("models", AttributeValue::L(vec![]))]).await;
    dynamo.change(&key.id, &[("blocked", AttributeValue::Bool(true))]).await;
    // The refusal came from memory, where it may stay for the cache life.
    assert!(matches!(store.admit(&key.id, &ask(1, 0.1)).await, Err(KeyError::ModelDenied { .. })));
    dynamo.clock.advance(CACHE_LIFE);
    assert!(matches!(store.admit(&key.id, &ask(1, 0.1)).await, Err(KeyError::Blocked)));

    // Unblocked, and without limits from now on: nothing left to reserve.
    dynamo.change(&key.id, &[("blocked", AttributeValue::Bool(false))]).await;
    let mut item = dynamo.item(&key.id).await;
    for limit in ["max_budget", "rpm_limit", "tpm_limit"] {
        item.remove(limit);
    }
    dynamo.put(item).await;
    dynamo.clock.advance(CACHE_LIFE);
    assert!(store.admit(&key.id, &ask(1, 50.0)).await.unwrap().reservation.is_none());
}

#[tokio::test]
async fn a_limited_key_that_loses_its_limits_is_admitted_by_the_refused_write() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(NewKey { rpm_limit: Some(1), ..NewKey::default() }).await.unwrap();
    store.admit(&key.id, &ask(1, 0.0)).await.unwrap();
    let mut item = dynamo.item(&key.id).await;
    item.remove("rpm_limit");
    dynamo.put(item).await;
    dynamo.change(&key.id, &[]).await;
    dynamo.calls();
    assert!(store.admit(&key.id, &ask(1, 0.0)).await.unwrap().reservation.is_none());
    assert_eq!(dynamo.calls(), ["UpdateItem"]);
}

#[tokio::test]
async fn a_deleted_key_stops_and_is_not_brought_back() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    for new in [limited(), NewKey::default()] {
        let (_, key) = store.create(new).await.unwrap();
        let admission = store.admit(&key.id, &ask(1, 0.1)).await.unwrap();
        dynamo.delete(&key.id).await;
        if !key.limited() {
            // Within its cache life it goes on.
            store.admit(&key.id, &ask(1, 0.1)).await.unwrap();
            dynamo.clock.advance(CACHE_LIFE);
        }
        assert!(matches!(store.admit(&key.id, &ask(1, 0.1)).await, Err(KeyError::NotFound)));
        assert!(matches!(store.settle(admission, &spent(1, 0.1)).await, Err(KeyError::NotFound)));
        let fresh = dynamo.store(CACHE_LIFE);
        assert!(matches!(fresh.admit(&key.id, &ask(1, 0.1)).await, Err(KeyError::NotFound)));
    }
}

#[tokio::test]
async fn a_key_made_again_is_not_taken_for_its_former_self() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let other = dynamo.store(CACHE_LIFE);
    let new = |rpm_limit| NewKey { key: Some(secret("sk-made-twice-over")), rpm_limit, ..NewKey::default() };
    let (_, key) = store.create(new(Some(100))).await.unwrap();
    other.admit(&key.id, &ask(1, 0.0)).await.unwrap();
    dynamo.delete(&key.id).await;
    dynamo.clock.advance(Duration::from_secs(1));
    store.create(new(Some(1))).await.unwrap();
    other.admit(&key.id, &ask(1, 0.0)).await.unwrap();
    let error = other.admit(&key.id, &ask(1, 0.0)).await.unwrap_err();
    assert!(matches!(error, KeyError::RateLimited { limit: 1, .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_key_is_not_looked_up_again_for_two_seconds() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let hash = KeyHash::of(&secret("sk-from-elsewhere"));
    for _ in 0..3 {
        assert!(matches!(store.admit(&hash, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
    }
    assert_eq!(dynamo.calls(), ["BatchGetItem"]);
    // Another process makes it.
    let own = NewKey { key: Some(secret("sk-from-elsewhere")), ..NewKey::default() };
    dynamo.store(CACHE_LIFE).create(own).await.unwrap();
    assert!(matches!(store.admit(&hash, &ask(1, 0.0)).await, Err(KeyError::NotFound)));
    dynamo.clock.advance(Duration::from_secs(2));
    store.admit(&hash, &ask(1, 0.0)).await.unwrap();
}

#[tokio::test]
async fn a_finished_rotation_is_noticed_within_the_cache_life() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    for new in [NewKey::default(), limited()] {
        let (_, key) = store.create(new).await.unwrap();
        let before = store.admit(&key.id, &ask(1, 0.0)).await.unwrap().generation;
        dynamo.set_generation(i64::try_from(before).unwrap() + 1).await;
        assert_eq!(store.admit(&key.id, &ask(1, 0.0)).await.unwrap().generation, before);
        dynamo.clock.advance(CACHE_LIFE);
        assert_eq!(store.admit(&key.id, &ask(1, 0.0)).await.unwrap().generation, before + 1);
    }
    let (_, key) = store.create(limited()).await.unwrap();
    assert_eq!(dynamo.store(CACHE_LIFE).admit(&key.id, &ask(1, 0.0)).await.unwrap().generation, 2);
}
