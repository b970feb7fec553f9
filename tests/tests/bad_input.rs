//! Bad input, from clients and from upstreams: each kind has its status and an error in the client's format.

use http::Method;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::{Answer, Client, sse_data};
use keyturn_tests::upstream::{Behaviour, Gate};
use serde_json::{Value, json};

use crate::stack::{MASTER, Model, NO_RETRIES, Stack, chat, chat_event, claude, demo, gpt, messages, model};

const CHAT: &str = "/v1/chat/completions";

async fn post(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let bearer = format!("Bearer {MASTER}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    Client::default().send(Method::POST, &format!("{}{path}", gateway.url()), &all, body).await
}

/// The error object, checked to be one of OpenAI's: a message, a type, and a code and a param that are there.
fn openai_error(answer: &Answer) -> Value {
    let error = answer.json()["error"].clone();
    let text = answer.text();
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}");
    assert!(error["type"].as_str().is_some_and(|kind| !kind.is_empty()), "{text}");
    assert!(error.get("param").is_some() && error.get("code").is_some(), "{text}");
    assert!(answer.header("content-type").starts_with("application/json"), "{text}");
    error
}

/// Headers, the error's type, and its message where that is always the same.
type Refused = (&'static [(&'static str, &'static str)], &'static str, &'static str);

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn malformed_requests() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&stack.usual_config(), &[]).await;
    let deep = format!("{{\"model\":\"gpt\",\"messages\":{}", "[".repeat(200_000));
    let without_messages = json!({"model": "gpt"}).to_string();
    let without_model = json!({"messages": []}).to_string();
    let not_a_list = json!({"model": "gpt", "messages": "hello"}).to_string();
    let cases: Vec<(&str, &[u8], u16, &str)> = vec![
        ("nothing", b"", 400, "request_body"),
        ("not JSON", b"hello", 400, "request_body"),
        ("half of it", b"{\"model\": \"gpt\", \"messages\": [", 400, "request_body"),
        ("not an object", b"[1, 2]", 400, "request_body"),
        ("two objects", b"{\"model\":\"gpt\",\"messages\":[]} {}", 400, "request_body"),
        ("not UTF-8", b"{\"model\": \"gpt\", \"messages\": [\"\xff\"]}", 400, "request_body"),
        ("200,000 brackets", deep.as_bytes(), 400, "request_body"),
        ("no messages", without_messages.as_bytes(), 400, "messages"),
        ("messages that are no list", not_a_list.as_bytes(), 400, "messages"),
        ("no model", without_model.as_bytes(), 400, "model"),
    ];
    for (what, body, status, param) in cases {
        let answer = post(&gateway, CHAT, JSON, body.to_vec()).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let error = openai_error(&answer);
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error")),
            "{what}"
        );
    }
    assert_eq!(stack.upstream.count(), 0, "a malformed request reached the upstream");
    assert_eq!(post(&gateway, CHAT, JSON, chat("gpt", false).to_string()).await.status, 200);
}

#[tokio::test]
async fn requests_that_are_no_chat() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&stack.usual_config(), &[]).await;
    let mut large = chat("gpt", false);
    large["messages"][0]["content"] = "x".repeat(7 * 1024 * 1024).into();
    let answer = post(&gateway, CHAT, JSON, large.to_string()).await;
    assert_eq!(answer.status, 413);
    assert_eq!(openai_error(&answer)["type"], "invalid_request_error");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ";"] {
        let answer = post(&gateway, CHAT, &[("content-type", kind)], chat("gpt", false).to_string()).await;
        assert_eq!(answer.status, 415, "{kind}: {}", answer.text());
        openai_error(&answer);
    }
    let answer = post(&gateway, CHAT, JSON, chat("no-such-model", false).to_string()).await;
    assert_eq!(answer.status, 400);
    let error = openai_error(&answer);
    assert_eq!(error["type"], "invalid_request_error");
    let message = error["message"].as_str().unwrap();
    let expected = "/chat/completions: Invalid model name passed in model=no-such-model";
    assert!(message.starts_with(expected), "{message}");
    let answer = post(&gateway, "/v1/messages", JSON, messages("no-such-model", false).to_string()).await;
    assert_eq!((answer.status, &answer.json()["type"]), (400, &json!("error")), "{}", answer.text());
    let answer = post(&gateway, "/v1/nowhere", JSON, "{}").await;
    assert_eq!(answer.status, 404);
    openai_error(&answer);
    let answer = Client::default().get(&format!("{}{CHAT}", gateway.url()), &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    assert_eq!(stack.upstream.count(), 0);
}

