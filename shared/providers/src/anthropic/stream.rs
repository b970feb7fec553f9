//! A message stream as chat completion chunks.
//!
//! The upstream sends one content block at a time: start, deltas, stop. Text goes out as the bytes it came in. A
//! tool's index counts tools, not blocks; a tool without arguments gets `{}`; a thought goes out as it comes, and
//! once more whole, with its signature, when its block ends.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::errors;
use super::names::Originals;
use super::response::{Block, Message, finish_reason, string_token};
use crate::json::{self, Text};
use crate::port::{Call, Decoder, Failure, Surface};
use crate::sse::{Event, MAX_EVENT, Splitter};
use crate::upstream;
use crate::usage::{AnthropicUsage, Usage};

const SURFACE: Surface = Surface::ChatCompletions;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

/// The content block that is being sent.
enum Open {
    Thinking {
        text: String,
        signature: String,
    },
    /// `input` is what the block began with; most begin with `{}` and send their arguments in pieces.
    Tool {
        index: u64,
        input: String,
        begun: bool,
    },
    Other,
}

/// The decoder.
pub(super) struct ChatDecoder {
    splitter: Splitter,
    names: Originals,
    created: i64,
    include_usage: bool,
    /// A chunk's members before `choices`, made from the first event.
    head: String,
    open: Option<(Option<u64>, Open)>,
    tools: u64,
    finished: bool,
    over: bool,
    running: AnthropicUsage,
    usage: Option<Usage>,
}

impl ChatDecoder {
    pub(super) fn new(call: &Call<'_>) -> Self {
        Self {
            splitter: Splitter::new(),
            names: Originals::of(call),
            created: call.now,
            include_usage: call.facts.include_usage,
            head: String::new(),
            open: None,
            tools: 0,
            finished: false,
            over: false,
            running: AnthropicUsage::default(),
            usage: None,
        }
    }

    fn drive(&mut self, out: &mut String) -> Result<(), Failure> {
        while !self.over {
            let event = self
                .splitter
                .next_event()
                .map_err(|_| upstream::unreadable(SURFACE, "The upstream sent an event without end."))?;
            let Some(event) = event else { return Ok(()) };
            self.take(&event, out)?;
        }
        Ok(())
    }

