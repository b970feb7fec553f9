//! What is left in a key's item: counters add up, and old ones go away.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keyturn_keys::{KeyError, KeyStore, NewKey, Spent};

use crate::contract::{ask, spent};
use crate::dynamo::{CACHE_LIFE, Dynamo, Item, number};

/// The item's counters of slots and minutes, sorted by name.
fn counters(item: &Item) -> Vec<(String, i64)> {
    let is_counter = |name: &&String| ["rs#", "rq#", "tk#"].iter().any(|prefix| name.starts_with(prefix));
    let mut found: Vec<_> =
        item.keys().filter(is_counter).map(|name| (name.clone(), number(item, name))).collect();
    found.sort();
    found
}

/// `committed` is the spend and what is reserved, at any time.
fn assert_adds_up(item: &Item) {
    let reserved: i64 =
        counters(item).iter().filter(|(name, _)| name.starts_with("rs#")).map(|(_, n)| n).sum();
    assert_eq!(number(item, "committed"), number(item, "spend") + reserved);
}

#[tokio::test]
async fn counters_of_past_times_are_removed() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let new = NewKey {
        max_budget: Some(1_000.0),
        rpm_limit: Some(1_000),
        tpm_limit: Some(1_000_000),
        ..NewKey::default()
    };
    let (_, key) = store.create(new).await.unwrap();
    let mut settled = 0;
    for number in 0..150 {
        let admission = store.admit(&key.id, &ask(10, 0.5)).await.unwrap();
        // Every third function dies.
        if number % 3 != 0 {
            store.settle(admission, &spent(7, 0.25)).await.unwrap();
            settled += 1;
        }
        dynamo.clock.advance(Duration::from_secs(40));
    }
    let item = dynamo.item(&key.id).await;
    assert_adds_up(&item);
    assert_eq!(number(&item, "spend"), settled * 250_000_000);
    let counters = counters(&item);
    let kinds = |prefix| counters.iter().filter(|(name, _)| name.starts_with(prefix)).count();
    assert_eq!((kinds("rs#"), kinds("rq#"), kinds("tk#")), (4, 2, 2), "{counters:?}");

    // A long pause: one request clears all that is left, and it is not refused for it.
    dynamo.clock.advance(Duration::from_secs(86_400));
    dynamo.calls();
    let admission = store.admit(&key.id, &ask(10, 0.5)).await.unwrap();
    assert_eq!(dynamo.calls().iter().filter(|call| *call == "UpdateItem").count(), 1);
    store.settle(admission, &Spent::default()).await.unwrap();
    let item = dynamo.item(&key.id).await;
    assert_adds_up(&item);
    assert_eq!(number(&item, "committed"), number(&item, "spend"));
    assert_eq!(self::counters(&item).len(), 3);
}

#[tokio::test]
async fn settling_leaves_nothing_reserved() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(NewKey { max_budget: Some(10.0), ..NewKey::default() }).await.unwrap();
    for actual in [0.0, 0.5, 0.25, 1.0] {
        let admission = store.admit(&key.id, &ask(0, 0.5)).await.unwrap();
        store.settle(admission, &spent(0, actual)).await.unwrap();
        let item = dynamo.item(&key.id).await;
        assert_adds_up(&item);
        assert_eq!(number(&item, "committed"), number(&item, "spend"));
    }
    assert_eq!(number(&dynamo.item(&key.id).await, "spend"), 1_750_000_000);
}

/// An upstream claims what no request can cost, more often than 64 bits can add up.
#[tokio::test]
async fn absurd_usage_exhausts_a_key_and_does_not_break_it() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let limited =
        NewKey { max_budget: Some(100.0), tpm_limit: Some(1_000), rpm_limit: Some(100), ..NewKey::default() };
    for new in [limited, NewKey::default()] {
        let (_, key) = store.create(new).await.unwrap();
        let mut admissions = Vec::new();
        for _ in 0..20 {
            admissions.push(store.admit(&key.id, &ask(10, 1.0)).await.unwrap());
        }
        for admission in admissions {
            store.settle(admission, &spent(u64::MAX, f64::INFINITY)).await.unwrap();
        }
        let outcome = dynamo.store(CACHE_LIFE).admit(&key.id, &ask(1, 0.0)).await;
        if key.limited() {
            assert!(matches!(outcome, Err(KeyError::BudgetExceeded { .. })));
        } else {
            assert!(outcome.unwrap().key.spend > 1e9);
        }
    }
}

/// Four processes whose view of the item is out of date find reservations that have ended, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_reservations_are_given_back_once_however_many_notice() {
    const COST: f64 = 0.02;
    let dynamo = Dynamo::start().await;
    let stores: Vec<_> = (0..4).map(|_| Arc::new(dynamo.store(CACHE_LIFE))).collect();
    let new = NewKey { max_budget: Some(50.0 * COST), ..NewKey::default() };
    let (_, key) = stores[0].create(new).await.unwrap();
    // Each process sees another state of two slots; all of these requests die, and the budget is used up.
    for _ in 0..2 {
        for store in &stores {
            store.admit(&key.id, &ask(0, 6.25 * COST)).await.unwrap();
        }
        dynamo.clock.advance(Duration::from_secs(300));
    }
    let refused = stores[0].admit(&key.id, &ask(0, COST)).await;
    assert!(matches!(refused, Err(KeyError::BudgetExceeded { .. })));
    dynamo.clock.advance(Duration::from_secs(1_200));

    let requests = (0..200).map(|number| {
        let store = Arc::clone(&stores[number % 4]);
        tokio::spawn(async move { store.admit(&key.id, &ask(0, COST)).await })
    });
    let mut admitted = 0;
    for outcome in join_all(requests).await {
        match outcome.unwrap() {
            Ok(_) => admitted += 1,
            Err(KeyError::BudgetExceeded { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(admitted, 50);
    let item = dynamo.item(&key.id).await;
    assert_adds_up(&item);
    assert_eq!(number(&item, "committed"), 1_000_000_000);
}
