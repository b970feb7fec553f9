//! OpenAI's shapes.

use ::http::StatusCode;
use bytes::Bytes;
use serde_json::{Value, json};

use super::script::Answer;
use super::{Ask, COMPLETION_TOKENS, PROMPT_TOKENS};

/// When the models were made; any number would do.
const CREATED: u64 = 1_770_000_000;

pub(super) fn answer(ask: &Ask<'_>) -> Answer {
    if ask.model.is_empty() || !ask.body["messages"].is_array() {
        return error(
            StatusCode::BAD_REQUEST,
            "Missing required parameter: 'messages'.",
            "invalid_request_error",
        );
    }
    let mut answer = if ask.body["stream"] == true { stream(ask) } else { whole(ask) };
    answer.headers = vec![
        ("x-request-id", "req_fake_openai".to_owned()),
        ("x-ratelimit-limit-requests", "10000".to_owned()),
        ("x-ratelimit-remaining-requests", "9999".to_owned()),
        ("openai-processing-ms", "1".to_owned()),
    ];
    answer
}

fn whole(ask: &Ask<'_>) -> Answer {
    let (message, finish) = match &ask.tool {
        Some((name, arguments)) => {
            let call = json!({"id": "call_fake_1", "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}});
            (
                json!({"role": "assistant", "content": null, "tool_calls": [call], "refusal": null}),
                "tool_calls",
            )
        }
        None => (json!({"role": "assistant", "content": ask.completion, "refusal": null}), "stop"),
    };
    Answer::json(
        StatusCode::OK,
        &json!({
            "id": "chatcmpl-fake-1",
            "object": "chat.completion",
            "created": CREATED,
            "model": ask.model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
            "usage": usage(),
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }),
    )
}

fn usage() -> Value {
    json!({
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": COMPLETION_TOKENS,
        "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

fn stream(ask: &Ask<'_>) -> Answer {
    let with_usage = ask.body["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": "chatcmpl-fake-1",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
            "choices": choices,
        });
        if with_usage {
            chunk["usage"] = usage;
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let delta = |delta: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]), Value::Null)
    };
    let mut chunks = Vec::new();
    let finish = if let Some((name, arguments)) = &ask.tool {
        let call = json!({"index": 0, "id": "call_fake_1", "type": "function",
            "function": {"name": name, "arguments": ""}});
        chunks.push(delta(json!({"role": "assistant", "content": null, "tool_calls": [call]})));
        for part in halves(&arguments.to_string()) {
            chunks.push(delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})));
        }
        "tool_calls"
    } else {
        chunks.push(delta(json!({"role": "assistant", "content": "", "refusal": null})));
        chunks.extend(ask.completion.split_inclusive(' ').map(|word| delta(json!({"content": word}))));
        "stop"
    };
    let last = json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}]);
    chunks.push(chunk(last, Value::Null));
    if with_usage {
        chunks.push(chunk(json!([]), usage()));
    }
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Answer {
        status: StatusCode::OK,
        content_type: "text/event-stream; charset=utf-8",
        headers: Vec::new(),
        chunks,
    }
}

/// A text in two parts, so that no chunk of a tool's arguments is JSON on its own.
pub(super) fn halves(text: &str) -> [String; 2] {
    let middle = text.chars().count() / 2;
    [text.chars().take(middle).collect(), text.chars().skip(middle).collect()]
}

fn error(status: StatusCode, message: &str, kind: &str) -> Answer {
    Answer::json(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": null}}))
}

pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "Invalid URL", "invalid_request_error")
}

/// The refusal of an unknown key, which shows its first eight and last four characters, as OpenAI's does.
pub(super) fn bad_key(key: &str) -> Answer {
    let characters: Vec<char> = key.chars().collect();
    let shown = if characters.len() > 12 {
        let hidden = "*".repeat(characters.len() - 12);
        let (start, end) = (&characters[..8], &characters[characters.len() - 4..]);
        format!("{}{hidden}{}", start.iter().collect::<String>(), end.iter().collect::<String>())
    } else {
        "*".repeat(characters.len())
    };
    let message = format!(
        "Incorrect API key provided: {shown}. You can find your API key at \
         https://platform.openai.com/account/api-keys."
    );
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": "invalid_api_key"});
    Answer::json(StatusCode::UNAUTHORIZED, &json!({"error": error}))
}

pub(super) fn models() -> Answer {
    let model = |id: &str| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "system"});
    Answer::json(StatusCode::OK, &json!({"object": "list", "data": [model("gpt-4o"), model("gpt-4o-mini")]}))
}
