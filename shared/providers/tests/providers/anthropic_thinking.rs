//! Thinking, and what Anthropic takes beside it.

use serde_json::{Value, json};

use crate::anthropic_request::{BUDGET_MODEL, messages, raw, refused, sent, tools, with};

/// Thinks adaptively, samples, and can be forced to call a tool.
const SAMPLING_MODEL: &str = "claude-sonnet-4-6";
/// Thinks adaptively, and cannot be forced to call a tool.
const UNFORCED_MODEL: &str = "claude-opus-5-5";

fn without_null(value: &Value, names: &[&str]) -> Value {
    let all = names.iter().filter(|name| !value[**name].is_null());
    all.map(|name| ((*name).to_owned(), value[*name].clone())).collect()
}

/// The sampling parameters that Anthropic gets.
fn sampling(model: &str, members: Value) -> Value {
    without_null(&sent(model, &with(members)), &["temperature", "top_p", "top_k"])
}

/// How Anthropic is told to think, and which tool to call.
fn thinking(sent: &Value) -> Value {
    without_null(sent, &["thinking", "output_config", "tool_choice"])
}

/// An agent's second step, with these messages of its first.
fn second_step(first: &Value) -> Value {
    let mut all = vec![json!({"role": "user", "content": "go"})];
    all.extend(first.as_array().unwrap().iter().cloned());
    let mut body = messages(Value::from(all));
    body["tools"] = tools();
    body["reasoning_effort"] = json!("low");
    body["temperature"] = json!(0.5);
    body
}

fn call(thoughts: Value) -> Value {
    let calls = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
    json!({"role": "assistant", "content": "I call", "tool_calls": calls, "thinking_blocks": thoughts})
}

fn result() -> Value {
    json!({"role": "tool", "tool_call_id": "c", "content": "r"})
}

fn signed() -> Value {
    json!([{"type": "thinking", "thinking": "t", "signature": "s"}])
}

#[test]
fn thinking_of_any_kind_binds_the_sampling_parameters() {
    for (model, asked) in [
        (BUDGET_MODEL, json!({"reasoning_effort": "low"})),
        (BUDGET_MODEL, json!({"thinking": {"type": "enabled", "budget_tokens": 2000}})),
        (SAMPLING_MODEL, json!({"reasoning_effort": "low"})),
        (SAMPLING_MODEL, json!({"thinking": {"type": "adaptive"}})),
    ] {
        for (given, expected) in [
            (json!({"temperature": 0.5, "top_p": 0.99, "top_k": 3}), json!({"top_p": 0.99})),
            (json!({"temperature": 0.5, "top_p": 0.94}), json!({})),
            (json!({"temperature": 1}), json!({})),
        ] {
            let mut members = asked.clone();
            members.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            assert_eq!(sampling(model, members), expected, "{model} {asked} {given}");
        }
    }
    for off in [json!({"reasoning_effort": "none"}), json!({"thinking": {"type": "disabled"}}), json!({})] {
        for model in [BUDGET_MODEL, SAMPLING_MODEL] {
            let mut members = off.clone();
            members["temperature"] = json!(0.5);
            members["top_k"] = json!(3);
            assert_eq!(sampling(model, members), json!({"temperature": 0.5, "top_k": 3}), "{model} {off}");
        }
    }
}

#[test]
fn temperature_and_top_p_never_go_together() {
    for (given, expected) in [
        (json!({"temperature": 0.5, "top_p": 0.9, "top_k": 3}), json!({"temperature": 0.5, "top_k": 3})),
        (json!({"temperature": 0.5, "top_p": 1}), json!({"temperature": 0.5})),
        (json!({"temperature": 1, "top_p": 0.9}), json!({"top_p": 0.9})),
        (json!({"temperature": 1, "top_p": 1.0}), json!({"temperature": 1.0})),
        (json!({"temperature": 0}), json!({"temperature": 0.0})),
        (json!({"top_p": 0.9}), json!({"top_p": 0.9})),
    ] {
        for model in [BUDGET_MODEL, SAMPLING_MODEL, "claude-of-the-future"] {
            assert_eq!(sampling(model, given.clone()), expected, "{model} {given}");
        }
    }
}

#[test]
fn a_forced_tool_comes_before_an_effort() {
    for drop_params in [false, true] {
        for (choice, expected) in [
            (json!("required"), json!({"type": "any"})),
            (json!({"type": "function", "function": {"name": "f"}}), json!({"type": "tool", "name": "f"})),
        ] {
            let members = json!({"tools": tools(), "tool_choice": choice, "reasoning_effort": "low", "temperature": 0.5});
            let body = with(members);
            let sent =
                |model| serde_json::from_str::<Value>(&raw(model, drop_params, &body).unwrap()).unwrap();
            let budget = sent(BUDGET_MODEL);
            assert_eq!(thinking(&budget), json!({"tool_choice": expected}));
            assert_eq!(budget["temperature"], 0.5, "the model does not think");
            let adaptive = sent(SAMPLING_MODEL);
            assert_eq!(
                thinking(&adaptive),
                json!({"tool_choice": expected, "output_config": {"effort": "low"}})
            );
            assert_eq!(adaptive["temperature"], 0.5, "the model does not think");
        }
    }
    for free in ["auto", "none"] {
        let body = with(json!({"tools": tools(), "tool_choice": free, "reasoning_effort": "low"}));
        assert_eq!(sent(BUDGET_MODEL, &body)["thinking"]["type"], "enabled");
        assert_eq!(sent(SAMPLING_MODEL, &body)["thinking"]["type"], "adaptive");
    }
}

