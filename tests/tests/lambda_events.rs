//! The built `bootstrap`, under the Runtime API, with the events that AWS sends.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keyturn_keys::manage::{KeyFields, Patch};
use keyturn_tests::binaries;
use keyturn_tests::environment::Environment;
use keyturn_tests::http::sse_data;
use keyturn_tests::response::{Mode, Whole};
use keyturn_tests::upstream::{Behaviour, COMPLETION, Gate};
use serde_json::{Value, json};

use crate::stack::{
    ANTHROPIC_KEY, DEMO, MASTER, OPENAI_KEY, Stack, chat, chat_event, event, messages, streamed_text,
    variables,
};

/// What a file of `tests/events` is answered with.
struct Expected {
    file: &'static str,
    status: u16,
    body: Body,
}

enum Body {
    /// A whole chat completion.
    Chat,
    /// A streamed one.
    ChatStream,
    /// A whole answer of Anthropic's.
    Messages,
    /// A streamed one.
    MessagesStream,
    /// The list of models.
    Models,
    /// A text with this in it.
    Text(&'static str),
    /// An error of this type.
    Error(&'static str),
}

const EXPECTED: &[Expected] = &[
    Expected { file: "alb-chat", status: 200, body: Body::Chat },
    Expected { file: "alb-chat-base64", status: 200, body: Body::Chat },
    Expected { file: "alb-chat-multi-value", status: 200, body: Body::Chat },
    Expected { file: "alb-chat-stream", status: 200, body: Body::ChatStream },
    Expected { file: "alb-health", status: 200, body: Body::Text("I'm alive!") },
    Expected { file: "alb-models", status: 200, body: Body::Models },
    Expected { file: "function-url-chat", status: 200, body: Body::Chat },
    Expected { file: "function-url-chat-base64", status: 200, body: Body::Chat },
    Expected { file: "function-url-chat-stream", status: 200, body: Body::ChatStream },
    Expected { file: "function-url-health", status: 200, body: Body::Text("I'm alive!") },
    Expected { file: "function-url-messages", status: 200, body: Body::Messages },
    Expected { file: "function-url-messages-stream", status: 200, body: Body::MessagesStream },
    Expected { file: "function-url-models", status: 200, body: Body::Models },
    Expected { file: "function-url-no-key", status: 401, body: Body::Error("auth_error") },
    Expected { file: "function-url-options", status: 405, body: Body::Error("invalid_request_error") },
    Expected { file: "function-url-unknown-path", status: 404, body: Body::Error("invalid_request_error") },
    Expected { file: "http-api-chat", status: 200, body: Body::Chat },
    Expected { file: "http-api-chat-stage", status: 200, body: Body::Chat },
    Expected { file: "http-api-chat-stream", status: 200, body: Body::ChatStream },
    Expected { file: "http-api-models", status: 200, body: Body::Models },
    Expected { file: "rest-api-chat", status: 200, body: Body::Chat },
    Expected { file: "rest-api-chat-base64", status: 200, body: Body::Chat },
    Expected { file: "rest-api-chat-stage", status: 200, body: Body::Chat },
    Expected { file: "rest-api-chat-stream", status: 200, body: Body::ChatStream },
    Expected { file: "rest-api-health", status: 200, body: Body::Text("healthy") },
    Expected { file: "rest-api-models", status: 200, body: Body::Models },
];

fn events() -> PathBuf {
    binaries::workspace().join("tests/events")
}

fn event_file(name: &str) -> Value {
    let text = std::fs::read(events().join(format!("{name}.json"))).expect("an event file");
    serde_json::from_slice(&text).expect("JSON")
}

/// Replaces the model in an event's body.
fn with_model(mut event: Value, model: &str) -> Value {
    let encoded = event["isBase64Encoded"] == true;
    let Some(text) = event["body"].as_str().filter(|text| !text.is_empty()) else { return event };
    let bytes = if encoded { BASE64_STANDARD.decode(text).unwrap() } else { text.as_bytes().to_vec() };
    let mut body: Value = serde_json::from_slice(&bytes).unwrap();
    body["model"] = model.into();
    let body = body.to_string();
    let length = body.len().to_string();
    if event["headers"].get("content-length").is_some() {
        event["headers"]["content-length"] = length.as_str().into();
    }
    if event["multiValueHeaders"].get("content-length").is_some() {
        event["multiValueHeaders"]["content-length"] = json!([length]);
    }
    event["body"] = if encoded { BASE64_STANDARD.encode(body) } else { body }.into();
    event
}

/// HTTP APIs and load balancers take one JSON object; function URLs and REST APIs take a stream.
fn expected_mode(file: &str) -> Mode {
    if file.starts_with("http-api") || file.starts_with("alb") { Mode::Buffered } else { Mode::Streamed }
}

fn check(file: &str, expected: &Expected, said: &str, answer: &Whole) {
    let text = answer.text();
    assert_eq!(answer.error, None, "{file}");
    assert_eq!(answer.status, expected.status, "{file}: {text}");
    assert_eq!(answer.mode, expected_mode(file), "{file}");
    match expected.body {
        Body::Chat => assert_eq!(answer.json()["choices"][0]["message"]["content"], said, "{file}"),
        Body::ChatStream => {
            assert!(answer.header("content-type").starts_with("text/event-stream"), "{file}");
            assert_eq!(streamed_text(&text), said, "{file}: {text}");
            assert_eq!(sse_data(&text).last().map(String::as_str), Some("[DONE]"), "{file}");
        }
        Body::Messages => assert_eq!(answer.json()["content"][0]["text"], said, "{file}"),
        Body::MessagesStream => {
            let events: Vec<Value> =
                sse_data(&text).iter().map(|data| serde_json::from_str(data).unwrap()).collect();
            let words = events.iter().filter_map(|event| event["delta"]["text"].as_str());
            assert_eq!(words.collect::<String>(), said, "{file}");
            assert_eq!(events.last().unwrap()["type"], "message_stop", "{file}");
        }
        Body::Models => {
            let answer = answer.json();
            let models: Vec<_> =
                answer["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
            assert!(models.contains(&&json!("demo")), "{file}: {models:?}");
        }
        Body::Text(part) => assert!(text.contains(part), "{file}: {text}"),
        Body::Error(kind) => assert_eq!(answer.json()["error"]["type"], kind, "{file}: {text}"),
    }
}

#[tokio::test]
async fn every_event_file_is_answered() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let files = std::fs::read_dir(events()).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let listed: BTreeSet<String> = EXPECTED.iter().map(|expected| expected.file.to_owned()).collect();
    assert_eq!(files, listed, "tests/events and the table in this test differ");
    for expected in EXPECTED {
        let answer = function.call(&event_file(expected.file)).await;
        check(expected.file, expected, DEMO, &answer);
    }
    assert_eq!(stack.upstream.count(), 0, "the demo model has no upstream");
}

#[tokio::test]
async fn every_event_that_asks_a_model_reaches_its_upstream() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let mut asked = 0;
    for expected in EXPECTED {
        let models: &[&str] = match expected.body {
            Body::Chat | Body::ChatStream => &["gpt", "claude"],
            Body::Messages | Body::MessagesStream => &["claude"],
            Body::Models | Body::Text(_) | Body::Error(_) => &[],
        };
        for model in models {
            let answer = function.call(&with_model(event_file(expected.file), model)).await;
            check(expected.file, expected, COMPLETION, &answer);
            asked += 1;
            let seen = stack.upstream.requests().pop().unwrap();
            if *model == "gpt" {
                assert_eq!(seen.path, "/v1/chat/completions");
                assert_eq!(seen.headers["authorization"], format!("Bearer {OPENAI_KEY}"));
            } else {
                assert_eq!(seen.path, "/v1/messages");
                assert_eq!(seen.headers["x-api-key"], ANTHROPIC_KEY);
                assert!(!seen.headers.contains_key("authorization"), "the client's key went upstream");
            }
            assert_eq!(stack.upstream.count(), asked);
        }
    }
}

#[tokio::test]
async fn a_stream_arrives_as_the_upstream_sends_it() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    for (file, model) in [
        ("function-url-chat-stream", "gpt"),
        ("rest-api-chat-stream", "gpt"),
        ("function-url-chat-stream", "claude"),
    ] {
        let gate = Gate::default();
        stack.upstream.script(Behaviour::Paced(gate.clone()));
        // The role and the first words: enough for a first chunk in either format, never the whole answer.
        gate.release(6);
        let mut answer = function.invoke(&with_model(event_file(file), model)).await.unwrap();
        assert_eq!((answer.mode, answer.status), (Mode::Streamed, 200));
        let first = answer.chunk().await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&first.bytes).contains("[DONE]"));
        // Only now may the upstream go on: had the function waited for the end, this would never come.
        gate.open();
        let mut text = String::from_utf8(first.bytes.to_vec()).unwrap();
        text.push_str(&answer.collect().await.text());
        assert_eq!(streamed_text(&text), COMPLETION, "{file} {model}");
    }
}

