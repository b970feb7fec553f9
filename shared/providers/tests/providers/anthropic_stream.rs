//! Message streams as chat completion chunks, beyond the vectors.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Read, Request, head, provider, read, steps};

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

fn start() -> String {
    event(
        &json!({"type": "message_start", "message": {"id": "msg", "model": "claude", "usage": {"input_tokens": 5, "output_tokens": 1}}}),
    )
}

fn block(index: u64, block: &Value) -> String {
    event(&json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: u64, delta: &Value) -> String {
    event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: u64) -> String {
    event(&json!({"type": "content_block_stop", "index": index}))
}

fn end(reason: &str) -> String {
    let end = event(
        &json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}),
    );
    end + &event(&json!({"type": "message_stop"}))
}

fn decode(request: &Request, text: &str) -> Read {
    let mut results = steps(&[Bytes::from(text.to_owned())]).map(|chunks| {
        let mut decoder = provider("anthropic").decoder(&request.call(), &head(200, &[]));
        read(&mut *decoder, &chunks)
    });
    for result in &results {
        assert_eq!(result.text(), results[0].text());
    }
    std::mem::replace(&mut results[0], Read { bytes: Vec::new(), failure: None })
}

/// The deltas of a complete stream between the role and the finish.
fn deltas(parts: &[String]) -> Vec<Value> {
    let text = [&[start()], parts, &[end("end_turn")]].concat().concat();
    let got = decode(&Request::streaming(false), &text);
    assert!(got.failure.is_none(), "{:?}", got.failure);
    let events = got.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    events[1..events.len() - 2].iter().map(|event| event["choices"][0]["delta"].clone()).collect()
}

#[test]
fn a_thought_that_is_only_a_signature() {
    assert_eq!(
        deltas(&[
            block(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, &json!({"type": "signature_delta", "signature": "a"})),
            delta(0, &json!({"type": "signature_delta", "signature": "b"})),
            stop(0),
            block(1, &json!({"type": "redacted_thinking", "data": "d"})),
            stop(1),
        ]),
        [
            json!({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "ab"}]}),
            json!({"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]}),
        ]
    );
}

#[test]
fn a_thought_without_a_signature_cannot_be_replayed() {
    assert_eq!(
        deltas(&[
            block(0, &json!({"type": "thinking", "thinking": "a"})),
            delta(0, &json!({"type": "thinking_delta", "thinking": "\"b\"\n"})),
            stop(0),
        ]),
        [json!({"reasoning_content": "a"}), json!({"reasoning_content": "\"b\"\n"})]
    );
}

