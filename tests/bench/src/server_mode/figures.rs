//! From what was measured to tables: medians of the rounds.

use std::time::Duration;

use super::CONNECTIONS;
use super::load::Latency;
use super::upstream::CHUNKS;
use crate::report::{Bar, Row, Table, Unit};
use crate::samples::Samples;

/// The bare proxy's column; Keyturn's stand before it, peers behind it.
const PROXY: usize = 3;

/// Requests per second by the bare proxy's: half of them is what a gateway may cost that does something.
const LEAST_OF_PROXY: f64 = 0.5;
/// Requests per second by LiteLLM's.
const LEAST_OF_LITELLM: f64 = 200.0;
/// Requests per second by Portkey's.
const LEAST_OF_PORTKEY: f64 = 20.0;
/// Megabytes under load.
const MOST_MEMORY: f64 = 25.0;

/// How peers are measured.
const PEERS: &str = "LiteLLM has no database and is called with its master key, as Keyturn's first column is. Portkey is \
    one process and checks no key.";

/// What was measured of one subject, a figure for each round.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    ready: Vec<f64>,
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p90: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
    first_byte: Vec<f64>,
    stream: Vec<f64>,
    memory: Vec<f64>,
}

impl Figures {
    /// From the start to the first answer.
    pub(super) fn ready(&mut self, time: Duration) {
        self.ready.push(time.as_secs_f64() * 1e3);
    }

    /// What `time` of load gave, what it cost in CPU time, and the peak of memory in bytes.
    pub(super) fn loaded(
        &mut self,
        latencies: &[Latency],
        time: Duration,
        cpu: Option<Duration>,
        memory: Option<u64>,
    ) {
        let samples = samples(latencies, |latency| latency.whole);
        self.p50.extend(samples.percentile(50.0));
        self.p90.extend(samples.percentile(90.0));
        self.p99.extend(samples.percentile(99.0));
        let count = as_f64(latencies.len() as u64);
        self.per_second.push(count / time.as_secs_f64());
        self.cpu.extend(cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / count));
        self.memory.extend(memory.map(|bytes| as_f64(bytes) / 1e6));
    }

    /// What streams took.
    pub(super) fn streamed(&mut self, latencies: &[Latency]) {
        self.first_byte.extend(samples(latencies, |latency| latency.first_byte).median());
        self.stream.extend(samples(latencies, |latency| latency.whole).median());
    }
}

/// The tables. The first three subjects are Keyturn's, the fourth is the bare proxy.
pub(super) fn tables(names: &[String], figures: &[Figures], left_out: Vec<String>) -> Vec<Table> {
    let row = |what: &str, unit, of: fn(&Figures) -> &Vec<f64>| {
        Row::new(what, unit, figures.iter().map(|figures| median(of(figures))).collect())
    };
    let peers = names.len() > PROXY + 1;
    let of_proxy = |row: Row| row.compared_with(PROXY);
    let all = Table {
        title: "Server mode".to_owned(),
        columns: names.to_vec(),
        rows: vec![
            of_proxy(row("requests per second", Unit::PerSecond, |of| &of.per_second))
                .bar(Bar::AtLeast(LEAST_OF_PROXY)),
            of_proxy(row("latency, p50", Unit::Milliseconds, |of| &of.p50)),
            of_proxy(row("latency, p90", Unit::Milliseconds, |of| &of.p90)),
            of_proxy(row("latency, p99", Unit::Milliseconds, |of| &of.p99)),
            of_proxy(row("CPU per request", Unit::Microseconds, |of| &of.cpu)),
            of_proxy(row("stream: first byte, p50", Unit::Milliseconds, |of| &of.first_byte)),
            of_proxy(row(&format!("stream: all {CHUNKS} chunks, p50"), Unit::Milliseconds, |of| &of.stream)),
            row("peak memory", Unit::Megabytes, |of| &of.memory).bar(Bar::AtMost(MOST_MEMORY)),
            row("start to first answer", Unit::Milliseconds, |of| &of.ready),
        ],
        notes: [
            format!(
                "{CONNECTIONS} connections that are kept alive, each with one small chat request at a time; streams over \
                 one connection. Medians of the rounds. The ratio is Keyturn's with the master key by the bare proxy's."
            ),
            "The load and the upstream run on the same cores as what is measured and take their part of them; CPU per \
             request is the subject's own, over all its processes."
                .to_owned(),
            "Each writes its log to a file. What a virtual key with limits may use is reserved and settled in a file with \
             each request."
                .to_owned(),
        ]
        .into_iter()
        .chain(peers.then(|| PEERS.to_owned()))
        .chain(left_out)
        .collect(),
    };
    let peers = names.iter().enumerate().skip(PROXY + 1);
    let beside =
        peers.map(|(peer, name)| beside(name, &figures[..PROXY], &figures[peer])).collect::<Vec<_>>();
    [all].into_iter().chain(beside).collect()
}

