//! Byte pass-through, the usage strip, and what ends a stream.

use bytes::Bytes;
use http::StatusCode;
use keyturn_providers::{Credential, ProviderError, Refusal, ServiceTier, Surface};

use crate::support::{Read, Request, head, key, provider, read, steps};

const ROLE: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n";
const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\u{2028}b 😀\"}}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"service_tier\":\"priority\",\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":1,\"total_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Reads a stream in every step and wants the same each time.
fn stream(include_usage: bool, text: &str) -> Read {
    let request = Request::streaming(include_usage);
    let mut results = steps(&[Bytes::from(text.to_owned())]).map(|chunks| {
        let mut decoder = provider("openai").decoder(&request.call(), &head(200, &[]));
        read(&mut *decoder, &chunks)
    });
    for result in &results {
        assert_eq!(result.text(), results[0].text());
        assert_eq!(
            result.failure.as_ref().map(|failure| (&failure.body, failure.status)),
            results[0].failure.as_ref().map(|failure| (&failure.body, failure.status))
        );
    }
    std::mem::replace(&mut results[0], Read { bytes: Vec::new(), failure: None })
}

fn failure_code(read: &Read) -> String {
    let body: serde_json::Value = serde_json::from_slice(&read.failure.as_ref().unwrap().body).unwrap();
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn bytes_pass_unchanged_when_usage_was_asked_for() {
    let text = [": note\n\n", ROLE, TEXT, ": ping\n\n", USAGE, DONE].concat();
    let got = stream(true, &text);
    assert!(got.failure.is_none());
    assert_eq!(got.text(), text);
}

#[test]
fn only_the_injected_usage_chunk_is_stripped() {
    let filters = "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n";
    let both = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n";
    let got = stream(false, &[filters, ROLE, TEXT, both, USAGE, DONE].concat());
    assert!(got.failure.is_none());
    assert_eq!(got.text(), [filters, ROLE, TEXT, both, DONE].concat());
}

#[test]
fn line_ends_of_every_kind_pass() {
    for end in ["\r\n", "\r"] {
        let text = [ROLE, TEXT, DONE].concat().replace('\n', end);
        let got = stream(false, &text);
        assert!(got.failure.is_none(), "{end:?}");
        assert_eq!(got.text(), text);
    }
}

#[test]
fn usage_and_tier_are_metered() {
    let request = Request::streaming(false);
    let mut decoder = provider("openai").decoder(&request.call(), &head(200, &[]));
    assert!(decoder.usage().is_none());
    let got = read(&mut *decoder, &[Bytes::from([ROLE, USAGE, DONE].concat())]);
    assert!(got.failure.is_none());
    let usage = decoder.usage().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (8, 1, 3));
    assert_eq!(usage.service_tier, Some(ServiceTier::Priority));
}

#[test]
fn whole_events_leave_as_slices_of_the_read() {
    let request = Request::streaming(false);
    let mut decoder = provider("openai").decoder(&request.call(), &head(200, &[]));
    let chunk = Bytes::from([ROLE, TEXT, USAGE, DONE].concat());
    let mut out = Vec::new();
    decoder.push(chunk.clone(), &mut out).unwrap();
    assert_eq!(out.len(), 2, "before and after the dropped chunk");
    assert_eq!(out[0].as_ptr(), chunk.as_ptr());
    assert_eq!(out[0], [ROLE, TEXT].concat());
    assert_eq!(out[1], DONE);
}

#[test]
fn nothing_follows_done() {
    let got = stream(true, &[ROLE, DONE, TEXT, "garbage"].concat());
    assert!(got.failure.is_none());
    assert_eq!(got.text(), [ROLE, DONE].concat());
}

#[test]
fn done_without_its_blank_line_is_completed() {
    for done in ["data: [DONE]", "data: [DONE]\n", "data:[DONE]\r\n"] {
        let got = stream(true, &[ROLE, done].concat());
        assert!(got.failure.is_none(), "{done:?}");
        assert_eq!(got.text(), [ROLE, done, "\n\n"].concat());
    }
}

#[test]
fn an_end_without_done_is_a_failure() {
    for text in ["", ROLE, &ROLE[..30], ": note\n\n"] {
        let got = stream(true, text);
        assert_eq!(failure_code(&got), "upstream_stream_truncated", "{text:?}");
        assert_eq!(got.failure.unwrap().status, StatusCode::BAD_GATEWAY);
    }
}

