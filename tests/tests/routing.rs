//! Which deployment is asked: weights, wildcards, other names of models, and the rest that a failing one gets.

use std::collections::BTreeMap;

use keyturn_keys::manage::{KeyFields, Patch};
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::Answer;
use keyturn_tests::upstream::Behaviour;

use crate::stack::{NO_RETRIES, Stack, chat, deployment, event, gpt};

const CHAT: &str = "/v1/chat/completions";

/// Failures put a deployment aside at once, for longer than any test.
const COOLING: &str = "router_settings:\n  num_retries: 1\n  allowed_fails: 0\n  cooldown_time: 60\n";

async fn ask(gateway: &Gateway, model: &str) -> Answer {
    gateway.post(CHAT, &chat(model, false)).await
}

/// The deployment that answered.
fn id(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-litellm-model-id")
}

/// How long the client is told to wait, in seconds.
fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap_or_else(|_| panic!("no retry-after: {answer:?}"))
}

#[tokio::test]
async fn a_deployment_of_weight_0_is_left_out() {
    let stack = Stack::start().await;
    let models = [
        deployment("gpt", "openai/never", "never", 0),
        deployment("gpt", "openai/one", "one", 2),
        deployment("gpt", "openai/two", "two", 1),
    ];
    let gateway = stack.gateway(&stack.config(&models, NO_RETRIES), &[]).await;
    let mut seen = BTreeMap::new();
    // That one of the two is never met is one chance in 2 · 10^10.
    for _ in 0..60 {
        *seen.entry(id(&ask(&gateway, "gpt").await).to_owned()).or_insert(0) += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["one", "two"], "{seen:?}");
}

#[tokio::test]
async fn a_pattern_serves_what_matches_and_the_longest_wins() {
    let stack = Stack::start().await;
    let models = [
        deployment("openai/*", "openai/*", "any", 1),
        deployment("openai/gpt-4*", "openai/gpt-4*", "fours", 1),
        deployment("openai/gpt-4o", "openai/gpt-4o-2024-11-20", "exact", 1),
        deployment("cheap-*", "openai/gpt-4o-mini", "fixed", 1),
        deployment("claude-*", "anthropic/claude-*", "claude", 1),
    ];
    let gateway = stack.gateway(&stack.config(&models, NO_RETRIES), &[]).await;
    for (model, deployment, upstream) in [
        ("openai/o3-mini", "any", "o3-mini"),
        ("openai/gpt-4.1", "fours", "gpt-4.1"),
        ("openai/gpt-4o", "exact", "gpt-4o-2024-11-20"),
        ("cheap-and-cheerful", "fixed", "gpt-4o-mini"),
        ("claude-sonnet-4-5", "claude", "claude-sonnet-4-5"),
    ] {
        assert_eq!(id(&ask(&gateway, model).await), deployment, "{model}");
        assert_eq!(stack.upstream.models_asked().last().unwrap(), upstream, "{model}");
    }
    let count = stack.upstream.count();
    for model in ["mistral", "openai", "my-claude-3"] {
        let answer = ask(&gateway, model).await;
        assert_eq!(answer.status, 400, "{model}: {}", answer.text());
    }
    assert_eq!(stack.upstream.count(), count, "a model that nobody serves reached the upstream");
}

#[tokio::test]
async fn a_model_group_has_another_name() {
    let stack = Stack::start().await;
    let alias = "router_settings:\n  num_retries: 0\n  model_group_alias: {nickname: gpt}\n";
    let gateway = stack.gateway(&stack.config(&[gpt()], alias), &[]).await;
    let answer = ask(&gateway, "nickname").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-litellm-model-group"), "gpt");
    assert_eq!(stack.upstream.models_asked(), ["gpt-4o-mini"]);
    assert_eq!(ask(&gateway, "nickname2").await.status, 400);
}

