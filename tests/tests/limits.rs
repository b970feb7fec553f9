//! What a virtual key may use up, and what counts as used: the upstream's own figures, whatever they are.

use std::time::Duration;

use bytes::Bytes;
use keyturn_keys::manage::{KeyFields, LimitFields, Patch};
use keyturn_keys::{KeyHash, KeyType};
use keyturn_tests::environment::Environment;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::Client;
use keyturn_tests::upstream::{Behaviour, COMPLETION_TOKENS, PROMPT_TOKENS, Piece};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::stack::{Model, NO_RETRIES, Stack, chat, event, limited, messages, model, with_budget_of};

const CHAT: &str = "/v1/chat/completions";

/// US dollars for a prompt token and for a completion token.
const PRICES: (f64, f64) = (0.000_1, 0.01);
/// What each answer of the fake upstream costs by these prices.
const COST: f64 = PRICES.0 * (PROMPT_TOKENS as f64) + PRICES.1 * (COMPLETION_TOKENS as f64);
/// Enough for the first request, and for what the second asks in advance, but not for both as they turn out.
const BUDGET: f64 = 0.1;

fn priced(mut model: Model) -> Model {
    let (input, output) = PRICES;
    model.extra.push_str(&format!(
        "\nmodel_info: {{input_cost_per_token: {input}, output_cost_per_token: {output}}}"
    ));
    model
}

/// A request that asks for one token: what it reserves is less than what it costs.
fn modest(stream: bool) -> Value {
    let mut body = chat("gpt", stream);
    body["max_tokens"] = 1.into();
    body
}

fn with_budget() -> KeyFields {
    with_budget_of(BUDGET)
}

fn of_a_minute(requests: Option<u64>, tokens: Option<u64>) -> KeyFields {
    let limit = |limit: Option<u64>| limit.map_or(Patch::Keep, Patch::Set);
    limited(LimitFields { rpm_limit: limit(requests), tpm_limit: limit(tokens), ..LimitFields::default() })
}

fn assert_over_budget(status: u16, answer: &Value) {
    assert_eq!(status, 422, "{answer}");
    let error = &answer["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("budget_exceeded"), &json!("422")), "{answer}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("Budget has been exceeded! Current cost: 0.102"), "{message}");
    assert!(message.ends_with(&format!("Max budget: {BUDGET}")), "{message}");
}