#[test]
fn a_first_event_that_is_an_error_has_a_status_and_no_bytes() {
    for (error, status, refusal) in [
        (r#"{"error":{"message":"m","type":"rate_limit_error","code":null}}"#, 429, Refusal::RateLimited),
        (r#"{"error":{"message":"m","code":503}}"#, 503, Refusal::Unavailable),
        (r#"{"error":{"message":"m","type":"server_error"}}"#, 502, Refusal::Unavailable),
        (r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#, 400, Refusal::ContextWindow),
        (r#"{"error":{"message":"m","code":"content_filter"}}"#, 400, Refusal::ContentPolicy),
        (r#"{"error":"just words"}"#, 502, Refusal::Unavailable),
        (r#"{"error":{"message":"key sk-PARTOF","code":"invalid_api_key"}}"#, 502, Refusal::Credential),
        (
            r#"{"id":"1","error":{"message":"User sk-PARTOF","code":401},"choices":[]}"#,
            502,
            Refusal::Credential,
        ),
    ] {
        let got = stream(true, &format!(": OPENROUTER PROCESSING\n\ndata: {error}\n\n"));
        assert!(got.bytes.is_empty(), "{error}");
        let failure = got.failure.unwrap();
        assert_eq!((failure.status.as_u16(), failure.refusal), (status, refusal), "{error}");
        assert!(!failure.body.windows(6).any(|part| part == b"PARTOF"));
    }
}

#[test]
fn an_error_in_the_middle_ends_the_stream() {
    let error = "data: {\"id\":\"x\",\"error\":{\"message\":\"boom\",\"code\":502},\"choices\":[{\"finish_reason\":\"error\"}]}\n\n";
    let got = stream(true, &[ROLE, TEXT, error, TEXT, DONE].concat());
    assert_eq!(got.text(), [ROLE, TEXT].concat());
    assert_eq!(got.failure.unwrap().body, r#"{"error":{"message":"boom","code":502}}"#);
}

#[test]
fn what_is_no_stream_is_a_failure() {
    for text in [
        "<html>\n<body>502</body>\n</html>\n",
        "<html>\n\n<body>",
        "plain words",
        "{\"choices\":[]}",
        "data: not json\n\n",
        "data: [1,2]\n\n",
        "data: \n\n",
    ] {
        let got = stream(true, text);
        assert!(got.bytes.is_empty(), "{text:?}");
        assert_eq!(failure_code(&got), "upstream_error", "{text:?}");
    }
    let got = stream(true, "{\"error\":{\"message\":\"slow down\",\"code\":429}}");
    assert_eq!(got.failure.unwrap().status, StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn comments_before_the_first_event_are_bounded() {
    let comments = ": waiting\n\n".repeat(20_000);
    let got = stream(true, &[&comments, ROLE, DONE].concat());
    assert!(got.failure.is_none());
    assert!(got.bytes.len() < 70_000);
    assert!(got.text().ends_with(&[ROLE, DONE].concat()));
}

#[test]
fn a_whole_answer_passes_with_its_usage() {
    let request = Request::chat(r#"{"model":"m","messages":[]}"#);
    let body = Bytes::from_static(
        br#"{ "choices" : [ {"x":1.10} ], "service_tier":"flex", "usage":{"prompt_tokens":5,"completion_tokens":2,"cost":0.00012} }"#,
    );
    let reply = provider("openai").response(&request.call(), &head(200, &[]), body.clone()).unwrap();
    assert_eq!(reply.body.as_ptr(), body.as_ptr());
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cost), (5, 2, Some(0.00012)));
    assert_eq!(usage.service_tier, Some(ServiceTier::Flex));

    let without = provider("openai").response(&request.call(), &head(200, &[]), r#"{"choices":[]}"#.into());
    assert!(without.unwrap().usage.is_none());
}

#[test]
fn a_whole_answer_that_is_none() {
    let request = Request::chat(r#"{"model":"m","messages":[]}"#);
    for body in ["", "<html></html>", "null", "[]", "{}", "{\"choices\":", "{\"choices\":null}", "\u{0}"] {
        let failure = provider("openai")
            .response(&request.call(), &head(200, &[]), body.to_owned().into())
            .expect_err(body);
        assert_eq!((failure.status, failure.refusal), (StatusCode::BAD_GATEWAY, Refusal::Unavailable));
    }
    let failure = provider("openai")
        .response(
            &request.call(),
            &head(200, &[]),
            r#"{"error":{"message":"m","code":429},"choices":[]}"#.into(),
        )
        .unwrap_err();
    assert_eq!(failure.status, StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn credentials_and_urls() {
    let openai = provider("openai");
    let mut request = Request::chat(r#"{"model":"m","messages":[]}"#);
    assert!(matches!(
        openai.request(&request.call(), &Credential::new()),
        Err(ProviderError::Misconfigured(_))
    ));
    for bad in ["", "sk\nx", "sk\r\nx-injected: 1"] {
        let error = openai.request(&request.call(), &key(bad)).unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured(_)), "{bad:?}");
        assert!(!error.to_string().contains("sk"));
    }
    request.target.params.insert("organization".to_owned(), "a\nb".to_owned());
    assert!(matches!(openai.request(&request.call(), &key("k")), Err(ProviderError::Misconfigured(_))));
    request.target.params.clear();

    request.target.api_base = Some("http://127.0.0.1:8080/v1".to_owned());
    let sent = openai.request(&request.call(), &Credential::new()).unwrap();
    assert_eq!(sent.uri(), "http://127.0.0.1:8080/v1/chat/completions");
    assert!(sent.headers().get("authorization").is_none());
    let sent = openai.request(&request.call(), &key("sk-canary")).unwrap();
    assert!(sent.headers()["authorization"].is_sensitive());
    assert!(!format!("{sent:?} {:?}", key("sk-canary")).contains("canary"));

    let verify = openai.verify(&request.target, &key("k"), 0).unwrap();
    assert_eq!((verify.method().as_str(), verify.uri().path()), ("GET", "/v1/models"));
    for base in ["not a url", "ftp://h", "127.0.0.1:80"] {
        request.target.api_base = Some(base.to_owned());
        assert!(matches!(openai.request(&request.call(), &key("k")), Err(ProviderError::Misconfigured(_))));
    }
    let messages = Request::messages();
    assert!(!openai.surfaces().contains(&Surface::Messages));
    assert!(openai.request(&messages.call(), &key("k")).is_err());
}

#[test]
fn response_headers() {
    let request = Request::streaming(false);
    let upstream = head(
        200,
        &[
            ("x-ratelimit-remaining-tokens", "5"),
            ("retry-after-ms", "20"),
            ("x-request-id", "r"),
            ("set-cookie", "no"),
            ("openai-organization", "no"),
        ],
    );
    let headers = provider("openai").response_headers(&request.call(), &upstream.headers);
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["retry-after-ms", "x-ratelimit-remaining-tokens", "x-request-id"]);
}
