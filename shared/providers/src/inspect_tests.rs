use super::*;

fn chat(body: &str) -> Result<Facts, BadRequest> {
    inspect(Surface::ChatCompletions, body.as_bytes())
}

fn param(body: impl AsRef<[u8]>) -> String {
    let error = inspect(Surface::ChatCompletions, body.as_ref()).unwrap_err();
    assert!(!error.message.is_empty());
    error.param.unwrap()
}

#[test]
fn reads_the_facts() {
    let facts = chat(
        r#"{"model":"a","messages":[{"role":"user","content":"12345678"}],"stream":true,"max_tokens":5,
            "max_completion_tokens":7,"n":3,"stream_options":{"include_usage":true},"tools":[]}"#,
    )
    .unwrap();
    assert_eq!((facts.model.as_str(), facts.stream, facts.include_usage), ("a", true, true));
    assert_eq!((facts.max_tokens, facts.choices), (Some(7), 3));
    assert_eq!(facts.estimated_prompt_tokens(), 10);

    let facts = chat(r#"{"messages":[],"model":"é\n","stream":null,"max_tokens":1.5}"#).unwrap();
    assert_eq!((facts.model.as_str(), facts.stream, facts.include_usage), ("é\n", false, false));
    assert_eq!((facts.max_tokens, facts.choices), (None, 1));

    let facts = inspect(Surface::Messages, br#"{"messages":[],"model":"c","stream":true}"#).unwrap();
    assert!(facts.include_usage);
}

#[test]
fn errors_name_the_field() {
    for body in [
        "",
        " ",
        "[]",
        "\"x\"",
        "null",
        "{",
        "{\"model\":\"a\",\"messages\":[]",
        "{\"model\":\"a\",\"messages\":[]} x",
        "{\"model\":\"a\",\"messages\":[],}",
        "{\"model\":\"a\" \"messages\":[]}",
        "{'model':'a'}",
        "{\"model\":\"a\",\"messages\":[],\"x\":nul}",
        "{\"model\":\"a\",\"messages\":[\"\u{1}\"]}",
        "{\"model\":\"a\",\"messages\":[],\"\\ud800\":1}",
        "\u{feff}{\"model\":\"a\",\"messages\":[]}",
    ] {
        assert_eq!(param(body), "request_body", "{body}");
    }
    assert_eq!(param(b"{\"model\":\"\xff\",\"messages\":[]}"), "request_body");
    for body in [
        r#"{"messages":[]}"#,
        r#"{"model":null,"messages":[]}"#,
        r#"{"model":1,"messages":[]}"#,
        r#"{"model":"","messages":[]}"#,
        r#"{"model":["a"],"model":"a","messages":[]}"#,
        r#"{"model":"\ud800","messages":[]}"#,
    ] {
        assert_eq!(param(body), "model", "{body}");
    }
    for body in [r#"{"model":"a"}"#, r#"{"model":"a","messages":null}"#, r#"{"model":"a","messages":"[]"}"#] {
        assert_eq!(param(body), "messages", "{body}");
    }
    for stream in ["1", "\"true\"", "[]", "{}"] {
        assert_eq!(param(format!(r#"{{"model":"a","messages":[],"stream":{stream}}}"#)), "stream");
    }
}

#[test]
fn a_message_never_quotes_the_body() {
    for body in ["{\"model\":\"a\",\"messages\":[\"PROMPT\", PROMPT]}", "{\"model\":PROMPT}"] {
        let error = chat(body).unwrap_err();
        assert!(!error.message.contains("PROMPT"), "{}", error.message);
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        format!(r#"{{"model":"a","messages":[],"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    assert!(chat(&nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(param(nested(MAX_DEPTH)), "request_body");
    assert_eq!(param(nested(1_000_000)), "request_body");
    assert_eq!(param("[".repeat(1_000_000)), "request_body");
    let brackets = "[".repeat(1000);
    assert!(chat(&format!(r#"{{"model":"a","messages":["\"{brackets}\\","{brackets}"]}}"#)).is_ok());
}

#[test]
fn a_model_named_elsewhere_wins() {
    let facts = inspect_for(Surface::ChatCompletions, br#" {"messages":[]}"#, "path").unwrap();
    assert_eq!((facts.model.as_str(), facts.edits[0].with), ("path", Patch::ModelMember));
    let facts = inspect_for(Surface::ChatCompletions, br#"{"messages":[],"model":"b"}"#, "path").unwrap();
    assert_eq!((facts.model.as_str(), facts.edits[0].with), ("path", Patch::Model));
}
