//! Virtual keys: what an admission costs, what one busy key carries, and how exactly it is limited then.
//!
//! | file | what |
//! |---|---|
//! | `admit.rs`, `stub.rs` | CPU without a store, and calls of DynamoDB |
//! | `embedded.rs` | a busy key on the embedded DynamoDB |
//! | `simulation/` | a busy key on a model of DynamoDB, at a rate that no single machine reaches |

mod admit;
mod embedded;
pub(crate) mod simulation;
mod stub;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use keyturn_keys::manage::{KeyFields, LimitFields, Patch};
use keyturn_keys::{Ask, DynamoKeyStore, KeyStore, Spent};
use keyturn_tests::dynamo::Dynamo;

use crate::progress::Progress;
use crate::report::{Bar, Row, Table, Unit};
use simulation::{Outcome, READS, Reached, Seen, WRITES};

const TABLE: &str = "keyturn-bench-keys";
const MODEL: &str = "gpt-4o-mini";
/// What a request asks for, and uses.
const TOKENS: u64 = 100;
/// US dollars that a request asks for, and costs.
const COST: f64 = 0.002;
/// A busy key promises 10,000 requests a second.
const BUSY_RPM: u64 = 600_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Samples of the CPU of an admission.
    pub batches: u32,
    /// How long the busy key is loaded.
    pub load: Duration,
    /// Requests that fit into each limit of the busy key.
    pub room: u64,
    /// Requests a second of the simulation.
    pub rate: u32,
}

impl Plan {
    /// Some minutes.
    #[must_use]
    pub fn full() -> Self {
        Self { batches: 50, load: Duration::from_secs(4), room: 2_000, rate: 10_000 }
    }

    /// About a minute, for a first look.
    #[must_use]
    pub fn quick() -> Self {
        Self { batches: 10, load: Duration::from_secs(1), room: 500, rate: 1_000 }
    }
}

/// Measures all of it.
///
/// # Panics
///
/// When something cannot be started, or fails.
pub async fn measure(plan: Plan, progress: &Progress) -> Vec<Table> {
    let admit = admit::measure(plan, progress).await;
    let embedded = embedded::measure(plan, progress).await;
    progress.say("Simulating a busy key");
    let simulated = simulation::Plan { rate: plan.rate, environments: 200, seed: 7 };
    // It has a runtime of its own, in whose time nothing passes by itself.
    let outcome = tokio::task::spawn_blocking(move || simulation::run(simulated)).await;
    vec![admit, embedded, table(simulated, &outcome.expect("a simulation"))]
}

/// What the simulation showed.
fn table(plan: simulation::Plan, outcome: &Outcome) -> Table {
    let count = |what: &str, value: u64| {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let value = value as f64;
        Row::new(what, Unit::Count, vec![Some(value)])
    };
    let Seen { single, transactions, conflicts, surveys, writes, reads, throttled, .. } = outcome.seen;
    let asked = outcome.minutes.iter().map(|minute| minute.asked).sum();
    let admitted = outcome.minutes.iter().map(|minute| minute.admitted).sum();
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
    let bar = |units: u64| Bar::AtMost(units as f64);
    let mut rows = vec![
        count("shares", outcome.shares.into()),
        count("requests in five minutes", asked),
        count("admitted", admitted),
        count("refused while there was room for all (minute 1)", outcome.minutes[0].refused).bar(bar(0)),
        count("answered 503", outcome.failed()).bar(bar(0)),
        count("settlements that failed", outcome.unsettled).bar(bar(0)),
    ];
    for Reached { limit, of, used, most } in outcome.reached(plan) {
        let percent = |amount: f64| Some((amount / of) * 100.0);
        let row = |what: String, amount| Row::new(what, Unit::Percent, vec![percent(amount)]);
        rows.push(row(format!("{limit}: used while more was asked for"), used).bar(Bar::AtLeast(99.0)));
        rows.push(
            row(format!("{limit}: most that was ever reserved and used"), most).bar(Bar::AtMost(100.0)),
        );
    }
    rows.extend([
        count("writes of one item in a second, at most", writes).bar(bar(WRITES)),
        count("reads of one item in a second, at most", reads).bar(bar(READS)),
        count("calls that the model throttled", throttled).bar(bar(0)),
        count("single writes that were made", single),
        count("transactions that were made: room moved between row and shares", transactions),
        count("writes that met a transaction, and were tried again", conflicts),
        count("times that a process read row and all shares", surveys),
        Row::new("admitted within, p50", Unit::Milliseconds, vec![Some(outcome.wait(0.5))]),
        Row::new("admitted within, p99", Unit::Milliseconds, vec![Some(outcome.wait(0.99))]),
        Row::new("admitted within, p99.9", Unit::Milliseconds, vec![Some(outcome.wait(0.999))]),
    ]);
    Table {
        title: format!("Virtual keys: {} requests a second with one key, simulated", plan.rate),
        columns: vec!["keyturn".to_owned()],
        rows,
        notes: vec![format!(
            "The real code over a model of DynamoDB with its limits (`tests/bench/src/keys/simulation`), {} processes, \
             in a time of its own: nothing here is a time of this machine. In the model a call takes 2 to 6 ms, and a \
             transaction is in the way of others for 5 ms and more.",
            plan.environments
        )],
    }
}

/// A request.
fn ask() -> Ask<'static> {
    Ask { route: "/v1/chat/completions", model: MODEL, tokens: TOKENS, cost: COST }
}

/// What it uses.
fn settlement() -> Spent {
    Spent { completion_tokens: TOKENS, cost: COST, model: MODEL.to_owned(), ..Spent::default() }
}

/// A key with these limits that promises so much that it has 64 shares.
fn busy(limits: LimitFields) -> KeyFields {
    KeyFields { limits: LimitFields { rpm_limit: Patch::Set(BUSY_RPM), ..limits }, ..KeyFields::default() }
}

/// The production store, with its table.
async fn store_on(dynamo: &Dynamo) -> Arc<dyn KeyStore> {
    let env: HashMap<String, String> = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .map(|name| (name.to_owned(), "local".to_owned()))
        .into_iter()
        .chain([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamo.url())])
        .collect();
    let http = keyturn_http::client().expect("an HTTP client");
    let client = Client::new(&keyturn_http::aws::sdk_config(&env, &http, "DYNAMODB"));
    let store = DynamoKeyStore::new(client, TABLE.to_owned());
    store.create_table().await.expect("the key table");
    Arc::new(store)
}
