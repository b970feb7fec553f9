//! Who is asked next when a deployment fails: it once more, another of its group, another group.

use bytes::Bytes;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::Answer;
use keyturn_tests::upstream::{Behaviour, COMPLETION, Piece, Upstream};
use serde_json::json;

use crate::stack::{Model, NO_RETRIES, OPENAI_KEY, Stack, chat, deployment, messages, model, streamed_text};

const CHAT: &str = "/v1/chat/completions";

async fn ask(gateway: &Gateway, model: &str) -> Answer {
    gateway.post(CHAT, &chat(model, false)).await
}

fn attempts(answer: &Answer) -> (u16, &str, &str) {
    let retries = answer.header("x-litellm-attempted-retries");
    (answer.status, retries, answer.header("x-litellm-attempted-fallbacks"))
}

/// The models that the upstream was asked for since its request number `from`, in order.
fn asked_since(upstream: &Upstream, from: u64) -> Vec<String> {
    upstream.models_asked().split_off(usize::try_from(from).unwrap())
}

fn refuses(status: u16, message: &str, code: &str) -> Behaviour {
    let error = json!({"message": message, "type": "some_error", "param": null, "code": code});
    Behaviour::json(status, &json!({"error": error}))
}

fn with_retry_after(status: u16) -> Behaviour {
    let headers = [("content-type", "application/json"), ("retry-after", "7")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let body = json!({"error": {"message": "Later.", "type": "server_error", "param": null, "code": null}});
    Behaviour::Reply { status, headers, body: body.to_string().into() }
}

#[tokio::test]
async fn a_lone_deployment_is_asked_again_as_often_as_it_may() {
    let stack = Stack::start().await;
    let mut patient = model("own", "openai/own");
    patient.extra.push_str("\nnum_retries: 3");
    let mut never = model("never", "openai/never");
    never.extra.push_str("\nnum_retries: 0");
    // LiteLLM's default is two retries.
    let settings = "router_settings:\n  allowed_fails: 1000\n";
    let config = stack.config(&[model("gpt", "openai/gpt"), patient, never], settings);
    let gateway = stack.gateway(&config, &[]).await;
    stack.upstream.script(Behaviour::overloaded());
    assert_eq!(attempts(&ask(&gateway, "gpt").await), (200, "1", "0"));
    for (model, retries) in [("gpt", "2"), ("own", "3"), ("never", "0")] {
        stack.upstream.when_model(model, Behaviour::overloaded());
        let before = stack.upstream.count();
        let answer = ask(&gateway, model).await;
        assert_eq!(attempts(&answer), (503, retries, "0"), "{model}");
        assert_eq!(stack.upstream.count() - before, retries.parse::<u64>().unwrap() + 1, "{model}");
    }
    drop(gateway);
    let gateway = stack.gateway(&stack.config(&[model("gpt", "openai/gpt")], NO_RETRIES), &[]).await;
    assert_eq!(attempts(&ask(&gateway, "gpt").await), (503, "0", "0"));
}

#[tokio::test]
async fn an_upstream_with_a_retry_after_is_not_asked_again_at_once() {
    let stack = Stack::start().await;
    let settings = "router_settings:\n  num_retries: 5\n  allowed_fails: 1000\n";
    let gateway = stack.gateway(&stack.config(&[model("gpt", "openai/gpt")], settings), &[]).await;
    for (status, behaviour) in [(429, with_retry_after(429)), (503, with_retry_after(503))] {
        stack.upstream.when_model("gpt", behaviour);
        let before = stack.upstream.count();
        let answer = ask(&gateway, "gpt").await;
        assert_eq!(attempts(&answer), (status, "0", "0"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "7", "the upstream's wish is passed on");
        assert_eq!(stack.upstream.count() - before, 1);
    }
}

#[tokio::test]
async fn another_deployment_of_the_group_is_asked() {
    let stack = Stack::start().await;
    let models = [deployment("pair", "openai/bad", "bad", 1), deployment("pair", "openai/good", "good", 0)];
    let settings = "router_settings:\n  num_retries: 1\n  allowed_fails: 1000\n";
    let gateway = stack.gateway(&stack.config(&models, settings), &[]).await;
    for behaviour in
        [Behaviour::overloaded(), refuses(500, "Oh.", "oh"), Behaviour::html(502), Behaviour::Cut(0)]
    {
        stack.upstream.when_model("bad", behaviour.clone());
        let answer = ask(&gateway, "pair").await;
        assert_eq!(attempts(&answer), (200, "1", "0"), "{behaviour:?}: {}", answer.text());
        assert_eq!(answer.header("x-litellm-model-id"), "good");
    }
    // What is wrong with the request is wrong with it everywhere.
    stack.upstream.when_model("bad", refuses(400, "Invalid value.", "invalid_value"));
    let before = stack.upstream.count();
    let answer = ask(&gateway, "pair").await;
    assert_eq!(attempts(&answer), (400, "0", "0"), "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "invalid_value");
    assert_eq!(asked_since(&stack.upstream, before), ["bad"]);
    drop(gateway);
    let gateway = stack.gateway(&stack.config(&models, NO_RETRIES), &[]).await;
    stack.upstream.when_model("bad", Behaviour::overloaded());
    assert_eq!(attempts(&ask(&gateway, "pair").await), (503, "0", "0"));
}

#[tokio::test]
async fn a_stream_that_begins_with_an_error_is_streamed_by_another_deployment() {
    let stack = Stack::start().await;
    let models = [
        deployment("gpts", "openai/bad", "bad-gpt", 1),
        deployment("gpts", "openai/good", "good-gpt", 0),
        deployment("claudes", "anthropic/bad", "bad-claude", 1),
        deployment("claudes", "anthropic/good", "good-claude", 0),
    ];
    let settings = "router_settings:\n  num_retries: 1\n  allowed_fails: 1000\n";
    let gateway = stack.gateway(&stack.config(&models, settings), &[]).await;
    stack.upstream.when_model("bad", Behaviour::EchoKeyInStream(Vec::new()));
    for (group, deployment) in [("gpts", "good-gpt"), ("claudes", "good-claude")] {
        let answer = gateway.post(CHAT, &chat(group, true)).await;
        assert_eq!(attempts(&answer), (200, "1", "0"), "{group}: {}", answer.text());
        assert_eq!(answer.header("x-litellm-model-id"), deployment);
        assert_eq!(streamed_text(&answer.text()), COMPLETION);
        assert!(answer.text().contains("[DONE]") && !answer.text().contains("error"), "{}", answer.text());
    }
    let answer = gateway.post("/v1/messages", &messages("claudes", true)).await;
    assert_eq!(attempts(&answer), (200, "1", "0"), "{}", answer.text());
    assert!(answer.text().contains("message_stop") && !answer.text().contains("error"), "{}", answer.text());

    // Once the client has a byte there is no way back.
    let chunk = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let late = Behaviour::EchoKeyInStream(vec![Piece::Bytes(Bytes::from_static(chunk))]);
    stack.upstream.when_model("bad", late);
    let before = stack.upstream.count();
    let answer = gateway.post(CHAT, &chat("gpts", true)).await;
    assert_eq!(attempts(&answer), (200, "0", "0"), "{}", answer.text());
    assert!(answer.text().contains("error") && !answer.text().contains("[DONE]"), "{}", answer.text());
    assert!(!answer.text().contains(OPENAI_KEY), "{}", answer.text());
    assert_eq!(asked_since(&stack.upstream, before), ["bad"]);
}

/// A group of one deployment of the upstream model with the same name.
fn groups<const N: usize>(names: [&'static str; N]) -> Vec<Model> {
    names.into_iter().map(|name| model(name, format!("openai/{name}").leak())).collect()
}

#[tokio::test]
async fn the_fallbacks_are_asked_in_their_order() {
    let stack = Stack::start().await;
    let settings = format!("{NO_RETRIES}  fallbacks: [{{first: [second, third]}}]\n");
    let models = groups(["first", "second", "third", "other"]);
    let gateway = stack.gateway(&stack.config(&models, &settings), &[]).await;
    assert_eq!(attempts(&ask(&gateway, "first").await), (200, "0", "0"));
    for (failing, served, fallbacks) in [("first", "second", "1"), ("second", "third", "2")] {
        stack.upstream.when_model(failing, Behaviour::overloaded());
        let answer = ask(&gateway, "first").await;
        assert_eq!(attempts(&answer), (200, "0", fallbacks), "{}", answer.text());
        assert_eq!(answer.header("x-litellm-model-group"), served);
    }
    let answer = gateway.post(CHAT, &chat("first", true)).await;
    assert_eq!(attempts(&answer), (200, "0", "2"));
    assert_eq!(streamed_text(&answer.text()), COMPLETION);

    stack.upstream.when_model("third", refuses(500, "The third's own words.", "third"));
    let before = stack.upstream.count();
    let answer = ask(&gateway, "first").await;
    assert_eq!(attempts(&answer), (500, "0", "2"));
    assert_eq!(answer.json()["error"]["message"], "The third's own words.");
    assert_eq!(asked_since(&stack.upstream, before), ["first", "second", "third"]);
    // Nobody else's list.
    stack.upstream.when_model("other", Behaviour::overloaded());
    assert_eq!(attempts(&ask(&gateway, "other").await), (503, "0", "0"));
}

#[tokio::test]
async fn a_request_that_is_wrong_has_no_fallback() {
    let stack = Stack::start().await;
    let settings = format!("{NO_RETRIES}  fallbacks: [{{gpt: [spare]}}]\n  default_fallbacks: [spare]\n");
    let gateway = stack.gateway(&stack.config(&groups(["gpt", "spare"]), &settings), &[]).await;
    stack.upstream.when_model("gpt", refuses(400, "Invalid value: 'x'.", "invalid_value"));
    let answer = ask(&gateway, "gpt").await;
    assert_eq!(attempts(&answer), (400, "0", "0"), "{}", answer.text());
    assert_eq!(answer.json()["error"]["message"], "Invalid value: 'x'.");
    assert_eq!(ask(&gateway, "no-such-model").await.status, 400);
    assert_eq!(asked_since(&stack.upstream, 0), ["gpt"]);
}

#[tokio::test]
async fn long_prompts_and_refused_contents_have_lists_of_their_own() {
    let stack = Stack::start().await;
    let lists = "  fallbacks: [{gpt: [spare]}, {claude: [spare]}]
  context_window_fallbacks: [{gpt: [long]}, {claude: [long]}]
  content_policy_fallbacks: [{gpt: [lenient]}]
";
    let mut models = groups(["gpt", "spare", "long", "lenient"]);
    models.push(model("claude", "anthropic/claude-sonnet-4-5"));
    let gateway = stack.gateway(&stack.config(&models, &format!("{NO_RETRIES}{lists}")), &[]).await;
    let too_long =
        refuses(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded");
    let refused = refuses(400, "Your request was rejected by our safety system.", "content_policy_violation");
    for (behaviour, served) in [(too_long, "long"), (refused, "lenient"), (Behaviour::overloaded(), "spare")]
    {
        stack.upstream.when_model("gpt", behaviour);
        let answer = ask(&gateway, "gpt").await;
        assert_eq!(attempts(&answer), (200, "0", "1"), "{served}: {}", answer.text());
        assert_eq!(answer.header("x-litellm-model-group"), served);
    }
    let message = "prompt is too long: 208310 tokens > 200000 maximum";
    let error = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
    stack.upstream.when_model("claude-sonnet-4-5", Behaviour::json(400, &error));
    let answer = ask(&gateway, "claude").await;
    assert_eq!(attempts(&answer), (200, "0", "1"), "{}", answer.text());
    assert_eq!(answer.header("x-litellm-model-group"), "long", "another provider's model takes over");
}

#[tokio::test]
async fn a_model_without_a_list_has_the_default_one() {
    let stack = Stack::start().await;
    let lists = "  fallbacks: [{gpt: [spare]}]\n  default_fallbacks: [last]\n";
    let settings = format!("{NO_RETRIES}{lists}");
    let models = groups(["gpt", "other", "spare", "last"]);
    let gateway = stack.gateway(&stack.config(&models, &settings), &[]).await;
    for (failing, served) in [("gpt", "spare"), ("other", "last")] {
        stack.upstream.when_model(failing, Behaviour::overloaded());
        let answer = ask(&gateway, failing).await;
        assert_eq!(attempts(&answer), (200, "0", "1"), "{failing}: {}", answer.text());
        assert_eq!(answer.header("x-litellm-model-group"), served, "{failing}");
    }
    // The last one's own fallback would be itself.
    stack.upstream.when_model("last", Behaviour::overloaded());
    let before = stack.upstream.count();
    assert_eq!(attempts(&ask(&gateway, "last").await), (503, "0", "0"));
    assert_eq!(asked_since(&stack.upstream, before), ["last"]);
}
