//! LiteLLM's `mock_response`: an answer without any upstream, for demonstrations and tests.
//!
//! A text is the answer. LiteLLM's error names (`litellm.RateLimitError`, …) are failures, as there.

use bytes::Bytes;
use http::StatusCode;

use crate::json;
use crate::port::{Call, Failure, Refusal, Reply, Surface};
use crate::upstream;
use crate::usage::Usage;

/// A streamed answer.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The events, in order.
    pub events: Vec<Bytes>,
    /// What it would have cost in tokens.
    pub usage: Usage,
}

/// The whole answer to `call`, of which `text` is what the model says.
///
/// # Errors
///
/// `text` names one of LiteLLM's errors.
pub fn whole(call: &Call<'_>, text: &str) -> Result<Reply, Failure> {
    if let Some(failure) = failure(call.surface, text) {
        return Err(failure);
    }
    let usage = usage(call, text);
    let (id, model, content) = (id(call), token(&call.facts.model), token(text));
    let body = match call.surface {
        Surface::ChatCompletions => format!(
            r#"{{"id":"chatcmpl-{id}","object":"chat.completion","created":{},"model":{model},"choices":[{}],"usage":{}}}"#,
            call.now,
            choices(call, |index| format!(
                r#"{{"index":{index},"message":{{"role":"assistant","content":{content}}},"finish_reason":"stop"}}"#
            )),
            usage.to_openai(),
        ),
        Surface::Messages => format!(
            r#"{{"id":"msg_{id}","type":"message","role":"assistant","model":{model},"content":[{{"type":"text","text":{content}}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":{},"output_tokens":{}}}}}"#,
            usage.prompt_tokens, usage.completion_tokens,
        ),
    };
    Ok(Reply { body: body.into(), usage: Some(usage) })
}

/// The answer to `call` as a stream.
///
/// # Errors
///
/// `text` names one of LiteLLM's errors.
pub fn stream(call: &Call<'_>, text: &str) -> Result<Stream, Failure> {
    if let Some(failure) = failure(call.surface, text) {
        return Err(failure);
    }
    let usage = usage(call, text);
    let events = match call.surface {
        Surface::ChatCompletions => chat_events(call, text, &usage),
        Surface::Messages => message_events(call, text, &usage),
    };
    Ok(Stream { events, usage })
}

fn chat_events(call: &Call<'_>, text: &str, usage: &Usage) -> Vec<Bytes> {
    let head = format!(
        r#"data: {{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{},"model":{},"#,
        id(call),
        call.now,
        token(&call.facts.model),
    );
    let tail = if call.facts.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" };
    let chunk = |delta: &str, reason: &str| {
        let choices = choices(call, |index| {
            format!(r#"{{"index":{index},"delta":{{{delta}}},"finish_reason":{reason}}}"#)
        });
        Bytes::from(format!(r#"{head}"choices":[{choices}]{tail}"#))
    };
    let mut events = vec![chunk(r#""role":"assistant","content":"""#, "null")];
    for word in words(text) {
        events.push(chunk(&format!(r#""content":{}"#, token(word)), "null"));
    }
    events.push(chunk("", "\"stop\""));
    if call.facts.include_usage {
        events.push(format!("{head}\"choices\":[],\"usage\":{}}}\n\n", usage.to_openai()).into());
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn message_events(call: &Call<'_>, text: &str, usage: &Usage) -> Vec<Bytes> {
    let event = |name: &str, members: &str| {
        Bytes::from(format!("event: {name}\ndata: {{\"type\":\"{name}\"{members}}}\n\n"))
    };
    let start = format!(
        r#","message":{{"id":"msg_{}","type":"message","role":"assistant","model":{},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":{},"output_tokens":1}}}}"#,
        id(call),
        token(&call.facts.model),
        usage.prompt_tokens,
    );
    let mut events = vec![
        event("message_start", &start),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
    ];
    for word in words(text) {
        let delta = format!(r#","index":0,"delta":{{"type":"text_delta","text":{}}}"#, token(word));
        events.push(event("content_block_delta", &delta));
    }
    events.push(event("content_block_stop", r#","index":0"#));
    let end = format!(
        r#","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":{}}}"#,
        usage.completion_tokens
    );
    events.push(event("message_delta", &end));
    events.push(event("message_stop", ""));
    events
}

/// One choice per answer asked for; OpenAI allows 128.
fn choices(call: &Call<'_>, one: impl Fn(u64) -> String) -> String {
    (0..call.facts.choices.clamp(1, 128)).map(one).collect::<Vec<_>>().join(",")
}

/// The text in words, each with the space after it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn token(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    out
}

/// An id that says what made it. There is no randomness here: equal calls have equal ids.
fn id(call: &Call<'_>) -> String {
    format!("mock{:x}{:x}", call.now, call.body.len())
}

/// About four bytes a token.
fn usage(call: &Call<'_>, text: &str) -> Usage {
    let answer = u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX);
    Usage {
        prompt_tokens: call.facts.estimated_prompt_tokens(),
        completion_tokens: answer.saturating_mul(call.facts.choices.clamp(1, 128)),
        ..Usage::default()
    }
}

/// The failure that a mock response names: LiteLLM's three, and in the same manner its other exceptions.
fn failure(surface: Surface, text: &str) -> Option<Failure> {
    if text.starts_with("Exception: content_filter_policy") {
        return failure(surface, "litellm.ContentPolicyViolationError");
    }
    if text.starts_with("Exception: mock_streaming_error") {
        return failure(surface, "litellm.ServiceUnavailableError");
    }
    let name = text.strip_prefix("litellm.")?;
    let (status, refusal, kind, code, words) = match name {
        "RateLimitError" => {
            (429, Refusal::RateLimited, "rate_limit_error", Some("rate_limit_exceeded"), "rate limit")
        }
        "InternalServerError" | "APIError" | "APIConnectionError" => {
            (500, Refusal::Unavailable, "server_error", Some("upstream_error"), "internal server")
        }
        "ServiceUnavailableError" => {
            (503, Refusal::Unavailable, "server_error", Some("overloaded"), "service unavailable")
        }
        "Timeout" => (504, Refusal::Unavailable, "server_error", Some("timeout"), "timeout"),
        "ContextWindowExceededError" => (
            400,
            Refusal::ContextWindow,
            "invalid_request_error",
            Some("context_length_exceeded"),
            "context window exceeded",
        ),
        "ContentPolicyViolationError" => (
            400,
            Refusal::ContentPolicy,
            "invalid_request_error",
            Some("content_policy_violation"),
            "content policy violation",
        ),
        "BadRequestError" => (400, Refusal::Request, "invalid_request_error", None, "bad request"),
        "NotFoundError" => (404, Refusal::Request, "invalid_request_error", Some("not_found"), "not found"),
        "PermissionDeniedError" => {
            (403, Refusal::Request, "permission_error", Some("permission_denied"), "permission denied")
        }
        "AuthenticationError" => return Some(upstream::credential_refused(surface)),
        _ => return None,
    };
    let status = StatusCode::from_u16(status).ok()?;
    let message = format!("{text}: this is a mock {words} error");
    Some(upstream::failure(surface, status, refusal, &message, kind, code))
}
