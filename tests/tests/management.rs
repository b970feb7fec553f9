//! The management API: the keys function on Lambda, `keyturn serve`, `keyturn key`, and a user of LiteLLM's.

use std::path::Path;

use http::Method;
use keyturn_tests::environment::Environment;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::{Answer, Client};
use keyturn_tests::process::{Process, Start};
use keyturn_tests::upstream::{COMPLETION_TOKENS, PROMPT_TOKENS};
use keyturn_tests::{binaries, python};
use serde_json::{Value, json};

use crate::stack::{MASTER, NO_RETRIES, Stack, chat, demo, event, gpt, variables};

const CHAT: &str = "/v1/chat/completions";
/// Longer than LiteLLM's shortest own key.
const NEW_MASTER: &str = "sk-the-new-master-key";

/// The keys function beside a request function that asks the table at every request.
struct Functions {
    keys: Environment,
    request: Environment,
}

impl Functions {
    async fn start(stack: &Stack) -> Self {
        let config = stack.usual_config();
        let dynamo = stack.dynamo.url();
        let keys = Environment::start(&binaries::keys(), &variables(&config, &dynamo, &[])).await;
        let request = stack.environment(&config, &[("KEYTURN_KEY_CACHE_SECONDS", "0")]).await;
        Self { keys, request }
    }

    async fn manage(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.keys.call(&event(path, key, body)).await;
        (answer.status, answer.json())
    }

    async fn complete(&self, key: &str) -> u16 {
        self.request.call(&event(CHAT, key, &chat("demo", false))).await.status
    }
}

#[tokio::test]
async fn what_one_function_makes_the_other_takes() {
    let stack = Stack::start().await;
    let functions = Functions::start(&stack).await;
    let (status, made) = functions.manage(MASTER, "/key/generate", &json!({"key_alias": "web"})).await;
    assert_eq!(status, 200, "{made}");
    let key = made["key"].as_str().unwrap();
    assert_eq!(functions.complete(key).await, 200);
    functions.manage(MASTER, "/key/block", &json!({"key": key})).await;
    assert_eq!(functions.complete(key).await, 401);
    functions.manage(MASTER, "/key/unblock", &json!({"key": key})).await;
    assert_eq!(functions.complete(key).await, 200);
    let (_, new) =
        functions.manage(MASTER, "/key/regenerate", &json!({"key": key, "grace_period": "1h"})).await;
    for value in [key, new["key"].as_str().unwrap()] {
        assert_eq!(functions.complete(value).await, 200);
    }
    let (status, refused) = functions.manage(key, "/key/generate", &json!({})).await;
    assert_eq!((status, &refused["error"]["type"]), (403, &json!("auth_error")));
    functions.manage(MASTER, "/key/delete", &json!({"key_aliases": ["web"]})).await;
    assert_eq!(functions.complete(key).await, 401);

    for environment in [functions.keys, functions.request] {
        let output = environment.shut_down().await;
        for secret in [MASTER, key, new["key"].as_str().unwrap()] {
            assert!(!output.contains(secret), "{secret} is in the log");
        }
    }
}

#[tokio::test]
async fn a_master_key_is_replaced_for_both_functions() {
    let stack = Stack::start().await;
    let functions = Functions::start(&stack).await;
    assert_eq!(functions.complete(MASTER).await, 200);
    let asked = json!({"key": MASTER, "new_master_key": NEW_MASTER, "grace_period": "1h"});
    let (status, answer) = functions.manage(MASTER, "/key/regenerate", &asked).await;
    assert_eq!(status, 200, "{answer}");
    for key in [MASTER, NEW_MASTER] {
        assert_eq!(functions.complete(key).await, 200);
        assert_eq!(functions.manage(key, "/key/generate", &json!({})).await.0, 200);
    }
    // Again without a grace: every former one ends at once.
    let asked = json!({"key": NEW_MASTER, "new_master_key": "sk-the-third-master-key"});
    functions.manage(NEW_MASTER, "/key/regenerate", &asked).await;
    for key in [MASTER, NEW_MASTER] {
        assert_eq!(functions.complete(key).await, 401);
        assert_eq!(functions.manage(key, "/key/generate", &json!({})).await.0, 401);
    }
    assert_eq!(functions.complete("sk-the-third-master-key").await, 200);
}

