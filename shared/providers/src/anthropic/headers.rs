//! Anthropic's response headers in the client's words.

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use crate::port::{Call, Surface};
use crate::upstream;

/// Anthropic's rate-limit headers and OpenAI's (<https://docs.claude.com/en/api/rate-limits>).
const RATE_LIMITS: &[(&str, &str)] = &[
    ("anthropic-ratelimit-requests-limit", "x-ratelimit-limit-requests"),
    ("anthropic-ratelimit-requests-remaining", "x-ratelimit-remaining-requests"),
    ("anthropic-ratelimit-tokens-limit", "x-ratelimit-limit-tokens"),
    ("anthropic-ratelimit-tokens-remaining", "x-ratelimit-remaining-tokens"),
];

/// The moments at which a limit is full again: RFC 3339 there, a duration here.
const RESETS: &[(&str, &str)] = &[
    ("anthropic-ratelimit-requests-reset", "x-ratelimit-reset-requests"),
    ("anthropic-ratelimit-tokens-reset", "x-ratelimit-reset-tokens"),
];

/// The headers for the client: retry headers, `x-request-id`, `x-ratelimit-*`; and to a client of the Messages API
/// also Anthropic's own.
pub(super) fn for_client(call: &Call<'_>, from: &HeaderMap) -> HeaderMap {
    let native = call.surface == Surface::Messages;
    let mut headers = upstream::copy_headers(from, |name| {
        upstream::is_retry_header(name)
            || (native && (name.starts_with("anthropic-ratelimit-") || name == "request-id"))
    });
    if let Some(id) = from.get("request-id") {
        headers.insert("x-request-id", id.clone());
    }
    for &(theirs, ours) in RATE_LIMITS {
        if let Some(value) = from.get(theirs) {
            headers.insert(ours, value.clone());
        }
    }
    for &(theirs, ours) in RESETS {
        let at = from.get(theirs).and_then(|value| value.to_str().ok()?.parse::<Timestamp>().ok());
        if let Some(at) = at
            && let Ok(value) = HeaderValue::try_from(duration(at.as_second().saturating_sub(call.now)))
        {
            headers.insert(ours, value);
        }
    }
    headers
}

/// Seconds as OpenAI writes them: `30s`, `1m0s`, `2h0m5s`. The past is `0s`.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in
            [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m0s"), (3661, "1h1m1s"), (7205, "2h0m5s")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
