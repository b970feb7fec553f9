//! A provider credential is rotated while requests run.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use keyturn_tests::environment::Environment;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::moto::Moto;
use keyturn_tests::within;
use serde_json::json;
use tokio::sync::Barrier;

use crate::stack::{Model, NO_RETRIES, Stack, chat, chat_event};

const SECRET: &str = "prod/keyturn/providers";
const OLD: &str = "sk-proj-the-old-credential";
const NEW: &str = "sk-proj-the-new-credential";

/// Requests of each client before and after the rotation, those during it not counted.
const ROUNDS: usize = 10;

struct Rotation {
    stack: Stack,
    moto: Moto,
    config: String,
}

impl Rotation {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let moto = Moto::start().await;
        moto.create_secret(SECRET, &json!({"OPENAI_API_KEY": OLD}).to_string()).await;
        stack.upstream.allow(OLD);
        let extra = format!("api_key: aws-secretsmanager:{SECRET}#OPENAI_API_KEY");
        let config = stack.config(&[Model { name: "gpt", model: "openai/gpt-4o-mini", extra }], NO_RETRIES);
        Self { stack, moto, config }
    }

    async fn rotate(&self) {
        self.stack.upstream.allow(NEW);
        let value = json!({"OPENAI_API_KEY": NEW}).to_string();
        self.moto.put_secret(SECRET, &value, &["AWSCURRENT"]).await;
        self.stack.upstream.revoke(OLD);
    }

    /// Rotates when all clients are warm, and tells them. Returns the reads there had been by then.
    async fn rotate_once(&self, warm: &Barrier, rotated: &AtomicBool) -> u64 {
        warm.wait().await;
        let reads = self.moto.reads();
        self.rotate().await;
        rotated.store(true, Ordering::SeqCst);
        reads
    }

    async fn environment(&self) -> Environment {
        self.stack.environment(&self.config, &[("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.moto.url())]).await
    }

    async fn gateway(&self) -> Gateway {
        self.stack.gateway(&self.config, &[("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.moto.url())]).await
    }

    /// The credentials that the upstream was called with, from its request number `from` on.
    fn credentials_since(&self, from: usize) -> Vec<String> {
        let requests = self.stack.upstream.requests();
        let header = |seen: &keyturn_tests::upstream::Seen| {
            seen.headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned()
        };
        requests.iter().skip(from).map(header).collect()
    }
}

/// Lets one client ask: some requests, then, while the rotation goes on, more until it is over, then some
/// again. Returns the statuses and bodies of those that failed.
async fn client<F: Future<Output = (u16, String)>>(
    ask: impl Fn() -> F,
    warm: &Barrier,
    rotated: &AtomicBool,
) -> Vec<(u16, String)> {
    let mut failed = Vec::new();
    let mut left = ROUNDS;
    for round in 0.. {
        if round == ROUNDS {
            warm.wait().await;
        }
        let after = rotated.load(Ordering::SeqCst);
        let (status, body) = ask().await;
        if status != 200 {
            failed.push((status, body));
        }
        if after {
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    failed
}

#[tokio::test]
async fn one_process_with_sixteen_clients_loses_nothing_and_reads_once() {
    const CLIENTS: usize = 16;
    let rotation = Rotation::start().await;
    let gateway = rotation.gateway().await;
    let warm = Barrier::new(CLIENTS + 1);
    let rotated = AtomicBool::new(false);
    let clients = join_all((0..CLIENTS).map(|number| {
        // Half of them stream.
        let body = chat("gpt", number % 2 == 0);
        let gateway = &gateway;
        let ask = move || {
            let body = body.clone();
            async move {
                let answer = gateway.post("/v1/chat/completions", &body).await;
                (answer.status, answer.text())
            }
        };
        let (warm, rotated) = (&warm, &rotated);
        async move { client(ask, warm, rotated).await }
    }));
    let (failed, reads_before) = tokio::join!(clients, rotation.rotate_once(&warm, &rotated));
    let failed = failed.concat();
    assert!(failed.is_empty(), "{} requests failed, the first: {:?}", failed.len(), failed.first());
    assert_eq!(reads_before, 1, "one read in the init phase");
    assert_eq!(rotation.moto.reads() - reads_before, 1, "one read for the rotation");
    let last = rotation.credentials_since(0).pop().unwrap();
    assert_eq!(last, NEW);
    assert!(rotation.stack.upstream.refused() >= 1, "the old credential was never tried");
}

#[tokio::test]
async fn several_environments_lose_nothing_and_read_once_each() {
    const ENVIRONMENTS: usize = 4;
    let rotation = Rotation::start().await;
    let functions = join_all((0..ENVIRONMENTS).map(|_| rotation.environment())).await;
    let warm = Barrier::new(ENVIRONMENTS + 1);
    let rotated = AtomicBool::new(false);
    let clients = join_all(functions.iter().map(|function| {
        let ask = move || async move {
            let answer = function.call(&chat_event("gpt", false)).await;
            (answer.status, answer.text())
        };
        client(ask, &warm, &rotated)
    }));
    let (failed, reads_before) = tokio::join!(clients, rotation.rotate_once(&warm, &rotated));
    let failed = failed.concat();
    assert!(failed.is_empty(), "{} requests failed, the first: {:?}", failed.len(), failed.first());
    let environments = u64::try_from(ENVIRONMENTS).unwrap();
    assert_eq!(reads_before, environments, "one read in each init phase");
    assert_eq!(rotation.moto.reads() - reads_before, environments, "one read in each environment");
    assert_eq!(rotation.stack.upstream.refused(), environments, "one refusal in each environment");
}

#[tokio::test]
async fn a_credential_that_no_version_of_works_is_502_and_does_not_storm_the_store() {
    let rotation = Rotation::start().await;
    let gateway = rotation.gateway().await;
    rotation.stack.upstream.revoke(OLD);
    let before = rotation.moto.reads();
    for _ in 0..5 {
        let answer = gateway.post("/v1/chat/completions", &chat("gpt", false)).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "upstream_auth_error");
    }
    // One for the current version, one to look for a previous one; the rest falls into the cooldown.
    let reads = rotation.moto.reads() - before;
    assert!((1..=2).contains(&reads), "{reads} reads for five refusals");
}

#[tokio::test]
async fn the_previous_version_serves_while_the_new_one_is_not_live_yet() {
    let rotation = Rotation::start().await;
    // The secret was moved on, but the provider does not know the new key yet.
    let value = json!({"OPENAI_API_KEY": NEW}).to_string();
    rotation.moto.put_secret(SECRET, &value, &["AWSCURRENT"]).await;
    let gateway = rotation.gateway().await;
    let answer = gateway.post("/v1/chat/completions", &chat("gpt", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(rotation.credentials_since(0).last().unwrap(), OLD);
}

#[tokio::test]
async fn a_store_that_is_down_costs_a_warm_process_nothing_and_a_cold_one_503() {
    let rotation = Rotation::start().await;
    let warm = rotation.gateway().await;
    assert_eq!(warm.post("/v1/chat/completions", &chat("gpt", false)).await.status, 200);
    rotation.moto.outage(true);
    assert_eq!(warm.post("/v1/chat/completions", &chat("gpt", false)).await.status, 200);
    drop(warm);
    let cold = rotation.gateway().await;
    let asked = rotation.stack.upstream.count();
    let refused = cold.post("/v1/chat/completions", &chat("gpt", false)).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(rotation.stack.upstream.count(), asked, "asked the upstream without a credential");
    rotation.moto.outage(false);
    // A failed read is remembered for a second, so that a store in trouble is not asked by every request. Nothing
    // tells when that second of the program's own clock is over, so it is asked until it is.
    within("the credential to be read", async {
        while cold.post("/v1/chat/completions", &chat("gpt", false)).await.status != 200 {}
    })
    .await;
}
