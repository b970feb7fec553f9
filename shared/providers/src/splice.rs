//! The only two things that change in a body that is passed on: `model` and `stream_options`.

use bytes::Bytes;

use crate::inspect::{Facts, Patch};
use crate::json;

/// The body with the upstream's model name and, when it streams chat completions, with usage asked for. Every
/// other byte is the client's. `facts` must have been read from this very `body`.
#[must_use]
pub fn splice(body: &Bytes, facts: &Facts, model: &str) -> Bytes {
    let mut name = String::with_capacity(model.len() + 2);
    json::push_string(&mut name, model);
    let unchanged = facts.edits.iter().all(|edit| {
        edit.with == Patch::Model && body.get(edit.at.clone()).is_some_and(|old| old == name.as_bytes())
    });
    if unchanged {
        return body.clone();
    }

    let grown: usize = facts.edits.iter().map(|edit| name.len().max(patch_len(edit.with)) + 16).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut from = 0;
    for edit in &facts.edits {
        out.extend_from_slice(body.get(from..edit.at.start).unwrap_or_default());
        match edit.with {
            Patch::Model => out.extend_from_slice(name.as_bytes()),
            Patch::ModelMember => {
                out.extend_from_slice(b"\"model\":");
                out.extend_from_slice(name.as_bytes());
                out.push(b',');
            }
            Patch::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
        from = edit.at.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    Bytes::from(out)
}

fn patch_len(patch: Patch) -> usize {
    match patch {
        Patch::Model | Patch::ModelMember => 0,
        Patch::Text(text) => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{inspect, inspect_for};
    use crate::port::Surface;

    fn chat(body: &str, model: &str) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let facts = inspect(Surface::ChatCompletions, &body).unwrap();
        String::from_utf8(splice(&body, &facts, model).to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        assert_eq!(
            chat("\n{ \"model\" :\t\"gpt\" ,\"messages\":[{\"model\":\"keep\"}],\"x\":1.10 }\n", "up"),
            "\n{ \"model\" :\t\"up\" ,\"messages\":[{\"model\":\"keep\"}],\"x\":1.10 }\n"
        );
        assert_eq!(chat(r#"{"messages":[],"model":"a"}"#, "a"), r#"{"messages":[],"model":"a"}"#);
        assert_eq!(chat(r#"{"messages":[],"mod\u0065l":"a"}"#, "b"), r#"{"messages":[],"mod\u0065l":"b"}"#);
    }

    #[test]
    fn duplicate_keys_survive() {
        assert_eq!(
            chat(r#"{"model":"a","x":1,"model":"longer","messages":[],"x":2}"#, "up"),
            r#"{"model":"up","x":1,"model":"up","messages":[],"x":2}"#
        );
        assert_eq!(
            chat(
                r#"{"model":"a","stream":true,"messages":[],"stream_options":{},"stream_options":null}"#,
                "b"
            ),
            r#"{"model":"b","stream":true,"messages":[],"stream_options":{"include_usage":true},"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn the_model_is_escaped() {
        assert_eq!(
            chat(r#"{"model":"a","messages":[]}"#, "q\"\\\n\u{1}é"),
            "{\"model\":\"q\\\"\\\\\\n\\u0001é\",\"messages\":[]}"
        );
    }

    #[test]
    fn usage_is_asked_for_once() {
        let asked = |options: &str| {
            chat(&format!(r#"{{"stream_options":{options},"model":"a","messages":[],"stream":true}}"#), "a")
                .split_once(",\"model\"")
                .unwrap()
                .0
                .strip_prefix(r#"{"stream_options":"#)
                .unwrap()
                .to_owned()
        };
        for (client, upstream) in [
            ("{}", r#"{"include_usage":true}"#),
            ("null", r#"{"include_usage":true}"#),
            ("{ }", r#"{"include_usage":true }"#),
            (r#"{"include_usage":true}"#, r#"{"include_usage":true}"#),
            (r#"{"include_usage": false }"#, r#"{"include_usage": true }"#),
            (r#"{"include_usage":null}"#, r#"{"include_usage":true}"#),
            (r#"{"x":[1,{}]}"#, r#"{"include_usage":true,"x":[1,{}]}"#),
            (r#"{"x":{"include_usage":false}}"#, r#"{"include_usage":true,"x":{"include_usage":false}}"#),
            (
                r#"{"include_usage":false,"x":1,"include_usage":null}"#,
                r#"{"include_usage":true,"x":1,"include_usage":true}"#,
            ),
            ("1", "1"),
            (r#"{"include_usage":"yes"}"#, r#"{"include_usage":"yes"}"#),
        ] {
            assert_eq!(asked(client), upstream, "{client}");
        }
    }

    #[test]
    fn without_a_stream_nothing_is_asked() {
        for body in [
            r#"{"model":"a","messages":[],"stream":false}"#,
            r#"{"model":"a","messages":[],"stream_options":{"include_usage":false}}"#,
            r#"{"model":"a","stream":true,"messages":[],"stream":false}"#,
        ] {
            assert_eq!(chat(body, "a"), body);
        }
    }

    #[test]
    fn messages_get_no_stream_options() {
        let body = Bytes::from_static(br#"{"model":"a","messages":[],"stream":true}"#);
        let facts = inspect(Surface::Messages, &body).unwrap();
        assert_eq!(splice(&body, &facts, "b"), r#"{"model":"b","messages":[],"stream":true}"#);
    }

    #[test]
    fn an_unchanged_body_is_not_copied() {
        let body = Bytes::from_static(br#"{"model":"a","messages":[]}"#);
        let facts = inspect(Surface::ChatCompletions, &body).unwrap();
        assert_eq!(splice(&body, &facts, "a").as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_missing_model_is_added() {
        let body = Bytes::from_static(br#" {"messages":[],"stream":true } "#);
        let facts = inspect_for(Surface::ChatCompletions, &body, "path").unwrap();
        assert_eq!(
            splice(&body, &facts, "up"),
            r#" {"model":"up","messages":[],"stream":true ,"stream_options":{"include_usage":true}} "#
        );
    }

    #[test]
    fn facts_of_another_body_do_not_panic() {
        let facts =
            inspect(Surface::ChatCompletions, br#"{"messages":[],"model":"abc","stream":true}"#).unwrap();
        let _ = splice(&Bytes::from_static(b"{}"), &facts, "up");
    }
}
