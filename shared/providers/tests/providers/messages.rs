//! Anthropic's own surface: bytes pass, usage is metered.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use keyturn_providers::{Credential, ProviderError, Surface};

use crate::support::{Read, Request, chunks, head, key, provider, read, steps, vectors};

fn stream(text: &str) -> (Read, Option<(u64, u64)>) {
    let request = Request::messages();
    let mut results = steps(&[Bytes::from(text.to_owned())]).map(|chunks| {
        let mut decoder = provider("anthropic").decoder(&request.call(), &head(200, &[]));
        let got = read(&mut *decoder, &chunks);
        (got, decoder.usage().map(|usage| (usage.prompt_tokens, usage.completion_tokens)))
    });
    for (got, usage) in &results {
        assert_eq!(got.text(), results[0].0.text());
        assert_eq!(usage, &results[0].1);
    }
    let empty = (Read { bytes: Vec::new(), failure: None }, None);
    std::mem::replace(&mut results[0], empty)
}

/// The complete Anthropic streams among the vectors, as text.
fn complete() -> Vec<String> {
    vectors()
        .into_iter()
        .filter(|(_, vector)| vector["direction"] == "stream" && vector["provider"] == "anthropic")
        .map(|(_, vector)| String::from_utf8(chunks(&vector).concat()).unwrap())
        .filter(|text| text.contains("message_stop"))
        .collect()
}

#[test]
fn a_request_passes_with_the_clients_version() {
    let body = r#"{ "model":"claude", "max_tokens":9, "messages":[], "system":[{"cache_control":{}}] }"#;
    let mut request = Request::new(Surface::Messages, body);
    let sent = provider("anthropic").request(&request.call(), &key("sk-ant-1")).unwrap();
    assert_eq!(sent.body(), &body.replace("\"claude\"", "\"upstream-model\""));
    assert_eq!(sent.headers()["anthropic-version"], "2023-06-01");
    assert_eq!(sent.headers()["x-api-key"], "sk-ant-1");
    assert!(sent.headers()["x-api-key"].is_sensitive());

    request.headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
    request.headers.append("anthropic-beta", HeaderValue::from_static("one"));
    request.headers.append("anthropic-beta", HeaderValue::from_static("two"));
    request.headers.insert("x-api-key", HeaderValue::from_static("sk-the-clients-own"));
    let sent = provider("anthropic").request(&request.call(), &key("sk-ant-oat01-x")).unwrap();
    assert_eq!(sent.headers()["anthropic-version"], "2026-10-21");
    let betas: Vec<_> = sent.headers().get_all("anthropic-beta").iter().collect();
    assert_eq!(betas, ["one", "two", "oauth-2025-04-20"]);
    assert_eq!(sent.headers()["authorization"], "Bearer sk-ant-oat01-x");
    assert!(sent.headers().get("x-api-key").is_none());
}

#[test]
fn a_token_goes_as_a_bearer_with_its_beta_once() {
    let token = || Credential::new().with("auth_token", "token-1".into());
    let mut request = Request::messages();
    let sent = provider("anthropic").request(&request.call(), &token()).unwrap();
    assert_eq!(sent.headers()["authorization"], "Bearer token-1");
    assert!(sent.headers()["authorization"].is_sensitive() && sent.headers().get("x-api-key").is_none());
    assert_eq!(sent.headers()["anthropic-beta"], "oauth-2025-04-20");
    for (betas, expected) in [
        ("one, oauth-2025-04-20", vec!["one, oauth-2025-04-20"]),
        ("oauth-2025-04-20b", vec!["oauth-2025-04-20b", "oauth-2025-04-20"]),
    ] {
        request.headers.insert("anthropic-beta", HeaderValue::from_static(betas));
        let sent = provider("anthropic").request(&request.call(), &token()).unwrap();
        assert_eq!(sent.headers().get_all("anthropic-beta").iter().collect::<Vec<_>>(), expected);
    }
    // It wins over a key.
    let both = token().with("api_key", "sk-ant-1".into());
    let verify = provider("anthropic").verify(&request.target, &both, 0).unwrap();
    assert_eq!(verify.headers()["authorization"], "Bearer token-1");
    assert_eq!(verify.headers()["anthropic-beta"], "oauth-2025-04-20");
    assert!(verify.headers().get("x-api-key").is_none());
    let error = provider("anthropic").request(&request.call(), &Credential::new()).unwrap_err();
    assert_eq!(error, ProviderError::Misconfigured("api_key is missing"));
}

