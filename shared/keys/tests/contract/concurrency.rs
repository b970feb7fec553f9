//! Many requests at once in several processes: exactly as many get in as fit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keyturn_keys::store::{Kind, RowId};
use keyturn_keys::{Admission, Ask, KeyError, KeyHash};
use serde_json::json;
use tokio::sync::Semaphore;

use super::World;
use super::world::{Process, ask, spending};

/// What one request costs, in US dollars.
const COST: f64 = 0.02;

pub(super) async fn all(world: &World<'_>) {
    room_for_fifty_lets_fifty_through(world).await;
    ended_reservations_are_given_back_once_however_many_notice(world).await;
    if world.store.shares() {
        shares_let_exactly_as_many_through(world).await;
        a_busy_account_refuses_from_memory_for_the_rest_of_the_minute(world).await;
        a_request_larger_than_a_share_fits(world).await;
    }
}

/// As many requests as are sent at once.
const AT_ONCE: usize = 200;

/// Sends so many requests, spread over keys and processes; what came of them.
async fn send(
    processes: &[Arc<Process>],
    keys: &[KeyHash],
    count: usize,
    ask: Ask<'static>,
) -> Vec<(Arc<Process>, Admission)> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let requests = (0..count).map(|number| {
        let room = Arc::clone(&room);
        let process = Arc::clone(&processes[number % processes.len()]);
        let key = keys[number % keys.len()];
        tokio::spawn(async move {
            let _one = room.acquire().await.unwrap();
            (process.keys.admit(&key, &ask).await, process)
        })
    });
    let mut admitted = Vec::new();
    for outcome in join_all(requests).await {
        match outcome.unwrap() {
            (Ok(admission), process) => admitted.push((process, admission)),
            (Err(KeyError::BudgetExceeded { .. } | KeyError::RateLimited { .. }), _) => {}
            (Err(error), _) => panic!("{error}: {error:?}"),
        }
    }
    admitted
}

fn processes(world: &World<'_>) -> Vec<Arc<Process>> {
    (0..4).map(|_| Arc::new(world.process())).collect()
}

async fn room_for_fifty_lets_fifty_through(world: &World<'_>) {
    world.next(300);
    let of_team = world.owner(Kind::Team, json!({"max_budget": 50.0 * COST})).await;
    let of_user = world.owner(Kind::User, json!({"rpm_limit": 50})).await;
    let cases = [
        vec![json!({"max_budget": 50.0 * COST})],
        vec![json!({"rpm_limit": 50})],
        vec![json!({"tpm_limit": 50 * 30})],
        vec![json!({"max_parallel_requests": 50})],
        vec![json!({"model_max_budget": {"gpt-4o": {"budget_limit": 50.0 * COST, "time_period": "1d"}}})],
        // The narrowest decides.
        vec![
            json!({"max_budget": 50.5 * COST, "rpm_limit": 60, "tpm_limit": 1_000_000, "max_parallel_requests": 70}),
        ],
        // Four keys of one team, with limits and without.
        vec![
            json!({"team_id": of_team}),
            json!({"team_id": of_team, "max_budget": 9.0}),
            json!({"team_id": of_team}),
            json!({"team_id": of_team, "rpm_limit": 900}),
        ],
        vec![json!({"user_id": of_user}), json!({"user_id": of_user, "tpm_limit": 1_000_000})],
    ];
    for fields in cases {
        let mut keys = Vec::new();
        for fields in &fields {
            keys.push(world.key(fields.clone()).await);
        }
        let admitted = send(&processes(world), &keys, 200, ask(30, COST)).await;
        assert_eq!(admitted.len(), 50, "{fields:?}");
        settle_half(world, &keys, admitted, &fields).await;
        world.next(60);
    }
}