#[tokio::test]
async fn every_sender_of_events_is_answered() {
    let stack = Stack::start().await;
    let functions = Functions::start(&stack).await;
    let rest = json!({
        "resource": "/key/{proxy+}", "path": "/key/list", "httpMethod": "GET", "isBase64Encoded": false, "body": null,
        "headers": {"Authorization": format!("Bearer {MASTER}")},
        "multiValueHeaders": {"Authorization": [format!("Bearer {MASTER}")]},
        "queryStringParameters": {"size": "1"}, "multiValueQueryStringParameters": {"size": ["1"]},
        "requestContext": {
            "accountId": "123456789012", "apiId": "a", "httpMethod": "GET", "path": "/prod/key/list",
            "protocol": "HTTP/1.1", "requestId": "r", "resourceId": "x", "resourcePath": "/key/{proxy+}",
            "stage": "prod", "identity": {"sourceIp": "203.0.113.7"},
        },
    });
    let stage = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/prod/key/list", "rawQueryString": "size=1",
        "headers": {"authorization": format!("Bearer {MASTER}")}, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "123456789012", "apiId": "a", "domainName": "a.execute-api.us-east-1.amazonaws.com",
            "http": {"method": "GET", "path": "/prod/key/list", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "r", "stage": "prod", "timeEpoch": 1_795_176_000_000_u64,
        },
    });
    for event in [rest, stage] {
        let answer = functions.keys.call(&event).await;
        assert_eq!((answer.status, &answer.json()["keys"]), (200, &json!([])), "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

/// A running `keyturn serve`.
struct Served {
    gateway: Gateway,
    client: Client,
}

impl Served {
    async fn start(stack: &Stack) -> Self {
        let gateway = stack.gateway(&stack.usual_config(), &[]).await;
        Self { gateway, client: Client::default() }
    }

    async fn post(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.client.post_json(&format!("{}{path}", self.gateway.url()), Some(key), body).await
    }

    async fn complete(&self, key: &str) -> u16 {
        self.post(key, CHAT, &chat("demo", false)).await.status
    }
}

#[tokio::test]
async fn beside_the_gateway_changes_are_seen_at_once() {
    let stack = Stack::start().await;
    let served = Served::start(&stack).await;
    served.post(MASTER, "/team/new", &json!({"team_id": "t"})).await;
    let made = served.post(MASTER, "/key/generate", &json!({"team_id": "t"})).await.json();
    let key = made["key"].as_str().unwrap();
    // Each time the key has just been served from memory.
    for (path, body, after) in [
        ("/key/block", json!({"key": key}), 401),
        ("/key/unblock", json!({"key": key}), 200),
        ("/team/block", json!({"team_id": "t"}), 401),
        ("/team/unblock", json!({"team_id": "t"}), 200),
        ("/key/update", json!({"key": key, "models": ["gpt"]}), 403),
        ("/key/update", json!({"key": key, "models": null}), 200),
        ("/key/regenerate", json!({"key": key}), 401),
    ] {
        served.complete(key).await;
        assert_eq!(served.post(MASTER, path, &body).await.status, 200);
        assert_eq!(served.complete(key).await, after, "{path} {body}");
    }
    // A value that was unknown a moment ago.
    let own = "sk-brought-along-0123";
    assert_eq!(served.complete(own).await, 401);
    served.post(MASTER, "/key/generate", &json!({"key": own})).await;
    assert_eq!(served.complete(own).await, 200);
    let document = served.client.get(&format!("{}/openapi.json", served.gateway.url()), &[]).await;
    assert_eq!(document.json()["openapi"], json!("3.1.0"));
}

#[tokio::test]
async fn bodies_that_are_too_long_are_refused() {
    let stack = Stack::start().await;
    let served = Served::start(&stack).await;
    let long = format!("{{\"key_alias\":\"{}\"}}", "a".repeat(2 * 1024 * 1024));
    let url = format!("{}/key/generate", served.gateway.url());
    let bearer = format!("Bearer {MASTER}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let answer = served.client.send(Method::POST, &url, &headers, long).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (413, &json!("413")));
}

/// Runs `keyturn key` and returns its status and all it wrote.
async fn command(url: &str, directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut process = Process::start(&Start {
        program: binaries::keyturn(),
        arguments: ["key"].iter().chain(arguments).map(ToString::to_string).collect(),
        environment: [("KEYTURN_URL", url), ("KEYTURN_API_KEY", MASTER)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        directory: directory.to_owned(),
    });
    let (status, output) = process.exit().await;
    (status.success(), output)
}

#[tokio::test]
async fn keys_are_managed_from_the_command_line() {
    let stack = Stack::start().await;
    let served = Served::start(&stack).await;
    let run = |arguments: &'static [&'static str]| command(served.gateway.url(), stack.path(), arguments);

    let (_, made) = run(&["generate", "--alias", "web", "--max-budget", "20", "--rpm", "60"]).await;
    let value = made.split_whitespace().find(|word| word.starts_with("sk-") && word.len() == 25).unwrap();
    assert!(made.contains("not shown again") && !made.contains('\u{1b}'), "{made}");
    assert_eq!(served.complete(value).await, 200);
    for (arguments, expected) in [
        (&["list"][..], "web "),
        (&["info", "web"], "60 rpm"),
        (&["update", "web", "--tpm", "7", "--clear", "rpm_limit"], "7 tpm"),
        (&["block", "web"], "blocked"),
        (&["unblock", "web"], "active"),
    ] {
        let (done, output) = run(arguments).await;
        assert!(done && output.contains(expected), "{arguments:?}: {output}");
        assert!(!output.contains(value), "{arguments:?}");
    }
    let (_, json) = run(&["--json", "info", "web"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["info"]["tpm_limit"], json!(7));
    let (done, regenerated) = run(&["regenerate", "web"]).await;
    assert!(done && !regenerated.contains(value), "{regenerated}");
    assert_eq!(served.complete(value).await, 401);
    assert!(run(&["delete", "web"]).await.0);

    for (arguments, expected) in [
        (&["info", "web"][..], "no key has the alias web"),
        (&["generate", "--duration", "soon"], "duration must be"),
        (&["--url", "http://127.0.0.1:1", "list"], "cannot reach the gateway"),
        (&["--url", "nonsense", "list"], "--url is no address"),
    ] {
        let (done, output) = run(arguments).await;
        assert!(!done && output.contains(expected), "{arguments:?}: {output}");
    }
}

/// A script as a user of LiteLLM's writes it.
#[tokio::test]
async fn litellms_users_find_what_they_know() {
    let stack = Stack::start().await;
    let mut priced = gpt();
    priced.extra.push_str("\nmodel_info: {input_cost_per_token: 0.001, output_cost_per_token: 0.01}");
    let gateway = stack.gateway(&stack.config(&[demo(), priced], NO_RETRIES), &[]).await;
    #[expect(clippy::cast_precision_loss, reason = "a few tokens")]
    let cost = 0.001 * PROMPT_TOKENS as f64 + 0.01 * COMPLETION_TOKENS as f64;
    let cost = cost.to_string();
    let environment = [("KEYTURN_URL", gateway.url()), ("MASTER_KEY", MASTER), ("COST", cost.as_str())];
    if let Err(failure) = python::pytest("test_litellm_user.py", &environment).await {
        panic!("{failure}\nkeyturn wrote:\n{}", gateway.process().output());
    }
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&stack.usual_config(), &[]).await;
    if let Err(failure) = python::schemathesis(gateway.url(), MASTER, stack.path()).await {
        panic!("{failure}");
    }
}
