//! What every key store must do, as one suite that each of them runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keyturn_ambient::{Clock, ManualClock};
use keyturn_keys::{Admission, Ask, KeyError, KeyHash, KeyStore, LimitType, NewKey, Spent, VirtualKey};
use secrecy::{ExposeSecret, SecretString};

/// The store under test.
pub(crate) struct Subject<'a> {
    /// Opens the store as another gateway process would: same keys, nothing in memory.
    pub(crate) open: &'a (dyn Fn() -> Arc<dyn KeyStore> + Sync),
    /// The clock that every opened store goes by.
    pub(crate) clock: &'a ManualClock,
}

/// Runs everything.
pub(crate) async fn suite(subject: &Subject<'_>) {
    a_new_key_works_at_once_and_everywhere(subject).await;
    a_key_of_ones_own_is_taken_once(subject).await;
    an_alias_is_taken_once(subject).await;
    what_cannot_be_a_key_is_refused(subject).await;
    blocked_expired_and_denied(subject).await;
    authentication_asks_nothing_of_the_limits(subject).await;
    a_budget_is_reserved_and_settled(subject).await;
    a_used_up_budget_admits_nothing(subject).await;
    a_reservation_that_nobody_settles_ends(subject).await;
    requests_in_a_minute(subject).await;
    tokens_in_a_minute(subject).await;
    spend_is_recorded_without_limits(subject).await;
    room_for_fifty_lets_fifty_through(subject).await;
}

/// A request for `gpt-4o`.
pub(crate) fn ask(tokens: u64, cost: f64) -> Ask<'static> {
    Ask { model: "gpt-4o", tokens, cost }
}

pub(crate) fn spent(tokens: u64, cost: f64) -> Spent {
    Spent { tokens, cost }
}

pub(crate) fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

async fn made(store: &dyn KeyStore, key: NewKey) -> (KeyHash, VirtualKey) {
    let (value, key) = store.create(key).await.unwrap();
    (KeyHash::of(&value), key)
}

async fn admitted(store: &dyn KeyStore, hash: &KeyHash, ask: &Ask<'_>) -> Admission {
    store.admit(hash, ask).await.unwrap()
}

async fn refused(store: &dyn KeyStore, hash: &KeyHash, ask: &Ask<'_>) -> KeyError {
    store.admit(hash, ask).await.unwrap_err()
}

/// Spend as another process reads it.
async fn spend(subject: &Subject<'_>, hash: &KeyHash) -> f64 {
    let store = (subject.open)();
    let admission = admitted(&*store, hash, &ask(0, 0.0)).await;
    let spend = admission.key.spend;
    store.settle(admission, &Spent::default()).await.unwrap();
    spend
}

