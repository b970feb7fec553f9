use super::*;
use crate::http::{Client, sse_data};
use serde_json::json;

const KEY: &str = "sk-proj-abcdefghijklmnop";

fn chat(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
}

async fn post(upstream: &Upstream, body: &Value) -> crate::http::Answer {
    let url = format!("{}/chat/completions", upstream.openai_base());
    Client::default().post_json(&url, Some(KEY), body).await
}

#[tokio::test]
async fn a_known_key_is_answered_and_an_unknown_one_refused() {
    let upstream = Upstream::start(&[]).await;
    let refused = post(&upstream, &chat(false)).await;
    assert_eq!(refused.status, 401);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Incorrect API key provided: sk-proj-************mnop."), "{message}");
    upstream.allow(KEY);
    let answer = post(&upstream, &chat(false)).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], COMPLETION);
    upstream.revoke(KEY);
    assert_eq!(post(&upstream, &chat(false)).await.status, 401);
    assert_eq!((upstream.count(), upstream.refused()), (3, 2));
    assert_eq!(upstream.requests()[1].path, "/v1/chat/completions");
}

#[tokio::test]
async fn a_stream_has_usage_only_when_asked() {
    let upstream = Upstream::start(&[KEY]).await;
    let mut body = chat(true);
    let events = sse_data(&post(&upstream, &body).await.text());
    assert!(events.iter().all(|event| !event.contains("usage")));
    body["stream_options"] = json!({"include_usage": true});
    let events = sse_data(&post(&upstream, &body).await.text());
    assert_eq!(events.last().unwrap(), "[DONE]");
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(15)));
}

#[tokio::test]
async fn tools_are_called_once() {
    let upstream = Upstream::start(&[KEY]).await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let mut body = chat(false);
    body["tools"] = json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
    let answer = post(&upstream, &body).await.json();
    let function = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(function, &json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"}));
    body["messages"] = json!([{"role": "tool", "tool_call_id": "call_fake_1", "content": "sun"}]);
    let answer = post(&upstream, &body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn anthropic_asks_for_its_version_and_limit() {
    let upstream = Upstream::start(&[KEY]).await;
    let url = format!("{}/v1/messages", upstream.url());
    let client = Client::default();
    let body = json!({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let answer = client.send(Method::POST, &url, &headers, body.to_string()).await;
    assert_eq!(answer.json()["content"][0]["text"], COMPLETION);
    assert_eq!(client.send(Method::POST, &url, &headers[..1], body.to_string()).await.status, 400);
    let without_limit = json!({"model": "claude", "messages": []}).to_string();
    assert_eq!(client.send(Method::POST, &url, &headers, without_limit).await.status, 400);
    let refused = client.send(Method::POST, &url, &headers[1..], body.to_string()).await;
    assert_eq!(refused.json()["error"]["type"], "authentication_error");
}

#[tokio::test]
async fn scripts_run_in_order_and_then_it_behaves() {
    let upstream = Upstream::start(&[KEY]).await;
    upstream.script(Behaviour::html(503));
    upstream.script(Behaviour::rate_limited());
    upstream.script(Behaviour::EchoKey(400));
    let html = post(&upstream, &chat(false)).await;
    assert_eq!((html.status, html.header("content-type")), (503, "text/html"));
    assert_eq!(post(&upstream, &chat(false)).await.header("retry-after"), "7");
    assert!(post(&upstream, &chat(false)).await.text().contains(KEY));
    assert_eq!(post(&upstream, &chat(false)).await.status, 200);
}

#[tokio::test]
async fn a_cut_stream_is_broken_and_a_truncated_one_is_not() {
    let upstream = Upstream::start(&[KEY]).await;
    let client = Client::default();
    let url = format!("{}/chat/completions", upstream.openai_base());
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str())];
    upstream.script(Behaviour::Cut(2));
    let mut cut = client.open(Method::POST, &url, &headers, chat(true).to_string()).await.unwrap();
    let broken = loop {
        match cut.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken);
    upstream.script(Behaviour::Truncated(2));
    let truncated = client.send(Method::POST, &url, &headers, chat(true).to_string()).await;
    assert_eq!(sse_data(&truncated.text()).len(), 2);
    assert_eq!(upstream.gone(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed() {
    let upstream = Upstream::start(&[KEY]).await;
    let gate = Gate::default();
    upstream.script(Behaviour::Paced(gate.clone()));
    upstream.script(Behaviour::hang(&gate));
    let client = Client::default();
    let url = format!("{}/chat/completions", upstream.openai_base());
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str())];
    gate.release(1);
    let mut stream = client.open(Method::POST, &url, &headers, chat(true).to_string()).await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    drop(stream);
    upstream.wait_for_gone(1).await;
    let hanging = client.open(Method::POST, &url, &headers, chat(true).to_string());
    tokio::select! {
        answer = hanging => panic!("a hanging upstream answered: {answer:?}"),
        () = upstream.wait_for_requests(2) => {}
    }
    upstream.wait_for_gone(2).await;
}

#[tokio::test]
async fn a_forgetful_one_counts_and_keeps_nothing() {
    let upstream = Upstream::start(&[KEY]).await;
    post(&upstream, &chat(false)).await;
    assert_eq!(upstream.requests().len(), 1);
    upstream.forget_requests();
    post(&upstream, &chat(false)).await;
    assert_eq!((upstream.requests().len(), upstream.count()), (0, 2));
}
