//! Key, team and user: all must have room, and all are charged or none.

use keyturn_keys::store::{Kind, RowId};
use keyturn_keys::{Holder, KeyError, LimitType};
use serde_json::json;

use super::World;
use super::world::{CACHE_LIFE, ask};

pub(super) async fn all(world: &World<'_>) {
    all_are_charged_or_none(world).await;
    a_team_is_shared_by_its_keys(world).await;
    an_owner_without_a_row_limits_nothing_until_it_has_one(world).await;
    an_owner_gets_limits(world).await;
    a_deleted_team_is_no_obstacle(world).await;
}

/// What is committed of an account's budget, in nano-dollars.
async fn committed(world: &World<'_>, id: &RowId) -> i64 {
    world.row(id).await.counters.get("cm@0")
}

async fn all_are_charged_or_none(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    for (key_limit, team_limit, user_limit, expected) in
        [(1.0, 9.0, 9.0, "key"), (9.0, 1.0, 9.0, "team"), (9.0, 9.0, 1.0, "user")]
    {
        let team = world.owner(Kind::Team, json!({"max_budget": team_limit})).await;
        let user = world.owner(Kind::User, json!({"max_budget": user_limit})).await;
        let key = world.key(json!({"max_budget": key_limit, "team_id": team, "user_id": user})).await;
        let ids = [RowId::key(&key), RowId::named(Kind::Team, &team), RowId::named(Kind::User, &user)];
        let first = process.admit(&key, &ask(0, 0.6)).await;
        match process.refuse(&key, &ask(0, 0.6)).await {
            KeyError::BudgetExceeded { holder, .. } => assert_eq!(holder.word(), expected),
            other => panic!("{other}"),
        }
        for id in &ids {
            assert_eq!(committed(world, id).await, 600_000_000, "{expected}: {id:?}");
        }
        process.settle(first, 0, 0.25).await;
        for id in &ids {
            assert_eq!(committed(world, id).await, 250_000_000, "{expected}: {id:?}");
            assert_eq!(world.spent(id).await, 250_000_000, "{expected}: {id:?}");
        }
    }
}

async fn a_team_is_shared_by_its_keys(world: &World<'_>) {
    world.next(60);
    let processes = [world.process(), world.process()];
    let team = world.owner(Kind::Team, json!({"rpm_limit": 3, "max_parallel_requests": 5})).await;
    // One key has a limit of its own, the other none.
    let keys = [
        world.key(json!({"team_id": team, "rpm_limit": 10})).await,
        world.key(json!({"team_id": team})).await,
    ];
    for number in 0..3 {
        processes[number % 2].request(&keys[number % 2], &ask(1, 0.0)).await;
    }
    for (process, key) in processes.iter().zip(&keys) {
        match process.refuse(key, &ask(1, 0.0)).await {
            KeyError::RateLimited { holder, limit_type, .. } => {
                assert_eq!((holder, limit_type), (Holder::Team(team.clone()), LimitType::Requests));
            }
            other => panic!("{other}"),
        }
    }
}

async fn an_owner_without_a_row_limits_nothing_until_it_has_one(world: &World<'_>) {
    for rpm_limit in [json!(null), json!(100)] {
        let process = world.process();
        let user = world.name("user-to-be");
        let key =
            world.key(json!({"user_id": user, "rpm_limit": rpm_limit, "max_parallel_requests": 1})).await;
        process.request(&key, &ask(1, 0.0)).await;
        world.owner_of(Kind::User, &user, json!({"max_budget": 0.0})).await;
        world.clock.advance(CACHE_LIFE);
        let error = process.refuse(&key, &ask(1, 0.0)).await;
        assert!(matches!(error, KeyError::BudgetExceeded { holder: Holder::User(_), .. }), "{error}");
        // What was reserved before that was noticed is free again.
        world.change(&RowId::named(Kind::User, &user), json!({"max_budget": 1.0})).await;
        process.request(&key, &ask(1, 0.0)).await;
    }
}

async fn an_owner_gets_limits(world: &World<'_>) {
    let process = world.process();
    let team = world.owner(Kind::Team, json!({})).await;
    let row = RowId::named(Kind::Team, &team);
    let key = world.key(json!({"team_id": team, "max_budget": 5.0})).await;
    process.request(&key, &ask(0, 1.0)).await;
    world.change(&row, json!({"max_budget": 1.5})).await;
    // What the team spent before counts.
    world.clock.advance(CACHE_LIFE);
    match process.refuse(&key, &ask(0, 1.0)).await {
        KeyError::BudgetExceeded { spend, max_budget, .. } => assert_eq!((spend, max_budget), (1.0, 1.5)),
        other => panic!("{other}"),
    }
    // From now on a change holds at the next request.
    world.change(&row, json!({"max_budget": 2.0})).await;
    process.request(&key, &ask(0, 1.0)).await;
    world.change(&row, json!({"blocked": true})).await;
    assert!(matches!(process.refuse(&key, &ask(0, 0.1)).await, KeyError::TeamBlocked { .. }));
}

async fn a_deleted_team_is_no_obstacle(world: &World<'_>) {
    let process = world.process();
    let team = world.owner(Kind::Team, json!({"max_budget": 1.0})).await;
    let key = world.key(json!({"team_id": team, "max_budget": 5.0})).await;
    process.request(&key, &ask(0, 1.0)).await;
    world.delete(&RowId::named(Kind::Team, &team)).await;
    process.request(&key, &ask(0, 1.0)).await;
}
