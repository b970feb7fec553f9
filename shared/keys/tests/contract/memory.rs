//! How many calls of the store a request costs, and for how long memory is trusted.

use std::error::Error;
use std::time::Duration;

use keyturn_ambient::Clock;
use keyturn_keys::store::{Kind, RowId, UsageQuery};
use keyturn_keys::{KeyError, SettleError, Spent};
use serde_json::json;

use super::World;
use super::world::{CACHE_LIFE, ask, hash, spending};

const NOTHING: [&str; 0] = [];

pub(super) async fn all(world: &World<'_>) {
    a_key_without_limits_is_read_once_in_its_cache_life(world).await;
    without_a_cache_life_the_store_is_always_asked(world).await;
    a_key_with_limits_costs_one_change(world).await;
    owners_cost_no_further_call(world).await;
    a_change_of_a_limited_key_holds_at_its_next_request(world).await;
    a_deleted_key_stops_and_is_not_brought_back(world).await;
    a_key_made_again_is_not_taken_for_its_former_self(world).await;
    an_unknown_key_is_not_looked_up_again_for_two_seconds(world).await;
    a_finished_rotation_is_noticed_within_the_cache_life(world).await;
    while_the_store_is_down_cached_keys_work_until_their_cache_life_ends(world).await;
    usage_is_reported(world).await;
}

async fn a_key_without_limits_is_read_once_in_its_cache_life(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({})).await;
    let admission = process.admit(&key, &ask(1, 1.0)).await;
    assert_eq!(process.store.calls(), ["open"], "cold");
    world.clock.advance(CACHE_LIFE - Duration::from_millis(1));
    process.admit(&key, &ask(1, 1.0)).await;
    assert_eq!(process.store.calls(), NOTHING, "cached");
    // Spend makes nothing in memory look younger; nothing spent is no call.
    process.settle(admission, 1, 0.5).await;
    assert_eq!(process.store.calls(), ["charge", "log_usage"], "settled");
    let admission = process.admit(&key, &ask(1, 1.0)).await;
    process.keys.settle(admission, &Spent::default()).await.unwrap();
    assert_eq!(process.store.calls(), NOTHING, "nothing spent");
    world.clock.advance(Duration::from_millis(1));
    process.admit(&key, &ask(1, 1.0)).await;
    assert_eq!(process.store.calls(), ["open"], "after the cache life");
}

async fn without_a_cache_life_the_store_is_always_asked(world: &World<'_>) {
    let process = world.process_with(Duration::ZERO);
    let key = world.key(json!({})).await;
    let unknown = hash(&world.name("sk-unknown"));
    for _ in 0..2 {
        process.admit(&key, &ask(1, 1.0)).await;
        assert_eq!(process.store.calls(), ["open"]);
        assert!(matches!(process.refuse(&unknown, &ask(1, 1.0)).await, KeyError::NotFound));
        assert_eq!(process.store.calls(), ["open"]);
    }
}

async fn a_key_with_limits_costs_one_change(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let fields = json!({"max_budget": 1.0, "rpm_limit": 1_000, "tpm_limit": 100_000});
    let key = world.key(fields).await;
    let admission = process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["open", "charge"], "cold");
    process.settle(admission, 5, 0.05).await;
    assert_eq!(process.store.calls(), ["charge", "log_usage"], "settled");
    for _ in 0..3 {
        process.admit(&key, &ask(10, 0.1)).await;
        assert_eq!(process.store.calls(), ["charge"], "warm");
    }
    // The generation's time is over; it is read beside the change.
    world.clock.advance(CACHE_LIFE);
    process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["charge", "generation"], "after the cache life");
    // A refusal costs the same: the store tells why.
    assert!(matches!(process.refuse(&key, &ask(10, 5.0)).await, KeyError::BudgetExceeded { .. }));
    assert_eq!(process.store.calls(), ["charge"], "refused");
}

async fn owners_cost_no_further_call(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let budget = world.owner(Kind::Budget, json!({"rpm_limit": 1_000})).await;
    let team = world.owner(Kind::Team, json!({"max_budget": 9.0})).await;
    let user = world.owner(Kind::User, json!({})).await;
    let key = world.key(json!({"team_id": team, "user_id": user, "budget_id": budget})).await;
    let admission = process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["open", "read", "charge"], "cold");
    process.settle(admission, 5, 0.05).await;
    assert_eq!(process.store.calls(), ["charge", "charge", "charge", "log_usage"], "settled");
    process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["charge"], "warm");
    // Whatever is too old is proved to be the same by the change, and then counts as read.
    world.clock.advance(CACHE_LIFE);
    process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["charge", "generation"], "after the cache life");
    process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["charge"]);
    // Nobody has limits: nothing is asked.
    let key = world.key(json!({"user_id": user})).await;
    process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), ["open"]);
    process.admit(&key, &ask(10, 0.1)).await;
    assert_eq!(process.store.calls(), NOTHING);
}