#[tokio::test]
async fn the_response_headers_tell_what_was_done() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let answer = function.call(&chat_event("gpt", false)).await;
    assert!(!answer.header("x-litellm-call-id").is_empty());
    assert!(!answer.header("x-litellm-model-id").is_empty());
    assert_eq!(answer.header("x-litellm-model-group"), "gpt");
    // 10 prompt and 5 completion tokens of gpt-4o-mini.
    let cost: f64 = answer.header("x-litellm-response-cost").parse().unwrap();
    assert!((cost - 4.5e-6).abs() < 1e-12, "{cost}");
    assert_eq!(answer.header("x-litellm-attempted-retries"), "0");
    assert_eq!(answer.header("x-litellm-attempted-fallbacks"), "0");
    assert!(answer.header("x-litellm-overhead-duration-ms").parse::<f64>().is_ok());
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), "9999", "the upstream's own header");
}

#[tokio::test]
async fn it_answers_under_cargo_lambda() {
    let stack = Stack::start().await;
    let (config, dynamo) = (stack.usual_config(), stack.dynamo.url());
    let variables = variables(&config, &dynamo, &[]);
    let function = Environment::start_as_cargo_lambda(&binaries::request(), &variables).await;
    assert_eq!(function.call(&chat_event("demo", false)).await.status, 200);
    assert_eq!(function.call(&chat_event("demo", true)).await.status, 200);
}

