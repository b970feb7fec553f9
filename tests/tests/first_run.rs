//! The first start on a machine, the second, and the end of one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::Method;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::Client;
use keyturn_tests::process::{Process, Start};
use keyturn_tests::upstream::{Behaviour, COMPLETION, Gate};
use keyturn_tests::{binaries, within};
use serde_json::Value;

use crate::stack::{MASTER, Stack, chat, streamed_text};

fn sample_config() -> String {
    binaries::workspace().join("config.yaml").to_string_lossy().into_owned()
}

/// Starts it as `make run` does, in an empty directory and with an empty environment.
async fn start(directory: &Path) -> Gateway {
    Gateway::start(&binaries::keyturn(), directory, &["--config", &sample_config()], &[]).await
}

/// Runs a line as a person pastes it.
async fn shell(line: &str, directory: &Path) -> String {
    let mut shell = Process::start(&Start {
        program: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".to_owned(), format!("{line} --silent --show-error")],
        environment: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
        directory: directory.to_owned(),
    });
    let (status, output) = shell.exit().await;
    assert!(status.success(), "{line}\n{output}");
    output
}

/// Every file under a directory, with its permissions.
fn files(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), path.metadata().unwrap().permissions().mode() & 0o777));
        }
    }
    found
}

#[tokio::test]
async fn the_printed_line_answers() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start(directory.path()).await;
    let answer = shell(gateway.curl(), directory.path()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("not JSON: {answer}"));
    let text = answer["choices"][0]["message"]["content"].as_str();
    assert!(text.is_some_and(|text| !text.is_empty()), "{answer}");

    let files = files(&directory.path().join(".keyturn"));
    let mut with_a_key = 0;
    for (file, mode) in &files {
        let content = std::fs::read(file).unwrap();
        if content.starts_with(b"sk-") {
            with_a_key += 1;
            assert_eq!(*mode, 0o600, "{} can be read by others", file.display());
        }
    }
    assert_eq!(with_a_key, 2, "a master key and a virtual key: {files:?}");
    let mode = directory.path().join(".keyturn").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "the data directory can be read by others");
}

#[tokio::test]
async fn a_second_start_uses_the_same_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = start(directory.path()).await;
    let key = first.key().to_owned();
    first.process().signal("TERM").await;
    let (status, output) = first.process_mut().exit().await;
    assert!(status.success(), "{status}\n{output}");
    let before: Vec<_> = read_keys(directory.path());
    let second = start(directory.path()).await;
    assert_eq!(second.key(), key);
    assert_eq!(read_keys(directory.path()), before);
    assert_eq!(second.post("/v1/chat/completions", &chat("demo", false)).await.status, 200);
}

/// The files that hold a key.
fn read_keys(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files(&directory.join(".keyturn"));
    let mut keys: Vec<_> =
        files.into_iter().map(|(file, _)| (file.clone(), std::fs::read(file).unwrap())).collect();
    keys.retain(|(_, content)| content.starts_with(b"sk-"));
    keys.sort();
    keys
}

#[tokio::test]
async fn litellms_master_key_is_used_and_ours_wins() {
    let directory = tempfile::tempdir().unwrap();
    let config = sample_config();
    for (variables, expected) in [
        (vec![("LITELLM_MASTER_KEY", "sk-from-litellm")], "sk-from-litellm"),
        (vec![("LITELLM_MASTER_KEY", "sk-from-litellm"), ("KEYTURN_MASTER_KEY", "sk-ours")], "sk-ours"),
    ] {
        let gateway =
            Gateway::start(&binaries::keyturn(), directory.path(), &["--config", &config], &variables).await;
        let url = format!("{}/v1/chat/completions", gateway.url());
        let client = Client::default();
        for key in ["sk-from-litellm", "sk-ours"] {
            let answer = client.post_json(&url, Some(key), &chat("demo", false)).await;
            assert_eq!(answer.status, if key == expected { 200 } else { 401 }, "{key} with {variables:?}");
        }
        // Two gateways at once would share the key table's file.
        let mut gateway = gateway;
        gateway.process().signal("INT").await;
        gateway.process_mut().exit().await;
    }
}

#[tokio::test]
async fn ctrl_c_lets_requests_under_way_finish() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&stack.usual_config(), &[]).await;
    let gate = Gate::default();
    stack.upstream.script(Behaviour::Paced(gate.clone()));
    let url = format!("{}/v1/chat/completions", gateway.url());
    let bearer = format!("Bearer {MASTER}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    gate.release(3);
    let client = Client::default();
    let mut streaming =
        client.open(Method::POST, &url, &headers, chat("gpt", true).to_string()).await.unwrap();
    let first = streaming.chunk().await.unwrap().unwrap();
    gateway.process().signal("INT").await;
    // New connections are refused once the signal has arrived; only then does the stream go on.
    let address = gateway.url().trim_start_matches("http://").to_owned();
    within("the port to close", async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    let rest = streaming.collect().await.expect("the stream is finished");
    let text = format!("{}{}", String::from_utf8_lossy(&first), rest.text());
    assert_eq!(streamed_text(&text), COMPLETION);
    assert!(text.contains("[DONE]"), "{text}");
    let mut gateway = gateway;
    let (status, output) = gateway.process_mut().exit().await;
    assert!(status.success(), "{status}\n{output}");
    assert!(output.contains(r#""model":"gpt""#), "the drained request left no log line:\n{output}");
}
