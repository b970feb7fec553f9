//! Requests whose upstream wants a token for who we are: a gateway between an upstream, AWS's STS and the providers'
//! token endpoints.

#![expect(clippy::unwrap_used, reason = "tests fail with a panic")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use keyturn_ambient::ManualClock;
use keyturn_request::{Gateway, Options};
use keyturn_tests::fake::Mishap;
use keyturn_tests::federation::Federation;
use keyturn_tests::upstream::Upstream;
use serde_json::{Value, json};

const MASTER: &str = "sk-master-0123456789";
/// A key that nobody named: that of the environment.
const DEFAULT: &str = "sk-proj-the-default";
/// The key that stands in.
const FALLBACK: &str = "sk-proj-the-fallback";
const TOKENS: [&str; 3] = ["token-one-3f8a", "token-two-91bc", "token-three-e07d"];
/// The id by which the endpoint knows which token to issue.
const ACCOUNT: &str = "svc_1";

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn note(line: &[u8]) {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
}

struct Rig {
    upstream: Upstream,
    services: Federation,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

impl Rig {
    /// The endpoints issue the first token, which the upstream takes; and it takes the keys too.
    async fn start() -> Self {
        let upstream = Upstream::start(&[DEFAULT, FALLBACK, TOKENS[0]]).await;
        let services = Federation::start().await;
        services.put(ACCOUNT, TOKENS[0]);
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let (clock, directory) = (Arc::new(ManualClock::at(now)), tempfile::tempdir().unwrap());
        Self { upstream, services, clock, directory }
    }

    fn down(&self) {
        self.services.fail(Some(Mishap::Status(503, json!({"error": "server_error"}))));
    }

    /// A gateway with the model `m`: one deployment, and no retries.
    async fn gateway(&self, model: &str, fields: &str) -> Arc<Gateway> {
        let base = self.upstream.url();
        let base = if model.starts_with("openai/") { format!("{base}/v1") } else { base };
        let config = format!(
            "model_list: [{{model_name: m, litellm_params: \
             {{model: {model}, api_base: '{base}', api_key: federation, {fields}}}}}]\n\
             router_settings: {{num_retries: 0, allowed_fails: 1000}}\n"
        );
        let path = self.directory.path().join("config.yaml");
        std::fs::write(&path, config).unwrap();
        let mut env: HashMap<String, String> =
            self.services.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, value) in [
            ("KEYTURN_CONFIG", path.to_string_lossy().into_owned()),
            ("KEYTURN_MASTER_KEY", MASTER.to_owned()),
            ("OPENAI_API_KEY", DEFAULT.to_owned()),
            ("ANTHROPIC_API_KEY", DEFAULT.to_owned()),
            ("STATIC_KEY", FALLBACK.to_owned()),
        ] {
            env.insert(name.to_owned(), value);
        }
        let options = Options::new(Arc::new(env), self.clock.clone(), note).unwrap();
        Gateway::load(options).await.unwrap()
    }

    async fn openai(&self, more: &str) -> Arc<Gateway> {
        let fields = format!("identity_provider_id: idp_1, service_account_id: {ACCOUNT}{more}");
        self.gateway("openai/gpt-4o-mini", &fields).await
    }

    /// The credentials that the upstream was called with.
    fn presented(&self) -> Vec<String> {
        let requests = self.upstream.requests();
        let bearer = requests.iter().map(|seen| seen.headers["authorization"].to_str().unwrap());
        bearer.map(|text| text.trim_start_matches("Bearer ").to_owned()).collect()
    }
}

