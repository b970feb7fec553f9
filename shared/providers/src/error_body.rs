//! Error bodies: the one place where they are made, in OpenAI's and in Anthropic's shape.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::port::Surface;

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'a str,
    error: AnthropicError<'a>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// `{"error":{"message","type","param","code"}}`.
#[must_use]
pub fn openai(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Bytes {
    to_bytes(&OpenAiBody { error: OpenAiError { message, r#type: kind, param, code } })
}

/// `{"type":"error","error":{"type","message"}}`.
#[must_use]
pub fn anthropic(kind: &str, message: &str) -> Bytes {
    to_bytes(&AnthropicBody { r#type: "error", error: AnthropicError { r#type: kind, message } })
}

/// The body of an error of ours in the client's format: `kind` and `code` are OpenAI's words; Anthropic's type
/// follows from the status.
#[must_use]
pub fn shaped(surface: Surface, status: StatusCode, message: &str, kind: &str, code: Option<&str>) -> Bytes {
    match surface {
        Surface::ChatCompletions => openai(message, kind, None, code),
        Surface::Messages => anthropic(anthropic_kind(status), message),
    }
}

/// Anthropic's error type for a status (<https://docs.claude.com/en/api/errors>).
#[must_use]
pub fn anthropic_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        408 | 504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// An error body as the last event of a stream whose status has already gone out. No `[DONE]` follows it.
#[must_use]
pub fn event(surface: Surface, body: &[u8]) -> Bytes {
    let head: &[u8] = match surface {
        Surface::ChatCompletions => b"data: ",
        Surface::Messages => b"event: error\ndata: ",
    };
    let mut out = Vec::with_capacity(head.len() + body.len() + 2);
    out.extend_from_slice(head);
    // A line break in JSON is always between two tokens; in an event it would end the field.
    out.extend(body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

fn to_bytes(body: &impl Serialize) -> Bytes {
    // Strings and options cannot fail to serialise.
    serde_json::to_vec(body).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(
            openai("a \"b\"", "t", None, Some("c")),
            r#"{"error":{"message":"a \"b\"","type":"t","param":null,"code":"c"}}"#
        );
        assert_eq!(anthropic("t", "m"), r#"{"type":"error","error":{"type":"t","message":"m"}}"#);
    }

    #[test]
    fn an_event_is_one_line_of_data() {
        assert_eq!(
            event(Surface::Messages, b"{\n \"a\":\r\n1}"),
            "event: error\ndata: {  \"a\":  1}\n\n".as_bytes()
        );
        assert_eq!(event(Surface::ChatCompletions, b"{}"), "data: {}\n\n".as_bytes());
    }
}
