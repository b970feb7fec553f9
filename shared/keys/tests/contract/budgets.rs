//! Money: reserved, settled, given back.

use std::time::Duration;

use keyturn_ambient::Clock;
use keyturn_keys::store::{Kind, RowId};
use keyturn_keys::{Ask, Holder, KeyError, Spent};
use serde_json::json;

use super::World;
use super::world::{ask, spending};

pub(super) async fn all(world: &World<'_>) {
    a_budget_is_reserved_and_settled(world).await;
    a_used_up_budget_admits_nothing(world).await;
    a_reservation_that_nobody_settles_ends(world).await;
    windows_begin_anew(world).await;
    models_have_budgets_of_their_own(world).await;
    a_budget_can_be_raised_for_a_while(world).await;
    limits_come_from_a_budget_by_its_id(world).await;
    a_soft_budget_warns(world).await;
    spend_is_recorded_without_limits(world).await;
    absurd_usage_exhausts_a_key_and_does_not_break_it(world).await;
}

async fn a_budget_is_reserved_and_settled(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({"max_budget": 1.0})).await;
    let first = process.admit(&key, &ask(0, 0.6)).await;
    match world.process().refuse(&key, &ask(0, 0.5)).await {
        KeyError::BudgetExceeded { holder, model, spend, max_budget, resets_at } => {
            assert_eq!((holder, model, resets_at), (Holder::Key, None, None));
            assert_eq!((spend, max_budget), (0.6, 1.0));
        }
        other => panic!("{other}"),
    }
    // It used less than it reserved; the rest is free again, to the last nano-dollar.
    process.settle(first, 0, 0.1).await;
    assert!(matches!(process.refuse(&key, &ask(0, 0.900_000_001)).await, KeyError::BudgetExceeded { .. }));
    let second = process.admit(&key, &ask(0, 0.9)).await;
    // A request may turn out dearer than it was thought to be: what is spent is spent.
    process.settle(second, 0, 1.5).await;
    match process.refuse(&key, &ask(0, 0.0)).await {
        KeyError::BudgetExceeded { spend, .. } => assert_eq!(spend, 1.6),
        other => panic!("{other}"),
    }
    assert_eq!(world.spent(&RowId::key(&key)).await, 1_600_000_000);
}

async fn a_used_up_budget_admits_nothing(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({"max_budget": 0.0})).await;
    assert!(matches!(process.refuse(&key, &ask(0, 0.0)).await, KeyError::BudgetExceeded { .. }));

    // Requests of unknown cost reserve nothing, and stop when the budget is used up.
    let key = world.key(json!({"max_budget": 0.2})).await;
    for _ in 0..2 {
        let admission = process.admit(&key, &ask(0, 0.0)).await;
        process.settle(admission, 0, 0.1).await;
    }
    assert!(matches!(process.refuse(&key, &ask(0, 0.0)).await, KeyError::BudgetExceeded { .. }));
}

async fn a_reservation_that_nobody_settles_ends(world: &World<'_>) {
    world.next(300);
    let (alive, other) = (world.process(), world.process());
    let key = world.key(json!({"max_budget": 1.0, "max_parallel_requests": 2})).await;
    let late = alive.admit(&key, &ask(0, 0.4)).await;
    drop(alive.admit(&key, &ask(0, 0.6)).await);

    // A request may last for 15 minutes: until then, both count.
    world.clock.advance(Duration::from_secs(15 * 60));
    assert!(matches!(other.refuse(&key, &ask(0, 0.1)).await, KeyError::BudgetExceeded { .. }));
    // Five minutes more, the grain of time, and neither does.
    world.clock.advance(Duration::from_secs(5 * 60));
    let whole = other.admit(&key, &ask(0, 1.0)).await;
    other.settle(whole, 0, 0.0).await;

    // Should the first be alive after all, its spend counts, and its reservation is not given back twice.
    alive.settle(late, 0, 0.3).await;
    match other.refuse(&key, &ask(0, 0.8)).await {
        KeyError::BudgetExceeded { spend, .. } => assert_eq!(spend, 0.3),
        other => panic!("{other}"),
    }
    let (_one, _two) = (other.admit(&key, &ask(0, 0.3)).await, other.admit(&key, &ask(0, 0.3)).await);
    assert!(matches!(other.refuse(&key, &ask(0, 0.0)).await, KeyError::RateLimited { limit: 2, .. }));
}

