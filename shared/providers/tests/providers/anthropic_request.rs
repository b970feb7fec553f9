//! Chat completion requests as Messages requests, beyond the vectors.

use http::HeaderValue;
use keyturn_providers::{BadRequest, ProviderError};
use serde_json::{Value, json};

use crate::support::{Request, head, key, provider};

pub(crate) const BUDGET_MODEL: &str = "claude-sonnet-4-5";
const ADAPTIVE_MODEL: &str = "claude-opus-5-5";

fn request(model: &str, drop_params: bool, body: &Value) -> Request {
    let mut request = Request::chat(&body.to_string());
    request.target.model = model.to_owned();
    request.target.drop_params = drop_params;
    request
}

pub(crate) fn raw(model: &str, drop_params: bool, body: &Value) -> Result<String, BadRequest> {
    let request = request(model, drop_params, body);
    match provider("anthropic").request(&request.call(), &key("k")) {
        Ok(sent) => Ok(String::from_utf8(sent.body().to_vec()).unwrap()),
        Err(ProviderError::BadRequest(bad)) => Err(bad),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) fn sent(model: &str, body: &Value) -> Value {
    serde_json::from_str(&raw(model, false, body).unwrap()).unwrap()
}

pub(crate) fn refused(body: &Value) -> String {
    raw(BUDGET_MODEL, false, body).unwrap_err().param.unwrap()
}

/// A request with one user message and these members.
pub(crate) fn with(members: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9000});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

pub(crate) fn messages(messages: Value) -> Value {
    json!({"model": "m", "messages": messages})
}

pub(crate) fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f"}}])
}

#[test]
fn what_is_dropped_and_what_is_refused() {
    let dropped = with(json!({
        "seed": 1, "n": 1, "logprobs": false, "top_logprobs": 0, "presence_penalty": 1, "frequency_penalty": 1,
        "logit_bias": {"1": 2}, "store": true, "metadata": {"a": "b"}, "modalities": ["text"],
        "prompt_cache_key": "k", "stream": false, "stream_options": null, "tool_choice": null, "user": null
    }));
    assert_eq!(
        sent(BUDGET_MODEL, &dropped),
        json!({"model": BUDGET_MODEL, "max_tokens": 9000, "messages": [{"role": "user", "content": "Hi"}]})
    );
    for (field, value) in [
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({})),
        ("functions", json!([])),
        ("some_future_field", json!(1)),
        ("service_tier", json!("flex")),
        ("temperature", json!(1.5)),
        ("response_format", json!({"type": "grammar"})),
    ] {
        let body = with(json!({field: value}));
        let bad = raw(BUDGET_MODEL, false, &body).unwrap_err();
        assert_eq!(bad.param.as_deref(), Some(field));
        assert!(bad.message.contains(field), "{}", bad.message);
        assert!(raw(BUDGET_MODEL, true, &body).is_ok(), "{field} is dropped where the deployment says so");
    }
    let clamped = raw(BUDGET_MODEL, true, &with(json!({"temperature": 1.5}))).unwrap();
    assert!(clamped.contains(r#""temperature":1.0"#), "{clamped}");
}

#[test]
fn wrong_values_name_their_field_in_any_mode() {
    for (field, body) in [
        ("max_tokens", with(json!({"max_tokens": "many"}))),
        ("max_completion_tokens", with(json!({"max_completion_tokens": -1}))),
        ("temperature", with(json!({"temperature": "hot"}))),
        ("stop", with(json!({"stop": 5}))),
        ("stop", with(json!({"stop": ["a", 5]}))),
        ("reasoning_effort", with(json!({"reasoning_effort": "enormous"}))),
        ("thinking", with(json!({"thinking": true}))),
        ("response_format", with(json!({"response_format": "json"}))),
        ("response_format", with(json!({"response_format": {"type": "json_schema"}}))),
        ("tools", with(json!({"tools": {}}))),
        ("tools[0]", with(json!({"tools": [1]}))),
        ("tools[0]", with(json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}))),
        (
            "tools[0].function.parameters",
            with(json!({"tools": [{"function": {"name": "f", "parameters": []}}]})),
        ),
        ("tool_choice", with(json!({"tool_choice": "required"}))),
        ("tool_choice", with(json!({"tool_choice": "perhaps", "tools": tools()}))),
        ("parallel_tool_calls", with(json!({"parallel_tool_calls": 1}))),
        ("messages", messages(json!([]))),
        ("messages", messages(json!([{"role": "system", "content": "only"}]))),
        ("messages[1]", messages(json!([{"role": "user", "content": "a"}, 7]))),
        ("messages[0]", messages(json!([{"content": "no role"}]))),
        ("messages[0].role", messages(json!([{"role": "function", "content": "a"}]))),
        ("messages[0].content", messages(json!([{"role": "user", "content": {"a": 1}}]))),
        ("messages[0].content[0]", messages(json!([{"role": "user", "content": [{"type": "input_audio"}]}]))),
        ("messages[0].content[0]", messages(json!([{"role": "user", "content": [{"type": "text"}]}]))),
        ("messages[0].content[0]", messages(json!([{"role": "user", "content": ["a"]}]))),
        (
            "messages[0].content[0]",
            messages(
                json!([{"role": "system", "content": [{"type": "image_url", "image_url": "https://a"}]}]),
            ),
        ),
        (
            "messages[0].content[0].image_url",
            messages(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://a"}}]}]),
            ),
        ),
        (
            "messages[0].content[0].image_url",
            messages(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": "http://a/b.png"}]}]),
            ),
        ),
        (
            "messages[0].content[0].image_url",
            messages(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}]),
            ),
        ),
        (
            "messages[0].content[0].file",
            messages(
                json!([{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/html;base64,eA=="}}]}]),
            ),
        ),
        ("messages[0].tool_call_id", messages(json!([{"role": "tool", "content": "a"}]))),
        (
            "messages[0].tool_calls[0]",
            messages(json!([{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}])),
        ),
        (
            "messages[0].tool_calls[0].id",
            messages(json!([{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}])),
        ),
        (
            "messages[0].tool_calls[0].function.arguments",
            messages(
                json!([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "not json"}}]}]),
            ),
        ),
        (
            "messages[0].tool_calls[0].function.arguments",
            messages(
                json!([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]}]),
            ),
        ),
    ] {
        assert_eq!(refused(&body), field, "{body}");
        assert!(raw(BUDGET_MODEL, true, &body).is_err(), "{body}");
    }
}