async fn a_change_of_a_limited_key_holds_at_its_next_request(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({"max_budget": 1.0})).await;
    let id = RowId::key(&key);
    process.admit(&key, &ask(1, 0.9)).await;
    assert!(matches!(process.refuse(&key, &ask(1, 0.9)).await, KeyError::BudgetExceeded { .. }));

    world.change(&id, json!({"max_budget": 2.0})).await;
    process.store.calls();
    let admission = process.admit(&key, &ask(1, 0.9)).await;
    assert_eq!(process.store.calls(), ["charge", "open", "charge"]);
    assert_eq!(admission.key.limits.max_budget, Some(2.0));

    world.change(&id, json!({"models": ["other"]})).await;
    assert!(matches!(process.refuse(&key, &ask(1, 0.1)).await, KeyError::ModelDenied { .. }));
    world.change(&id, json!({"models": [], "blocked": true})).await;
    // The refusal came from memory, where it may stay for the cache life.
    assert!(matches!(process.refuse(&key, &ask(1, 0.1)).await, KeyError::ModelDenied { .. }));
    world.clock.advance(CACHE_LIFE);
    assert!(matches!(process.refuse(&key, &ask(1, 0.1)).await, KeyError::Blocked));

    // Unblocked, and without limits from now on: nothing left to reserve.
    world.change(&id, json!({"blocked": false, "max_budget": null})).await;
    world.clock.advance(CACHE_LIFE);
    process.store.calls();
    process.admit(&key, &ask(1, 50.0)).await;
    assert_eq!(process.store.calls(), ["open"]);
}

async fn a_deleted_key_stops_and_is_not_brought_back(world: &World<'_>) {
    let process = world.process();
    for fields in [json!({"max_budget": 1.0}), json!({})] {
        let key = world.key(fields.clone()).await;
        let admission = process.admit(&key, &ask(1, 0.1)).await;
        world.delete(&RowId::key(&key)).await;
        if fields == json!({}) {
            // Within its cache life it goes on.
            process.admit(&key, &ask(1, 0.1)).await;
            world.clock.advance(CACHE_LIFE);
        }
        assert!(matches!(process.refuse(&key, &ask(1, 0.1)).await, KeyError::NotFound));
        let settled = process.keys.settle(admission, &spending(1, 0.1)).await;
        assert!(matches!(settled, Err(SettleError::NotCounted(KeyError::NotFound))), "{settled:?}");
        assert!(matches!(world.process().refuse(&key, &ask(1, 0.1)).await, KeyError::NotFound));
    }
}

async fn a_key_made_again_is_not_taken_for_its_former_self(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let key = world.key(json!({"rpm_limit": 100})).await;
    process.admit(&key, &ask(1, 0.0)).await;
    world.delete(&RowId::key(&key)).await;
    world.clock.advance(Duration::from_secs(1));
    world.key_of(key, json!({"rpm_limit": 1}), 0).await;
    process.admit(&key, &ask(1, 0.0)).await;
    let error = process.refuse(&key, &ask(1, 0.0)).await;
    assert!(matches!(error, KeyError::RateLimited { limit: 1, .. }), "{error}");
}

async fn an_unknown_key_is_not_looked_up_again_for_two_seconds(world: &World<'_>) {
    let process = world.process();
    let key = hash(&world.name("sk-from-elsewhere"));
    for _ in 0..3 {
        assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::NotFound));
    }
    assert_eq!(process.store.calls(), ["open"]);
    // Another process makes it.
    world.key_of(key, json!({}), 0).await;
    assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::NotFound));
    world.clock.advance(Duration::from_secs(2));
    process.admit(&key, &ask(1, 0.0)).await;

    // This process makes it.
    let key = hash(&world.name("sk-from-here"));
    assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::NotFound));
    world.key_of(key, json!({}), 0).await;
    process.keys.forget(&key);
    process.admit(&key, &ask(1, 0.0)).await;
}

