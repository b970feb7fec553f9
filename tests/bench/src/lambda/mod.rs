//! The functions under the Runtime API emulator: the request function beside the *limit*, a Lambda function that
//! forwards the body with the same HTTP client and does nothing else.
//!
//! Everything is measured in rounds in which the two take turns. A request's time is from the moment its event is
//! handed out until the last byte of the answer has come in. The emulator and the fake upstream run on one thread and,
//! but for the rows with several environments, on one core with the function ([`crate::pin`]); their time is in every
//! figure of both.

mod answers;
mod bill;
mod calls;
mod cold;
mod recovery;
mod streams;
mod subject;
mod throughput;
mod warm;

use std::path::PathBuf;
use std::time::Duration;

use keyturn_keys::manage::KeyFields;
use keyturn_tests::binaries::workspace;
use keyturn_tests::moto::Moto;
use serde_json::json;

use crate::pin::Pinned;
use crate::progress::Progress;
use crate::report::{Bar, Row, Table, Unit};
use crate::stage::{Stage, Stores, UPSTREAM_KEY, all_limits};
use answers::Answers;
use subject::Subject;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Measurements alternate between the subjects in this many rounds.
    pub rounds: u32,
    /// Cold starts of each subject in a round.
    pub cold_starts: u32,
    /// Requests of each subject and scenario in a round.
    pub requests: u32,
    /// Streams of each subject and kind in a round.
    pub streams: u32,
    /// Replaced credentials in all.
    pub recoveries: u32,
    /// How long several environments are kept busy, in each round of `throughput_rounds`.
    pub throughput_time: Duration,
    /// Rounds with several environments.
    pub throughput_rounds: u32,
}

impl Plan {
    /// Some minutes.
    #[must_use]
    pub fn full() -> Self {
        Self {
            rounds: 20,
            cold_starts: 5,
            requests: 50,
            streams: 10,
            recoveries: 15,
            throughput_time: Duration::from_millis(500),
            throughput_rounds: 4,
        }
    }

    /// Less than a minute, for a first look.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rounds: 3,
            cold_starts: 2,
            requests: 30,
            streams: 3,
            recoveries: 3,
            throughput_time: Duration::from_millis(250),
            throughput_rounds: 1,
        }
    }
}

/// All that the measurements share.
struct Bench<'a> {
    plan: Plan,
    progress: &'a Progress,
    stage: Stage,
    moto: Moto,
    answers: Answers,
    /// No stores: the master key, and the upstream's key in the environment.
    keyturn: Subject,
    /// The upstream's key in Secrets Manager, virtual keys in DynamoDB.
    keyturn_with_stores: Subject,
    limit: Subject,
    /// A virtual key without limits.
    plain_key: String,
    /// A virtual key with every limit.
    limited_key: String,
}

/// Where the release builds lie.
struct Binaries {
    request: PathBuf,
    package: PathBuf,
    limit: PathBuf,
}

/// Measures all of it.
///
/// # Panics
///
/// When something cannot be started, or a request fails.
pub async fn measure(plan: Plan, progress: &Progress) -> Vec<Table> {
    let binaries = Binaries::find();
    progress.say("Starting servers");
    let bench = Bench::start(plan, progress, &binaries).await;
    // What runs on more cores has been started by now.
    let pinned = Pinned::to_one_core();
    let (cold, init) = Box::pin(cold::measure(&bench)).await;
    let mut tables = vec![cold];
    let warm = Box::pin(warm::measure(&bench)).await;
    tables.extend(warm.tables());
    tables.push(Box::pin(streams::measure(&bench)).await);
    let calls = Box::pin(calls::measure(&bench)).await;
    tables.push(calls.table());
    tables.push(Box::pin(recovery::measure(&bench)).await);
    if !pinned.holds() {
        let unpinned = "The system does not let the benchmark choose a core: expect more noise.";
        tables[0].notes.push(unpinned.to_owned());
    }
    drop(pinned);
    tables.push(Box::pin(throughput::measure(&bench)).await);
    tables.push(space(&warm, &binaries));
    tables.extend(bill::tables(&warm, &calls, init));
    tables
}

impl Bench<'_> {
    async fn start<'a>(plan: Plan, progress: &'a Progress, binaries: &Binaries) -> Bench<'a> {
        let stage = Stage::start().await;
        stage.upstream.forget_requests();
        let moto = Moto::start().await;
        moto.create_secret("providers", &provider_secret(UPSTREAM_KEY)).await;
        let answers = Answers::record(&stage).await;
        answers.whole(&stage);
        let stores = |stores| stage.environment(stores);
        let mut with_stores = stores(Stores::KeysAndSecrets);
        with_stores.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto.url()));
        let limit = vec![
            ("LIMIT_UPSTREAM", format!("{}/chat/completions", stage.upstream.openai_base())),
            ("LIMIT_KEY", UPSTREAM_KEY.to_owned()),
        ];
        Bench {
            plan,
            progress,
            keyturn: Subject::new(&binaries.request, stores(Stores::None)),
            keyturn_with_stores: Subject::new(&binaries.request, with_stores),
            limit: Subject::new(&binaries.limit, limit),
            plain_key: stage.virtual_key(KeyFields::default()).await,
            limited_key: stage.virtual_key(all_limits()).await,
            answers,
            stage,
            moto,
        }
    }
}

impl Binaries {
    fn find() -> Self {
        let target = workspace().join("target");
        let found = Self {
            request: target.join("lambda/request/bootstrap"),
            package: target.join("lambda/request.zip"),
            limit: target.join("release/limit"),
        };
        for file in [&found.request, &found.package, &found.limit] {
            assert!(file.is_file(), "{} is missing: run `make bench`", file.display());
        }
        found
    }
}

/// The providers' secret with this key in it.
fn provider_secret(key: &str) -> String {
    json!({"OPENAI_API_KEY": key, "ANTHROPIC_API_KEY": key}).to_string()
}

/// Memory and sizes.
fn space(warm: &warm::Warm, binaries: &Binaries) -> Table {
    let size = |file: &PathBuf| file.metadata().ok().map(|metadata| metadata.len());
    let [ours, least, stores] = warm.peak_memory;
    let row = |what: &str, values: [Option<u64>; 3]| {
        let values = values.iter().map(|bytes| bytes.map(megabytes)).collect();
        Row::new(what, Unit::Megabytes, values)
    };
    Table {
        title: "Memory and size".to_owned(),
        columns: ["keyturn", "limit", "keyturn with stores"].map(str::to_owned).to_vec(),
        rows: vec![
            row("peak resident memory", [ours, least, stores]).compared_with(1).bar(Bar::AtMost(3.0)),
            row("binary", [size(&binaries.request), size(&binaries.limit), None]).bar(Bar::AtMost(9.0)),
            row("package, zipped", [size(&binaries.package), None, None]).bar(Bar::AtMost(4.0)),
        ],
        notes: vec![
            "Memory is the peak after all the warm requests, prompts of 200 KB among them.".to_owned(),
        ],
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with two decimals")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