async fn windows_begin_anew(world: &World<'_>) {
    world.next(3_600);
    let process = world.process();
    let key = world.key(json!({"max_budget": 1.0, "budget_duration": "1h"})).await;
    let id = RowId::key(&key);
    process.request(&key, &ask(0, 0.9)).await;
    world.clock.advance(Duration::from_secs(3_599));
    let across = process.admit(&key, &ask(0, 0.1)).await;
    match process.refuse(&key, &ask(0, 0.1)).await {
        KeyError::BudgetExceeded { resets_at, .. } => {
            assert_eq!(resets_at, Some(world.clock.now() + Duration::from_secs(1)));
        }
        other => panic!("{other}"),
    }
    assert_eq!(world.spent(&id).await, 900_000_000);
    world.clock.advance(Duration::from_secs(1));
    // What was reserved in the window before is settled there.
    process.settle(across, 0, 0.1).await;
    assert_eq!(world.spent(&id).await, 0);
    process.request(&key, &ask(0, 1.0)).await;
    assert!(matches!(process.refuse(&key, &ask(0, 0.1)).await, KeyError::BudgetExceeded { .. }));
    assert_eq!(world.spent(&id).await, 1_000_000_000);

    // A budget that is set later counts what was spent in the window, and without windows all that was ever spent.
    let key = world.key(json!({"budget_duration": "1h"})).await;
    let id = RowId::key(&key);
    process.request(&key, &ask(0, 3.0)).await;
    world.clock.advance(Duration::from_secs(3_600));
    process.request(&key, &ask(0, 0.5)).await;
    world.change(&id, json!({"max_budget": 1.0})).await;
    let other = world.process();
    assert!(matches!(other.refuse(&key, &ask(0, 0.6)).await, KeyError::BudgetExceeded { .. }));
    other.request(&key, &ask(0, 0.5)).await;
    world.change(&id, json!({"max_budget": 4.5, "budget_duration": null})).await;
    match other.refuse(&key, &ask(0, 0.6)).await {
        KeyError::BudgetExceeded { spend, .. } => assert_eq!(spend, 4.0),
        other => panic!("{other}"),
    }
    other.request(&key, &ask(0, 0.5)).await;
}

async fn models_have_budgets_of_their_own(world: &World<'_>) {
    let process = world.process();
    let budget = json!({"gpt-4o": {"budget_limit": 0.5, "time_period": "1d"}});
    let key = world.key(json!({"model_max_budget": budget, "aliases": {"mine": "gpt-4o"}})).await;
    process.request(&key, &Ask { model: "mine", ..ask(0, 0.3) }).await;
    process.request(&key, &Ask { model: "other", ..ask(0, 9.0) }).await;
    for model in ["mine", "gpt-4o"] {
        match process.refuse(&key, &Ask { model, ..ask(0, 0.3) }).await {
            KeyError::BudgetExceeded { model, spend, max_budget, .. } => {
                assert_eq!((model.as_deref(), spend, max_budget), (Some("gpt-4o"), 0.3, 0.5));
            }
            other => panic!("{other}"),
        }
    }
    process.request(&key, &ask(0, 0.2)).await;
    world.clock.advance(Duration::from_secs(86_400));
    process.request(&key, &ask(0, 0.5)).await;
}

async fn a_budget_can_be_raised_for_a_while(world: &World<'_>) {
    let process = world.process();
    let until = world.clock.now() + Duration::from_secs(60);
    let fields = json!({"max_budget": 1.0, "temp_budget_increase": 0.5, "temp_budget_expiry": until});
    let key = world.key(fields).await;
    process.request(&key, &ask(0, 1.2)).await;
    let last = process.admit(&key, &ask(0, 0.3)).await;
    process.settle(last, 0, 0.0).await;
    world.clock.advance(Duration::from_secs(60));
    let error = process.refuse(&key, &ask(0, 0.1)).await;
    assert!(matches!(error, KeyError::BudgetExceeded { max_budget: 1.0, .. }), "{error}");
}

