//! The id that a request has in the log and in its answer.

use http::HeaderMap;

/// The header that it stands in, of requests and of answers.
pub const CALL_ID: &str = "x-litellm-call-id";

/// The caller's own call id, if it is a plain one, else a new one.
#[must_use]
pub fn call_id(headers: &HeaderMap) -> String {
    let given = headers.get(CALL_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    given.filter(plain).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}
