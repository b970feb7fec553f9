//! A secret store that takes calls and never answers is the affair of the models whose keys are there, and of no other.

#![expect(clippy::unwrap_used, reason = "tests fail with a panic")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use keyturn_ambient::SystemClock;
use keyturn_request::{Gateway, Options};
use keyturn_tests::fake::{Answer, Fake, Mishap};
use tokio::time::Instant;

const MASTER: &str = "sk-master-0123456789";
const CONFIG: &str = "
model_list:
  - {model_name: there, litellm_params: {model: openai/gpt-5-mini, api_key: 'vault:secret/openai', mock_response: Here.}}
  - {model_name: held, litellm_params: {model: openai/gpt-5-mini, api_key: 'vault:secret/openai'}}
router_settings: {num_retries: 0, allowed_fails: 1000}
";

async fn ask(gateway: &Arc<Gateway>, model: &str) -> StatusCode {
    let body = format!(r#"{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}"#);
    let request = Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {MASTER}"))
        .header("content-type", "application/json")
        .body(Bytes::from(body))
        .unwrap();
    gateway.answer(request).await.response.status()
}

/// The runtime's time moves only when everything waits, so the waits are exact and take no time.
#[tokio::test(start_paused = true)]
async fn it_delays_only_what_needs_it() {
    let vault = Fake::start(|_| Answer::text(404, "")).await;
    vault.fail(Some(Mishap::Silent));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, CONFIG).unwrap();
    let env = [
        ("KEYTURN_CONFIG", path.to_str().unwrap()),
        ("KEYTURN_MASTER_KEY", MASTER),
        ("HCP_VAULT_ADDR", &vault.url()),
        ("HCP_VAULT_TOKEN", "t"),
    ];
    let env: HashMap<String, String> =
        env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let options = Options::new(Arc::new(env), Arc::new(SystemClock), |_| ()).unwrap();

    let start = Instant::now();
    let gateway = Gateway::load(options).await.unwrap();
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
    let loaded = Instant::now();
    assert_eq!(ask(&gateway, "there").await, StatusCode::OK);
    assert_eq!(loaded.elapsed(), Duration::ZERO);
    // It joins the read that the warm-up began, which is given up in the end.
    assert_eq!(ask(&gateway, "held").await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
}
