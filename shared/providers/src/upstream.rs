//! What every HTTP provider needs: URLs, credential headers, and the failures that look the same everywhere.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::error_body;
use crate::port::{Failure, ProviderError, Refusal, Surface};

/// The most bytes of an upstream's own words that go into an error of ours.
const MAX_MESSAGE: usize = 2048;

/// `base` (or the provider's own) followed by `path`, unless it ends with it already. A query stays at the end.
pub(crate) fn endpoint(base: &str, path: &str) -> Result<Uri, ProviderError> {
    let (base, query) = base.split_once('?').map_or((base, None), |(base, query)| (base, Some(query)));
    let base = base.trim_end_matches('/');
    let mut url = String::with_capacity(base.len() + path.len());
    url.push_str(base);
    if !base.ends_with(path) {
        url.push_str(path);
    }
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    let uri: Uri = url.parse().map_err(|_| ProviderError::Misconfigured("api_base is not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err(ProviderError::Misconfigured("api_base is not an http or https URL")),
    }
}

/// A header value that no log shows: `prefix` followed by the secret.
pub(crate) fn secret_header(prefix: &str, secret: &SecretString) -> Result<HeaderValue, ProviderError> {
    let secret = secret.expose_secret();
    if secret.is_empty() {
        return Err(ProviderError::Misconfigured("the credential is empty"));
    }
    let mut value = HeaderValue::try_from([prefix, secret].concat()).map_err(|_| {
        ProviderError::Misconfigured("the credential has a character that no header can carry")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A header value from a `litellm_params` field.
pub(crate) fn param_header(value: &str) -> Result<HeaderValue, ProviderError> {
    HeaderValue::try_from(value)
        .map_err(|_| ProviderError::Misconfigured("a parameter has a character that no header can carry"))
}

/// A POST of JSON.
pub(crate) fn post(uri: Uri, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

/// A GET.
pub(crate) fn get(uri: Uri) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = uri;
    request
}

/// Copies the headers whose names `wanted` accepts.
pub(crate) fn copy_headers(from: &HeaderMap, wanted: impl Fn(&str) -> bool) -> HeaderMap {
    from.iter()
        .filter(|(name, _)| wanted(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Adds a header whose name is known to be valid.
pub(crate) fn insert(headers: &mut HeaderMap, name: &'static str, value: HeaderValue) {
    headers.insert(HeaderName::from_static(name), value);
}

/// The headers with which every provider says when to come back.
pub(crate) fn is_retry_header(name: &str) -> bool {
    matches!(name, "retry-after" | "retry-after-ms" | "x-should-retry")
}

/// A failure without headers, its body made by us.
pub(crate) fn failure(
    surface: Surface,
    status: StatusCode,
    refusal: Refusal,
    message: &str,
    kind: &str,
    code: Option<&str>,
) -> Failure {
    Failure {
        status,
        headers: HeaderMap::new(),
        body: error_body::shaped(surface, status, message, kind, code),
        refusal,
    }
}

/// The upstream answered with something that is not its format: 502.
pub(crate) fn unreadable(surface: Surface, message: &str) -> Failure {
    failure(
        surface,
        StatusCode::BAD_GATEWAY,
        Refusal::Unavailable,
        message,
        "server_error",
        Some("upstream_error"),
    )
}

/// The stream ended before its terminal event.
pub(crate) fn truncated(surface: Surface) -> Failure {
    failure(
        surface,
        StatusCode::BAD_GATEWAY,
        Refusal::Unavailable,
        "The upstream closed the stream before its end.",
        "server_error",
        Some("upstream_stream_truncated"),
    )
}

/// The upstream did not accept the gateway's credential. The upstream's words are not passed on: they may quote
/// a part of the key, and a 401 would tell the caller that their own key is wrong.
pub(crate) fn credential_refused(surface: Surface) -> Failure {
    const MESSAGE: &str = "The upstream did not accept the gateway's credential.";
    let status = StatusCode::BAD_GATEWAY;
    let body = match surface {
        Surface::ChatCompletions => {
            error_body::openai(MESSAGE, "upstream_auth_error", None, Some("upstream_auth_error"))
        }
        Surface::Messages => error_body::anthropic("upstream_auth_error", MESSAGE),
    };
    Failure { status, headers: HeaderMap::new(), body, refusal: Refusal::Credential }
}

/// An error whose body is not in the provider's format (HTML, empty): its status with words of ours, or `said`,
/// the upstream's own when it had any.
pub(crate) fn synthesised(surface: Surface, status: StatusCode, said: Option<&str>) -> Failure {
    let upstreams = status;
    let status = client_status(status);
    let (refusal, kind, code) = match status.as_u16() {
        402 => (Refusal::RateLimited, "insufficient_quota", "insufficient_quota"),
        429 => (Refusal::RateLimited, "rate_limit_error", "rate_limit_exceeded"),
        408 | 500.. => (Refusal::Unavailable, "server_error", "upstream_error"),
        _ => (Refusal::Request, "invalid_request_error", "upstream_error"),
    };
    let ours;
    let message = match said.map(str::trim).filter(|said| !said.is_empty()) {
        Some(said) => &said[..said.floor_char_boundary(MAX_MESSAGE)],
        None => {
            ours = format!("The upstream answered with status {} and no readable error.", upstreams.as_u16());
            &ours
        }
    };
    failure(surface, status, refusal, message, kind, Some(code))
}

/// The status for the client: the upstream's own when it is an error, else 502 (a redirect is not followed).
pub(crate) fn client_status(status: StatusCode) -> StatusCode {
    if status.is_client_error() || status.as_u16() >= 500 { status } else { StatusCode::BAD_GATEWAY }
}

/// Is this the complaint of a model whose prompt was too long?
pub(crate) fn says_prompt_too_long(message: &str) -> bool {
    ["prompt is too long", "Input is too long", "maximum context length", "context_length_exceeded"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (base, url) in [
            ("https://h/v1", "https://h/v1/chat/completions"),
            ("https://h/v1/", "https://h/v1/chat/completions"),
            ("http://127.0.0.1:9/v1/chat/completions", "http://127.0.0.1:9/v1/chat/completions"),
            ("https://h/v1?api-version=1", "https://h/v1/chat/completions?api-version=1"),
        ] {
            assert_eq!(endpoint(base, "/chat/completions").unwrap().to_string(), url);
        }
        for base in ["", "h/v1", "ftp://h/v1", "https://", "https://h h/", "file:///etc/passwd", "/v1"] {
            assert!(endpoint(base, "/x").is_err(), "{base}");
        }
    }

    #[test]
    fn a_credential_that_no_header_can_carry() {
        for bad in ["", "a\nb", "a\r\nx: y", "a\0"] {
            assert!(secret_header("Bearer ", &SecretString::from(bad)).is_err(), "{bad:?}");
        }
        let header = secret_header("Bearer ", &SecretString::from("sk-1")).unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("sk-1"));
    }

    #[test]
    fn statuses() {
        for (upstream, client) in [(429, 429), (529, 529), (301, 502), (101, 502), (204, 502), (999, 999)] {
            assert_eq!(client_status(StatusCode::from_u16(upstream).unwrap()).as_u16(), client);
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let failure = synthesised(Surface::ChatCompletions, StatusCode::NOT_FOUND, Some(&"é".repeat(9999)));
        assert!(failure.body.len() < MAX_MESSAGE + 200);
    }
}