async fn limits_come_from_a_budget_by_its_id(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let small = world.owner(Kind::Budget, json!({"max_budget": 1.0, "rpm_limit": 2})).await;
    let team = world.owner(Kind::Team, json!({"budget_id": small})).await;
    // The key's own budget counts, and the other limit comes from the budget.
    let key = world.key(json!({"budget_id": small, "max_budget": 2.0})).await;
    process.request(&key, &ask(0, 1.5)).await;
    process.request(&key, &ask(0, 0.1)).await;
    assert!(matches!(process.refuse(&key, &ask(0, 0.1)).await, KeyError::RateLimited { limit: 2, .. }));
    let key = world.key(json!({"team_id": team})).await;
    process.request(&key, &ask(0, 0.9)).await;
    let error = process.refuse(&key, &ask(0, 0.2)).await;
    assert!(
        matches!(&error, KeyError::BudgetExceeded { holder: Holder::Team(id), .. } if *id == team),
        "{error}"
    );
    // It is remembered for the cache life.
    world.change(&RowId::named(Kind::Budget, &small), json!({"max_budget": 5.0})).await;
    world.clock.advance(super::world::CACHE_LIFE);
    process.request(&key, &ask(0, 0.2)).await;
}

async fn a_soft_budget_warns(world: &World<'_>) {
    let process = world.process();
    let team = world.owner(Kind::Team, json!({"soft_budget": 2.0})).await;
    // With a limit and without.
    for max_budget in [json!(null), json!(10.0)] {
        let key = world.key(json!({"soft_budget": 0.5, "max_budget": max_budget})).await;
        let admission = process.admit(&key, &ask(0, 0.5)).await;
        assert_eq!(admission.over_soft_budget, None);
        process.settle(admission, 0, 0.5).await;
        assert_eq!(process.admit(&key, &ask(0, 0.1)).await.over_soft_budget, Some(Holder::Key));
    }
    let key = world.key(json!({"team_id": team, "rpm_limit": 100})).await;
    process.request(&key, &ask(0, 2.0)).await;
    assert_eq!(process.admit(&key, &ask(0, 0.1)).await.over_soft_budget, Some(Holder::Team(team)));
}

async fn spend_is_recorded_without_limits(world: &World<'_>) {
    let process = world.process();
    let team = world.owner(Kind::Team, json!({})).await;
    let user = world.owner(Kind::User, json!({})).await;
    let key = world.key(json!({"team_id": team, "user_id": user})).await;
    for cost in [4.5e-6, 0.25, 0.0] {
        let admission = process.admit(&key, &ask(15, 9.0)).await;
        process.settle(admission, 15, cost).await;
    }
    for id in [RowId::key(&key), RowId::named(Kind::Team, &team), RowId::named(Kind::User, &user)] {
        assert_eq!(world.spent(&id).await, 250_004_500, "{id:?}");
    }
}

/// An upstream claims what no request can cost, more often than 64 bits can add up.
async fn absurd_usage_exhausts_a_key_and_does_not_break_it(world: &World<'_>) {
    let process = world.process();
    for fields in [json!({"max_budget": 100.0, "tpm_limit": 1_000}), json!({})] {
        let key = world.key(fields.clone()).await;
        let mut admissions = Vec::new();
        for _ in 0..20 {
            admissions.push(process.admit(&key, &ask(10, 1.0)).await);
        }
        for admission in admissions {
            let absurd = Spent { prompt_tokens: u64::MAX, ..spending(u64::MAX, f64::INFINITY) };
            process.keys.settle(admission, &absurd).await.unwrap();
        }
        let outcome = world.process().keys.admit(&key, &ask(1, 0.0)).await;
        if fields == json!({}) {
            outcome.unwrap();
        } else {
            assert!(matches!(outcome, Err(KeyError::BudgetExceeded { .. })));
        }
        assert!(world.spent(&RowId::key(&key)).await > 1_000_000_000_000_000_000);
    }
}