#[test]
fn tools_count_from_zero_whatever_the_block() {
    let tool = |id: &str, input: &Value| json!({"type": "tool_use", "id": id, "name": id, "input": input});
    let got = deltas(&[
        block(0, &json!({"type": "text", "text": ""})),
        stop(0),
        block(1, &json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "{\"q\":1}"})),
        stop(1),
        block(2, &json!({"type": "web_search_tool_result", "content": []})),
        stop(2),
        block(3, &tool("a", &json!({}))),
        stop(3),
        block(4, &tool("b", &json!({"early": [1, "x y"]}))),
        stop(4),
        block(5, &tool("c", &json!({}))),
        delta(5, &json!({"type": "input_json_delta", "partial_json": ""})),
        delta(5, &json!({"type": "input_json_delta", "partial_json": "{\"z\":"})),
        delta(5, &json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(5),
    ]);
    let calls: Vec<(u64, &str)> = got
        .iter()
        .map(|delta| &delta["tool_calls"][0])
        .map(|call| (call["index"].as_u64().unwrap(), call["function"]["arguments"].as_str().unwrap()))
        .collect();
    assert_eq!(
        calls,
        [(0, ""), (0, "{}"), (1, ""), (1, r#"{"early":[1,"x y"]}"#), (2, ""), (2, "{\"z\":"), (2, "1}")]
    );
    assert_eq!(got[0]["tool_calls"][0]["id"], "a");
    assert!(got[1]["tool_calls"][0].get("id").is_none());
}

#[test]
fn tool_names_are_the_clients() {
    let request = Request::chat(
        r#"{"model":"m","messages":[],"stream":true,"tools":[{"type":"function","function":{"name":"ns/tool \"x\""}}]}"#,
    );
    let text = [
        start(),
        block(0, &json!({"type": "tool_use", "id": "t", "name": "ns_tool__x_", "input": {}})),
        stop(0),
        end("tool_use"),
    ]
    .concat();
    let events = decode(&request, &text).events();
    assert_eq!(events[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"], "ns/tool \"x\"");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn text_of_a_block_start_counts() {
    assert_eq!(
        deltas(&[block(0, &json!({"type": "text", "text": "early"})), stop(0)]),
        [json!({"content": "early"})]
    );
}

#[test]
fn unknown_events_and_deltas_are_ignored() {
    assert_eq!(
        deltas(&[
            event(&json!({"type": "ping"})),
            event(&json!({"type": "of_the_future", "index": "x".len()})),
            block(0, &json!({"type": "text", "text": ""})),
            delta(0, &json!({"type": "citations_delta", "citation": {}})),
            delta(0, &json!({"type": "text_delta", "text": "a"})),
            delta(0, &json!({"type": "text_delta", "text": 5})),
            stop(0),
        ]),
        [json!({"content": "a"})]
    );
}

#[test]
fn a_stream_that_does_not_introduce_itself_is_still_wellformed() {
    let text = [block(0, &json!({"type": "text", "text": "x"})), end("end_turn")].concat();
    let events = decode(&Request::streaming(true), &text).events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(events[1]["choices"][0]["delta"], json!({"content": "x"}));
    assert_eq!(events[3]["usage"]["completion_tokens"], 9);
}

#[test]
fn one_finish_and_nothing_after_the_end() {
    let text = [start(), end("max_tokens"), end("end_turn"), start()].concat();
    let got = decode(&Request::streaming(false), &text);
    let reasons: Vec<Value> =
        got.events().iter().filter_map(|event| event["choices"][0].get("finish_reason").cloned()).collect();
    assert_eq!(reasons, [Value::Null, json!("length")]);
    assert!(got.failure.is_none());

    let without = [start(), event(&json!({"type": "message_stop"}))].concat();
    let events = decode(&Request::streaming(false), &without).events();
    assert_eq!(events[1]["choices"][0]["finish_reason"], "stop");
}

#[test]
fn what_is_no_stream() {
    for (text, code) in [
        ("<html>\n\n", "upstream_error"),
        ("plain", "upstream_error"),
        ("data: nonsense\n\n", "upstream_error"),
        ("data: {\"type\":\"content_block_start\",\"content_block\":5}\n\n", "upstream_error"),
        ("", "upstream_stream_truncated"),
        (": only\n\n", "upstream_stream_truncated"),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "overloaded"),
    ] {
        let got = decode(&Request::streaming(false), text);
        assert!(got.bytes.is_empty(), "{text:?}");
        let body: Value = serde_json::from_slice(&got.failure.unwrap().body).unwrap();
        assert_eq!(body["error"]["code"], code, "{text:?}");
    }
}

#[test]
fn a_thought_without_end_is_stopped() {
    let request = Request::streaming(false);
    let mut decoder = provider("anthropic").decoder(&request.call(), &head(200, &[]));
    let mut out = Vec::new();
    let begin = start() + &block(0, &json!({"type": "thinking", "thinking": ""}));
    decoder.push(begin.into(), &mut out).unwrap();
    let piece = Bytes::from(delta(0, &json!({"type": "thinking_delta", "thinking": "x".repeat(1 << 20)})));
    let failed = (0..64).find(|_| {
        out.clear();
        decoder.push(piece.clone(), &mut out).is_err()
    });
    assert_eq!(failed, Some(16));
}
