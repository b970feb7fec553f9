//! A first measurement of the request function, under the Runtime API of the tests: cold start, warm requests,
//! time to first byte of a stream, memory, size. `make bench` runs it.
//!
//! The emulator's own time is in every figure, so compare figures of one machine only.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for a terminal")]

use std::path::PathBuf;
use std::time::Duration;

use keyturn_tests::environment::Environment;
use keyturn_tests::upstream::Upstream;
use serde_json::{Value, json};
use tokio::time::Instant;

const COLD_STARTS: usize = 20;
const REQUESTS: usize = 1_000;
const STREAMS: usize = 200;
const KEY: &str = "sk-bench-upstream-key";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let directory = std::env::args().nth(1).expect("the directory of a bootstrap");
    let bootstrap = PathBuf::from(directory).join("bootstrap");
    let bootstrap = bootstrap.canonicalize().expect("a bootstrap: run `make build`");
    let upstream = Upstream::start(&[KEY]).await;
    let files = tempfile::tempdir().expect("a temporary directory");
    let config = files.path().join("config.yaml");
    let yaml = format!(
        "model_list:\n- model_name: gpt\n  litellm_params:\n    model: openai/gpt-4o-mini\n    api_base: {}\n    \
         api_key: os.environ/OPENAI_API_KEY\n",
        upstream.openai_base()
    );
    std::fs::write(&config, yaml).expect("the configuration");
    let config = config.to_string_lossy();
    let environment =
        [("KEYTURN_CONFIG", config.as_ref()), ("KEYTURN_MASTER_KEY", "sk-1234"), ("OPENAI_API_KEY", KEY)];

    let mut init = Vec::new();
    for _ in 0..COLD_STARTS {
        init.push(Environment::start(&bootstrap, &environment).await.init_duration());
    }
    let function = Environment::start(&bootstrap, &environment).await;
    let mut warm = Vec::new();
    for _ in 0..REQUESTS {
        function.idle().await;
        let start = Instant::now();
        let answer = function.call(&event(false)).await;
        warm.push(start.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let mut first_byte = Vec::new();
    for _ in 0..STREAMS {
        let answer = function.call(&event(true)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        first_byte.push(answer.chunks.first().expect("a stream has chunks").after);
    }
    print("init, process start to first /next", init);
    print("warm request", warm);
    print("first byte of a stream", first_byte);
    if let Some(bytes) = function.process().peak_memory() {
        println!("{:<36} {:>9.1} MB", "peak resident memory", megabytes(bytes));
    }
    for file in [bootstrap.clone(), bootstrap.with_extension("zip")] {
        if let Ok(metadata) = file.metadata() {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            println!("{name:<36} {:>9.1} MB", megabytes(metadata.len()));
        }
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:<36} p50 {:>7.3} ms   p90 {:>7.3}   p99 {:>7.3}", at(50), at(90), at(99));
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn event(stream: bool) -> Value {
    let path = "/v1/chat/completions";
    let body = json!({"model": "gpt", "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]});
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