#[tokio::test]
async fn a_budget_is_used_up_by_what_requests_really_cost() {
    let stack = Stack::start().await;
    let key = stack.virtual_key(None, with_budget()).await;
    let config = stack.config(&[priced(model("gpt", "openai/gpt-4o-mini"))], NO_RETRIES);
    let function = stack.environment(&config, &[]).await;
    for (stream, spent) in [(false, COST), (true, 2.0 * COST)] {
        let answer = function.call(&event(CHAT, &key, &modest(stream))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        if !stream {
            let cost: f64 = answer.header("x-litellm-response-cost").parse().unwrap();
            assert!((cost - COST).abs() < 1e-12, "{cost}");
        }
        function.idle().await;
        let spend = stack.spend(&key).await;
        assert!((spend - spent).abs() < 1e-9, "{spend} instead of {spent}");
    }
    let asked = stack.upstream.count();
    let refused = function.call(&event(CHAT, &key, &modest(false))).await;
    assert_over_budget(refused.status, &refused.json());
    assert_eq!(stack.upstream.count(), asked, "a key without money reached the upstream");
    // A request that failed costs nothing.
    stack.upstream.when_model("gpt-4o-mini", Behaviour::html(503));
    let other = stack.virtual_key(None, with_budget()).await;
    for _ in 0..10 {
        assert_eq!(function.call(&event(CHAT, &other, &modest(false))).await.status, 503);
    }
    function.idle().await;
    assert!(stack.spend(&other).await.abs() < 1e-12);
}

async fn post(gateway: &Gateway, key: &str, body: &Value) -> keyturn_tests::http::Answer {
    Client::default().post_json(&format!("{}{CHAT}", gateway.url()), Some(key), body).await
}

/// `keyturn` settles what is open before it ends, and its file remembers.
#[tokio::test]
async fn a_budget_outlives_a_restart_of_keyturn() {
    let stack = Stack::start().await;
    let key = stack.virtual_key_of_keyturn(with_budget()).await;
    let config = stack.config(&[priced(model("gpt", "openai/gpt-4o-mini"))], NO_RETRIES);
    for stream in [false, true] {
        let mut gateway = stack.gateway(&config, &[]).await;
        let answer = post(&gateway, &key, &modest(stream)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        gateway.process().signal("TERM").await;
        let (status, output) = gateway.process_mut().exit().await;
        assert!(status.success(), "{status}\n{output}");
    }
    let gateway = stack.gateway(&config, &[]).await;
    let refused = post(&gateway, &key, &modest(false)).await;
    assert_over_budget(refused.status, &refused.json());
    assert_eq!(stack.upstream.count(), 2);
}

#[tokio::test]
async fn requests_over_the_minutes_limit_are_refused_until_it_is_over() {
    let stack = Stack::start().await;
    let key = stack.virtual_key(None, of_a_minute(Some(1), None)).await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let ask = event(CHAT, &key, &chat("gpt", false));
    let mut served = 0;
    // Two are served when a minute ends between them; a third would need another minute.
    let refused = loop {
        let answer = function.call(&ask).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert_eq!(answer.header("x-ratelimit-api_key-limit-requests"), "1");
        assert_eq!(answer.header("x-ratelimit-api_key-remaining-requests"), "0");
        assert!(served <= 2, "the limit does not hold");
    };
    assert!(served >= 1, "{}", refused.text());
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.header("rate_limit_type"), "requests");
    let hash = KeyHash::of(&SecretString::from(key.as_str()));
    let expected = format!(
        "Rate limit exceeded for api_key: {hash}. Limit type: requests. Current limit: 1, Remaining: 0. \
         Limit resets at: {}",
        refused.header("reset_at"),
    );
    let error = &refused.json()["error"];
    assert_eq!((&error["message"], &error["code"]), (&json!(expected), &json!("429")));
    assert_eq!(stack.upstream.count(), served);
}

#[tokio::test]
async fn a_request_for_more_tokens_than_a_minute_has_is_refused() {
    let stack = Stack::start().await;
    let key = stack.virtual_key(None, of_a_minute(None, Some(1_000))).await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let mut body = chat("gpt", false);
    body["max_tokens"] = 1_000.into();
    let refused = function.call(&event(CHAT, &key, &body)).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("rate_limit_type"), "tokens");
    assert!(refused.text().contains("Limit type: tokens. Current limit: 1000"), "{}", refused.text());
    body["max_tokens"] = 10.into();
    let answer = function.call(&event(CHAT, &key, &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-ratelimit-api_key-limit-tokens"), "1000");
    assert_eq!(stack.upstream.count(), 1);
}

#[tokio::test]
async fn an_expired_key_opens_nothing() {
    let stack = Stack::start().await;
    let for_an_hour = || KeyFields { duration: Patch::Set("1h".parse().unwrap()), ..KeyFields::default() };
    let ago = Duration::from_secs(3_601);
    let lasting = stack.virtual_key(None, for_an_hour()).await;
    let key = stack.old_virtual_key(ago, for_an_hour()).await;
    let of_keyturn = stack.old_virtual_key_of_keyturn(ago, for_an_hour()).await;
    let config = stack.usual_config();
    let function = stack.environment(&config, &[]).await;
    let gateway = stack.gateway(&config, &[]).await;
    let told = function.call(&event(CHAT, &key, &chat("gpt", false))).await;
    let of_keyturn = post(&gateway, &of_keyturn, &chat("gpt", false)).await;
    for (status, answer) in [(told.status, told.json()), (of_keyturn.status, of_keyturn.json())] {
        assert_eq!(status, 401, "{answer}");
        assert_eq!(answer["error"]["type"], "expired_key", "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("Authentication Error - Expired Key. Key Expiry time "), "{message}");
    }
    assert_eq!(stack.upstream.count(), 0, "an expired key reached the upstream");
    assert_eq!(function.call(&event(CHAT, &lasting, &chat("gpt", false))).await.status, 200);
}

/// The largest count that JSON can hold here, wherever an upstream counts.
fn absurd() -> [(&'static str, Behaviour); 4] {
    let most = u64::MAX;
    let usage = json!({
        "prompt_tokens": most, "completion_tokens": most, "total_tokens": most,
        "prompt_tokens_details": {"cached_tokens": most}, "completion_tokens_details": {"reasoning_tokens": most},
    });
    let message = json!({"role": "assistant", "content": "x"});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage});
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let delta = json!([{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]);
    let stream = format!("{}{}data: [DONE]\n\n", chunk(delta, Value::Null), chunk(json!([]), usage));

    let usage = json!({
        "input_tokens": most, "output_tokens": most,
        "cache_creation_input_tokens": most, "cache_read_input_tokens": most,
        "cache_creation": {"ephemeral_5m_input_tokens": most, "ephemeral_1h_input_tokens": most},
    });
    let text = json!({"type": "text", "text": "x"});
    let whole_message = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [text], "stop_reason": "end_turn", "stop_sequence": null, "usage": usage});
    let mut start = whole_message.clone();
    start["content"] = json!([]);
    let events = [
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
        json!({"type": "message_stop"}),
    ];
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    let message_stream: String = events.iter().map(event).collect();
    let streams = |text: String| {
        Behaviour::Stream("text/event-stream".to_owned(), vec![Piece::Bytes(Bytes::from(text))])
    };
    [
        ("gpt", Behaviour::json(200, &whole)),
        ("gpt-stream", streams(stream)),
        ("claude", Behaviour::json(200, &whole_message)),
        ("claude-stream", streams(message_stream)),
    ]
}

async fn asks_the_absurd(stack: &Stack, function: &Environment, path: &str, body: &Value) {
    let what = format!("{path} {body}");
    let key = stack.virtual_key(None, with_budget_of(1.0)).await;
    let answer = function.call(&event(path, &key, body)).await;
    assert_eq!((answer.status, &answer.error), (200, &None), "{what}: {}", answer.text());
    assert!(!answer.text().contains("error"), "{what}: {}", answer.text());
    function.idle().await;
    let spend = stack.spend(&key).await;
    assert!(spend > 1.0 && spend.is_finite(), "{what}: {spend} USD were settled");
    let refused = function.call(&event(path, &key, body)).await;
    assert_eq!(refused.status, 422, "{what}: {}", refused.text());
}

#[tokio::test]
async fn an_upstream_that_counts_absurdly_is_settled_and_breaks_nothing() {
    let stack = Stack::start().await;
    let models = [
        ("gpt", "openai/gpt"),
        ("gpt-stream", "openai/gpt-stream"),
        ("claude", "anthropic/claude"),
        ("claude-stream", "anthropic/claude-stream"),
    ];
    let models = models.map(|(name, target)| priced(model(name, target)));
    let function = stack.environment(&stack.config(&models, NO_RETRIES), &[]).await;
    for (name, behaviour) in absurd() {
        stack.upstream.when_model(name, behaviour);
    }
    for (name, stream) in [("gpt", false), ("gpt-stream", true), ("claude", false), ("claude-stream", true)] {
        let mut body = chat(name, stream);
        body["max_tokens"] = 1.into();
        asks_the_absurd(&stack, &function, CHAT, &body).await;
        if name.starts_with("claude") {
            let mut body = messages(name, stream);
            body["max_tokens"] = 1.into();
            asks_the_absurd(&stack, &function, "/v1/messages", &body).await;
        }
    }
    let output = function.shut_down().await;
    assert!(!output.to_lowercase().contains("panic"), "{output}");
    assert!(!output.contains("settlement failed"), "{output}");
}

#[tokio::test]
async fn an_upstream_whose_counts_are_none_is_passed_on() {
    let stack = Stack::start().await;
    let config = stack.config(&[priced(model("gpt", "openai/gpt"))], NO_RETRIES);
    let function = stack.environment(&config, &[]).await;
    let key = stack.virtual_key(None, of_a_minute(None, Some(1_000_000))).await;
    for count in [json!(-1), json!(1e300), json!(-1e300), json!("many"), json!([1]), Value::Null] {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": "x"}});
        let usage = json!({"prompt_tokens": count, "completion_tokens": count, "total_tokens": count});
        let body = json!({"object": "chat.completion", "choices": [choice], "usage": usage});
        stack.upstream.when_model("gpt", Behaviour::json(200, &body));
        let key = if count == json!(1e300) {
            // This one uses a minute's tokens up.
            stack.virtual_key(None, of_a_minute(None, Some(1_000_000))).await
        } else {
            key.clone()
        };
        let answer = function.call(&event(CHAT, &key, &modest(false))).await;
        assert_eq!(answer.status, 200, "{count}: {}", answer.text());
        assert_eq!(answer.text(), body.to_string(), "the upstream's own bytes");
    }
    let output = function.shut_down().await;
    assert!(!output.to_lowercase().contains("panic"), "{output}");
    assert!(!output.contains("settlement failed"), "{output}");
}

#[tokio::test]
async fn a_used_up_soft_budget_is_told_and_refuses_nothing() {
    let stack = Stack::start().await;
    let soft = limited(LimitFields { soft_budget: Patch::Set(COST), ..LimitFields::default() });
    let key = stack.virtual_key(None, soft).await;
    let config = stack.config(&[priced(model("gpt", "openai/gpt-4o-mini"))], NO_RETRIES);
    let function = stack.environment(&config, &[("KEYTURN_KEY_CACHE_SECONDS", "0")]).await;
    let ask = event(CHAT, &key, &modest(false));
    let first = function.call(&ask).await;
    assert_eq!((first.status, first.header("x-keyturn-soft-budget-exceeded")), (200, ""), "{}", first.text());
    function.idle().await;
    let second = function.call(&ask).await;
    assert_eq!(
        (second.status, second.header("x-keyturn-soft-budget-exceeded")),
        (200, "key"),
        "{}",
        second.text()
    );
    function.idle().await;
    let output = function.shut_down().await;
    let told: Vec<Value> = output
        .lines()
        .filter(|line| line.contains("soft_budget_exceeded") || line.contains("SoftBudgetExceeded"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [told] = &told[..] else { panic!("{output}") };
    assert_eq!((&told["soft_budget_exceeded"], &told["status"]), (&json!("key"), &json!(200)), "{told}");
    // CloudWatch counts it.
    assert_eq!(told["SoftBudgetExceeded"], json!(1), "{told}");
    let metric = json!({
        "Namespace": "Keyturn",
        "Dimensions": [[], ["soft_budget_exceeded"]],
        "Metrics": [{"Name": "SoftBudgetExceeded", "Unit": "Count"}],
    });
    assert_eq!(told["_aws"]["CloudWatchMetrics"], json!([metric]), "{told}");
}

#[tokio::test]
async fn a_key_for_other_routes_is_told_so() {
    let stack = Stack::start().await;
    let fields = KeyFields { key_type: Patch::Set(KeyType::Management), ..KeyFields::default() };
    let key = stack.virtual_key(None, fields).await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let refused = function.call(&event(CHAT, &key, &chat("gpt", false))).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let expected = format!(
        "Virtual key is not allowed to call this route. Only allowed to call routes: [\"management_routes\"]. \
         Tried to call route: {CHAT}"
    );
    assert_eq!(refused.json()["error"]["message"], expected);
    assert_eq!(stack.upstream.count(), 0);
}