/// LiteLLM restamps `model`; here an answer's bytes are the upstream's, and a header names the group.
#[tokio::test]
async fn an_answer_names_the_upstreams_model_and_a_header_the_group() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    for streamed in [false, true] {
        let answer = function.call(&chat_event("gpt", streamed)).await;
        assert_eq!(answer.header("x-litellm-model-group"), "gpt");
        let text = answer.text();
        let first = if streamed { sse_data(&text)[0].clone() } else { text };
        let first: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(first["model"], "gpt-4o-mini", "streamed: {streamed}");
    }
}

#[tokio::test]
async fn virtual_keys_open_what_they_may_and_others_open_nothing() {
    let stack = Stack::start().await;
    let config = stack.usual_config();
    let open = stack.virtual_key(None, KeyFields::default()).await;
    let narrow = KeyFields { models: Patch::Set(vec!["demo".to_owned()]), ..KeyFields::default() };
    let narrow = stack.virtual_key(None, narrow).await;
    let blocked =
        stack.virtual_key(None, KeyFields { blocked: Patch::Set(true), ..KeyFields::default() }).await;
    let function = stack.environment(&config, &[]).await;
    let ask = |key: &str, model: &str| event("/v1/chat/completions", key, &chat(model, false));
    assert_eq!(function.call(&ask(&open, "gpt")).await.status, 200);
    assert_eq!(function.call(&ask(&narrow, "demo")).await.status, 200);
    let before = stack.upstream.count();
    let denied = function.call(&ask(&narrow, "gpt")).await;
    assert_eq!((denied.status, &denied.json()["error"]["type"]), (403, &json!("key_model_access_denied")));
    let denied = function.call(&ask(&blocked, "gpt")).await;
    assert_eq!((denied.status, &denied.json()["error"]["type"]), (401, &json!("auth_error")));
    let unknown = function.call(&ask("sk-nobody-has-this-key", "gpt")).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (401, &json!("token_not_found_in_db")));
    assert_eq!(stack.upstream.count(), before, "a refused key reached the upstream");
}

#[tokio::test]
async fn a_key_table_that_is_down_is_503() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    stack.dynamo.outage(true);
    let body = chat("gpt", false);
    let answer = function.call(&event("/v1/chat/completions", "sk-some-virtual-key", &body)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(stack.upstream.count(), 0);
}

#[tokio::test]
async fn environments_run_side_by_side_and_managed_instances_take_several_requests() {
    let stack = Stack::start().await;
    let config = stack.usual_config();
    let one = stack.environment(&config, &[]).await;
    let many = stack.environment(&config, &[("AWS_LAMBDA_MAX_CONCURRENCY", "3")]).await;
    let gate = Gate::default();
    for _ in 0..4 {
        stack.upstream.script(Behaviour::hang(&gate));
    }
    let event = chat_event("gpt", false);
    let (a, b, c, d, ()) =
        tokio::join!(one.call(&event), many.call(&event), many.call(&event), many.call(&event), async {
            stack.upstream.wait_for_requests(4).await;
            gate.open();
        });
    assert_eq!([a.status, b.status, c.status, d.status], [200; 4]);
}

#[tokio::test]
async fn messages_pass_through_to_anthropic() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let mut body = messages("claude", false);
    body["metadata"] = json!({"user_id": "u-1"});
    let mut event = event("/v1/messages", MASTER, &body);
    event["headers"]["anthropic-beta"] = "some-beta-2026-01-01".into();
    let answer = function.call(&event).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stack.upstream.requests().pop().unwrap();
    assert_eq!(seen.headers["anthropic-beta"], "some-beta-2026-01-01");
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
    let sent: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(
        (&sent["model"], &sent["metadata"]),
        (&json!("claude-sonnet-4-5"), &json!({"user_id": "u-1"}))
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_reported_in_the_init_phase() {
    let stack = Stack::start().await;
    let dynamo = stack.dynamo.url();
    for (config, named) in [
        ("model_list:\n- model_name: a\n  litellm_params:\n    model: openai/a\n    api_kee: x\n", "api_kee"),
        ("model_list:\n- model_name: a\n  litellm_params: {model: \n", "line"),
    ] {
        let path = stack.path().join("wrong.yaml");
        std::fs::write(&path, config).unwrap();
        let path = path.to_string_lossy();
        let started = Environment::try_start(&binaries::request(), &variables(&path, &dynamo, &[])).await;
        let failure = started.expect_err("a wrong configuration is refused");
        assert!(!failure.status.success());
        let told = format!("{} {}", failure.error, failure.output);
        assert!(told.contains(named), "{named} is not in: {told}");
        assert_ne!(failure.error.kind, "Runtime.ExitError", "the error went to the log only: {told}");
    }
}
