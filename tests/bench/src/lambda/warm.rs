//! Warm requests, one at a time.

use keyturn_tests::environment::Environment;
use serde_json::{Value, json};

use super::Bench;
use super::subject::Figures;
use crate::cost::Phase;
use crate::report::{Bar, Row, Table, Unit};
use crate::samples::Samples;
use crate::stage::{ANTHROPIC, MASTER_KEY, OPENAI, chat, event, with_tools};

const CHAT: &str = "/v1/chat/completions";

/// The plainest request.
pub(super) const MASTER: &str = "master key";
/// One whose key is in memory.
pub(super) const PLAIN: &str = "virtual key without limits, cached";
/// One whose key asks the table.
pub(super) const LIMITED: &str = "virtual key with budget, rpm and tpm";

/// What is asked.
struct Scenario {
    what: &'static str,
    event: Value,
    /// Whether it takes the function that has stores.
    stores: bool,
    /// Whether it asks of the gateway what it asks of the limit: to pass the body on.
    alike: bool,
    /// A batch is this many times smaller.
    less: u32,
    keyturn: Figures,
    limit: Figures,
}

/// What was measured.
pub(super) struct Warm {
    scenarios: Vec<Scenario>,
    /// Of Keyturn, the limit and Keyturn with stores, in bytes.
    pub(super) peak_memory: [Option<u64>; 3],
}

struct Functions {
    keyturn: Environment,
    stores: Environment,
    limit: Environment,
}

fn scenarios(bench: &Bench<'_>) -> Vec<Scenario> {
    let scenario = |what, event| Scenario {
        what,
        event,
        stores: false,
        alike: true,
        less: 1,
        keyturn: Figures::default(),
        limit: Figures::default(),
    };
    let master = |what, body: &Value| scenario(what, event(CHAT, MASTER_KEY, body));
    let hello = chat(OPENAI, 0);
    let mut messages = chat(ANTHROPIC, 0);
    messages["max_tokens"] = json!(100);
    vec![
        master(MASTER, &hello),
        Scenario { stores: true, ..scenario(PLAIN, event(CHAT, &bench.plain_key, &hello)) },
        Scenario { stores: true, alike: false, ..scenario(LIMITED, event(CHAT, &bench.limited_key, &hello)) },
        master("8 KB prompt", &chat(OPENAI, 8_000)),
        Scenario { less: 5, ..master("200 KB prompt", &chat(OPENAI, 200_000)) },
        master("64 tools", &with_tools(hello.clone(), 64)),
        Scenario { alike: false, ..master("OpenAI's format to Anthropic and back", &chat(ANTHROPIC, 0)) },
        scenario("Anthropic's own format", event("/v1/messages", MASTER_KEY, &messages)),
    ]
}

/// Lets the functions take turns at every scenario.
pub(super) async fn measure(bench: &Bench<'_>) -> Warm {
    let mut scenarios = scenarios(bench);
    let functions = Functions {
        keyturn: bench.keyturn.start().await,
        stores: bench.keyturn_with_stores.start().await,
        limit: bench.limit.start().await,
    };
    for scenario in &scenarios {
        // The first ones open connections and fill caches.
        let (ours, least) = functions.of(scenario);
        for function in [ours, least] {
            Box::pin(Figures::default().batch(function, &scenario.event, 3)).await;
        }
    }
    for round in 1..=bench.plan.rounds {
        bench.progress.say(&format!("Warm requests, round {round} of {}", bench.plan.rounds));
        for scenario in &mut scenarios {
            let times = (bench.plan.requests / scenario.less).max(1);
            let (ours, least) = functions.of(scenario);
            scenario.keyturn.batch(ours, &scenario.event, times).await;
            scenario.limit.batch(least, &scenario.event, times).await;
        }
    }
    let peak_memory =
        [&functions.keyturn, &functions.limit, &functions.stores].map(|one| one.process().peak_memory());
    Warm { scenarios, peak_memory }
}

impl Functions {
    fn of(&self, scenario: &Scenario) -> (&Environment, &Environment) {
        (if scenario.stores { &self.stores } else { &self.keyturn }, &self.limit)
    }
}

impl Warm {
    pub(super) fn tables(&self) -> Vec<Table> {
        let requests = Table {
            title: "Warm request: event to last byte".to_owned(),
            rows: [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)]
                .into_iter()
                .flat_map(|(name, percent)| {
                    let rank = move |figures: &Figures| figures.whole.percentile(percent);
                    let bar = (percent == 50.0).then_some(1.15);
                    self.rows(&format!("{name}, "), rank, bar)
                })
                .collect(),
            columns: columns(),
            notes: vec![
                "The limit gets the same body and passes it on as it is, to the same upstream. Bars stand where Keyturn \
                 is asked for no more than that."
                    .to_owned(),
            ],
        };
        let cpu = Table {
            title: "CPU per invocation".to_owned(),
            rows: self.rows("", |figures| figures.cpu.median(), Some(1.3)),
            columns: columns(),
            notes: vec![
                "Everything until the next event is asked for: log line and settlement too. The spend of a virtual key \
                 is written to DynamoDB after the answer, a signed call that takes more CPU than all the rest and \
                 that the limit has no use for."
                    .to_owned(),
            ],
        };
        let billed = Table {
            title: "Billed duration per invocation".to_owned(),
            rows: self
                .rows("rounded up: ", |figures| figures.billed.rounded_up().mean(), None)
                .into_iter()
                .chain(self.rows("before rounding: ", |figures| figures.billed.mean(), None))
                .collect(),
            columns: columns(),
            notes: vec![
                "Means, from handing out the event until the next is asked for; the upstream answers at once. Lambda \
                 rounds up to the millisecond."
                    .to_owned(),
            ],
        };
        vec![requests, cpu, billed]
    }

    fn rows(&self, prefix: &str, figure: impl Fn(&Figures) -> Option<f64>, bar: Option<f64>) -> Vec<Row> {
        let row = |scenario: &Scenario| {
            let values = vec![figure(&scenario.keyturn), figure(&scenario.limit)];
            let row =
                Row::new(format!("{prefix}{}", scenario.what), Unit::Milliseconds, values).compared_with(1);
            match bar.filter(|_| scenario.alike) {
                Some(most) => row.bar(Bar::AtMost(most)),
                None => row,
            }
        };
        self.scenarios.iter().map(row).collect()
    }

    /// One invocation of Keyturn's in this scenario, as it is billed.
    pub(super) fn invocation(&self, what: &str) -> Phase {
        let scenario = self.scenarios.iter().find(|scenario| scenario.what == what);
        let figures = scenario.map(|scenario| &scenario.keyturn);
        let mean = |samples: fn(&Figures) -> &Samples| {
            figures.and_then(|figures| samples(figures).mean()).unwrap_or_default()
        };
        Phase { wall: mean(|figures| &figures.billed), cpu: mean(|figures| &figures.cpu) }
    }
}

fn columns() -> Vec<String> {
    ["keyturn", "limit"].map(str::to_owned).to_vec()
}
