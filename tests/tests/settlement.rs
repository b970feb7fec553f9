//! What is settled when a request does not end as it should.

use std::time::Duration;

use http::Method;
use keyturn_keys::manage::KeyFields;
use keyturn_tests::http::Client;
use keyturn_tests::upstream::{Behaviour, Gate};

use crate::stack::{Model, NO_RETRIES, Stack, chat, event, gpt, with_budget_of};

const CHAT: &str = "/v1/chat/completions";

fn priced() -> Model {
    let mut model = gpt();
    model.extra.push_str("\nmodel_info: {input_cost_per_token: 0.0001, output_cost_per_token: 0.0001}");
    model
}

fn with_budget() -> KeyFields {
    with_budget_of(1.0)
}

#[tokio::test]
async fn what_a_client_got_before_it_left_is_paid_for() {
    let stack = Stack::start().await;
    let key = stack.virtual_key(None, with_budget()).await;
    let function = stack.environment(&stack.config(&[priced()], NO_RETRIES), &[]).await;
    let gate = Gate::default();
    stack.upstream.script(Behaviour::Paced(gate.clone()));
    gate.release(4);
    let mut answer = function.invoke(&event(CHAT, &key, &chat("gpt", true))).await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    stack.upstream.wait_for_gone(1).await;
    function.idle().await;
    let spend = stack.spend(&key).await;
    assert!(spend > 0.0 && spend < 0.1, "{spend}");
    let log = function.process().output();
    assert!(log.contains("\"estimated\":true") && log.contains("\"error\":\"client_gone\""), "{log}");
}

/// Twenty requests that are given up before they are answered would use up the budget if what they reserved were
/// kept.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer_pays_for_its_prompt_alone() {
    const LEFT: u64 = 20;
    let stack = Stack::start().await;
    let key = stack.virtual_key_of_keyturn(with_budget_of(0.5)).await;
    let gateway = stack.gateway(&stack.config(&[priced()], NO_RETRIES), &[]).await;
    let url = format!("{}{CHAT}", gateway.url());
    let bearer = format!("Bearer {key}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let gate = Gate::default();
    for left in 0..LEFT {
        stack.upstream.script(Behaviour::hang(&gate));
        let client = Client::default();
        tokio::select! {
            answer = client.open(Method::POST, &url, &headers, chat("gpt", false).to_string()) => {
                panic!("request {left} was answered: {answer:?}");
            }
            () = stack.upstream.wait_for_requests(left + 1) => {}
        }
        drop(client);
        stack.upstream.wait_for_gone(left + 1).await;
    }
    let answer = Client::default().send(Method::POST, &url, &headers, chat("gpt", false).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = gateway.process().output();
    let left = log.lines().filter(|line| line.contains("\"status\":499"));
    let (mut lines, mut paid) = (0, 0);
    for line in left {
        lines += 1;
        paid += usize::from(line.contains("\"estimated\":true") && line.contains("\"cost\":0.00"));
    }
    assert_eq!((lines, paid), (20, 20), "{log}");
}

/// The upstream stalls in the middle of a stream, and the invocation's time runs out: the client is told, and the
/// function has time to settle and to log before Lambda would stop it.
#[tokio::test]
async fn a_stream_ends_before_its_invocation_does() {
    let stack = Stack::start().await;
    let key = stack.virtual_key(None, with_budget()).await;
    let function = stack.environment(&stack.config(&[priced()], NO_RETRIES), &[]).await;
    let gate = Gate::default();
    stack.upstream.script(Behaviour::Paced(gate.clone()));
    gate.release(4);
    // The gateway keeps half a second for its last words.
    function.set_time_limit(Duration::from_millis(2_500));
    let answer = function.call(&event(CHAT, &key, &chat("gpt", true))).await;
    let text = answer.text();
    assert!(text.contains("\"upstream_timeout\"") && !text.contains("[DONE]"), "{text}");
    function.idle().await;
    assert!(stack.spend(&key).await > 0.0);
    assert!(function.process().output().contains("\"error\":\"upstream_timeout\""));
    function.set_time_limit(Duration::from_secs(900));
    assert_eq!(function.call(&event(CHAT, &key, &chat("gpt", false))).await.status, 200);
}