#[test]
fn a_model_that_cannot_be_forced_thinks() {
    let forced = with(json!({"tools": tools(), "tool_choice": "required", "reasoning_effort": "low"}));
    let bad = raw(UNFORCED_MODEL, false, &forced).unwrap_err();
    assert_eq!(bad.param.as_deref(), Some("tool_choice"));
    let dropped: Value = serde_json::from_str(&raw(UNFORCED_MODEL, true, &forced).unwrap()).unwrap();
    assert_eq!(
        thinking(&dropped),
        json!({
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "low"},
            "tool_choice": {"type": "auto"}
        })
    );
}

#[test]
fn the_clients_own_thinking_is_passed_on() {
    let budget = json!({"type": "enabled", "budget_tokens": 2000});
    let both = with(json!({"thinking": budget, "reasoning_effort": "high"}));
    assert_eq!(thinking(&sent(BUDGET_MODEL, &both)), json!({"thinking": budget}));

    let adaptive = json!({"type": "adaptive"});
    let both = with(json!({"thinking": adaptive, "reasoning_effort": "medium"}));
    assert_eq!(
        thinking(&sent(SAMPLING_MODEL, &both)),
        json!({"thinking": adaptive, "output_config": {"effort": "medium"}})
    );
    assert_eq!(
        refused(&with(json!({"thinking": adaptive, "reasoning_effort": "enormous"}))),
        "reasoning_effort"
    );

    let off = json!({"type": "disabled"});
    let both = with(json!({"thinking": off, "reasoning_effort": "high"}));
    assert_eq!(thinking(&sent(SAMPLING_MODEL, &both)), json!({"thinking": off}));

    // Anthropic refuses a forced tool beside a budget, and takes it beside adaptive thinking.
    let forced = with(json!({"thinking": budget, "tools": tools(), "tool_choice": "required"}));
    assert_eq!(refused(&forced), "tool_choice");
    let dropped: Value = serde_json::from_str(&raw(BUDGET_MODEL, true, &forced).unwrap()).unwrap();
    assert_eq!(thinking(&dropped), json!({"thinking": budget, "tool_choice": {"type": "auto"}}));
    let forced = with(json!({"thinking": adaptive, "tools": tools(), "tool_choice": "required"}));
    assert_eq!(
        thinking(&sent(SAMPLING_MODEL, &forced)),
        json!({"thinking": adaptive, "tool_choice": {"type": "any"}})
    );
}

#[test]
fn a_tool_loop_without_its_thoughts_goes_on_without_a_budget() {
    let unsigned = json!([{"type": "thinking", "thinking": "t"}]);
    for first in [
        json!([call(Value::Null), result()]),
        json!([call(unsigned), result()]),
        json!([call(Value::Null), result(), call(signed()), result()]),
        json!([{"role": "assistant", "content": "It is"}]),
    ] {
        let body = second_step(&first);
        let budget = sent(BUDGET_MODEL, &body);
        assert_eq!((&budget["thinking"], &budget["temperature"]), (&Value::Null, &json!(0.5)), "{first}");
        assert!(
            !budget.to_string().contains("signature"),
            "no thoughts in a turn without thinking: {budget}"
        );
        assert_eq!(sent(SAMPLING_MODEL, &body)["thinking"]["type"], "adaptive", "adaptive thinking takes it");
    }
    for first in [
        json!([call(signed()), result()]),
        json!([call(json!([{"type": "redacted_thinking", "data": "d"}])), result()]),
        json!([call(signed()), result(), call(Value::Null), result()]),
        json!([call(Value::Null), result(), {"role": "assistant", "content": "so"}, {"role": "user", "content": "on"}]),
        json!([{"role": "assistant", "content": "so"}, {"role": "user", "content": "on"}]),
        json!([]),
    ] {
        let budget = sent(BUDGET_MODEL, &second_step(&first));
        assert_eq!(
            (&budget["thinking"]["type"], &budget["temperature"]),
            (&json!("enabled"), &Value::Null),
            "{first}"
        );
    }
}

#[test]
fn a_loop_that_stops_thinking_drops_its_thoughts_only() {
    let thoughts = json!({"role": "assistant", "thinking_blocks": signed()});
    let earlier = json!({"role": "assistant", "content": "so", "thinking_blocks": signed()});
    let mut body = second_step(&json!([
        earlier, {"role": "user", "content": "on"}, call(signed()), result(), thoughts
    ]));
    body["tool_choice"] = json!("required");
    assert_eq!(
        sent(BUDGET_MODEL, &body)["messages"],
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [signed()[0], {"type": "text", "text": "so"}]},
            {"role": "user", "content": "on"},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I call"}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]}
        ])
    );
    // Adaptive thinking keeps them: some models think without being told to.
    assert_eq!(sent(SAMPLING_MODEL, &body).to_string().matches("signature").count(), 3);
}
