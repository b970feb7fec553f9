//! One busy key on the embedded DynamoDB: how many requests it carries, and how exactly it is limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use keyturn_ambient::{Clock, ManualClock, SystemClock};
use keyturn_keys::manage::{Caller, KeyRef, LimitFields, ManagerOptions, NewKey, Patch};
use keyturn_keys::{KeyError, KeyHash, KeyStore, Keys, KeysOptions, Manager};
use keyturn_tests::dynamo::Dynamo;
use tokio::time::Instant;

use super::{COST, Plan, TOKENS, ask, busy, settlement, store_on};
use crate::progress::Progress;
use crate::report::{Bar, Row, Table, Unit};
use crate::stage::all_limits;

/// Requests at once, and the processes that they are spread over.
const AT_ONCE: usize = 16;
const PROCESSES: usize = 4;

/// What came of requests.
#[derive(Debug, Default)]
struct Tally {
    admitted: AtomicU64,
    failed: AtomicU64,
}

pub(super) async fn measure(plan: Plan, progress: &Progress) -> Table {
    progress.say("A busy key on the embedded DynamoDB");
    let dynamo = Dynamo::start().await;
    let store = store_on(&dynamo).await;
    let mut rows = load(plan, &dynamo, &store).await;
    for (what, limits) in [
        ("rpm_limit", LimitFields { rpm_limit: Patch::Set(plan.room), ..LimitFields::default() }),
        ("tpm_limit", LimitFields { tpm_limit: Patch::Set(plan.room * TOKENS), ..LimitFields::default() }),
        ("max_parallel_requests", parallel(plan.room)),
        (
            "max_budget",
            LimitFields { max_budget: Patch::Set(count(plan.room) * COST), ..LimitFields::default() },
        ),
    ] {
        progress.say(&format!("{what} of a busy key"));
        let admitted = admitted(plan, &store, limits).await;
        let error = (count(admitted) / count(plan.room) - 1.0).abs() * 100.0;
        rows.push(
            Row::new(format!("error of {what}"), Unit::Percent, vec![Some(error)]).bar(Bar::AtMost(1.0)),
        );
    }
    Table {
        title: "Virtual keys: one busy key on the embedded DynamoDB".to_owned(),
        columns: vec!["keyturn".to_owned()],
        rows,
        notes: vec![format!(
            "64 shares, {AT_ONCE} requests at once from {PROCESSES} processes' worth of memory, each admitted and \
             settled at once. The embedded DynamoDB makes one write after the other and does not throttle: the rate is \
             its own. Errors: half as many requests again as have room ask at once, and the limit is compared with \
             those that are admitted."
        )],
    }
}

fn parallel(room: u64) -> LimitFields {
    LimitFields { max_parallel_requests: Patch::Set(room), ..LimitFields::default() }
}

#[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
fn count(number: u64) -> f64 {
    number as f64
}

/// A busy key with these limits. One that promised much keeps its shares.
async fn key(store: &Arc<dyn KeyStore>, limits: LimitFields) -> KeyHash {
    let manager = Manager::new(Arc::clone(store), Arc::new(SystemClock), ManagerOptions::default());
    let admin = Caller::admin(None);
    let new = NewKey { key: None, fields: busy(LimitFields::default()) };
    let id = manager.generate(&admin, new).await.expect("a key").info.value.id;
    let mut fields = busy(LimitFields::default());
    fields.limits = LimitFields { rpm_limit: Patch::Clear, ..LimitFields::default() };
    manager.update(&admin, &KeyRef::Hash(id), &fields).await.expect("a change");
    fields.limits = limits;
    manager.update(&admin, &KeyRef::Hash(id), &fields).await.expect("a change");
    id
}

fn processes(store: &Arc<dyn KeyStore>, clock: &Arc<dyn Clock>) -> Vec<Arc<Keys>> {
    let process = |_| Arc::new(Keys::new(store.clone(), Arc::clone(clock), KeysOptions::default()));
    (0..PROCESSES).map(process).collect()
}

/// How many get in where `plan.room` fit. The clock stands still: it is one minute.
async fn admitted(plan: Plan, store: &Arc<dyn KeyStore>, limits: LimitFields) -> u64 {
    let hash = key(store, limits).await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(SystemClock.now()));
    let processes = processes(store, &clock);
    let tally = Arc::new(Tally::default());
    let next = Arc::new(AtomicU64::new(0));
    let asked = plan.room + plan.room / 2;
    let workers = (0..AT_ONCE).map(|number| {
        let (keys, tally, next) =
            (Arc::clone(&processes[number % PROCESSES]), Arc::clone(&tally), Arc::clone(&next));
        tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < asked {
                match keys.admit(&hash, &ask()).await {
                    Ok(_) => _ = tally.admitted.fetch_add(1, Ordering::Relaxed),
                    Err(KeyError::Unavailable(error)) => panic!("{error}"),
                    Err(_) => {}
                }
            }
        })
    });
    for worker in join_all(workers).await {
        worker.expect("a worker");
    }
    tally.admitted.load(Ordering::Relaxed)
}

/// Requests a second, and what they call.
async fn load(plan: Plan, dynamo: &Dynamo, store: &Arc<dyn KeyStore>) -> Vec<Row> {
    let hash = key(store, all_limits().limits).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let processes = processes(store, &clock);
    let tally = Arc::new(Tally::default());
    let names = ["UpdateItem", "TransactWriteItems", "BatchGetItem"];
    let before = names.map(|name| dynamo.calls(name));
    let start = Instant::now();
    let workers = (0..AT_ONCE).map(|number| {
        let (keys, tally) = (Arc::clone(&processes[number % PROCESSES]), Arc::clone(&tally));
        tokio::spawn(async move {
            while start.elapsed() < plan.load {
                match keys.admit(&hash, &ask()).await {
                    Ok(admission) => {
                        tally.admitted.fetch_add(1, Ordering::Relaxed);
                        let settled = keys.settle(admission, &settlement()).await;
                        tally.failed.fetch_add(u64::from(settled.is_err()), Ordering::Relaxed);
                    }
                    Err(_) => _ = tally.failed.fetch_add(1, Ordering::Relaxed),
                }
            }
        })
    });
    for worker in join_all(workers).await {
        worker.expect("a worker");
    }
    let elapsed = start.elapsed();
    let (admitted, failed) = (tally.admitted.load(Ordering::Relaxed), tally.failed.load(Ordering::Relaxed));
    let row = |what: String, unit, value| Row::new(what, unit, vec![Some(value)]);
    let mut rows = vec![
        row("admitted and settled".to_owned(), Unit::PerSecond, count(admitted) / elapsed.as_secs_f64()),
        row("refused, failed or not settled".to_owned(), Unit::Count, count(failed)).bar(Bar::AtMost(0.0)),
    ];
    for (name, before) in names.iter().zip(before) {
        let calls = count(dynamo.calls(name) - before) / count(admitted.max(1));
        rows.push(row(format!("{name} per request"), Unit::Count, calls));
    }
    rows
}