#[tokio::test]
async fn keys_that_open_nothing() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&stack.usual_config(), &[]).await;
    let malformed = "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.";

    let cases: &[Refused] = &[
        (&[], "auth_error", "Authentication Error, No api key passed in."),
        (&[("authorization", "")], "auth_error", malformed),
        (&[("authorization", "Bearer ")], "auth_error", malformed),
        (&[("authorization", "Basic c2stMTIzNA==")], "auth_error", malformed),
        (
            &[("authorization", "Bearer abcdefghijklmnop")],
            "auth_error",
            "LiteLLM Virtual Key expected. Received=abcd****mnop, expected to start with 'sk-'.",
        ),
        (&[("authorization", "Bearer sk-12345")], "token_not_found_in_db", ""),
        (&[("x-api-key", "sk-12345")], "token_not_found_in_db", ""),
        (
            &[("x-litellm-api-key", "sk-12345"), ("authorization", "Bearer sk-1234")],
            "token_not_found_in_db",
            "",
        ),
    ];
    let client = Client::default();
    for path in [CHAT, "/v1/messages"] {
        for (headers, kind, message) in cases {
            let mut all = JSON.to_vec();
            all.extend_from_slice(headers);
            let url = format!("{}{path}", gateway.url());
            let answer = client.send(Method::POST, &url, &all, chat("gpt", false).to_string()).await;
            assert_eq!(answer.status, 401, "{headers:?}: {}", answer.text());
            let error = openai_error(&answer);
            assert_eq!(error["type"], *kind, "{headers:?}");
            assert_eq!(error["code"], "401", "{headers:?}");
            if !message.is_empty() {
                assert_eq!(error["message"], *message, "{headers:?}");
            }
        }
    }
    assert_eq!(stack.upstream.count(), 0, "an unknown key reached the upstream");
}

#[tokio::test]
async fn an_event_with_a_newline_in_its_key() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    for key in ["Bearer sk-1234\n", "Bearer sk-12\r\nx-injected: 34", "Bearer sk-1234\u{0}"] {
        let mut event = chat_event("gpt", false);
        event["headers"]["authorization"] = key.into();
        let answer = function.call(&event).await;
        assert!(matches!(answer.status, 400 | 401), "{key:?}: {} {}", answer.status, answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
    }
    assert_eq!(stack.upstream.count(), 0);
    assert_eq!(function.call(&chat_event("gpt", false)).await.status, 200, "the function still works");
}

#[tokio::test]
async fn an_event_that_is_none() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    for event in [json!({}), json!([]), Value::Null, json!({"Records": []})] {
        // Whether it is refused as an answer or as an error, the function lives on.
        if let Ok(answer) = function.invoke(&event).await {
            let answer = answer.collect().await;
            assert!(answer.status >= 400, "{event}: {}", answer.text());
        }
    }
    let mut broken = chat_event("gpt", false);
    broken["isBase64Encoded"] = true.into();
    assert_eq!(function.call(&broken).await.status, 400, "a body that is not base64");
    assert_eq!(function.call(&chat_event("gpt", false)).await.status, 200, "the function still works");
}

/// Deployments of both providers for one upstream model.
fn both(openai: (&'static str, &'static str), anthropic: (&'static str, &'static str)) -> [Model; 2] {
    [openai, anthropic].map(|(name, target)| model(name, target))
}

/// As [`both`], with a short timeout: only for an upstream that hangs, since a busy machine is slow too.
fn both_impatient(
    openai: (&'static str, &'static str),
    anthropic: (&'static str, &'static str),
) -> [Model; 2] {
    both(openai, anthropic).map(|mut model| {
        model.extra.push_str("\ntimeout: 0.5\nstream_timeout: 0.5");
        model
    })
}