/// All settle at once, for half of what they reserved: nothing is lost.
async fn settle_half(
    world: &World<'_>,
    keys: &[KeyHash],
    admitted: Vec<(Arc<Process>, Admission)>,
    what: &[serde_json::Value],
) {
    let count = i64::try_from(admitted.len()).unwrap();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let settlements = admitted.into_iter().map(|(process, admission)| {
        let room = Arc::clone(&room);
        tokio::spawn(async move {
            let _one = room.acquire().await.unwrap();
            process.keys.settle(admission, &spending(15, COST / 2.0)).await
        })
    });
    for outcome in join_all(settlements).await {
        outcome.unwrap().unwrap();
    }
    let mut spent = 0;
    for key in keys {
        spent += world.spent(&RowId::key(key)).await;
    }
    assert_eq!(spent, count * 10_000_000, "{what:?}");
}

/// Processes whose view of the account is out of date find reservations that have ended, all at once.
async fn ended_reservations_are_given_back_once_however_many_notice(world: &World<'_>) {
    world.next(300);
    let processes = processes(world);
    let key = world.key(json!({"max_budget": 50.0 * COST})).await;
    // Each process sees another state of two slots; all of these requests die, and the budget is used up.
    for _ in 0..2 {
        for process in &processes {
            drop(process.admit(&key, &ask(0, 6.25 * COST)).await);
        }
        world.clock.advance(Duration::from_secs(300));
    }
    assert!(matches!(processes[0].refuse(&key, &ask(0, COST)).await, KeyError::BudgetExceeded { .. }));
    world.clock.advance(Duration::from_secs(1_200));
    let admitted = send(&processes, &[key], 200, ask(0, COST)).await;
    assert_eq!(admitted.len(), 50);
    assert_eq!(world.row(&RowId::key(&key)).await.counters.get("cm@0"), 1_000_000_000);
    settle_half(world, &[key], admitted, &[]).await;
}

async fn shares_let_exactly_as_many_through(world: &World<'_>) {
    world.next(300);
    for (fields, room) in [
        (json!({"rpm_limit": 1_000}), 1_000),
        (json!({"max_budget": 100.0 * COST}), 100),
        (json!({"max_parallel_requests": 100}), 100),
        (json!({"rpm_limit": 100, "max_budget": 9_000.0 * COST, "tpm_limit": 9_000_000}), 100),
    ] {
        let key = world.busy_key(fields.clone(), 8).await;
        let admitted = send(&processes(world), &[key], room * 3 / 2, ask(30, COST)).await;
        assert_eq!(admitted.len(), room, "{fields}");
        settle_half(world, &[key], admitted, &[fields]).await;
        world.next(60);
    }
    // A block holds for every share.
    let key = world.busy_key(json!({"max_budget": 9.0}), 8).await;
    let process = world.process();
    process.request(&key, &ask(30, COST)).await;
    world.change(&RowId::key(&key), json!({"blocked": true})).await;
    for _ in 0..20 {
        assert!(matches!(process.refuse(&key, &ask(30, COST)).await, KeyError::Blocked));
    }
}

async fn a_busy_account_refuses_from_memory_for_the_rest_of_the_minute(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let key = world.busy_key(json!({"rpm_limit": 5}), 4).await;
    for _ in 0..5 {
        process.admit(&key, &ask(1, 0.0)).await;
    }
    assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::RateLimited { .. }));
    process.store.calls();
    assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::RateLimited { .. }));
    assert_eq!(process.store.calls(), [""; 0]);
    world.next(60);
    process.admit(&key, &ask(1, 0.0)).await;
}

async fn a_request_larger_than_a_share_fits(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let key = world.busy_key(json!({"tpm_limit": 800, "max_budget": 8.0}), 8).await;
    let one = process.admit(&key, &ask(500, 5.0)).await;
    match process.refuse(&key, &ask(301, 1.0)).await {
        KeyError::RateLimited { remaining, .. } => assert_eq!(remaining, 300),
        other => panic!("{other}"),
    }
    match process.refuse(&key, &ask(1, 3.5)).await {
        KeyError::BudgetExceeded { spend, .. } => assert_eq!(spend, 5.0),
        other => panic!("{other}"),
    }
    process.admit(&key, &ask(300, 3.0)).await;
    process.settle(one, 100, 1.0).await;
    process.admit(&key, &ask(400, 4.0)).await;
}
