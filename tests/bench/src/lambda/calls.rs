//! The calls of other services that one warm request makes, and the bytes that it logs.

use std::time::Duration;

use keyturn_tests::environment::Environment;
use keyturn_tests::upstream::{Behaviour, Gate};
use serde_json::Value;

use super::{Bench, warm};
use crate::report::{Bar, Row, Table, Unit};
use crate::stage::{MASTER_KEY, OPENAI, chat, event};

/// Requests of each kind; each makes the same calls, so a fraction would show that one does not.
const REQUESTS: u32 = 20;
/// The model that the gates are for, by its upstream's name.
const MODEL: &str = "gpt-4o-mini";

/// What one kind of request calls, in all of [`REQUESTS`].
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    secrets: u64,
    dynamo_before: u64,
    dynamo_after: u64,
    writes: u64,
    reads: u64,
    logged: u64,
}

/// What one request of a kind is charged for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Charged {
    /// Calls of DynamoDB that write.
    pub(super) writes: f64,
    /// Calls of DynamoDB that read.
    pub(super) reads: f64,
    /// Bytes of log lines.
    pub(super) logged: f64,
}

/// What was counted.
pub(super) struct Counted(Vec<(&'static str, Calls)>);

/// Counts with every request held at the upstream for a moment, so that what was called before it is known.
pub(super) async fn measure(bench: &Bench<'_>) -> Counted {
    bench.progress.say("Counting calls");
    let function = bench.keyturn_with_stores.start().await;
    let mut counted = Vec::new();
    for (what, key) in [
        (warm::MASTER, MASTER_KEY),
        (warm::PLAIN, bench.plain_key.as_str()),
        (warm::LIMITED, bench.limited_key.as_str()),
    ] {
        let event = event("/v1/chat/completions", key, &chat(OPENAI, 0));
        bench.answers.whole(&bench.stage);
        for _ in 0..2 {
            assert_eq!(function.call(&event).await.status, 200);
        }
        counted.push((what, count(bench, &function, &event).await));
    }
    bench.answers.whole(&bench.stage);
    Counted(counted)
}

async fn count(bench: &Bench<'_>, function: &Environment, event: &Value) -> Calls {
    let (dynamo, upstream) = (&bench.stage.dynamo, &bench.stage.upstream);
    let gate = Gate::default();
    upstream.when_model(MODEL, Behaviour::hang(&gate));
    let mut calls = Calls::default();
    let written = || dynamo.calls("UpdateItem") + dynamo.calls("PutItem");
    let reads = || dynamo.calls("GetItem") + dynamo.calls("BatchGetItem");
    settled().await;
    let silent = function.process().output().len();
    for _ in 0..REQUESTS {
        function.idle().await;
        let start = (bench.moto.reads(), dynamo.total(), written(), reads());
        let asked = upstream.count();
        let hold = async {
            upstream.wait_for_requests(asked + 1).await;
            let before = dynamo.total();
            gate.release(1);
            before
        };
        let (answer, held) = tokio::join!(function.call(event), hold);
        assert_eq!(answer.status, 200, "{}", answer.text());
        function.idle().await;
        calls.secrets += bench.moto.reads() - start.0;
        calls.dynamo_before += held - start.1;
        calls.dynamo_after += dynamo.total() - held;
        calls.writes += written() - start.2;
        calls.reads += reads() - start.3;
    }
    settled().await;
    calls.logged = (function.process().output().len() - silent) as u64;
    calls
}

/// Lets what was written arrive: lines come through a pipe.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Of one request.
#[expect(clippy::cast_precision_loss, reason = "some calls, some kilobytes")]
fn mean(calls: u64) -> f64 {
    calls as f64 / f64::from(REQUESTS)
}

impl Counted {
    /// What a request of this kind is charged for.
    pub(super) fn of(&self, what: &str) -> Charged {
        let calls =
            self.0.iter().find(|(name, _)| *name == what).map(|(_, calls)| *calls).unwrap_or_default();
        Charged { writes: mean(calls.writes), reads: mean(calls.reads), logged: mean(calls.logged) }
    }

    pub(super) fn table(&self) -> Table {
        let rows = self.0.iter().flat_map(|(kind, calls)| {
            let row =
                |what: &str, count| Row::new(format!("{kind}: {what}"), Unit::Count, vec![Some(mean(count))]);
            [
                row("Secrets Manager", calls.secrets).bar(Bar::AtMost(0.0)),
                row("DynamoDB, before the upstream is asked", calls.dynamo_before).bar(Bar::AtMost(1.0)),
                row("DynamoDB, after that", calls.dynamo_after),
                row("bytes logged", calls.logged),
            ]
        });
        Table {
            title: "Calls per warm request".to_owned(),
            columns: vec!["keyturn".to_owned()],
            rows: rows.collect(),
            notes: vec![
                "A cached virtual key is read again when its time is over (KEYTURN_KEY_CACHE_SECONDS, 10 by default); \
                 here it never is."
                    .to_owned(),
            ],
        }
    }
}