#[tokio::test]
async fn upstreams_that_fail_before_the_first_byte() {
    let stack = Stack::start().await;
    let gate = Gate::default();
    let mut models = Vec::new();
    models.extend(both(("o-html", "openai/html"), ("a-html", "anthropic/html")));
    models.extend(both_impatient(("o-hang", "openai/hang"), ("a-hang", "anthropic/hang")));
    models.extend(both(("o-cut", "openai/cut"), ("a-cut", "anthropic/cut")));
    models.extend(both(("o-empty", "openai/empty"), ("a-empty", "anthropic/empty")));
    models.extend(both(("o-odd", "openai/odd"), ("a-odd", "anthropic/odd")));
    let gateway = stack.gateway(&stack.config(&models, NO_RETRIES), &[]).await;
    stack.upstream.when_model("html", Behaviour::html(503));
    stack.upstream.when_model("hang", Behaviour::hang(&gate));
    stack.upstream.when_model("cut", Behaviour::Cut(0));
    stack.upstream.when_model("empty", Behaviour::Reply { status: 500, headers: vec![], body: "".into() });
    let odd = json!({"odd": ["<html>", null, 1e300]});
    stack.upstream.when_model("odd", Behaviour::json(418, &odd));
    let cases = [("html", 503), ("hang", 504), ("cut", 502), ("empty", 500), ("odd", 418)];
    for (name, status) in cases {
        for provider in ["o", "a"] {
            for stream in [false, true] {
                let model = format!("{provider}-{name}");
                let answer = post(&gateway, CHAT, JSON, chat(&model, stream).to_string()).await;
                assert_eq!(answer.status, status, "{model}, stream {stream}: {}", answer.text());
                openai_error(&answer);
                assert!(!answer.text().contains("cloud trouble"), "the HTML went through");
            }
        }
        let answer =
            post(&gateway, "/v1/messages", JSON, messages(&format!("a-{name}"), false).to_string()).await;
        assert_eq!(answer.status, status, "/v1/messages, {name}: {}", answer.text());
        assert_eq!(answer.json()["type"], "error", "/v1/messages, {name}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
    }
}

/// What a broken stream must look like to an OpenAI client: an error status, or an error event at the end and
/// no `[DONE]`.
fn assert_broken_stream(answer: &Answer, what: &str) {
    let text = answer.text();
    if answer.status != 200 {
        assert_eq!(answer.status, 502, "{what}: {text}");
        openai_error(answer);
        return;
    }
    let events = sse_data(&text);
    assert!(!events.iter().any(|event| event == "[DONE]"), "{what} looks complete: {text}");
    let last: Value = events.last().and_then(|event| serde_json::from_str(event).ok()).unwrap_or_default();
    assert!(last["error"]["message"].is_string(), "{what} ends without an error event: {text}");
}

#[tokio::test]
async fn upstreams_that_fail_in_the_middle_of_a_stream() {
    let stack = Stack::start().await;
    let mut models = Vec::new();
    models.extend(both(("o-cut", "openai/cut"), ("a-cut", "anthropic/cut")));
    models.extend(both(("o-truncated", "openai/truncated"), ("a-truncated", "anthropic/truncated")));
    models.extend(both(("o-garbage", "openai/garbage"), ("a-garbage", "anthropic/garbage")));
    let gateway = stack.gateway(&stack.config(&models, NO_RETRIES), &[]).await;
    stack.upstream.when_model("cut", Behaviour::Cut(5));
    stack.upstream.when_model("truncated", Behaviour::Truncated(5));
    stack.upstream.when_model("garbage", Behaviour::garbage_sse());
    for model in ["o-cut", "a-cut", "o-truncated", "a-truncated", "o-garbage", "a-garbage"] {
        let answer = post(&gateway, CHAT, JSON, chat(model, true).to_string()).await;
        assert_broken_stream(&answer, model);
    }
    for model in ["a-cut", "a-truncated", "a-garbage"] {
        let answer = post(&gateway, "/v1/messages", JSON, messages(model, true).to_string()).await;
        let text = answer.text();
        assert!(!text.contains("message_stop"), "{model} looks complete: {text}");
        assert!(text.contains("\"type\":\"error\""), "{model} ends without an error event: {text}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_upstream_call() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&stack.config(&[demo(), gpt(), claude()], NO_RETRIES), &[]).await;
    let url = format!("{}{CHAT}", gateway.url());
    let bearer = format!("Bearer {MASTER}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let mut gone = 0;
    for model in ["gpt", "claude"] {
        let gate = Gate::default();
        stack.upstream.script(Behaviour::Paced(gate.clone()));
        gate.release(6);
        let client = Client::default();
        let mut streaming =
            client.open(Method::POST, &url, &headers, chat(model, true).to_string()).await.unwrap();
        assert!(streaming.chunk().await.unwrap().is_some());
        drop((streaming, client));
        gone += 1;
        stack.upstream.wait_for_gone(gone).await;

        // Before the first byte, too.
        stack.upstream.script(Behaviour::hang(&gate));
        let asked = stack.upstream.count();
        let client = Client::default();
        tokio::select! {
            answer = client.open(Method::POST, &url, &headers, chat(model, false).to_string()) => {
                panic!("answered without the upstream: {answer:?}");
            }
            () = stack.upstream.wait_for_requests(asked + 1) => {}
        }
        drop(client);
        gone += 1;
        stack.upstream.wait_for_gone(gone).await;
    }
}

#[tokio::test]
async fn a_client_of_the_function_that_goes_away_stops_the_upstream_call() {
    let stack = Stack::start().await;
    let function = stack.environment(&stack.usual_config(), &[]).await;
    let gate = Gate::default();
    stack.upstream.script(Behaviour::Paced(gate.clone()));
    gate.release(6);
    let mut answer = function.invoke(&chat_event("gpt", true)).await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    stack.upstream.wait_for_gone(1).await;
    assert_eq!(function.call(&chat_event("gpt", true)).await.status, 200, "the function still works");
}
