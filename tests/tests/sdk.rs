//! The official Python SDKs, against the local gateway and the fake upstream.

use keyturn_tests::gateway::Gateway;
use keyturn_tests::python;
use keyturn_tests::upstream::{Behaviour, COMPLETION};
use serde_json::json;

use crate::stack::{NO_RETRIES, Stack, claude, demo, gpt, model};

async fn gateway(stack: &Stack) -> Gateway {
    let models = [
        demo(),
        gpt(),
        claude(),
        model("limited", "openai/limited"),
        model("claude-limited", "anthropic/limited"),
        model("missing", "openai/missing"),
        model("claude-missing", "anthropic/missing"),
        model("invalid", "openai/invalid"),
        model("claude-invalid", "anthropic/invalid"),
    ];
    stack.gateway(&stack.config(&models, NO_RETRIES), &[]).await
}

async fn run(stack: &Stack, file: &str) {
    let gateway = gateway(stack).await;
    let environment =
        [("KEYTURN_URL", gateway.url()), ("KEYTURN_KEY", gateway.key()), ("COMPLETION", COMPLETION)];
    if let Err(failure) = python::pytest(file, &environment).await {
        panic!("{failure}\nkeyturn wrote:\n{}", gateway.process().output());
    }
}

#[tokio::test]
async fn openai() {
    let stack = Stack::start().await;
    let error = |message: &str, kind: &str, code: &str| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    let upstream = &stack.upstream;
    upstream.when_model("limited", Behaviour::rate_limited());
    let missing = error("The model `missing` does not exist", "invalid_request_error", "model_not_found");
    upstream.when_model("missing", Behaviour::json(404, &missing));
    let invalid = error("Invalid value: 'x'.", "invalid_request_error", "invalid_value");
    upstream.when_model("invalid", Behaviour::json(400, &invalid));
    run(&stack, "test_openai_sdk.py").await;
}

#[tokio::test]
async fn anthropic() {
    let stack = Stack::start().await;
    let error =
        |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    let upstream = &stack.upstream;
    upstream.when_model(
        "limited",
        Behaviour::json(429, &error("rate_limit_error", "Number of requests exceeded")),
    );
    upstream.when_model("missing", Behaviour::json(404, &error("not_found_error", "model: missing")));
    upstream.when_model("invalid", Behaviour::json(400, &error("invalid_request_error", "messages: wrong")));
    run(&stack, "test_anthropic_sdk.py").await;
}