#[test]
fn a_key_that_no_header_can_carry() {
    for bad in ["", "sk-ant\n", "sk-ant-oat\r\nx: 1"] {
        let error = provider("anthropic").request(&Request::messages().call(), &key(bad)).unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured(_)), "{bad:?}");
        assert!(!error.to_string().contains("sk-ant"));
    }
    assert!(provider("anthropic").request(&Request::messages().call(), &Credential::new()).is_err());
}

#[test]
fn urls() {
    let mut request = Request::messages();
    for base in ["https://host", "https://host/", "https://host/v1", "https://host/v1/messages"] {
        request.target.api_base = Some(base.to_owned());
        let sent = provider("anthropic").request(&request.call(), &key("k")).unwrap();
        assert_eq!(sent.uri(), "https://host/v1/messages", "{base}");
        let verify = provider("anthropic").verify(&request.target, &key("k"), 0).unwrap();
        assert_eq!(verify.uri(), "https://host/v1/models", "{base}");
        assert_eq!(verify.headers()["anthropic-version"], "2023-06-01");
    }
}

#[test]
fn streams_pass_unchanged() {
    let complete = complete();
    assert!(complete.len() >= 3);
    for text in complete {
        let (got, usage) = stream(&text);
        assert!(got.failure.is_none());
        assert_eq!(got.text(), text);
        assert!(usage.is_some_and(|(prompt, completion)| prompt >= 25 && completion > 1));
    }
}

#[test]
fn an_error_behind_a_ping_still_has_a_status() {
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let (got, _) = stream(&[ping, error].concat());
    assert!(got.bytes.is_empty());
    let failure = got.failure.unwrap();
    assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(failure.body, error.split("data: ").nth(1).unwrap().trim());
}

#[test]
fn an_end_without_message_stop_is_a_failure() {
    for text in complete() {
        let cut = text.rfind("event: message_stop").unwrap();
        let (got, usage) = stream(&text[..cut]);
        assert_eq!(got.text(), &text[..cut]);
        assert_eq!(got.failure.unwrap().status, StatusCode::BAD_GATEWAY);
        assert!(usage.is_some(), "what was seen is billed");
    }
}

#[test]
fn a_whole_message_passes_with_its_usage() {
    let request = Request::messages();
    let body = Bytes::from_static(
        br#"{ "type":"message","content":[],"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5} }"#,
    );
    let reply = provider("anthropic").response(&request.call(), &head(200, &[]), body.clone()).unwrap();
    assert_eq!(reply.body.as_ptr(), body.as_ptr());
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (7, 4, 5));
    for body in ["", "<html>", "{}", "[]", r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#] {
        let failure =
            provider("anthropic").response(&request.call(), &head(200, &[]), body.into()).unwrap_err();
        assert!(failure.status.is_server_error(), "{body}");
        assert!(failure.body.starts_with(br#"{"type":"error""#), "{body}");
    }
}

#[test]
fn native_headers_reach_native_clients() {
    let upstream = head(
        200,
        &[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("request-id", "r"),
            ("anthropic-organization-id", "o"),
        ],
    );
    let headers = provider("anthropic").response_headers(&Request::messages().call(), &upstream.headers);
    assert_eq!(headers["anthropic-ratelimit-requests-limit"], "50");
    assert_eq!(headers["x-ratelimit-limit-requests"], "50");
    assert_eq!(
        (&headers["request-id"], &headers["x-request-id"]),
        (&HeaderValue::from_static("r"), &HeaderValue::from_static("r"))
    );
    assert!(headers.get("anthropic-organization-id").is_none());
    let chat = provider("anthropic").response_headers(&Request::streaming(false).call(), &upstream.headers);
    assert!(chat.get("anthropic-ratelimit-requests-limit").is_none());
    assert_eq!(chat["x-ratelimit-limit-requests"], "50");
}
