//! Anthropic's shapes.

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};

use super::openai::halves;
use super::script::Answer;
use super::{Ask, COMPLETION_TOKENS, PROMPT_TOKENS};

pub(super) fn answer(ask: &Ask<'_>, headers: &HeaderMap) -> Answer {
    let invalid = |message: &str| error(StatusCode::BAD_REQUEST, "invalid_request_error", message);
    if !headers.contains_key("anthropic-version") {
        return invalid("anthropic-version: header is required");
    }
    if ask.model.is_empty() || !ask.body["messages"].is_array() {
        return invalid("messages: Field required");
    }
    if !ask.body["max_tokens"].is_u64() {
        return invalid("max_tokens: Field required");
    }
    let mut answer = if ask.body["stream"] == true { stream(ask) } else { whole(ask) };
    answer.headers = vec![
        ("request-id", "req_fake_anthropic".to_owned()),
        ("anthropic-ratelimit-requests-limit", "4000".to_owned()),
        ("anthropic-ratelimit-requests-remaining", "3999".to_owned()),
        ("anthropic-ratelimit-requests-reset", "2026-11-20T12:00:00Z".to_owned()),
    ];
    answer
}

fn message(ask: &Ask<'_>, content: &Value, stop_reason: Option<&str>, output_tokens: u64) -> Value {
    json!({
        "id": "msg_fake_1",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": PROMPT_TOKENS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
            "service_tier": "standard",
        },
    })
}

fn whole(ask: &Ask<'_>) -> Answer {
    let (block, stop_reason) = match &ask.tool {
        Some((name, input)) => {
            (json!({"type": "tool_use", "id": "toolu_fake_1", "name": name, "input": input}), "tool_use")
        }
        None => (json!({"type": "text", "text": ask.completion}), "end_turn"),
    };
    Answer::json(StatusCode::OK, &message(ask, &json!([block]), Some(stop_reason), COMPLETION_TOKENS))
}

fn stream(ask: &Ask<'_>) -> Answer {
    let event = |event: Value| {
        let name = event["type"].as_str().unwrap_or_default();
        Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
    };
    let (block, deltas, stop_reason) = match &ask.tool {
        Some((name, input)) => {
            let block = json!({"type": "tool_use", "id": "toolu_fake_1", "name": name, "input": {}});
            let deltas = halves(&input.to_string())
                .map(|part| json!({"type": "input_json_delta", "partial_json": part}));
            (block, deltas.to_vec(), "tool_use")
        }
        None => {
            let words = ask.completion.split_inclusive(' ');
            let deltas = words.map(|word| json!({"type": "text_delta", "text": word})).collect();
            (json!({"type": "text", "text": ""}), deltas, "end_turn")
        }
    };
    let mut chunks = vec![
        event(json!({"type": "message_start", "message": message(ask, &json!([]), None, 1)})),
        event(json!({"type": "content_block_start", "index": 0, "content_block": block})),
        event(json!({"type": "ping"})),
    ];
    let deltas =
        deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    chunks.extend(deltas.map(event));
    chunks.extend([
        event(json!({"type": "content_block_stop", "index": 0})),
        event(json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": null},
            "usage": {"output_tokens": COMPLETION_TOKENS},
        })),
        event(json!({"type": "message_stop"})),
    ]);
    Answer {
        status: StatusCode::OK,
        content_type: "text/event-stream; charset=utf-8",
        headers: Vec::new(),
        chunks,
    }
}

pub(super) fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
    let error = json!({"type": kind, "message": message});
    Answer::json(status, &json!({"type": "error", "error": error, "request_id": "req_fake_anthropic"}))
}

pub(super) fn models() -> Answer {
    let model = json!({
        "type": "model",
        "id": "claude-sonnet-4-5",
        "display_name": "Claude Sonnet 4.5",
        "created_at": "2025-09-29T00:00:00Z",
    });
    let list = json!({"data": [model], "has_more": false, "first_id": "claude-sonnet-4-5", "last_id": "claude-sonnet-4-5"});
    Answer::json(StatusCode::OK, &list)
}