#[test]
fn a_refusal_never_quotes_a_prompt() {
    let body = messages(json!([{"role": "user", "content": "CANARY"}, {"role": ["CANARY"], "content": "x"}]));
    assert!(!raw(BUDGET_MODEL, false, &body).unwrap_err().message.contains("CANARY"));
}

#[test]
fn the_length_of_the_answer() {
    let length = |model: &str, members: Value, configured: Option<u64>| {
        let mut body = messages(json!([{"role": "user", "content": "Hi"}]));
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let mut request = request(model, false, &body);
        request.target.max_output_tokens = configured;
        let sent = provider("anthropic").request(&request.call(), &key("k")).unwrap();
        serde_json::from_slice::<Value>(sent.body()).unwrap()["max_tokens"].as_u64().unwrap()
    };
    assert_eq!(length(BUDGET_MODEL, json!({}), None), 64_000);
    assert_eq!(length(BUDGET_MODEL, json!({}), Some(5)), 5);
    assert_eq!(length("claude-of-the-future", json!({}), None), 32_000);
    assert_eq!(length(BUDGET_MODEL, json!({"max_tokens": 7, "max_completion_tokens": null}), Some(5)), 7);
    assert_eq!(length(BUDGET_MODEL, json!({"max_tokens": 7, "max_completion_tokens": 8}), None), 8);
}

#[test]
fn a_base_model_lends_its_abilities() {
    let body = with(json!({"reasoning_effort": "high"}));
    let mut request = request("my-alias", false, &body);
    request.target.base_model = Some(ADAPTIVE_MODEL.to_owned());
    let sent = provider("anthropic").request(&request.call(), &key("k")).unwrap();
    let sent: Value = serde_json::from_slice(sent.body()).unwrap();
    assert_eq!((&sent["model"], &sent["output_config"]["effort"]), (&json!("my-alias"), &json!("high")));
}

#[test]
fn tool_choices() {
    let choice = |members: Value| {
        let mut body = with(members);
        body["tools"] =
            json!([{"function": {"name": "a.b"}}, {"type": "web_search_20250305", "name": "web_search"}]);
        sent(BUDGET_MODEL, &body)["tool_choice"].clone()
    };
    assert_eq!(choice(json!({})), Value::Null);
    assert_eq!(choice(json!({"tool_choice": "auto"})), json!({"type": "auto"}));
    assert_eq!(choice(json!({"tool_choice": "required"})), json!({"type": "any"}));
    assert_eq!(choice(json!({"tool_choice": "none"})), json!({"type": "none"}));
    assert_eq!(choice(json!({"tool_choice": "none", "parallel_tool_calls": false})), json!({"type": "none"}));
    assert_eq!(choice(json!({"parallel_tool_calls": true})), Value::Null);
    assert_eq!(
        choice(json!({"parallel_tool_calls": false})),
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        choice(json!({"tool_choice": {"type": "function", "function": {"name": "a.b"}}})),
        json!({"type": "tool", "name": "a_b"})
    );
    assert_eq!(sent(BUDGET_MODEL, &with(json!({"tool_choice": "auto", "tools": []})))["tools"], Value::Null);
}

