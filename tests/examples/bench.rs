//! The request function beside the limit: a Lambda function that forwards the body with the same HTTP client and
//! does nothing else. `make bench` runs it.
//!
//! Both run under the Runtime API emulator of the tests, in turns, against a fake upstream on the same machine: the
//! emulator's and the upstream's own time is in every figure, so trust the ratios, and compare figures of one run
//! only. The emulator acknowledges every piece of an answer at once, because the limit, as lambda_http is, stalls for
//! 40 ms otherwise; the last row is without that.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for a terminal")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyturn_tests::environment::Environment;
use keyturn_tests::upstream::Upstream;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Measurements alternate between the two in this many rounds.
const ROUNDS: usize = 10;
const COLD_STARTS: usize = 5;
const REQUESTS: usize = 200;
const STREAMS: usize = 40;
const KEY: &str = "sk-bench-upstream-key";

/// One function under measurement.
struct Subject {
    bootstrap: PathBuf,
    environment: Vec<(&'static str, String)>,
    init: Vec<Duration>,
    init_cpu: Vec<Duration>,
    warm: Vec<Duration>,
    warm_cpu: Vec<Duration>,
    large: Vec<Duration>,
    first_byte: Vec<Duration>,
    first_byte_lazily: Vec<Duration>,
    peak_memory: u64,
}

impl Subject {
    fn new(bootstrap: &str, environment: Vec<(&'static str, String)>) -> Self {
        let bootstrap = Path::new(bootstrap).canonicalize().expect("a bootstrap: run `make bench`");
        let (init, init_cpu, warm, warm_cpu) = <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        let (large, first_byte, first_byte_lazily) = <(Vec<_>, Vec<_>, Vec<_>)>::default();
        Self {
            bootstrap,
            environment,
            init,
            init_cpu,
            warm,
            warm_cpu,
            large,
            first_byte,
            first_byte_lazily,
            peak_memory: 0,
        }
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn start(&self) -> Environment {
        Environment::start_acknowledging(&self.bootstrap, &self.environment()).await
    }

    async fn start_lazily(&self) -> Environment {
        Environment::start(&self.bootstrap, &self.environment()).await
    }

    async fn cold(&mut self) {
        for _ in 0..COLD_STARTS {
            let function = self.start().await;
            self.init.push(function.init_duration());
            self.init_cpu.extend(function.process().cpu_time());
        }
    }

    async fn round(&mut self, function: &Environment) {
        let before = function.process().cpu_time();
        timed(function, &event(false, 0), REQUESTS, &mut self.warm).await;
        if let (Some(before), Some(after)) = (before, function.process().cpu_time()) {
            self.warm_cpu.push((after - before) / u32::try_from(REQUESTS).expect("a small number"));
        }
        timed(function, &event(false, 200_000), REQUESTS / 10, &mut self.large).await;
        streamed(function, &mut self.first_byte).await;
        self.peak_memory = function.process().peak_memory().unwrap_or_default();
    }
}

async fn streamed(function: &Environment, into: &mut Vec<Duration>) {
    for _ in 0..STREAMS {
        function.idle().await;
        let answer = function.call(&event(true, 0)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        into.push(answer.chunks.first().expect("a stream has chunks").after);
    }
}

async fn timed(function: &Environment, event: &Value, times: usize, into: &mut Vec<Duration>) {
    for _ in 0..times {
        function.idle().await;
        let start = Instant::now();
        let answer = function.call(event).await;
        into.push(start.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut bootstrap = || arguments.next().expect("two bootstraps: the request function and the limit");
    let upstream = Upstream::start(&[KEY]).await;
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("config.yaml");
    let base = upstream.openai_base();
    let yaml = format!(
        "model_list:\n- model_name: gpt\n  litellm_params:\n    model: openai/gpt-4o-mini\n    api_base: {base}\n    \
         api_key: os.environ/OPENAI_API_KEY\n"
    );
    std::fs::write(&config, yaml).expect("the configuration");
    let mut keyturn = Subject::new(
        &bootstrap(),
        vec![
            ("KEYTURN_CONFIG", config.to_string_lossy().into_owned()),
            ("KEYTURN_MASTER_KEY", "sk-1234".to_owned()),
            ("OPENAI_API_KEY", KEY.to_owned()),
        ],
    );
    let mut limit = Subject::new(
        &bootstrap(),
        vec![("LIMIT_UPSTREAM", format!("{base}/chat/completions")), ("LIMIT_KEY", KEY.to_owned())],
    );

    let functions = (keyturn.start().await, limit.start().await);
    for _ in 0..ROUNDS {
        keyturn.cold().await;
        limit.cold().await;
        keyturn.round(&functions.0).await;
        limit.round(&functions.1).await;
    }
    let functions = (keyturn.start_lazily().await, limit.start_lazily().await);
    streamed(&functions.0, &mut keyturn.first_byte_lazily).await;
    streamed(&functions.1, &mut limit.first_byte_lazily).await;
    println!("{:<34} {:>10} {:>10} {:>7}", "median, in milliseconds", "keyturn", "limit", "ratio");
    row("init, start to first /next", &mut keyturn.init, &mut limit.init);
    row("init, CPU", &mut keyturn.init_cpu, &mut limit.init_cpu);
    row("warm request", &mut keyturn.warm, &mut limit.warm);
    row("warm request, CPU", &mut keyturn.warm_cpu, &mut limit.warm_cpu);
    row("warm request, 200 KB prompt", &mut keyturn.large, &mut limit.large);
    row("first byte of a stream", &mut keyturn.first_byte, &mut limit.first_byte);
    row("… acknowledged lazily", &mut keyturn.first_byte_lazily, &mut limit.first_byte_lazily);
    println!();
    let sizes = |subject: &Subject| [subject.peak_memory, size(&subject.bootstrap)];
    for (what, [ours, least]) in ["peak resident memory, MB", "binary, MB"].into_iter().zip(
        sizes(&keyturn)
            .into_iter()
            .zip(sizes(&limit))
            .map(|(ours, least)| [megabytes(ours), megabytes(least)]),
    ) {
        println!("{what:<34} {ours:>10.1} {least:>10.1} {:>7.2}", ours / least);
    }
    if let Some(package) = keyturn.bootstrap.parent() {
        println!("{:<34} {:>10.1}", "package zipped, MB", megabytes(size(&package.with_extension("zip"))));
    }
}

fn row(what: &str, ours: &mut [Duration], least: &mut [Duration]) {
    let (ours, least) = (median(ours), median(least));
    println!("{what:<34} {ours:>10.3} {least:>10.3} {:>7.2}", ours / least);
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn size(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A request over a function URL, with `padding` bytes of prompt.
fn event(stream: bool, padding: usize) -> Value {
    let path = "/v1/chat/completions";
    let content = format!("Hello!{}", "x".repeat(padding));
    let body = json!({"model": "gpt", "stream": stream, "messages": [{"role": "user", "content": content}]});
    json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"authorization": "Bearer sk-1234", "content-type": "application/json"},
        "requestContext": {
            "domainName": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws",
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "stage": "$default",
        },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}
