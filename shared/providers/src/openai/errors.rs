//! OpenAI-shaped errors: what they mean, and what of them the client sees.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, Text};
use crate::port::{Failure, Refusal, Surface};
use crate::upstream;

/// Codes with which OpenAI and its likes (LiteLLM's proxy) say that a key is no good, whatever the status.
const REFUSED: &[&str] = &["invalid_api_key", "account_deactivated", "token_not_found_in_db", "expired_key"];

/// `{"error":{…}}`, `{"error":"…"}`, `{"message":…}` and `{"detail":…}` (compatible servers).
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

/// An answer that is not 2xx.
pub(super) fn failure(surface: Surface, status: StatusCode, body: &[u8]) -> Failure {
    if status == StatusCode::UNAUTHORIZED {
        return upstream::credential_refused(surface);
    }
    let Some(envelope) = envelope(body) else {
        return refused_in(surface, body).unwrap_or_else(|| upstream::synthesised(surface, status, None));
    };
    match envelope.error.filter(|error| error.get().starts_with('{')) {
        Some(error) => {
            of_object(surface, upstream::client_status(status), error, || Bytes::copy_from_slice(body))
        }
        None => {
            let said = envelope.error.or(envelope.message).or(envelope.detail).and_then(json::string);
            refused_in(surface, body)
                .unwrap_or_else(|| upstream::synthesised(surface, status, said.as_deref()))
        }
    }
}

/// An error inside a 2xx answer or a stream, where no status tells what it is: `error` is the value of its
/// `error` member.
pub(super) fn inside(surface: Surface, error: &RawValue) -> Failure {
    if !error.get().starts_with('{') {
        return upstream::synthesised(surface, StatusCode::BAD_GATEWAY, json::string(error).as_deref());
    }
    let status = serde_json::from_str::<Detail<'_>>(error.get()).map_or(StatusCode::BAD_GATEWAY, |detail| {
        let code = detail.code.map(word).unwrap_or_default();
        let kind = detail.r#type.map(word).unwrap_or_default();
        status_of(&code, &kind)
    });
    if status == StatusCode::UNAUTHORIZED {
        return upstream::credential_refused(surface);
    }
    of_object(surface, status, error, || format!(r#"{{"error":{}}}"#, error.get()).into())
}

fn envelope(body: &[u8]) -> Option<Envelope<'_>> {
    serde_json::from_slice(body).ok()
}

/// A failure whose `error` is an object: `body` makes the bytes for the client.
fn of_object(
    surface: Surface,
    status: StatusCode,
    error: &RawValue,
    body: impl FnOnce() -> Bytes,
) -> Failure {
    let text = error.get();
    let Ok(detail) = serde_json::from_str::<Detail<'_>>(text) else {
        return refused_in(surface, text.as_bytes())
            .unwrap_or_else(|| upstream::synthesised(surface, status, None));
    };
    let code = detail.code.map(word).unwrap_or_default();
    let kind = detail.r#type.map(word).unwrap_or_default();
    if REFUSED.contains(&&*code) || REFUSED.contains(&&*kind) {
        return upstream::credential_refused(surface);
    }
    if let Some(refused) = refused_in(surface, text.as_bytes()) {
        return refused;
    }
    let message = detail.message.and_then(json::string).unwrap_or_default();
    let refusal = match status.as_u16() {
        402 | 429 => Refusal::RateLimited,
        408 | 500.. => Refusal::Unavailable,
        _ if code == "context_length_exceeded" || upstream::says_prompt_too_long(&message) => {
            Refusal::ContextWindow
        }
        _ if matches!(&*code, "content_filter" | "content_policy_violation")
            || kind == "content_policy_violation" =>
        {
            Refusal::ContentPolicy
        }
        _ => Refusal::Request,
    };
    Failure { status, headers: HeaderMap::new(), body: body(), refusal }
}

/// Google's reason for a bad key, which its OpenAI-compatible endpoint sends with a 400.
fn refused_in(surface: Surface, body: &[u8]) -> Option<Failure> {
    memchr::memmem::find(body, b"API_KEY_INVALID").map(|_| upstream::credential_refused(surface))
}

/// A code as text; compatible servers send numbers too.
fn word(raw: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str::<Text<'_>>(raw.get()) {
        Ok(text) => text.0,
        Err(_) if raw.get() == "null" => Cow::Borrowed(""),
        Err(_) => Cow::Borrowed(raw.get()),
    }
}

/// The status that an error would have had by itself. Unknown: 502, for it is the upstream's fault.
fn status_of(code: &str, kind: &str) -> StatusCode {
    if let Ok(number) = code.parse::<u16>()
        && (400..600).contains(&number)
        && let Ok(status) = StatusCode::from_u16(number)
    {
        return status;
    }
    let known = |word: &str| match word {
        "rate_limit_exceeded" | "rate_limit_error" | "insufficient_quota" | "tokens" | "requests" => {
            Some(429)
        }
        "invalid_api_key" | "account_deactivated" | "authentication_error" => Some(401),
        "permission_error" | "permission_denied" => Some(403),
        "model_not_found" | "not_found_error" => Some(404),
        "context_length_exceeded"
        | "content_filter"
        | "content_policy_violation"
        | "invalid_request_error" => Some(400),
        "overloaded" | "overloaded_error" | "service_unavailable" => Some(503),
        "timeout" | "timeout_error" => Some(504),
        _ => None,
    };
    known(code)
        .or_else(|| known(kind))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::BAD_GATEWAY)
}