#[test]
fn tools_keep_their_bytes() {
    let tools = json!([
        {"type": "function", "cache_control": {"type": "ephemeral"}, "function": {"name": "a", "description": "d"}},
        {"type": "function", "function": {"name": "b", "strict": false, "parameters": {"properties": {}}}},
        {"type": "function", "function": {"name": "c", "parameters": {}}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    ]);
    let empty = json!({"type": "object", "properties": {}});
    assert_eq!(
        sent(BUDGET_MODEL, &with(json!({"tools": tools})))["tools"],
        json!([
            {"name": "a", "description": "d", "input_schema": empty, "cache_control": {"type": "ephemeral"}},
            {"name": "b", "strict": false, "input_schema": empty},
            {"name": "c", "input_schema": empty},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
        ])
    );
    // Numbers, escapes and white space of a schema survive.
    let schema = r#"{"type":"object" , "minimum":1.10,"description":"\u00e9\/"}"#;
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"caf\u00e9 \ud83d"}}],"tools":[{{"function":{{"name":"f","parameters":{schema}}}}}]}}"#
    );
    let mut request = Request::chat(&body);
    request.target.model = BUDGET_MODEL.to_owned();
    let sent = provider("anthropic").request(&request.call(), &key("k")).unwrap();
    let sent = std::str::from_utf8(sent.body()).unwrap();
    assert!(sent.contains(schema) && sent.contains(r#""caf\u00e9 \ud83d""#), "{sent}");
}

#[test]
fn json_schemas() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}});
    let sent_body =
        sent(ADAPTIVE_MODEL, &with(json!({"response_format": format, "reasoning_effort": "low"})));
    assert_eq!(
        sent_body["output_config"],
        json!({"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}})
    );
    for kind in ["text", "json_object"] {
        let body = with(json!({"response_format": {"type": kind}}));
        assert_eq!(sent(BUDGET_MODEL, &body)["output_config"], Value::Null);
    }
    let own = with(json!({"output_config": {"effort": "low"}}));
    assert_eq!(sent(BUDGET_MODEL, &own)["output_config"], json!({"effort": "low"}));
    let both = with(json!({"output_config": {}, "response_format": format}));
    assert_eq!(refused(&both), "output_config");
}

#[test]
fn stops() {
    let stops = |stop: Value| sent(BUDGET_MODEL, &with(json!({"stop": stop})))["stop_sequences"].clone();
    assert_eq!(stops(json!("a")), json!(["a"]));
    assert_eq!(stops(json!(["a", " \n\t", "", "b "])), json!(["a", "b "]));
    assert_eq!(stops(json!("\n")), Value::Null);
}

#[test]
fn systems_in_the_middle() {
    let body = messages(json!([
        {"role": "system", "content": "", "cache_control": {"type": "ephemeral"}},
        {"role": "system", "content": "first", "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": "u"},
        {"role": "developer", "content": "later"},
        {"role": "assistant", "content": "a"}
    ]));
    let expected_system = json!([{"type": "text", "text": "first", "cache_control": {"type": "ephemeral"}}]);
    let older = sent(BUDGET_MODEL, &body);
    assert_eq!(older["system"], expected_system);
    assert_eq!(
        older["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "text", "text": "later"}]},
            {"role": "assistant", "content": "a"}
        ])
    );
    assert_eq!(
        sent(ADAPTIVE_MODEL, &body)["messages"],
        json!([
            {"role": "user", "content": "u"},
            {"role": "system", "content": "later"},
            {"role": "assistant", "content": "a"}
        ])
    );
}

#[test]
fn tool_results_come_first_and_together() {
    let body = messages(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": " ", "tool_calls": [
            {"id": "a", "function": {"name": "f", "arguments": " {\"x\": 1.10} "}},
            {"id": "b", "function": {"name": "f", "arguments": {"y": 2}}}
        ]},
        {"role": "user", "content": "meanwhile"},
        {"role": "tool", "tool_call_id": "a", "content": ""},
        {"role": "tool", "tool_call_id": "b", "cache_control": {"type": "ephemeral"}, "content": [
            {"type": "image_url", "image_url": {"url": "data:image/jpg;charset=x;base64,AAAA"}}
        ]},
        {"role": "user", "content": "thanks"}
    ]));
    assert_eq!(
        sent(BUDGET_MODEL, &body)["messages"],
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.10}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {"y": 2}}
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a"},
                {"type": "tool_result", "tool_use_id": "b", "cache_control": {"type": "ephemeral"}, "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}}
                ]},
                {"type": "text", "text": "meanwhile"},
                {"type": "text", "text": "thanks"}
            ]}
        ])
    );
}

