//! Streams.

use serde_json::{Value, json};

use super::Bench;
use super::answers::{PACE, PIECES};
use super::subject::Figures;
use crate::nodelay;
use crate::report::{Bar, Row, Table, Unit};
use crate::stage::{MASTER_KEY, OPENAI, chat, event};

/// Each subject's figures: Keyturn, the limit, and the limit with TCP_NODELAY.
#[derive(Default)]
struct Turns([Figures; 3]);

pub(super) async fn measure(bench: &Bench<'_>) -> Table {
    let mut body = chat(OPENAI, 0);
    body["stream"] = json!(true);
    let event = event("/v1/chat/completions", MASTER_KEY, &body);
    let (mut at_once, mut lazily, mut burst, mut paced) = <(Turns, Turns, Turns, Turns)>::default();
    let functions = [bench.keyturn.start().await, bench.limit.start().await];
    let lazy = [
        bench.keyturn.start_lazily().await,
        bench.limit.start_lazily().await,
        bench.limit.start_lazily().await,
    ];
    bench.answers.short_streams(&bench.stage);
    for function in functions.iter().chain(&lazy) {
        Figures::default().batch(function, &event, 3).await;
    }
    // Its connection is open by now.
    let subjects = if nodelay::set(lazy[2].process()) { 3 } else { 2 };
    for round in 1..=bench.plan.rounds {
        bench.progress.say(&format!("Streams, round {round} of {}", bench.plan.rounds));
        bench.answers.short_streams(&bench.stage);
        at_once.round(&functions, &event, bench.plan.streams).await;
        lazily.round(&lazy[..subjects], &event, bench.plan.streams).await;
        bench.answers.long_streams(&bench.stage);
        burst.round(&functions, &event, bench.plan.streams).await;
        bench.answers.paced_streams(&bench.stage);
        paced.round(&functions, &event, 1).await;
    }
    bench.answers.whole(&bench.stage);
    Table {
        title: "Streams".to_owned(),
        columns: ["keyturn", "limit", "limit with no delay"].map(str::to_owned).to_vec(),
        rows: rows(&at_once, &lazily, &burst, &paced),
        notes: vec![
            "Lambda's own Runtime API may acknowledge at once or lazily; as lambda_http is shipped it stalls for 40 ms \
             when that happens lazily. The third column is the limit with TCP_NODELAY set on its connection from \
             outside, and what the lazy row is compared with."
                .to_owned(),
            format!(
                "Long streams have {PIECES} pieces; paced ones have a pause of {} ms before each, by timers of 1 ms.",
                PACE.as_millis()
            ),
        ],
    }
}

fn rows(at_once: &Turns, lazily: &Turns, burst: &Turns, paced: &Turns) -> Vec<Row> {
    let first_byte = |figures: &Figures| figures.first_byte.median();
    let whole = |figures: &Figures| figures.whole.median();
    #[expect(clippy::cast_precision_loss, reason = "five hundred")]
    let each =
        |figures: &Figures| figures.cpu.median().map(|milliseconds| milliseconds * 1e3 / PIECES as f64);
    vec![
        at_once
            .row("first byte, acknowledged at once", Unit::Milliseconds, first_byte)
            .compared_with(1)
            .bar(Bar::AtMost(1.1)),
        lazily
            .row("first byte, acknowledged lazily", Unit::Milliseconds, first_byte)
            .compared_with(2)
            .bar(Bar::AtMost(1.1)),
        burst.row("long stream at once: first byte", Unit::Milliseconds, first_byte).compared_with(1),
        burst.row("long stream at once: last byte", Unit::Milliseconds, whole).compared_with(1),
        burst.row("long stream at once: CPU per piece", Unit::Microseconds, each).compared_with(1),
        paced.row("long stream, paced: first byte", Unit::Milliseconds, first_byte).compared_with(1),
        paced.row("long stream, paced: last byte", Unit::Milliseconds, whole).compared_with(1),
        paced.row("long stream, paced: CPU per piece", Unit::Microseconds, each).compared_with(1),
    ]
}

impl Turns {
    async fn round(
        &mut self,
        functions: &[keyturn_tests::environment::Environment],
        event: &Value,
        times: u32,
    ) {
        for (figures, function) in self.0.iter_mut().zip(functions) {
            figures.batch(function, event, times).await;
        }
    }

    fn row(&self, what: &str, unit: Unit, figure: impl Fn(&Figures) -> Option<f64>) -> Row {
        Row::new(what, unit, self.0.iter().map(figure).collect())
    }
}