async fn ask(gateway: &Arc<Gateway>) -> (StatusCode, Value) {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello!"}]});
    let request = Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {MASTER}"))
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let answer = gateway.answer(request).await.response;
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

const STATIC: &str = ", fallback_api_key: os.environ/STATIC_KEY";

#[tokio::test]
async fn a_token_is_there_before_the_first_request_and_serves_all() {
    let rig = Rig::start().await;
    let gateway = rig.openai("").await;
    assert_eq!(rig.services.exchanges().len(), 1, "one exchange in the init phase");
    let answers = join_all((0..200).map(|_| ask(&gateway))).await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{:?}", answers.first());
    assert_eq!(rig.services.exchanges().len(), 1);
    assert!(rig.presented().iter().all(|token| token == TOKENS[0]));
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let rig = Rig::start().await;
    let gateway = rig.openai("").await;
    rig.services.put(ACCOUNT, TOKENS[1]);
    rig.upstream.allow(TOKENS[1]);
    rig.clock.advance(Duration::from_secs(3600 - 330));
    // It serves on while it is replaced.
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    keyturn_tests::within("the second exchange", async {
        while rig.services.issued().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    keyturn_tests::within("the second token", async {
        while rig.presented().last().unwrap() != TOKENS[1] {
            assert_eq!(ask(&gateway).await.0, StatusCode::OK);
        }
    })
    .await;
    assert_eq!(rig.services.exchanges().len(), 2);
    assert_eq!(rig.upstream.refused(), 0);
}

#[tokio::test]
async fn a_revoked_token_costs_one_exchange_and_no_request() {
    let rig = Rig::start().await;
    let gateway = rig.openai(STATIC).await;
    rig.services.put(ACCOUNT, TOKENS[1]);
    rig.upstream.allow(TOKENS[1]);
    rig.upstream.revoke(TOKENS[0]);
    let answers = join_all((0..200).map(|_| ask(&gateway))).await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{:?}", answers.first());
    assert_eq!(rig.services.exchanges().len(), 2);
    assert_eq!(rig.presented().last().unwrap(), TOKENS[1]);
    assert!(!rig.presented().contains(&FALLBACK.to_owned()));
}

#[tokio::test]
async fn who_is_refused_with_every_token_is_not_served_by_the_fallback() {
    let rig = Rig::start().await;
    let gateway = rig.openai(STATIC).await;
    rig.services.put(ACCOUNT, TOKENS[1]);
    rig.upstream.revoke(TOKENS[0]);
    for _ in 0..5 {
        let (status, body) = ask(&gateway).await;
        assert_eq!(
            (status, &body["error"]["type"]),
            (StatusCode::BAD_GATEWAY, &json!("upstream_auth_error"))
        );
    }
    assert_eq!(rig.services.exchanges().len(), 2, "one exchange for all refusals of a while");
    assert!(!rig.presented().contains(&FALLBACK.to_owned()));
}

#[tokio::test]
async fn the_fallback_serves_while_no_token_can_be_had_and_no_longer() {
    let rig = Rig::start().await;
    rig.down();
    let gateway = rig.openai(STATIC).await;
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    assert_eq!(rig.presented(), [FALLBACK]);
    rig.services.fail(None);
    // A failed exchange answers for a second.
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    assert_eq!(rig.presented(), [FALLBACK, TOKENS[0]]);
    // What is held serves to its end, and then the fallback does.
    rig.down();
    rig.clock.advance(Duration::from_secs(3600 - 31));
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    assert_eq!(rig.presented().last().unwrap(), TOKENS[0]);
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    assert_eq!(rig.presented().last().unwrap(), FALLBACK);
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("no token, fallback_api_key serves") && log.contains("HTTP 503 server_error"),
        "{log}"
    );
    let secrets = [FALLBACK, DEFAULT, TOKENS[0], "session-token"];
    assert!(!secrets.iter().any(|secret| log.contains(secret)), "{log}");
}

#[tokio::test]
async fn a_revoked_token_without_another_to_be_had_leaves_the_fallback() {
    let rig = Rig::start().await;
    let gateway = rig.openai(STATIC).await;
    rig.upstream.revoke(TOKENS[0]);
    rig.down();
    for _ in 0..3 {
        assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    }
    assert_eq!(rig.presented(), [TOKENS[0], FALLBACK].repeat(3));
}

#[tokio::test]
async fn without_a_fallback_it_fails_closed() {
    let rig = Rig::start().await;
    rig.down();
    let gateway = rig.openai("").await;
    for _ in 0..3 {
        let (status, body) = ask(&gateway).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("service_unavailable"));
        assert_eq!((status, &body["error"]["type"]), expected);
    }
    assert_eq!(rig.upstream.count(), 0, "asked the upstream without a token");
    assert_eq!(rig.services.exchanges().len(), 1, "a failed exchange answers for a second");
}

#[tokio::test]
async fn anthropic_gets_a_bearer_token_and_its_fallback_a_key() {
    let rig = Rig::start().await;
    let fields = format!("federation_rule_id: {ACCOUNT}, organization_id: org-1{STATIC}");
    let gateway = rig.gateway("anthropic/claude-sonnet-4-5", &fields).await;
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    rig.upstream.revoke(TOKENS[0]);
    rig.down();
    assert_eq!(ask(&gateway).await.0, StatusCode::OK);
    let seen = rig.upstream.requests();
    let headers: Vec<_> = seen
        .iter()
        .map(|seen| {
            let header = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
            (header("authorization"), header("x-api-key"), header("anthropic-beta"))
        })
        .collect();
    let token = (Some("Bearer token-one-3f8a"), None, Some("oauth-2025-04-20"));
    assert_eq!(headers, [token, token, (None, Some(FALLBACK), None)]);
}
