//! Anthropic's errors: what they mean, and the client's words for them (<https://docs.claude.com/en/api/errors>).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::error_body;
use crate::json::Text;
use crate::port::{Failure, Refusal, Surface};
use crate::upstream;

/// `{"type":"error","error":{"type","message","details":{"error_code"}}}`.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Detail<'a>,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    error_code: Option<Text<'a>>,
}

/// The status of each error type, for errors that come inside a stream.
const STATUSES: &[(&str, u16)] = &[
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// An answer that is not 2xx.
pub(super) fn failure(surface: Surface, status: StatusCode, body: &[u8]) -> Failure {
    if status == StatusCode::UNAUTHORIZED {
        return upstream::credential_refused(surface);
    }
    match serde_json::from_slice::<Envelope<'_>>(body) {
        Ok(envelope) => of(surface, upstream::client_status(status), &envelope.error, body),
        Err(_) if status.as_u16() == 529 => overloaded(surface),
        Err(_) => upstream::synthesised(surface, status, None),
    }
}

/// An error event of a stream, or an error inside a 2xx answer: `body` is the whole envelope.
pub(super) fn inside(surface: Surface, body: &[u8]) -> Failure {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(body) else {
        return upstream::unreadable(surface, "The upstream sent an unreadable error.");
    };
    let status =
        STATUSES.iter().find(|(kind, _)| *kind == envelope.error.r#type.0).map_or(502, |(_, status)| *status);
    of(surface, StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), &envelope.error, body)
}

fn overloaded(surface: Surface) -> Failure {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    upstream::failure(surface, status, Refusal::Unavailable, "Overloaded", "server_error", Some("overloaded"))
}

fn of(surface: Surface, status: StatusCode, error: &Detail<'_>, body: &[u8]) -> Failure {
    let message = &*error.message.0;
    if error.r#type.0 == "authentication_error" || status == StatusCode::UNAUTHORIZED {
        return upstream::credential_refused(surface);
    }
    let spent = is_spend_limit(error);
    let (status, refusal, kind, code) = match status.as_u16() {
        429 if spent => (status, Refusal::RateLimited, "insufficient_quota", Some("insufficient_quota")),
        429 => (status, Refusal::RateLimited, "rate_limit_error", Some("rate_limit_exceeded")),
        402 => (status, Refusal::RateLimited, "insufficient_quota", Some("insufficient_quota")),
        403 => (status, Refusal::Request, "permission_error", Some("permission_denied")),
        404 => (status, Refusal::Request, "invalid_request_error", Some("not_found")),
        413 => (status, Refusal::Request, "invalid_request_error", Some("request_too_large")),
        529 => (StatusCode::SERVICE_UNAVAILABLE, Refusal::Unavailable, "server_error", Some("overloaded")),
        408 | 504 => (status, Refusal::Unavailable, "server_error", Some("timeout")),
        500.. => (status, Refusal::Unavailable, "server_error", Some("upstream_error")),
        _ if upstream::says_prompt_too_long(message) => {
            (status, Refusal::ContextWindow, "invalid_request_error", Some("context_length_exceeded"))
        }
        _ if message.contains("content filtering policy") => {
            (status, Refusal::ContentPolicy, "invalid_request_error", Some("content_policy_violation"))
        }
        _ => (status, Refusal::Request, "invalid_request_error", None),
    };
    let mut headers = HeaderMap::new();
    if status == StatusCode::TOO_MANY_REQUESTS && spent {
        // A spent budget does not come back by waiting a little.
        upstream::insert(&mut headers, "x-should-retry", HeaderValue::from_static("false"));
    }
    let body = match surface {
        Surface::ChatCompletions => error_body::openai(message, kind, None, code),
        Surface::Messages => Bytes::copy_from_slice(body),
    };
    Failure { status, headers, body, refusal }
}

/// The codes of a 429 that means money, not speed (from the SDK's error types).
fn is_spend_limit(error: &Detail<'_>) -> bool {
    let code = error.details.as_ref().and_then(|details| details.error_code.as_ref());
    let code: Option<&Cow<'_, str>> = code.map(|text| &text.0);
    matches!(code.map(|code| &**code), Some("enforced_spend_limit_reached" | "contract_spend_limit_reached"))
}
