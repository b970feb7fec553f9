//! `mock_response`, whole and streamed, on both surfaces.

use keyturn_providers::{Refusal, Surface, mock};
use serde_json::{Value, json};

use crate::support::Request;

const TEXT: &str = "Hello \"there\",\nworld 😀";

fn sse(events: &[bytes::Bytes]) -> Vec<(Option<String>, Value)> {
    let text = String::from_utf8(events.concat()).unwrap();
    text.split_terminator("\n\n")
        .map(|event| {
            let (name, data) = match event.split_once("\ndata: ") {
                Some((name, data)) => (name.strip_prefix("event: ").map(str::to_owned), data),
                None => (None, event.strip_prefix("data: ").unwrap()),
            };
            (name, serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
        })
        .collect()
}

#[test]
fn a_whole_completion() {
    let request = Request::chat(r#"{"model":"demo","messages":[{"role":"user","content":"Hi"}],"n":2}"#);
    let reply = mock::whole(&request.call(), TEXT).unwrap();
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("demo")));
    assert_eq!(body["created"], request.now);
    assert_eq!(body["choices"].as_array().unwrap().len(), 2);
    assert_eq!(body["choices"][1]["message"]["content"], TEXT);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let usage = reply.usage.unwrap();
    assert_eq!(usage.completion_tokens, 2 * TEXT.len().div_ceil(4) as u64);
    assert!(usage.prompt_tokens > 0);
    assert_eq!(body["usage"]["total_tokens"], usage.total_tokens());
}

#[test]
fn a_streamed_completion() {
    for include_usage in [true, false] {
        let request = Request::streaming(include_usage);
        let stream = mock::stream(&request.call(), TEXT).unwrap();
        let events = sse(&stream.events);
        let content: String =
            events.iter().filter_map(|(_, event)| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(content, TEXT);
        assert_eq!(events[0].1["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events.last().unwrap().1, "[DONE]");
        let usage = events.iter().filter(|(_, event)| event["usage"].is_object()).count();
        assert_eq!(usage, usize::from(include_usage));
        let finished =
            events.iter().filter(|(_, event)| event["choices"][0]["finish_reason"] == "stop").count();
        assert_eq!(finished, 1);
    }
}

#[test]
fn a_message_whole_and_streamed() {
    let request = Request::messages();
    let reply = mock::whole(&request.call(), TEXT).unwrap();
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["content"], json!([{"type": "text", "text": TEXT}]));
    assert_eq!(body["usage"]["output_tokens"], reply.usage.unwrap().completion_tokens);

    let events = sse(&mock::stream(&request.call(), TEXT).unwrap().events);
    for (name, event) in &events {
        assert_eq!(name.as_deref(), event["type"].as_str());
    }
    let names: Vec<&str> = events.iter().filter_map(|(name, _)| name.as_deref()).collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let text: String = events.iter().filter_map(|(_, event)| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, TEXT);
}

#[test]
fn an_empty_text_is_an_answer() {
    let request = Request::streaming(false);
    assert!(mock::whole(&request.call(), "").is_ok());
    assert!(mock::stream(&request.call(), "").is_ok());
}

#[test]
fn error_names() {
    use Refusal::{ContentPolicy, ContextWindow, Credential, RateLimited, Request as Wrong, Unavailable};
    for (name, status, refusal) in [
        ("litellm.RateLimitError", 429, RateLimited),
        ("litellm.InternalServerError", 500, Unavailable),
        ("litellm.ServiceUnavailableError", 503, Unavailable),
        ("litellm.Timeout", 504, Unavailable),
        ("litellm.ContextWindowExceededError", 400, ContextWindow),
        ("litellm.ContentPolicyViolationError", 400, ContentPolicy),
        ("Exception: content_filter_policy", 400, ContentPolicy),
        ("litellm.BadRequestError", 400, Wrong),
        ("litellm.NotFoundError", 404, Wrong),
        ("litellm.PermissionDeniedError", 403, Wrong),
        ("litellm.AuthenticationError", 502, Credential),
        ("Exception: mock_streaming_error", 503, Unavailable),
    ] {
        for request in [Request::streaming(true), Request::messages()] {
            let whole = mock::whole(&request.call(), name).unwrap_err();
            let stream = mock::stream(&request.call(), name).unwrap_err();
            assert_eq!((whole.status.as_u16(), whole.refusal), (status, refusal), "{name}");
            assert_eq!(whole.body, stream.body);
            let body: Value = serde_json::from_slice(&whole.body).unwrap();
            assert!(body["error"]["message"].is_string());
            assert_eq!(body["type"] == "error", request.surface == Surface::Messages);
        }
    }
    assert!(mock::whole(&Request::messages().call(), "litellm.is a fine library").is_ok());
}
