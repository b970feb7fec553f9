//! Runs every golden vector of `tests/vectors/`; its README has the rules.

use crate::support::{Request, chunks, head, key, provider, read, steps, vectors};
use bytes::Bytes;
use http::HeaderMap;
use keyturn_providers::{Surface, Target, Usage, prices};
use serde_json::Value;

/// Vectors whose expectation, says their note, holds for a deployment with `drop_params`.
const WITH_DROP_PARAMS: &[&str] = &["anthropic-req-effort-adaptive-model"];

#[test]
fn vectors_pass() {
    let mut failures = Vec::new();
    let mut count = 0;
    for (file, vector) in vectors() {
        count += 1;
        let result = match vector["direction"].as_str().unwrap() {
            "request" => request(&vector),
            "response" => response(&vector),
            "stream" => stream(&vector),
            "error" => error(&vector),
            "cost" => cost(&vector),
            other => Err(format!("unknown direction {other}")),
        };
        if let Err(why) = result {
            failures.push(format!("{file}: {why}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 18, "vectors are missing: {count}");
}

fn request(vector: &Value) -> Result<(), String> {
    let (input, expected) = (&vector["input"], &vector["expected"]);
    let surface = match input["endpoint"].as_str() {
        Some("/v1/messages") => Surface::Messages,
        _ => Surface::ChatCompletions,
    };
    let client: Bytes = match input["body_raw"].as_str() {
        Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
        None => input["body"].to_string().into(),
    };
    let mut request = Request::new(surface, client.clone());
    request.target = target(vector);
    let provider = provider(vector["provider"].as_str().unwrap());
    let api_key = input["deployment"]["api_key"].as_str().unwrap();
    let sent = provider.request(&request.call(), &key(api_key)).map_err(|error| error.to_string())?;

    same("method", expected["method"].as_str().unwrap(), sent.method().as_str())?;
    same("url", expected["url"].as_str().unwrap(), &sent.uri().to_string())?;
    headers_within(&expected["headers"], sent.headers())?;
    if let Some(raw) = expected["body_raw"].as_str() {
        same("body", raw, std::str::from_utf8(sent.body()).unwrap())?;
    }
    if !expected["body"].is_null() {
        let body: Value = serde_json::from_slice(sent.body()).map_err(|error| error.to_string())?;
        matches("body", &expected["body"], &body)?;
    }
    if expected["byte_preserving"] == true {
        let (old, new) = (&input["body"]["model"], &expected["body"]["model"]);
        let mut text = String::from_utf8(client.to_vec()).unwrap();
        text = text.replacen(&format!("\"model\":{old}"), &format!("\"model\":{new}"), 1);
        if input["body"]["stream"] == true {
            text.truncate(text.len() - 1);
            text.push_str(",\"stream_options\":{\"include_usage\":true}}");
        }
        same("body bytes", &text, std::str::from_utf8(sent.body()).unwrap())?;
    }
    if let Some(map) = expected["tool_name_reverse_map"].as_object() {
        for (sent, original) in map {
            let content = format!(
                r#"{{"id":"m","content":[{{"type":"tool_use","id":"t","name":"{sent}","input":{{}}}}]}}"#
            );
            let reply = provider.response(&request.call(), &head(200, &[]), content.into());
            let body: Value = serde_json::from_slice(&reply.map_err(|_| "no reply")?.body).unwrap();
            let name = &body["choices"][0]["message"]["tool_calls"][0]["function"]["name"];
            matches("reverse map", original, name)?;
        }
    }
    Ok(())
}

fn target(vector: &Value) -> Target {
    let deployment = &vector["input"]["deployment"];
    let params = ["organization", "project"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), deployment[*name].as_str()?.to_owned())))
        .collect();
    Target {
        model: deployment["model"].as_str().unwrap().to_owned(),
        params,
        drop_params: WITH_DROP_PARAMS.contains(&vector["name"].as_str().unwrap()),
        max_output_tokens: deployment["model_max_output_tokens"].as_u64(),
        ..Target::default()
    }
}

fn response(vector: &Value) -> Result<(), String> {
    let (input, expected) = (&vector["input"], &vector["expected"]);
    let mut request = Request::chat(r#"{"model":"m","messages":[]}"#);
    if let Some(now) = input["request_context"]["now"].as_str() {
        request.now = now.parse::<jiff::Timestamp>().unwrap().as_second();
    }
    let provider = provider(vector["provider"].as_str().unwrap());
    let head = vector_head(input);
    let reply = provider
        .response(&request.call(), &head, input["body"].to_string().into())
        .map_err(|failure| format!("{failure:?}"))?;
    headers_within(&expected["headers"], &provider.response_headers(&request.call(), &head.headers))?;
    matches("body", &expected["body"], &serde_json::from_slice(&reply.body).unwrap())?;
    let said = Usage::from_openai(&expected["body"]["usage"].to_string()).unwrap();
    let metered = reply.usage.ok_or("no usage was metered")?;
    same("usage", &said.to_openai(), &metered.to_openai())
}

fn vector_head(input: &Value) -> http::response::Parts {
    let status = u16::try_from(input["status"].as_u64().unwrap()).unwrap();
    let headers: Vec<(&str, &str)> = input["headers"]
        .as_object()
        .map(|map| map.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect())
        .unwrap_or_default();
    head(status, &headers)
}

fn stream(vector: &Value) -> Result<(), String> {
    let expected = vector["expected"]["events"].as_array().unwrap();
    // Some contexts say that usage was asked for where events and note say that it was not: the events count.
    let include_usage = expected.iter().any(|event| event.get("usage").is_some());
    let request = Request::streaming(include_usage);
    let provider = provider(vector["provider"].as_str().unwrap());
    for (step, chunks) in steps(&chunks(vector)).iter().enumerate() {
        let mut decoder = provider.decoder(&request.call(), &head(200, &[]));
        let got = read(&mut *decoder, chunks);
        let events = got.events();
        for (at, (expected, event)) in expected.iter().zip(&events).enumerate() {
            matches(&format!("step {step}, event {at}"), expected, event)?;
        }
        if events.len() != expected.len() {
            return Err(format!("step {step}: {} events, not {}", events.len(), expected.len()));
        }
        if let Some(usage) = expected.iter().find(|event| event["choices"] == Value::Array(vec![])) {
            let said = Usage::from_openai(&usage["usage"].to_string()).unwrap();
            same("usage", &said.to_openai(), &decoder.usage().ok_or("no usage")?.to_openai())?;
        }
        if decoder.usage().is_none() {
            return Err("no usage was metered".to_owned());
        }
    }
    Ok(())
}

fn error(vector: &Value) -> Result<(), String> {
    let (input, expected) = (&vector["input"], &vector["expected"]);
    let request = Request::chat(r#"{"model":"m","messages":[]}"#);
    let body = match &input["body"] {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let provider = provider(vector["provider"].as_str().unwrap());
    let failure = provider.failure(&request.call(), &vector_head(input), body.as_bytes());
    same("status", &expected["status"].to_string(), &failure.status.as_u16().to_string())?;
    headers_within(&expected["headers"], &failure.headers)?;
    matches("body", &expected["body"], &serde_json::from_slice(&failure.body).unwrap())
}

fn cost(vector: &Value) -> Result<(), String> {
    let (input, expected) = (&vector["input"], &vector["expected"]);
    let model = input["model_key"].as_str().unwrap();
    let price = ["openai", "anthropic"].iter().find_map(|provider| prices::lookup(provider, model));
    let mut usage = Usage::from_openai(&input["usage"].to_string()).unwrap();
    usage.service_tier = input["service_tier"].as_str().and_then(keyturn_providers::ServiceTier::named);
    let (prompt, completion) = price.ok_or("no price")?.cost_parts(&usage);
    for (what, expected, got) in [
        ("prompt", &expected["prompt_cost"], prompt),
        ("completion", &expected["completion_cost"], completion),
    ] {
        let expected = expected.as_f64().unwrap();
        if (expected - got).abs() > 1e-12 * expected {
            return Err(format!("{what} cost: {got}, not {expected}"));
        }
    }
    Ok(())
}

fn same(what: &str, expected: &str, got: &str) -> Result<(), String> {
    if expected == got { Ok(()) } else { Err(format!("{what}:\n  got      {got}\n  expected {expected}")) }
}

fn headers_within(expected: &Value, got: &HeaderMap) -> Result<(), String> {
    for (name, value) in expected.as_object().into_iter().flatten() {
        let got = got.get(name).map(|value| value.to_str().unwrap());
        same(&format!("header {name}"), value.as_str().unwrap(), got.unwrap_or("(none)"))?;
    }
    Ok(())
}

/// Does `got` match `expected`, in which strings may be matchers?
fn matches(path: &str, expected: &Value, got: &Value) -> Result<(), String> {
    let fail = || Err(format!("{path}:\n  got      {got}\n  expected {expected}"));
    match (expected, got) {
        (Value::String(matcher), _) if matcher == "@int" => {
            if got.is_i64() || got.is_u64() {
                Ok(())
            } else {
                fail()
            }
        }
        (Value::String(matcher), _) if matcher == "@string" => {
            if got.as_str().is_some_and(|text| !text.is_empty()) { Ok(()) } else { fail() }
        }
        (Value::String(expected), Value::String(text)) if path.ends_with(".arguments") => {
            let parse = |text: &str| serde_json::from_str::<Value>(text);
            match (parse(expected), parse(text)) {
                (Ok(expected), Ok(parsed)) => matches(&format!("{path} (parsed)"), &expected, &parsed),
                _ if expected == text => Ok(()), // a piece of a stream
                _ => fail(),
            }
        }
        (Value::Object(expected), Value::Object(members)) => {
            for name in expected.keys().chain(members.keys()) {
                match (expected.get(name), members.get(name)) {
                    (Some(expected), Some(got)) => matches(&format!("{path}.{name}"), expected, got)?,
                    (expected, got) => {
                        return Err(format!("{path}.{name}: got {got:?}, expected {expected:?}"));
                    }
                }
            }
            Ok(())
        }
        (Value::Array(expected), Value::Array(items)) if expected.len() == items.len() => {
            for (at, (expected, got)) in expected.iter().zip(items).enumerate() {
                matches(&format!("{path}[{at}]"), expected, got)?;
            }
            Ok(())
        }
        (Value::Number(expected), Value::Number(got)) if expected.as_f64() == got.as_f64() => Ok(()),
        (expected, got) if expected == got => Ok(()),
        _ => fail(),
    }
}

#[test]
fn the_matchers_can_fail() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (expected, got, passes) in [
        (r#""@int""#, "1", true),
        (r#""@int""#, "1.5", false),
        (r#""@int""#, "\"1\"", false),
        (r#""@string""#, "\"a\"", true),
        (r#""@string""#, "\"\"", false),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
        (r#"{"arguments":"{\"a\": 1}"}"#, r#"{"arguments":"{\"a\":1}"}"#, true),
        (r#"{"arguments":"{\"a\": 1}"}"#, r#"{"arguments":"{\"a\":2}"}"#, false),
        ("[1,2]", "[1]", false),
        ("1", "1.0", true),
        ("null", "0", false),
    ] {
        assert_eq!(matches("", &json(expected), &json(got)).is_ok(), passes, "{expected} {got}");
    }
}
