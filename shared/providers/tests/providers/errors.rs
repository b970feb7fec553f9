//! Every row of the error tables.

use keyturn_providers::{Failure, Refusal};
use serde_json::{Value, json};

use crate::support::{Request, head, provider};

fn fail(name: &str, request: &Request, status: u16, headers: &[(&str, &str)], body: &str) -> Failure {
    provider(name).failure(&request.call(), &head(status, headers), body.as_bytes())
}

fn chat() -> Request {
    Request::chat(r#"{"model":"m","messages":[]}"#)
}

fn parsed(failure: &Failure) -> Value {
    serde_json::from_slice(&failure.body).unwrap()
}

#[test]
fn anthropic_types() {
    use Refusal::{Credential, RateLimited, Request as Wrong, Unavailable};
    for (status, kind, client, error_type, code, refusal) in [
        (400, "invalid_request_error", 400, "invalid_request_error", None, Wrong),
        (401, "authentication_error", 502, "upstream_auth_error", Some("upstream_auth_error"), Credential),
        (402, "billing_error", 402, "insufficient_quota", Some("insufficient_quota"), RateLimited),
        (403, "permission_error", 403, "permission_error", Some("permission_denied"), Wrong),
        (404, "not_found_error", 404, "invalid_request_error", Some("not_found"), Wrong),
        (413, "request_too_large", 413, "invalid_request_error", Some("request_too_large"), Wrong),
        (429, "rate_limit_error", 429, "rate_limit_error", Some("rate_limit_exceeded"), RateLimited),
        (500, "api_error", 500, "server_error", Some("upstream_error"), Unavailable),
        (504, "timeout_error", 504, "server_error", Some("timeout"), Unavailable),
        (529, "overloaded_error", 503, "server_error", Some("overloaded"), Unavailable),
    ] {
        let body = json!({"type": "error", "error": {"type": kind, "message": "words"}}).to_string();
        let failure = fail("anthropic", &chat(), status, &[("retry-after", "3"), ("request-id", "r")], &body);
        assert_eq!((failure.status.as_u16(), failure.refusal), (client, refusal), "{kind}");
        let error = parsed(&failure)["error"].clone();
        assert_eq!((&error["type"], &error["code"]), (&json!(error_type), &json!(code)), "{kind}");
        assert_eq!(error["message"] == "words", refusal != Credential, "{kind}");
        assert_eq!(failure.headers["retry-after"], "3");
        assert_eq!(failure.headers["x-request-id"], "r");

        // The same as the first event of a stream.
        let request = Request::streaming(false);
        let mut decoder = provider("anthropic").decoder(&request.call(), &head(200, &[]));
        let event = format!("event: error\ndata: {body}\n\n");
        let streamed = decoder.push(event.into(), &mut Vec::new()).unwrap_err();
        assert_eq!((streamed.status, &streamed.body), (failure.status, &failure.body), "{kind}");

        // On its own surface the body is Anthropic's own.
        let native = fail("anthropic", &Request::messages(), status, &[("request-id", "r")], &body);
        assert_eq!(native.status.as_u16(), client);
        assert_eq!(native.headers["request-id"], "r");
        if refusal == Credential {
            assert_eq!(parsed(&native)["error"]["type"], "upstream_auth_error");
        } else {
            assert_eq!(native.body, body);
        }
    }
}

#[test]
fn anthropic_details() {
    let error = |kind: &str, message: &str, code: &str| {
        json!({"type": "error", "error": {"type": kind, "message": message, "details": {"error_code": code}}})
            .to_string()
    };
    for code in ["enforced_spend_limit_reached", "contract_spend_limit_reached"] {
        let failure = fail("anthropic", &chat(), 429, &[], &error("rate_limit_error", "spent", code));
        assert_eq!(parsed(&failure)["error"]["code"], "insufficient_quota");
        assert_eq!(
            (failure.status.as_u16(), &failure.headers["x-should-retry"]),
            (429, &http::HeaderValue::from_static("false"))
        );
    }
    let failure =
        fail("anthropic", &chat(), 429, &[], &error("rate_limit_error", "fast", "ramp_limit_exceeded"));
    assert_eq!(parsed(&failure)["error"]["code"], "rate_limit_exceeded");
    assert!(failure.headers.get("x-should-retry").is_none());

    let long = "prompt is too long: 210000 tokens > 200000 maximum";
    let failure = fail("anthropic", &chat(), 400, &[], &error("invalid_request_error", long, ""));
    assert_eq!((failure.status.as_u16(), failure.refusal), (400, Refusal::ContextWindow));
    assert_eq!(parsed(&failure)["error"]["code"], "context_length_exceeded");

    let policy = "Output blocked by content filtering policy";
    let failure = fail("anthropic", &chat(), 400, &[], &error("invalid_request_error", policy, ""));
    assert_eq!(failure.refusal, Refusal::ContentPolicy);
}

#[test]
fn unreadable_errors_are_synthesised() {
    for name in ["openai", "anthropic"] {
        for body in ["", "<html>CANARY</html>", "null", "[]", "{}", "{\"error\":", "\u{fffd}"] {
            for (status, client, kind, refusal) in [
                (400, 400, "invalid_request_error", Refusal::Request),
                (401, 502, "upstream_auth_error", Refusal::Credential),
                (403, 403, "invalid_request_error", Refusal::Request),
                (404, 404, "invalid_request_error", Refusal::Request),
                (408, 408, "server_error", Refusal::Unavailable),
                (429, 429, "rate_limit_error", Refusal::RateLimited),
                (500, 500, "server_error", Refusal::Unavailable),
                (502, 502, "server_error", Refusal::Unavailable),
                (302, 502, "server_error", Refusal::Unavailable),
            ] {
                let failure = fail(name, &chat(), status, &[], body);
                assert_eq!(
                    (failure.status.as_u16(), failure.refusal),
                    (client, refusal),
                    "{name} {status} {body}"
                );
                let error = parsed(&failure)["error"].clone();
                assert_eq!(error["type"], kind, "{name} {status} {body}");
                assert!(!error["message"].as_str().unwrap().contains("CANARY"));
                assert!(error["param"].is_null());
            }
        }
    }
    let overloaded = fail("anthropic", &chat(), 529, &[], "");
    assert_eq!((overloaded.status.as_u16(), overloaded.refusal), (503, Refusal::Unavailable));
    let native = fail("anthropic", &Request::messages(), 529, &[], "<html>");
    assert_eq!(
        parsed(&native),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    );
}

#[test]
fn openai_errors_pass_verbatim() {
    use Refusal::{ContentPolicy, ContextWindow, RateLimited, Request as Wrong, Unavailable};
    for (status, body, refusal) in [
        (
            400,
            r#"{ "error": {"message":"m","type":"invalid_request_error","param":"x","code":null} }"#,
            Wrong,
        ),
        (
            400,
            r#"{"error":{"message":"m","type":null,"param":"messages","code":"context_length_exceeded"}}"#,
            ContextWindow,
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 5","type":"x"}}"#,
            ContextWindow,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"content_filter","innererror":{"a":[1.10]}}}"#,
            ContentPolicy,
        ),
        (400, r#"{"error":{"message":"m","code":"content_policy_violation"}}"#, ContentPolicy),
        (403, r#"{"error":{"message":"Missing scopes: api.model.read","code":"missing_scope"}}"#, Wrong),
        (404, r#"{"error":{"message":"m","code":"model_not_found"}}"#, Wrong),
        (429, r#"{"error":{"message":"m","type":"requests","code":"rate_limit_exceeded"}}"#, RateLimited),
        (429, r#"{"error":{"message":"m","code":"insufficient_quota"}}"#, RateLimited),
        (402, r#"{"error":{"message":"m","code":402}}"#, RateLimited),
        (500, r#"{"error":{"message":"m","type":"server_error"}}"#, Unavailable),
        (503, r#"{"error":{"message":"m"}}"#, Unavailable),
    ] {
        let failure = fail(
            "openai",
            &chat(),
            status,
            &[("retry-after", "9"), ("x-ratelimit-limit-requests", "1")],
            body,
        );
        assert_eq!((failure.status.as_u16(), failure.refusal), (status, refusal), "{body}");
        assert_eq!(failure.body, body);
        assert_eq!(failure.headers["retry-after"], "9");
        assert_eq!(failure.headers["x-ratelimit-limit-requests"], "1");
    }
}

#[test]
fn a_refused_credential_is_never_quoted() {
    for (status, body) in [
        (401, r#"{"error":{"message":"Incorrect API key provided: sk-CANARY","code":"invalid_api_key"}}"#),
        (401, "sk-CANARY"),
        (400, r#"{"error":{"message":"sk-CANARY","code":"invalid_api_key"}}"#),
        (403, r#"{"error":{"message":"sk-CANARY","code":"account_deactivated"}}"#),
        (400, r#"{"error":{"message":"sk-CANARY","type":"token_not_found_in_db","code":"400"}}"#),
        (403, r#"{"error":{"message":"sk-CANARY","type":"expired_key"}}"#),
        (400, r#"[{"error":{"message":"sk-CANARY","details":[{"reason":"API_KEY_INVALID"}]}}]"#),
        (400, r#"{"error":{"message":"sk-CANARY","details":[{"reason":"API_KEY_INVALID"}]}}"#),
    ] {
        let failure = fail("openai", &chat(), status, &[], body);
        assert_eq!((failure.status.as_u16(), failure.refusal), (502, Refusal::Credential), "{body}");
        let error = parsed(&failure)["error"].clone();
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("upstream_auth_error"), &json!("upstream_auth_error"))
        );
        assert!(!format!("{failure:?}").contains("CANARY"));
    }
}

#[test]
fn other_shapes_keep_their_words() {
    for (body, message) in [
        (r#"{"error":"model is loading"}"#, "model is loading"),
        (r#"{"object":"error","message":"too hot","code":400}"#, "too hot"),
        (r#"{"detail":"Not Found"}"#, "Not Found"),
    ] {
        let failure = fail("openai", &chat(), 404, &[], body);
        assert_eq!(parsed(&failure)["error"]["message"], message);
        assert_eq!(failure.status.as_u16(), 404);
    }
}