#[test]
fn thoughts_go_back_first_and_verbatim() {
    let body = messages(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "so", "reasoning_content": "ignored", "thinking_blocks": [
            {"type": "thinking", "thinking": "t", "signature": "s", "extra": 1},
            {"type": "thinking", "thinking": "unsigned"},
            {"type": "redacted_thinking", "data": "d"}
        ]},
        {"role": "user", "content": "on"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "x  "}]}
    ]));
    assert_eq!(
        sent(BUDGET_MODEL, &body)["messages"],
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s", "extra": 1},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "so"}
            ]},
            {"role": "user", "content": "on"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "s"},
                {"type": "text", "text": "x"}
            ]}
        ])
    );
}

#[test]
fn cache_control_passes() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let body = messages(json!([
        {"role": "user", "content": [
            {"type": "text", "text": "a", "cache_control": mark},
            {"type": "file", "file": {"file_id": "f", "filename": "n"}, "cache_control": mark}
        ]},
        {"role": "assistant", "content": "b", "cache_control": mark}
    ]));
    assert_eq!(
        sent(BUDGET_MODEL, &body)["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "a", "cache_control": mark},
                {"type": "document", "source": {"type": "file", "file_id": "f"}, "title": "n", "cache_control": mark}
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "b", "cache_control": mark}]}
        ])
    );
}

#[test]
fn ids_that_clash_stay_apart() {
    let call = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": id});
    let body = messages(json!([
        {"role": "assistant", "tool_calls": [call("a.b"), call("a:b"), call("a_b")]},
        result("a.b"), result("a:b"), result("a_b")
    ]));
    let turns = sent(BUDGET_MODEL, &body)["messages"].clone();
    let ids = |turn: usize, field: &str| -> Vec<String> {
        let blocks = turns[turn]["content"].as_array().unwrap();
        blocks.iter().map(|block| block[field].as_str().unwrap().to_owned()).collect()
    };
    let mut calls = ids(0, "id");
    assert_eq!(calls, ids(1, "tool_use_id"));
    calls.dedup();
    assert_eq!(calls.len(), 3);
}

#[test]
fn the_user_and_native_fields_pass() {
    let body = sent(
        BUDGET_MODEL,
        &with(
            json!({"safety_identifier": "s", "top_k": 5, "service_tier": "default", "mcp_servers": [], "max_tokens": 5}),
        ),
    );
    assert_eq!(body["metadata"], json!({"user_id": "s"}));
    assert_eq!(
        (&body["top_k"], &body["service_tier"], &body["mcp_servers"]),
        (&json!(5), &json!("standard_only"), &json!([]))
    );
}

#[test]
fn a_chat_client_cannot_choose_the_version() {
    let mut request = request(BUDGET_MODEL, false, &with(json!({})));
    request.headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
    let sent = provider("anthropic").request(&request.call(), &key("k")).unwrap();
    assert_eq!(sent.headers()["anthropic-version"], "2023-06-01");
}

#[test]
fn answers() {
    let answer = |message: Value| {
        let request = request(BUDGET_MODEL, false, &with(json!({})));
        let reply =
            provider("anthropic").response(&request.call(), &head(200, &[]), message.to_string().into());
        reply.map(|reply| serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    for (reason, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("compaction", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("of_the_future", "stop"),
    ] {
        let body = answer(json!({"id": "i", "content": [], "stop_reason": reason})).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], expected);
        assert_eq!(body["choices"][0]["message"], json!({"role": "assistant", "content": null}));
    }
    let body = answer(json!({"content": [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "content": []},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "a\u{2028}\n\"q\""}
    ]}))
    .unwrap();
    assert_eq!(
        body["choices"][0]["message"],
        json!({"role": "assistant", "content": "a\u{2028}\n\"q\"", "thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]})
    );
    for bad in [json!({}), json!([]), json!({"content": "x"}), json!({"content": [1]}), json!(null)] {
        assert_eq!(answer(bad).unwrap_err().status.as_u16(), 502);
    }
    let error =
        answer(json!({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}})).unwrap_err();
    assert_eq!(error.status.as_u16(), 429);
}
