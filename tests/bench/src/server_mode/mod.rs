//! `keyturn serve` beside a bare reverse proxy, LiteLLM's proxy and Portkey's gateway.
//!
//! One after another, in rounds, each is started, loaded with small chat requests over connections that are kept
//! alive, asked for streams over one connection, and ended. The load and the upstream are threads of this program and
//! take their part of the cores: requests per second of two subjects can be compared, and are no more than that.

mod figures;
mod gateways;
mod load;
mod peers;
mod process_tree;
mod subject;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyturn_ambient::{Env, ProcessEnv};
use keyturn_tests::binaries::workspace;
use tokio::time::{Instant, sleep_until};

use crate::progress::Progress;
use crate::report::Table;
use figures::Figures;
use load::Latency;
use subject::{Running, Subject};
use upstream::Upstream;

/// The connections that are loaded.
const CONNECTIONS: usize = 16;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The subjects take turns in this many rounds.
    pub rounds: u32,
    /// How long a subject is loaded before anything counts.
    pub warm_up: Duration,
    /// How long it is loaded then.
    pub load: Duration,
    /// How long it is asked for streams.
    pub streams: Duration,
    /// Whether LiteLLM and Portkey are measured.
    pub peers: bool,
}

impl Plan {
    /// Some minutes.
    #[must_use]
    pub fn full(peers: bool) -> Self {
        let (warm_up, load, streams) =
            (Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(2));
        Self { rounds: 5, warm_up, load, streams, peers }
    }

    /// About a minute, for a first look.
    #[must_use]
    pub fn quick(peers: bool) -> Self {
        let (warm_up, load, streams) =
            (Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(1));
        Self { rounds: 1, warm_up, load, streams, peers }
    }
}

/// Measures all of it. `target/release` holds the programs, `target/bench` will hold the peers.
///
/// # Panics
///
/// When a subject does not start, or gives a wrong answer.
pub async fn measure(plan: Plan, progress: &Progress) -> Vec<Table> {
    let upstream = Upstream::start();
    let files = tempfile::tempdir().expect("a temporary directory");
    let binaries = workspace().join("target/release");
    let data = files.path().join("keys");
    let mut subjects = Vec::from(gateways::keyturn(&binaries, &data, upstream).await);
    subjects.push(gateways::reverse_proxy(&binaries, upstream));
    let mut left_out = Vec::new();
    if plan.peers {
        progress.say("installing LiteLLM and Portkey, when they are not there yet");
        let target = workspace().join("target/bench");
        for (name, peer) in [
            ("LiteLLM", peers::litellm(&target.join("litellm"), upstream)),
            ("Portkey", peers::portkey(&target.join("portkey"), upstream)),
        ] {
            match peer {
                Ok(peer) => subjects.push(peer),
                Err(reason) => {
                    anstream::eprintln!("{name} is left out: {reason}");
                    left_out.push(format!("{name} was not measured: {reason}."));
                }
            }
        }
    } else {
        left_out.push("LiteLLM and Portkey were not measured: --no-peers.".to_owned());
    }

    let mut figures = vec![Figures::default(); subjects.len()];
    for round in 1..=plan.rounds {
        for (subject, figures) in subjects.iter().zip(&mut figures) {
            progress.say(&format!("{}, round {round} of {}", subject.name, plan.rounds));
            one(subject, figures, plan, files.path()).await;
        }
    }
    let names: Vec<String> = subjects.into_iter().map(|subject| subject.name).collect();
    figures::tables(&names, &figures, left_out)
}

/// Starts a subject, loads it, and ends it.
async fn one(subject: &Subject, figures: &mut Figures, plan: Plan, directory: &Path) {
    let running = subject.start(directory).await;
    figures.ready(running.ready());

    let start = Instant::now() + plan.warm_up;
    let cpu_time = async {
        sleep_until(start).await;
        let before = running.cpu_time();
        sleep_until(start + plan.load).await;
        Some(running.cpu_time()? - before?)
    };
    let latencies = load(&running, subject, false, CONNECTIONS, start, plan.load);
    let (latencies, cpu_time) = tokio::join!(latencies, cpu_time);
    figures.loaded(&latencies, plan.load, cpu_time, running.peak_memory());

    let start = Instant::now() + plan.warm_up / 4;
    figures.streamed(&load(&running, subject, true, 1, start, plan.streams).await);
    running.stop().await;
}

async fn load(
    running: &Running,
    subject: &Subject,
    stream: bool,
    connections: usize,
    start: Instant,
    time: Duration,
) -> Vec<Latency> {
    match load::run(subject.target(stream), connections, start, start + time).await {
        Ok(latencies) if latencies.is_empty() => running.failed("no answer in all the time"),
        Ok(latencies) => latencies,
        Err(failure) => running.failed(failure),
    }
}

/// Where the peers are pinned, and configured.
fn peers_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Where programs are looked for.
fn path() -> String {
    ProcessEnv.var("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned())
}
