//! A whole message as a chat completion.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::errors;
use super::names::Originals;
use crate::json::{self, Text};
use crate::port::{Call, Failure, Reply};
use crate::upstream;
use crate::usage::AnthropicUsage;

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) r#type: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// A content block, or the start of one in a stream.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) r#type: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) signature: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// OpenAI's word for why the answer ended. Unknown reasons are a plain stop.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" | "compaction" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop", // end_turn, stop_sequence
    }
}

/// A string token for `raw`, or an empty string for what is no string.
pub(super) fn string_token(raw: Option<&RawValue>) -> &str {
    raw.filter(|raw| json::is_string(raw)).map_or("\"\"", RawValue::get)
}

/// The completion for the client, and its usage.
pub(super) fn translate(call: &Call<'_>, body: &[u8]) -> Result<Reply, Failure> {
    let unreadable = || upstream::unreadable(call.surface, "The upstream's answer is not a message.");
    let message: Message<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
    if message.r#type.as_ref().is_some_and(|kind| kind.0 == "error") {
        return Err(errors::inside(call.surface, body));
    }
    let blocks = message.content.as_ref().ok_or_else(unreadable)?;
    let answer = Answer::of(blocks, &Originals::of(call)).ok_or_else(unreadable)?;

    let mut usage = AnthropicUsage::default();
    let metered = message.usage.is_some_and(|raw| usage.overlay(raw.get()));
    let usage = metered.then(|| usage.to_usage());

    let mut out = String::with_capacity(body.len() + 256);
    out.push_str(r#"{"id":"#);
    out.push_str(string_token(message.id));
    out.push_str(r#","object":"chat.completion","created":"#);
    out.push_str(&call.now.to_string());
    out.push_str(r#","model":"#);
    out.push_str(string_token(message.model));
    out.push_str(r#","choices":[{"index":0,"message":{"role":"assistant","content":"#);
    answer.write(&mut out);
    out.push_str(r#"},"finish_reason":""#);
    out.push_str(finish_reason(message.stop_reason.as_ref().map_or("", |reason| &*reason.0)));
    out.push_str("\"}]");
    if let Some(usage) = &usage {
        out.push_str(r#","usage":"#);
        out.push_str(&usage.to_openai());
    }
    out.push('}');
    Ok(Reply { body: Bytes::from(out), usage })
}

/// What a message says, as JSON fragments. Text keeps its escapes.
#[derive(Default)]
struct Answer {
    text: Option<String>,
    thoughts: Option<String>,
    thinking_blocks: Vec<String>,
    tool_calls: Vec<String>,
}

impl Answer {
    /// `None` when something in `blocks` is no block.
    fn of(blocks: &[&RawValue], names: &Originals) -> Option<Self> {
        let mut answer = Self::default();
        for raw in blocks {
            let block: Block<'_> = serde_json::from_str(raw.get()).ok()?;
            match &*block.r#type.0 {
                "text" => {
                    answer.text.get_or_insert_default().push_str(block.text.map_or("", json::inner));
                }
                "thinking" => {
                    answer.thoughts.get_or_insert_default().push_str(block.thinking.map_or("", json::inner));
                    answer.thinking_blocks.push(raw.get().to_owned());
                }
                "redacted_thinking" => answer.thinking_blocks.push(raw.get().to_owned()),
                "tool_use" => answer.tool_calls.push(tool_call(&block, names)),
                _ => {} // what the provider's own tools did is not the client's to answer
            }
        }
        Some(answer)
    }

    /// The message's members from the value of `content` on.
    fn write(&self, out: &mut String) {
        let quoted = |out: &mut String, text: &str| {
            out.push('"');
            out.push_str(text);
            out.push('"');
        };
        match self.text.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => quoted(out, text),
            None => out.push_str("null"),
        }
        if let Some(thoughts) = self.thoughts.as_deref().filter(|thoughts| !thoughts.is_empty()) {
            out.push_str(r#","reasoning_content":"#);
            quoted(out, thoughts);
        }
        for (name, list) in [("thinking_blocks", &self.thinking_blocks), ("tool_calls", &self.tool_calls)] {
            if !list.is_empty() {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":[");
                out.push_str(&list.join(","));
                out.push(']');
            }
        }
    }
}

fn tool_call(block: &Block<'_>, names: &Originals) -> String {
    let mut out = String::with_capacity(128 + block.input.map_or(0, |input| input.get().len()));
    out.push_str(r#"{"id":"#);
    out.push_str(string_token(block.id));
    out.push_str(r#","type":"function","function":{"name":"#);
    json::push_string(&mut out, names.name(block.name.as_ref().map_or("", |name| &*name.0)));
    out.push_str(r#","arguments":"#);
    json::push_string(&mut out, &json::compact(block.input.map_or("{}", RawValue::get)));
    out.push_str("}}");
    out
}