/// How many times better Keyturn's figures are than a peer's.
fn beside(name: &str, keyturn: &[Figures], peer: &Figures) -> Table {
    let times = |what: &str, of: fn(&Figures) -> &Vec<f64>, more_is_better: bool| {
        let times = |ours: &Figures| {
            let (ours, theirs) = (median(of(ours))?, median(of(peer))?);
            Some(if more_is_better { ours / theirs } else { theirs / ours })
        };
        let values: Vec<Option<f64>> = keyturn.iter().map(times).collect();
        Row { ratio: values.first().copied().flatten(), ..Row::new(what, Unit::Count, values) }
    };
    let least = if name.starts_with("LiteLLM") { LEAST_OF_LITELLM } else { LEAST_OF_PORTKEY };
    Table {
        title: format!("Server mode: times better than {name}"),
        columns: ["master key", "virtual key", "key with limits"].map(str::to_owned).into(),
        rows: vec![
            times("requests per second", |of| &of.per_second, true).bar(Bar::AtLeast(least)),
            times("latency, p50", |of| &of.p50, false),
            times("latency, p99", |of| &of.p99, false).bar(Bar::AtLeast(1.0)),
            times("CPU per request", |of| &of.cpu, false),
            times("stream: first byte, p50", |of| &of.first_byte, false),
            times("peak memory", |of| &of.memory, false),
            times("start to first answer", |of| &of.ready, false),
        ],
        notes: vec![format!(
            "Requests per second: Keyturn's by {name}'s. All others: {name}'s by Keyturn's. The ratio is that of the \
             master key."
        )],
    }
}

fn samples(latencies: &[Latency], of: fn(&Latency) -> Duration) -> Samples {
    let mut samples = Samples::default();
    samples.extend(latencies.iter().map(of));
    samples
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[expect(clippy::cast_precision_loss, reason = "a figure with fewer digits than an f64 holds")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64, p99: f64) -> Figures {
        Figures { per_second: vec![per_second], p99: vec![p99], ..Figures::default() }
    }

    #[test]
    fn keyturn_is_judged_by_the_proxy_and_by_each_peer() {
        let names = ["a", "b", "c", "bare proxy", "LiteLLM 1", "Portkey 2"].map(str::to_owned);
        let all = [(600.0, 2.0), (500.0, 2.0), (100.0, 2.0), (1000.0, 1.0), (2.0, 500.0), (60.0, 1.0)];
        let all = all.map(|(per_second, p99)| figures(per_second, p99));
        let tables = tables(&names, &all, Vec::new());
        let judged = |table: usize, what: &str| {
            let row = tables[table].rows.iter().find(|row| row.what == what).unwrap();
            (row.ratio, row.kept())
        };
        assert_eq!(judged(0, "requests per second"), (Some(0.6), Some(true)));
        assert_eq!(judged(1, "requests per second"), (Some(300.0), Some(true)));
        assert_eq!(judged(1, "latency, p99"), (Some(250.0), Some(true)));
        assert_eq!(judged(2, "requests per second"), (Some(10.0), Some(false)));
        assert_eq!(judged(2, "latency, p99"), (Some(0.5), Some(false)));
        // Nothing was measured of it.
        assert_eq!(judged(2, "peak memory"), (None, None));
    }

    #[test]
    fn the_median_of_few() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
