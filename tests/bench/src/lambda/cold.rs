//! Cold starts.

use super::Bench;
use super::subject::Subject;
use crate::cost::Phase;
use crate::report::{Bar, Row, Table, Unit};
use crate::samples::Samples;
use crate::stage::{MASTER_KEY, OPENAI, chat, event};

const CHAT: &str = "/v1/chat/completions";

#[derive(Default)]
struct Starts {
    init: Samples,
    cpu: Samples,
    first_response: Samples,
}

impl Starts {
    async fn start(&mut self, subject: &Subject, key: &str) {
        let function = subject.start().await;
        self.init.push(function.init_duration());
        self.cpu.extend(function.process().cpu_time());
        let answer = function.call(&event(CHAT, key, &chat(OPENAI, 0))).await;
        self.first_response.push(function.age());
        assert_eq!(answer.status, 200, "{}", answer.text());
        // Its settlement is not to fall into the next one's time, nor into its count of calls.
        function.idle().await;
    }
}

/// Starts each subject again and again. Returns Keyturn's init phase without stores too.
pub(super) async fn measure(bench: &Bench<'_>) -> (Table, Phase) {
    let (mut keyturn, mut limit, mut stores) = <(Starts, Starts, Starts)>::default();
    for round in 1..=bench.plan.rounds {
        bench.progress.say(&format!("Cold starts, round {round} of {}", bench.plan.rounds));
        for _ in 0..bench.plan.cold_starts {
            keyturn.start(&bench.keyturn, MASTER_KEY).await;
            limit.start(&bench.limit, MASTER_KEY).await;
        }
        stores.start(&bench.keyturn_with_stores, &bench.limited_key).await;
    }
    let row = |what: &str, samples: fn(&Starts) -> &Samples| {
        let values = [&keyturn, &limit, &stores].map(|starts| samples(starts).median());
        Row::new(what, Unit::Milliseconds, values.to_vec()).compared_with(1)
    };
    let billed = [&keyturn, &limit, &stores].map(|starts| starts.init.rounded_up().mean());
    let mut rows = vec![
        row("start of the process to the first /next", |starts| &starts.init),
        Row::new("billed for that, rounded up: mean", Unit::Milliseconds, billed.to_vec()).compared_with(1),
        row("start of the process to the first whole response", |starts| &starts.first_response),
        row("CPU until the first /next", |starts| &starts.cpu).bar(Bar::AtMost(4.0)),
    ];
    rows.extend(calls_of_one(bench).await);
    let mean = |samples: &Samples| samples.mean().unwrap_or_default();
    let init = Phase { wall: mean(&keyturn.init), cpu: mean(&keyturn.cpu) };
    let table = Table {
        title: "Cold start".to_owned(),
        columns: ["keyturn", "limit", "keyturn with stores"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![
            "With stores: the provider's key in Secrets Manager, a virtual key with every limit in DynamoDB. The \
             Secrets Manager is an emulator in Python, whose time is in it; the CPU is the function's alone."
                .to_owned(),
            "The upstream has no TLS here.".to_owned(),
        ],
    };
    (table, init)
}

/// The stores' calls in one start, and up to the first response.
async fn calls_of_one(bench: &Bench<'_>) -> Vec<Row> {
    let counts = || [bench.moto.reads(), bench.stage.dynamo.total()];
    let before = counts();
    let function = bench.keyturn_with_stores.start().await;
    let started = counts();
    let answer = function.call(&event(CHAT, &bench.limited_key, &chat(OPENAI, 0))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    function.idle().await;
    let answered = counts();
    let row = |what: &str, from: u64, to: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
        let calls = (to - from) as f64;
        Row::new(what, Unit::Count, vec![None, None, Some(calls)])
    };
    vec![
        row("calls of Secrets Manager before the first /next", before[0], started[0]),
        row("calls of DynamoDB before the first /next", before[1], started[1]),
        row("calls of Secrets Manager for the first request", started[0], answered[0]),
        row("calls of DynamoDB for the first request, settlement included", started[1], answered[1]),
    ]
}
