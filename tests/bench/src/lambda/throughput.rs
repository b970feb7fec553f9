//! Several environments side by side, each with one request after the other.

use std::time::Duration;

use futures_util::future::join_all;
use keyturn_tests::environment::Environment;
use serde_json::Value;
use tokio::time::Instant;

use super::Bench;
use crate::report::{Row, Table, Unit};
use crate::stage::{MASTER_KEY, OPENAI, chat, event};

const ENVIRONMENTS: [usize; 4] = [1, 2, 4, 8];
const LATENCIES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(50)];

pub(super) async fn measure(bench: &Bench<'_>) -> Table {
    let event = event("/v1/chat/completions", MASTER_KEY, &chat(OPENAI, 0));
    let mut rows = Vec::new();
    for latency in LATENCIES {
        if latency.is_zero() {
            bench.answers.whole(&bench.stage);
        } else {
            bench.answers.late(&bench.stage, latency);
        }
        for count in ENVIRONMENTS {
            let what = match latency.as_millis() {
                0 => format!("{count} × one request at a time, upstream at once"),
                late => format!("{count} × one request at a time, upstream after {late} ms"),
            };
            bench.progress.say(&what);
            let keyturn = join_all((0..count).map(|_| bench.keyturn.start())).await;
            let limit = join_all((0..count).map(|_| bench.limit.start())).await;
            let mut rates = [Vec::new(), Vec::new()];
            for _ in 0..bench.plan.throughput_rounds {
                for (rates, functions) in rates.iter_mut().zip([&keyturn, &limit]) {
                    rates.push(rate(functions, &event, bench.plan.throughput_time).await);
                }
            }
            rows.push(Row::new(what, Unit::PerSecond, rates.map(median).to_vec()).compared_with(1));
        }
    }
    bench.answers.whole(&bench.stage);
    Table {
        title: "Invocations per second".to_owned(),
        columns: ["keyturn", "limit"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![
            "All environments, the emulators and the upstream share this machine's cores, so the first rows end where \
             it is full; on Lambda every environment has its own."
                .to_owned(),
        ],
    }
}

/// Keeps them busy for this long, after one request to each that is not counted.
async fn rate(functions: &[Environment], event: &Value, time: Duration) -> f64 {
    join_all(functions.iter().map(|function| function.call(event))).await;
    let start = Instant::now();
    let each = functions.iter().map(async |function| {
        let mut answered = 0_u32;
        while start.elapsed() < time {
            let answer = function.call(event).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answered += 1;
        }
        answered
    });
    let answered: u32 = join_all(each).await.iter().sum();
    f64::from(answered) / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}
