//! What a million requests cost: measured times and calls, at AWS's prices.

use super::calls::Counted;
use super::warm::{self, Warm};
use crate::cost::{self, Phase, Processor};
use crate::report::{Row, Table, Unit};

const MEMORY_MB: [f64; 4] = [128.0, 256.0, 512.0, 1024.0];
/// How long an upstream thinks, in milliseconds, in the second table.
const UPSTREAM: f64 = 1000.0;
const PROCESSORS: [(&str, Processor); 2] = [("arm64", Processor::Arm64), ("x86-64", Processor::X86)];

pub(super) fn tables(warm: &Warm, calls: &Counted, init: Phase) -> Vec<Table> {
    let (master, limited) = (warm.invocation(warm::MASTER), warm.invocation(warm::LIMITED));
    let charged = |what: &str| {
        let calls = calls.of(what);
        (cost::dynamo(calls.writes, calls.reads), cost::logs(calls.logged))
    };
    let (alone, plain, every) = (charged(warm::MASTER), charged(warm::PLAIN), charged(warm::LIMITED));
    let mut own = durations("Lambda, duration, master key", master, 0.0);
    own.extend(durations("Lambda, duration, key with every limit", limited, 0.0));
    own.extend(durations("Lambda, a million cold starts' init phases", init, 0.0));
    own.extend([
        fixed("Lambda, invocations", cost::INVOCATIONS),
        fixed("DynamoDB, key without limits", plain.0),
        fixed("DynamoDB, key with every limit", every.0),
        fixed("CloudWatch Logs, the gateway's own lines", every.1),
        fixed("function URL", cost::FUNCTION_URL),
        fixed("HTTP API", cost::HTTP_API),
        fixed("REST API", cost::REST_API),
    ]);
    let sum = |what: &str, phase: Phase, upstream: f64, more: f64| {
        let million = |memory| phase.million(Processor::Arm64, memory, upstream) + cost::INVOCATIONS + more;
        row(what, million)
    };
    let limits = every.0 + every.1;
    let totals = |upstream| {
        [
            sum("in all: arm64, master key, function URL", master, upstream, alone.1),
            sum("in all: arm64, key with every limit, function URL", limited, upstream, limits),
            sum("in all: arm64, key with every limit, HTTP API", limited, upstream, limits + cost::HTTP_API),
            sum("in all: arm64, key with every limit, REST API", limited, upstream, limits + cost::REST_API),
        ]
    };
    own.extend(totals(0.0));
    let mut waiting = durations("Lambda, duration, key with every limit", limited, UPSTREAM);
    waiting.extend(totals(UPSTREAM));
    vec![
        table("A million requests: the gateway's own part", own, notes()),
        table(
            "A million requests to an upstream that answers after 1 s",
            waiting,
            vec![
                "Computed from the table above and one second more of every invocation, not measured. Lambda bills \
                 waiting like working."
                    .to_owned(),
            ],
        ),
    ]
}

fn notes() -> Vec<String> {
    vec![
        "Computed from the CPU, the billed durations and the calls in the tables above, at the list prices of us-east-1 \
         (`tests/bench/src/cost.rs`): `⌈CPU ÷ min(1, memory ÷ 1,769 MB) + waiting⌉` ms per invocation. A millisecond of \
         this machine's CPU is taken for one of Lambda's; the loopback stands for the network, and DynamoDB answers \
         here in less time than in AWS."
            .to_owned(),
        "A write is counted as one of up to 1 KB. Lambda's own log lines, traffic out of AWS and free tiers are not in \
         it."
        .to_owned(),
    ]
}

fn durations(what: &str, phase: Phase, upstream: f64) -> Vec<Row> {
    let rows = PROCESSORS.iter().map(|(name, processor)| {
        row(format!("{what}, {name}"), |memory| phase.million(*processor, memory, upstream))
    });
    rows.collect()
}

fn fixed(what: &str, dollars: f64) -> Row {
    row(what, |_| dollars)
}

fn row(what: impl Into<String>, dollars: impl Fn(f64) -> f64) -> Row {
    Row::new(what, Unit::Dollars, MEMORY_MB.iter().map(|memory| Some(dollars(*memory))).collect())
}

fn table(title: &str, rows: Vec<Row>, notes: Vec<String>) -> Table {
    let columns = ["128 MB", "256 MB", "512 MB", "1,024 MB"].map(str::to_owned).to_vec();
    Table { title: title.to_owned(), columns, rows, notes }
}