async fn a_new_key_works_at_once_and_everywhere(subject: &Subject<'_>) {
    let store = (subject.open)();
    let new = NewKey {
        key_alias: Some("first/one".to_owned()),
        team_id: Some("team".to_owned()),
        user_id: Some("user".to_owned()),
        models: vec!["gpt-4o".to_owned(), "anthropic/*".to_owned()],
        aliases: BTreeMap::from([("mine".to_owned(), "gpt-4o".to_owned())]),
        metadata: Some(r#"{"a":[1]}"#.to_owned()),
        tags: vec!["blue".to_owned()],
        max_budget: Some(12.5),
        rpm_limit: Some(100),
        tpm_limit: Some(10_000),
        expires: Some("2030-01-01T00:00:00.5Z".parse().unwrap()),
        ..NewKey::default()
    };
    let (value, key) = store.create(new).await.unwrap();
    assert!(value.expose_secret().starts_with("sk-"));
    assert_eq!(value.expose_secret().len(), 25);
    assert_eq!(key.key_name, format!("sk-...{}", &value.expose_secret()[21..]));
    assert_eq!(key.id, KeyHash::of(&value));
    assert_eq!(key.key_alias.as_deref(), Some("first/one"));
    assert_eq!((key.max_budget, key.rpm_limit, key.tpm_limit), (Some(12.5), Some(100), Some(10_000)));
    assert_eq!(key.created_at, subject.clock.now());
    assert!(!format!("{key:?}").contains(value.expose_secret()));

    for store in [store, (subject.open)()] {
        let admission = admitted(&*store, &key.id, &ask(1, 0.1)).await;
        assert!(*admission.key == key, "{:?}", admission.key);
        store.settle(admission, &Spent::default()).await.unwrap();
    }

    // The same without any of the fields that may be missing.
    let store = (subject.open)();
    let (hash, key) = made(&*store, NewKey::default()).await;
    let admission = admitted(&*(subject.open)(), &hash, &ask(1, 1.0)).await;
    assert!(*admission.key == key);
    assert!(admission.reservation.is_none() && admission.rate_headers.is_empty());
    assert_eq!(key.metadata, "{}");

    let unknown = KeyHash::of(&secret("sk-nobody-has-this-one"));
    assert!(matches!(refused(&*store, &unknown, &ask(1, 0.0)).await, KeyError::NotFound));
}

async fn a_key_of_ones_own_is_taken_once(subject: &Subject<'_>) {
    let store = (subject.open)();
    let value = "sk-of-my-own-making";
    let hash = KeyHash::of(&secret(value));
    // The store remembers for a while that there is no such key; making it must end that.
    assert!(matches!(refused(&*store, &hash, &ask(1, 0.0)).await, KeyError::NotFound));
    let own = |alias: &str| NewKey {
        key: Some(secret(value)),
        key_alias: Some(alias.to_owned()),
        ..NewKey::default()
    };
    let (given, key) = store.create(own("mine")).await.unwrap();
    assert_eq!(given.expose_secret(), value);
    assert_eq!((key.id, key.key_name.as_str()), (hash, "sk-...king"));
    admitted(&*store, &hash, &ask(1, 0.0)).await;

    let error = store.create(own("another")).await.unwrap_err();
    assert!(matches!(error, KeyError::Duplicate { field: "key" }), "{error}");
    // The alias of the failed attempt is still free, and the key is as it was.
    made(&*store, NewKey { key_alias: Some("another".to_owned()), ..NewKey::default() }).await;
    let admission = admitted(&*(subject.open)(), &hash, &ask(1, 0.0)).await;
    assert_eq!(admission.key.key_alias.as_deref(), Some("mine"));
}

async fn an_alias_is_taken_once(subject: &Subject<'_>) {
    let stores = [(subject.open)(), (subject.open)()];
    let value = |number: usize| format!("sk-alias-contest-{number:02}");
    let contest = join_all((0..20).map(|number| {
        let store = &stores[number % 2];
        store.create(NewKey {
            key: Some(secret(&value(number))),
            key_alias: Some("contested".to_owned()),
            ..NewKey::default()
        })
    }))
    .await;
    let mut winners = 0;
    for (number, outcome) in contest.into_iter().enumerate() {
        let found = (subject.open)().admit(&KeyHash::of(&secret(&value(number))), &ask(1, 0.0)).await;
        match outcome {
            Ok(_) => {
                winners += 1;
                found.unwrap();
            }
            Err(KeyError::Duplicate { field: "key_alias" }) => {
                assert!(matches!(found, Err(KeyError::NotFound)));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners, 1);
}

async fn what_cannot_be_a_key_is_refused(subject: &Subject<'_>) {
    let store = (subject.open)();
    let cases = [
        ("key", NewKey { key: Some(secret("sk-short")), ..NewKey::default() }),
        ("key_alias", NewKey { key_alias: Some("a/../b".to_owned()), ..NewKey::default() }),
        ("key_alias", NewKey { key_alias: Some("a\tb".to_owned()), ..NewKey::default() }),
        ("max_budget", NewKey { max_budget: Some(f64::NAN), ..NewKey::default() }),
        ("metadata", NewKey { metadata: Some("[]".to_owned()), ..NewKey::default() }),
    ];
    for (expected, new) in cases {
        match store.create(new).await {
            Err(KeyError::Invalid { field, .. }) => assert_eq!(field, expected),
            Err(error) => panic!("{expected}: {error}"),
            Ok(_) => panic!("{expected} was accepted"),
        }
    }
}

async fn blocked_expired_and_denied(subject: &Subject<'_>) {
    // With a limit and without: the two ways a key can be served.
    for rpm_limit in [None, Some(100)] {
        let store = (subject.open)();
        let (hash, _) = made(&*store, NewKey { blocked: true, rpm_limit, ..NewKey::default() }).await;
        assert!(matches!(refused(&*store, &hash, &ask(1, 0.0)).await, KeyError::Blocked));

        let end = subject.clock.now() + Duration::from_secs(5);
        let (hash, _) = made(&*store, NewKey { expires: Some(end), rpm_limit, ..NewKey::default() }).await;
        admitted(&*store, &hash, &ask(1, 0.0)).await;
        subject.clock.advance(Duration::from_secs(5));
        let error = refused(&*store, &hash, &ask(1, 0.0)).await;
        assert!(matches!(error, KeyError::Expired { at } if at == end), "{error}");

        let models = vec!["openai/*".to_owned(), "claude".to_owned(), "gpt-4o".to_owned()];
        let aliases = BTreeMap::from([("mine".to_owned(), "claude".to_owned())]);
        let new = NewKey { models: models.clone(), aliases, rpm_limit, ..NewKey::default() };
        let (hash, _) = made(&*store, new).await;
        for model in ["openai/o3", "claude", "mine", "gpt-4o"] {
            admitted(&*store, &hash, &Ask { model, tokens: 1, cost: 0.0 }).await;
        }
        let error = refused(&*store, &hash, &Ask { model: "gemini", tokens: 1, cost: 0.0 }).await;
        match error {
            KeyError::ModelDenied { model, allowed } => {
                assert_eq!((model.as_str(), allowed), ("gemini", models));
            }
            other => panic!("{other}"),
        }
    }
}

async fn authentication_asks_nothing_of_the_limits(subject: &Subject<'_>) {
    let store = (subject.open)();
    let models = vec!["claude".to_owned()];
    let new = NewKey { rpm_limit: Some(0), max_budget: Some(0.0), models, ..NewKey::default() };
    let (hash, key) = made(&*store, new).await;
    for _ in 0..3 {
        assert_eq!(store.authenticate(&hash).await.unwrap().id, key.id);
    }
    let unknown = KeyHash::of(&secret("sk-nobody-has-this-one"));
    assert!(matches!(store.authenticate(&unknown).await, Err(KeyError::NotFound)));
    let (blocked, _) = made(&*store, NewKey { blocked: true, ..NewKey::default() }).await;
    assert!(matches!(store.authenticate(&blocked).await, Err(KeyError::Blocked)));
    let expires = Some(subject.clock.now() + Duration::from_secs(5));
    let (expired, _) = made(&*store, NewKey { expires, ..NewKey::default() }).await;
    store.authenticate(&expired).await.unwrap();
    subject.clock.advance(Duration::from_secs(5));
    assert!(matches!(store.authenticate(&expired).await, Err(KeyError::Expired { .. })));
}

async fn a_budget_is_reserved_and_settled(subject: &Subject<'_>) {
    let store = (subject.open)();
    let (hash, _) = made(&*store, NewKey { max_budget: Some(1.0), ..NewKey::default() }).await;
    let first = admitted(&*store, &hash, &ask(0, 0.6)).await;
    match refused(&*(subject.open)(), &hash, &ask(0, 0.5)).await {
        KeyError::BudgetExceeded { spend, max_budget } => assert_eq!((spend, max_budget), (0.6, 1.0)),
        other => panic!("{other}"),
    }
    // It used less than it reserved; the rest is free again, to the last nano-dollar.
    store.settle(first, &spent(0, 0.1)).await.unwrap();
    assert!(matches!(refused(&*store, &hash, &ask(0, 0.900_000_001)).await, KeyError::BudgetExceeded { .. }));
    let second = admitted(&*store, &hash, &ask(0, 0.9)).await;
    assert_eq!(second.key.spend, 0.1);
    // A request may turn out dearer than it was thought to be: what is spent is spent.
    store.settle(second, &spent(0, 1.5)).await.unwrap();
    match refused(&*store, &hash, &ask(0, 0.0)).await {
        KeyError::BudgetExceeded { spend, .. } => assert_eq!(spend, 1.6),
        other => panic!("{other}"),
    }
}

async fn a_used_up_budget_admits_nothing(subject: &Subject<'_>) {
    let store = (subject.open)();
    let (hash, _) = made(&*store, NewKey { max_budget: Some(0.0), ..NewKey::default() }).await;
    assert!(matches!(refused(&*store, &hash, &ask(0, 0.0)).await, KeyError::BudgetExceeded { .. }));

    // Requests of unknown cost reserve nothing, and stop when the budget is used up.
    let (hash, _) = made(&*store, NewKey { max_budget: Some(0.2), ..NewKey::default() }).await;
    for _ in 0..2 {
        let admission = admitted(&*store, &hash, &ask(0, 0.0)).await;
        store.settle(admission, &spent(0, 0.1)).await.unwrap();
    }
    assert!(matches!(refused(&*store, &hash, &ask(0, 0.0)).await, KeyError::BudgetExceeded { .. }));
}

async fn a_reservation_that_nobody_settles_ends(subject: &Subject<'_>) {
    let (alive, other) = ((subject.open)(), (subject.open)());
    let (hash, _) = made(&*alive, NewKey { max_budget: Some(1.0), ..NewKey::default() }).await;
    let late = admitted(&*alive, &hash, &ask(0, 0.4)).await;
    drop(admitted(&*alive, &hash, &ask(0, 0.6)).await);

    // A request may last for 15 minutes: until then, both count.
    subject.clock.advance(Duration::from_secs(15 * 60));
    assert!(matches!(refused(&*other, &hash, &ask(0, 0.1)).await, KeyError::BudgetExceeded { .. }));
    // Five minutes more, the grain of time, and neither does.
    subject.clock.advance(Duration::from_secs(5 * 60));
    let whole = admitted(&*other, &hash, &ask(0, 1.0)).await;
    other.settle(whole, &Spent::default()).await.unwrap();

    // Should the first be alive after all, its spend counts, and its reservation is not given back twice.
    alive.settle(late, &spent(0, 0.3)).await.unwrap();
    match refused(&*other, &hash, &ask(0, 0.8)).await {
        KeyError::BudgetExceeded { spend, .. } => assert_eq!(spend, 0.3),
        other => panic!("{other}"),
    }
    drop(admitted(&*other, &hash, &ask(0, 0.7)).await);
}

/// Moves the clock to the start of the next minute.
fn next_minute(clock: &ManualClock) {
    let into = u64::try_from(clock.now().as_millisecond().rem_euclid(60_000)).unwrap();
    clock.advance(Duration::from_millis(60_000 - into));
}

async fn requests_in_a_minute(subject: &Subject<'_>) {
    next_minute(subject.clock);
    let stores = [(subject.open)(), (subject.open)()];
    let (hash, _) = made(&*stores[0], NewKey { rpm_limit: Some(3), ..NewKey::default() }).await;
    for (store, left) in [(0, "2"), (1, "1"), (0, "0")] {
        let admission = admitted(&*stores[store], &hash, &ask(5, 0.0)).await;
        let expected = [
            ("x-ratelimit-api_key-limit-requests", "3".to_owned()),
            ("x-ratelimit-api_key-remaining-requests", left.to_owned()),
        ];
        assert_eq!(admission.rate_headers, expected);
        // A request that came to nothing was still a request.
        stores[store].settle(admission, &Spent::default()).await.unwrap();
    }
    subject.clock.advance(Duration::from_secs(59));
    for store in &stores {
        match refused(&**store, &hash, &ask(5, 0.0)).await {
            KeyError::RateLimited { limit_type, limit, remaining, resets_at } => {
                assert_eq!((limit_type, limit, remaining), (LimitType::Requests, 3, 0));
                assert_eq!(resets_at, subject.clock.now() + Duration::from_secs(1));
            }
            other => panic!("{other}"),
        }
    }
    subject.clock.advance(Duration::from_secs(1));
    for store in &stores {
        admitted(&**store, &hash, &ask(5, 0.0)).await;
    }

    let (hash, _) = made(&*stores[0], NewKey { rpm_limit: Some(0), ..NewKey::default() }).await;
    let error = refused(&*stores[0], &hash, &ask(0, 0.0)).await;
    assert!(matches!(error, KeyError::RateLimited { limit: 0, remaining: 0, .. }), "{error}");
}

async fn tokens_in_a_minute(subject: &Subject<'_>) {
    next_minute(subject.clock);
    let store = (subject.open)();
    let (hash, _) = made(&*store, NewKey { tpm_limit: Some(1_000), ..NewKey::default() }).await;
    let first = admitted(&*store, &hash, &ask(800, 0.0)).await;
    let expected = [
        ("x-ratelimit-api_key-limit-tokens", "1000".to_owned()),
        ("x-ratelimit-api_key-remaining-tokens", "200".to_owned()),
    ];
    assert_eq!(first.rate_headers, expected);
    match refused(&*(subject.open)(), &hash, &ask(201, 0.0)).await {
        KeyError::RateLimited { limit_type, limit, remaining, resets_at } => {
            assert_eq!((limit_type, limit, remaining), (LimitType::Tokens, 1_000, 200));
            assert_eq!(resets_at, subject.clock.now() + Duration::from_secs(60));
        }
        other => panic!("{other}"),
    }
    // What was not used is there again.
    store.settle(first, &spent(100, 0.0)).await.unwrap();
    let second = admitted(&*store, &hash, &ask(900, 0.0)).await;
    assert!(matches!(refused(&*store, &hash, &ask(0, 0.0)).await, KeyError::RateLimited { .. }));
    // More than was reserved counts as well, but not in the next minute.
    subject.clock.advance(Duration::from_secs(60));
    store.settle(second, &spent(5_000, 0.0)).await.unwrap();
    let third = admitted(&*store, &hash, &ask(1_000, 0.0)).await;
    store.settle(third, &spent(u64::MAX, 0.0)).await.unwrap();
    let error = refused(&*store, &hash, &ask(1, 0.0)).await;
    assert!(matches!(error, KeyError::RateLimited { remaining: 0, .. }), "{error}");

    // What is more than a whole minute's worth never fits.
    subject.clock.advance(Duration::from_secs(60));
    for tokens in [1_001, u64::MAX] {
        let error = refused(&*store, &hash, &ask(tokens, 0.0)).await;
        assert!(matches!(error, KeyError::RateLimited { remaining: 1_000, .. }), "{error}");
    }
}

async fn spend_is_recorded_without_limits(subject: &Subject<'_>) {
    let store = (subject.open)();
    let (hash, _) = made(&*store, NewKey::default()).await;
    for cost in [4.5e-6, 0.25, 0.0] {
        let admission = admitted(&*store, &hash, &ask(15, 9.0)).await;
        store.settle(admission, &spent(15, cost)).await.unwrap();
    }
    assert_eq!(spend(subject, &hash).await, 0.250_004_5);
}

async fn room_for_fifty_lets_fifty_through(subject: &Subject<'_>) {
    const COST: f64 = 0.02;
    next_minute(subject.clock);
    let keys = [
        NewKey { max_budget: Some(50.0 * COST), ..NewKey::default() },
        NewKey { rpm_limit: Some(50), ..NewKey::default() },
        NewKey { tpm_limit: Some(50 * 30), ..NewKey::default() },
        // The narrowest decides.
        NewKey {
            max_budget: Some(50.5 * COST),
            rpm_limit: Some(60),
            tpm_limit: Some(1_000_000),
            ..NewKey::default()
        },
    ];
    for key in keys {
        let (hash, _) = made(&*(subject.open)(), key).await;
        let stores: Vec<_> = (0..4).map(|_| (subject.open)()).collect();
        let requests = (0..200).map(|number| {
            let store = Arc::clone(&stores[number % 4]);
            tokio::spawn(async move { store.admit(&hash, &ask(30, COST)).await })
        });
        let mut admissions = Vec::new();
        for outcome in join_all(requests).await {
            match outcome.unwrap() {
                Ok(admission) => admissions.push(admission),
                Err(KeyError::BudgetExceeded { .. } | KeyError::RateLimited { .. }) => {}
                Err(error) => panic!("{error}: {}", std::error::Error::source(&error).unwrap()),
            }
        }
        assert_eq!(admissions.len(), 50);
        // All settle at once, for half of what they reserved: nothing is lost.
        let settlements = admissions.into_iter().enumerate().map(|(number, admission)| {
            let store = Arc::clone(&stores[number % 4]);
            tokio::spawn(async move { store.settle(admission, &spent(15, COST / 2.0)).await })
        });
        for outcome in join_all(settlements).await {
            outcome.unwrap().unwrap();
        }
        next_minute(subject.clock);
        assert_eq!(spend(subject, &hash).await, 25.0 * COST);
    }
}