async fn a_finished_rotation_is_noticed_within_the_cache_life(world: &World<'_>) {
    let process = world.process();
    for fields in [json!({}), json!({"rpm_limit": 100})] {
        let key = world.key(fields).await;
        let before = process.admit(&key, &ask(1, 0.0)).await.generation;
        let next = world.store.next_generation().await.unwrap();
        assert_eq!(process.admit(&key, &ask(1, 0.0)).await.generation, before);
        world.clock.advance(CACHE_LIFE);
        assert_eq!(process.admit(&key, &ask(1, 0.0)).await.generation, next);
        assert_eq!(world.process().admit(&key, &ask(1, 0.0)).await.generation, next);
    }
}

async fn while_the_store_is_down_cached_keys_work_until_their_cache_life_ends(world: &World<'_>) {
    fn assert_outage<T>(outcome: Result<T, KeyError>) {
        match outcome.err() {
            Some(error @ KeyError::Unavailable(_)) => {
                // What the store said is for the log.
                assert_eq!(error.to_string(), "the key store is unavailable");
                assert!(error.source().unwrap().to_string().contains("switched off"));
            }
            Some(other) => panic!("{other}"),
            None => panic!("it succeeded"),
        }
    }
    let process = world.process();
    let team = world.owner(Kind::Team, json!({})).await;
    let free = world.key(json!({"team_id": team})).await;
    let limited = world.key(json!({"rpm_limit": 5})).await;
    process.admit(&free, &ask(1, 0.1)).await;
    process.admit(&limited, &ask(1, 0.1)).await;
    process.store.switch_off();

    let admission = process.admit(&free, &ask(1, 0.1)).await;
    let settled = process.keys.settle(admission, &spending(1, 0.1)).await;
    assert!(matches!(settled, Err(SettleError::NotCounted(KeyError::Unavailable(_)))), "{settled:?}");
    process.keys.authenticate(&free).await.unwrap();
    // Its limits cannot be held without the store.
    assert_outage(process.keys.admit(&limited, &ask(1, 0.1)).await);
    let unknown = hash(&world.name("sk-nobody"));
    for _ in 0..2 {
        assert_outage(process.keys.admit(&unknown, &ask(1, 0.1)).await);
    }
    world.clock.advance(CACHE_LIFE);
    assert_outage(process.keys.admit(&free, &ask(1, 0.1)).await);
}

async fn usage_is_reported(world: &World<'_>) {
    let process = world.process();
    let fields = json!({"team_id": world.name("team"), "user_id": "user", "tags": ["blue", "amber"]});
    let key = world.key(fields.clone()).await;
    let day = world.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    for tags in [vec!["green".to_owned(), "blue".to_owned()], vec!["green".to_owned()]] {
        let admission = process.admit(&key, &ask(9, 0.5)).await;
        let spent = Spent { prompt_tokens: 4, tags, ..spending(5, 0.25) };
        process.keys.settle(admission, &spent).await.unwrap();
    }
    let query = UsageQuery { from: day, to: day, key: Some(key) };
    let lines = world.store.usage(&query).await.unwrap();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line.key, line.model.as_str()), (Some(key), "gpt-4o"));
    assert_eq!(line.tags, ["amber", "blue", "green"]);
    assert_eq!(
        (line.team_id.as_deref(), line.user_id.as_deref()),
        (fields["team_id"].as_str(), Some("user"))
    );
    let usage = &line.usage;
    assert_eq!((usage.requests, usage.prompt_tokens, usage.completion_tokens), (2, 8, 10));
    assert_eq!(usage.cost, 500_000_000);

    // Without a line everything is counted all the same.
    process.store.take_no_reports();
    let admission = process.admit(&key, &ask(9, 0.5)).await;
    let settled = process.keys.settle(admission, &spending(5, 0.25)).await;
    assert!(matches!(settled, Err(SettleError::NotReported(_))), "{settled:?}");
    assert_eq!(world.spent(&RowId::key(&key)).await, 750_000_000);
    assert!(matches!(process.keys.settle_master(&spending(1, 0.1)).await, Err(SettleError::NotReported(_))));
    world.process().keys.settle_master(&spending(1, 0.1)).await.unwrap();
    let all = world.store.usage(&UsageQuery { from: day, to: day, key: None }).await.unwrap();
    assert!(all.iter().any(|line| line.key.is_none() && line.usage.cost == 100_000_000), "{all:?}");
}