#[tokio::test]
async fn a_virtual_key_has_names_of_its_own() {
    let stack = Stack::start().await;
    let new = KeyFields {
        models: Patch::Set(vec!["gpt".to_owned()]),
        aliases: Patch::Set(BTreeMap::from([("mine".to_owned(), "gpt".to_owned())])),
        ..KeyFields::default()
    };
    let owner = stack.virtual_key(None, new).await;
    let other = stack.virtual_key(None, KeyFields::default()).await;
    let function = stack.environment(&stack.config(&[gpt()], NO_RETRIES), &[]).await;
    let answer = function.call(&event(CHAT, &owner, &chat("mine", false))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-litellm-model-group"), "gpt");
    assert_eq!(stack.upstream.models_asked(), ["gpt-4o-mini"]);
    let answer = function.call(&event(CHAT, &other, &chat("mine", false))).await;
    assert_eq!(answer.status, 400, "another key's alias: {}", answer.text());
    assert_eq!(stack.upstream.count(), 1);
}

#[tokio::test]
async fn a_deployment_that_fails_is_left_alone() {
    let stack = Stack::start().await;
    let models = [deployment("pair", "openai/bad", "bad", 1), deployment("pair", "openai/good", "good", 0)];
    stack.upstream.when_model("bad", Behaviour::overloaded());
    let gateway = stack.gateway(&stack.config(&models, COOLING), &[]).await;
    let first = ask(&gateway, "pair").await;
    assert_eq!((id(&first), first.header("x-litellm-attempted-retries")), ("good", "1"));
    for _ in 0..5 {
        let answer = ask(&gateway, "pair").await;
        assert_eq!((id(&answer), answer.header("x-litellm-attempted-retries")), ("good", "0"));
    }
    let bad = stack.upstream.models_asked().iter().filter(|model| *model == "bad").count();
    assert_eq!(bad, 1, "the deployment that cools down was asked again");
}

#[tokio::test]
async fn an_upstream_that_asks_for_rest_gets_it_whatever_is_allowed() {
    let stack = Stack::start().await;
    let models = [deployment("pair", "openai/busy", "busy", 1), deployment("pair", "openai/free", "free", 0)];
    stack.upstream.when_model("busy", Behaviour::rate_limited());
    let lenient = "router_settings:\n  num_retries: 1\n  allowed_fails: 1000\n  cooldown_time: 60\n";
    let gateway = stack.gateway(&stack.config(&models, lenient), &[]).await;
    for _ in 0..3 {
        assert_eq!(id(&ask(&gateway, "pair").await), "free");
    }
    assert_eq!(stack.upstream.models_asked(), ["busy", "free", "free", "free"]);
}

#[tokio::test]
async fn when_all_cool_down_the_client_is_told_to_wait() {
    let stack = Stack::start().await;
    let models = [deployment("pair", "openai/one", "one", 1), deployment("pair", "openai/two", "two", 0)];
    stack.upstream.when_model("one", Behaviour::overloaded());
    stack.upstream.when_model("two", Behaviour::overloaded());
    let gateway = stack.gateway(&stack.config(&models, COOLING), &[]).await;
    let failed = ask(&gateway, "pair").await;
    assert_eq!((failed.status, failed.header("x-litellm-attempted-retries")), (503, "1"));
    let told = ask(&gateway, "pair").await;
    assert_eq!(told.status, 429, "{}", told.text());
    assert!((1..=60).contains(&retry_after(&told)), "{}", told.header("retry-after"));
    let error = &told.json()["error"];
    assert_eq!(error["type"], "rate_limit_error");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("No deployments available for selected model=pair."), "{message}");
    assert_eq!(stack.upstream.models_asked(), ["one", "two"]);
}

#[tokio::test]
async fn a_group_that_cools_down_has_its_fallback() {
    let stack = Stack::start().await;
    let models = [
        deployment("pair", "openai/one", "one", 1),
        deployment("pair", "openai/two", "two", 0),
        deployment("spare", "openai/spare", "spare", 1),
    ];
    stack.upstream.when_model("one", Behaviour::overloaded());
    stack.upstream.when_model("two", Behaviour::overloaded());
    let settings = format!("{COOLING}  fallbacks: [{{pair: [spare]}}]\n");
    let gateway = stack.gateway(&stack.config(&models, &settings), &[]).await;
    for retries in ["1", "0", "0"] {
        let answer = ask(&gateway, "pair").await;
        assert_eq!(id(&answer), "spare");
        assert_eq!(answer.header("x-litellm-attempted-retries"), retries);
        assert_eq!(answer.header("x-litellm-attempted-fallbacks"), "1");
    }
    assert_eq!(stack.upstream.models_asked(), ["one", "two", "spare", "spare", "spare"]);
}

#[tokio::test]
async fn a_lone_deployment_never_cools_down() {
    let stack = Stack::start().await;
    stack.upstream.when_model("bad", Behaviour::overloaded());
    let alone = "router_settings:\n  num_retries: 0\n  allowed_fails: 0\n  cooldown_time: 60\n";
    let models = [deployment("alone", "openai/bad", "bad", 1)];
    let gateway = stack.gateway(&stack.config(&models, alone), &[]).await;
    for count in 1..=4 {
        assert_eq!(ask(&gateway, "alone").await.status, 503);
        assert_eq!(stack.upstream.count(), count);
    }
    stack.upstream.when_model("bad", Behaviour::Ordinary);
    assert_eq!(id(&ask(&gateway, "alone").await), "bad");
}
