//! A panic costs its own request and tells nothing: its message may hold a key.

#![expect(clippy::panic, clippy::unwrap_used, reason = "panics are the subject, and tests fail with one")]

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use keyturn_ambient::{Env, ProcessEnv, SystemClock};
use keyturn_keys::ledger::Counters;
use keyturn_keys::store::{Charge, Charged, Opened, Row, RowId, StoreFailure, UsageLine};
use keyturn_keys::{AdmissionStore, KeyHash};
use keyturn_request::{Gateway, Options, log};

const CANARY: &str = "sk-canary-in-a-panic";

/// The hook is the process's own, so the test runs itself once more and looks at what that wrote.
#[test]
fn the_hook_prints_the_place_and_not_the_message() {
    if ProcessEnv.var("KEYTURN_TEST_PANICS").is_some() {
        log::quiet_panics();
        let _ = catch_unwind(|| panic!("{CANARY}"));
        return;
    }
    let test = "the_hook_prints_the_place_and_not_the_message";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("KEYTURN_TEST_PANICS", "yes")
        .output()
        .unwrap();
    let written = [output.stdout, output.stderr].concat();
    let written = String::from_utf8_lossy(&written);
    assert!(output.status.success(), "{written}");
    assert!(written.contains(r#""message":"panic""#) && written.contains("panics.rs"), "{written}");
    assert!(!written.contains(CANARY), "{written}");
}

/// A store with a bug.
struct Panics;

#[async_trait]
impl AdmissionStore for Panics {
    fn shares(&self) -> bool {
        false
    }

    async fn open(&self, _: &KeyHash) -> Result<Opened, StoreFailure> {
        panic!("{CANARY}")
    }

    async fn read(&self, _: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        panic!("{CANARY}")
    }

    async fn read_shares(&self, _: &RowId, _: u16) -> Result<Vec<Counters>, StoreFailure> {
        panic!("{CANARY}")
    }

    async fn charge(&self, _: &[Charge]) -> Result<Charged, StoreFailure> {
        panic!("{CANARY}")
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        panic!("{CANARY}")
    }

    async fn log_usage(&self, _: &UsageLine, _: u16) -> Result<(), StoreFailure> {
        panic!("{CANARY}")
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn note(line: &[u8]) {
    LOG.lock().unwrap().extend_from_slice(line);
}

#[tokio::test]
async fn the_client_gets_an_answer_and_the_log_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    std::fs::write(
        &config,
        "model_list: [{model_name: demo, litellm_params: {model: openai/demo, mock_response: hello}}]",
    )
    .unwrap();
    let env: Arc<dyn Env> = Arc::new(HashMap::new());
    let options = Options {
        config: Some(config.to_string_lossy().into_owned()),
        keys: Some(Arc::new(Panics)),
        ..Options::new(env, Arc::new(SystemClock), note).unwrap()
    };
    let gateway = Gateway::load(options).await.unwrap();
    let request = Request::post("/v1/chat/completions")
        .header("authorization", "Bearer sk-0123456789abcdef")
        .body(Bytes::from_static(br#"{"model":"demo","messages":[]}"#))
        .unwrap();
    let answer = gateway.answer(request).await;
    assert_eq!(answer.response.status(), 500);
    let body = answer.response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains(r#""type":"internal_server_error""#) && !body.contains(CANARY), "{body}");
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    assert!(log.contains(r#""status":500"#) && log.contains(r#""error":"panic""#), "{log}");
    assert!(!log.contains(CANARY), "{log}");
}