    fn take(&mut self, event: &Event, out: &mut String) -> Result<(), Failure> {
        let Some(data) = &event.data else {
            if event.foreign && self.head.is_empty() {
                return Err(no_stream(&event.raw));
            }
            return Ok(());
        };
        let wire: Wire<'_> = serde_json::from_slice(data)
            .map_err(|_| upstream::unreadable(SURFACE, "The upstream sent an unreadable stream event."))?;
        match &*wire.r#type.0 {
            "error" => return Err(errors::inside(SURFACE, data)),
            "message_start" => self.start(wire.message.as_ref(), out),
            "content_block_start" => self.block_start(wire.index, wire.content_block, out)?,
            "content_block_delta" => {
                if let Some(delta) = &wire.delta {
                    self.block_delta(wire.index, delta, out)?;
                }
            }
            "content_block_stop" => self.block_stop(out),
            "message_delta" => {
                self.count(wire.usage);
                if let Some(reason) = wire.delta.and_then(|delta| delta.stop_reason) {
                    self.finish_chunk(finish_reason(&reason.0), out);
                }
            }
            "message_stop" => self.stop(out),
            _ => {} // ping, and events of later API versions
        }
        Ok(())
    }

    fn count(&mut self, usage: Option<&RawValue>) {
        if usage.is_some_and(|usage| self.running.overlay(usage.get())) {
            self.usage = Some(self.running.to_usage());
        }
    }

    fn start(&mut self, message: Option<&Message<'_>>, out: &mut String) {
        if !self.head.is_empty() {
            return;
        }
        self.head = format!(
            r#"data: {{"id":{},"object":"chat.completion.chunk","created":{},"model":{},"#,
            string_token(message.and_then(|message| message.id)),
            self.created,
            string_token(message.and_then(|message| message.model)),
        );
        self.count(message.and_then(|message| message.usage));
        self.delta(&[r#""role":"assistant","content":"""#], out);
    }

    /// Writes a chunk whose delta has the members `parts` make together.
    fn delta(&mut self, parts: &[&str], out: &mut String) {
        if self.head.is_empty() {
            self.start(None, out); // a stream that did not introduce itself
        }
        out.push_str(&self.head);
        out.push_str(r#""choices":[{"index":0,"delta":{"#);
        for part in parts {
            out.push_str(part);
        }
        out.push_str(r#"},"finish_reason":null}]"#);
        self.end_chunk(out);
    }

    fn end_chunk(&self, out: &mut String) {
        out.push_str(if self.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" });
    }

    fn finish_chunk(&mut self, reason: &str, out: &mut String) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.block_stop(out);
        if self.head.is_empty() {
            self.start(None, out);
        }
        out.push_str(&self.head);
        out.push_str(r#""choices":[{"index":0,"delta":{},"finish_reason":""#);
        out.push_str(reason);
        out.push_str(r#""}]"#);
        self.end_chunk(out);
    }

    fn stop(&mut self, out: &mut String) {
        self.finish_chunk("stop", out); // no reason was given
        if self.include_usage {
            out.push_str(&self.head);
            out.push_str(r#""choices":[],"usage":"#);
            out.push_str(&self.usage.clone().unwrap_or_default().to_openai());
            out.push_str("}\n\n");
        }
        out.push_str("data: [DONE]\n\n");
        self.over = true;
    }

    fn block_start(
        &mut self,
        index: Option<u64>,
        raw: Option<&RawValue>,
        out: &mut String,
    ) -> Result<(), Failure> {
        self.block_stop(out);
        let block: Option<Block<'_>> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let (Some(block), Some(raw)) = (block, raw) else {
            return Err(upstream::unreadable(SURFACE, "The upstream sent an unreadable content block."));
        };
        let open = match &*block.r#type.0 {
            "text" => {
                self.piece(r#""content":"#, block.text, out);
                Open::Other
            }
            "thinking" => {
                self.piece(r#""reasoning_content":"#, block.thinking, out);
                Open::Thinking {
                    text: block.thinking.map_or("", json::inner).to_owned(),
                    signature: block.signature.map_or("", json::inner).to_owned(),
                }
            }
            "redacted_thinking" => {
                self.delta(&[r#""thinking_blocks":["#, &one_line(raw.get()), "]"], out);
                Open::Other
            }
            "tool_use" => self.tool_start(&block, out),
            _ => Open::Other, // what the provider's own tools do is not the client's to answer
        };
        self.open = Some((index, open));
        Ok(())
    }

    fn tool_start(&mut self, block: &Block<'_>, out: &mut String) -> Open {
        let index = self.tools;
        self.tools += 1;
        let mut name = String::new();
        json::push_string(&mut name, self.names.name(block.name.as_ref().map_or("", |name| &*name.0)));
        self.delta(
            &[
                r#""tool_calls":[{"index":"#,
                &index.to_string(),
                r#","id":"#,
                string_token(block.id),
                r#","type":"function","function":{"name":"#,
                &name,
                r#","arguments":""}}]"#,
            ],
            out,
        );
        Open::Tool { index, input: json::compact(block.input.map_or("{}", RawValue::get)), begun: false }
    }

    /// Writes a delta of one member whose value is the string token `raw`, unless it is empty.
    fn piece(&mut self, member: &str, raw: Option<&RawValue>, out: &mut String) {
        if let Some(raw) = raw.filter(|raw| !json::inner(raw).is_empty()) {
            self.delta(&[member, raw.get()], out);
        }
    }

    fn block_delta(
        &mut self,
        index: Option<u64>,
        delta: &Delta<'_>,
        out: &mut String,
    ) -> Result<(), Failure> {
        let mine = self.open.as_ref().is_some_and(|(open, _)| *open == index);
        match delta.r#type.as_ref().map_or("", |kind| &*kind.0) {
            "text_delta" => self.piece(r#""content":"#, delta.text, out),
            "thinking_delta" => {
                self.piece(r#""reasoning_content":"#, delta.thinking, out);
                if let Some((_, Open::Thinking { text, .. })) = self.open.as_mut().filter(|_| mine) {
                    grow(text, delta.thinking)?;
                }
            }
            "signature_delta" => {
                if let Some((_, Open::Thinking { signature, .. })) = self.open.as_mut().filter(|_| mine) {
                    grow(signature, delta.signature)?;
                }
            }
            "input_json_delta" => {
                let piece = delta.partial_json.filter(|piece| !json::inner(piece).is_empty());
                if let Some((_, Open::Tool { index, begun, .. })) = self.open.as_mut().filter(|_| mine)
                    && let Some(piece) = piece
                {
                    *begun = true;
                    let index = *index;
                    self.arguments(index, piece.get(), out);
                }
            }
            _ => {} // citations, and deltas of later API versions
        }
        Ok(())
    }

    fn arguments(&mut self, index: u64, token: &str, out: &mut String) {
        self.delta(
            &[r#""tool_calls":[{"index":"#, &index.to_string(), r#","function":{"arguments":"#, token, "}}]"],
            out,
        );
    }

    fn block_stop(&mut self, out: &mut String) {
        match self.open.take() {
            Some((_, Open::Thinking { text, signature })) if !signature.is_empty() => self.delta(
                &[
                    r#""thinking_blocks":[{"type":"thinking","thinking":""#,
                    &text,
                    r#"","signature":""#,
                    &signature,
                    r#""}]"#,
                ],
                out,
            ),
            Some((_, Open::Tool { index, input, begun: false })) => {
                let mut token = String::with_capacity(input.len() + 2);
                json::push_string(&mut token, &input);
                self.arguments(index, &token, out);
            }
            _ => {}
        }
    }

    fn end(&mut self, out: &mut String) -> Result<(), Failure> {
        if self.over {
            return Ok(());
        }
        if let Some(event) = self.splitter.finish() {
            let whole = event
                .data
                .as_deref()
                .is_some_and(|data| serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok());
            if whole || (event.foreign && self.head.is_empty()) {
                self.take(&event, out)?;
            }
        }
        if self.over { Ok(()) } else { Err(upstream::truncated(SURFACE)) }
    }
}

/// Appends a string token's inside, up to the size of one event.
fn grow(text: &mut String, raw: Option<&RawValue>) -> Result<(), Failure> {
    let more = raw.map_or("", json::inner);
    if text.len() + more.len() > MAX_EVENT {
        return Err(upstream::unreadable(SURFACE, "The upstream sent a thought without end."));
    }
    text.push_str(more);
    Ok(())
}

/// A value that came in several `data` lines, on one.
fn one_line(json: &str) -> String {
    json::compact(json)
}

fn no_stream(body: &[u8]) -> Failure {
    match serde_json::from_slice::<Wire<'_>>(body) {
        Ok(wire) if wire.r#type.0 == "error" => errors::inside(SURFACE, body),
        _ => upstream::unreadable(SURFACE, "The upstream did not send an event stream."),
    }
}

impl Decoder for ChatDecoder {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        if self.over {
            return Ok(());
        }
        self.splitter.push(chunk);
        let mut text = String::new();
        let result = self.drive(&mut text);
        emit(text, out);
        self.over |= result.is_err();
        result
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let mut text = String::new();
        let result = self.end(&mut text);
        emit(text, out);
        self.over = true;
        result
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}

fn emit(text: String, out: &mut Vec<Bytes>) {
    if !text.is_empty() {
        out.push(text.into());
    }
}
