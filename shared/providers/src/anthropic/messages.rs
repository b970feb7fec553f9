//! OpenAI's messages as Anthropic's system blocks and turns.
//!
//! Neighbours of one role become one turn; the results of one assistant turn's tool calls stand together at the
//! start of the next user turn. Empty text, which Anthropic refuses, is left out.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::parts::{self, Place};
use super::request::{Limits, wrong};
use super::tools::{Names, Token};
use crate::json::{self, Text};
use crate::port::BadRequest;

/// A content block.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Token<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
        /// Was it a message's whole content, as a plain string?
        #[serde(skip)]
        plain: bool,
    },
    Image {
        source: parts::Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Document {
        source: parts::Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Token<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<ResultContent<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    /// A thinking block, verbatim: its signature covers it.
    #[serde(untagged)]
    Verbatim(&'a RawValue),
}

impl<'a> Block<'a> {
    /// Marks the end of a cached prefix, unless the block says so itself.
    fn cache(&mut self, mark: Option<&'a RawValue>) {
        let (Self::Text { cache_control, .. }
        | Self::Image { cache_control, .. }
        | Self::Document { cache_control, .. }
        | Self::ToolUse { cache_control, .. }
        | Self::ToolResult { cache_control, .. }) = self
        else {
            return;
        };
        if cache_control.is_none() {
            *cache_control = mark;
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ResultContent<'a> {
    Text(&'a RawValue),
    Blocks(Vec<Block<'a>>),
}

/// One turn: tool results, then everything else.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    role: &'static str,
    results: Vec<Block<'a>>,
    blocks: Vec<Block<'a>>,
}

impl Serialize for Turn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut turn = serializer.serialize_struct("Turn", 2)?;
        turn.serialize_field("role", self.role)?;
        match (&self.results[..], &self.blocks[..]) {
            ([], [Block::Text { text, cache_control: None, plain: true }]) => {
                turn.serialize_field("content", text)?;
            }
            (results, blocks) => turn.serialize_field("content", &Both(results, blocks))?,
        }
        turn.end()
    }
}

struct Both<'s, 'a>(&'s [Block<'a>], &'s [Block<'a>]);

impl Serialize for Both<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().chain(self.1))
    }
}

/// The assistant turn that the model is to go on with, without an end by the user: an open tool loop, or the
/// start of an answer. Where its first turn stands.
fn open_turn(turns: &[Turn<'_>]) -> Option<usize> {
    let closed = turns.iter().rposition(|turn| turn.role != "assistant" && turn.results.is_empty());
    let start = closed.map_or(0, |at| at + 1);
    let offset = turns.get(start..)?.iter().position(|turn| turn.role == "assistant")?;
    Some(start + offset)
}

/// May the model think by budget here? Anthropic refuses it when the assistant turn that goes on does not start
/// with a thought (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>).
pub(super) fn may_take_budget(turns: &[Turn<'_>]) -> bool {
    open_turn(turns)
        .and_then(|at| turns.get(at)?.blocks.first())
        .is_none_or(|first| matches!(first, Block::Verbatim(_)))
}

/// Takes the thoughts out of the assistant turn that goes on: it may have none when it goes on without thinking.
pub(super) fn forget_thoughts(turns: &mut Vec<Turn<'_>>) {
    let Some(start) = open_turn(turns) else { return };
    for turn in turns.iter_mut().skip(start) {
        turn.blocks.retain(|block| !matches!(block, Block::Verbatim(_)));
    }
    turns.retain(|turn| !turn.results.is_empty() || !turn.blocks.is_empty());
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    thinking_blocks: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Reads an array of messages and remembers how far it came.
struct MessagesSeed<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for MessagesSeed<'_> {
    type Value = Vec<Message<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MessagesSeed<'_> {
    type Value = Vec<Message<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = seq.next_element()? {
            messages.push(message);
            self.0.set(messages.len());
        }
        Ok(messages)
    }
}

/// The `system` blocks and the turns.
pub(super) fn translate<'a>(
    json: &'a str,
    names: &mut Names<'a>,
    limits: Limits,
) -> Result<(Vec<Block<'a>>, Vec<Turn<'a>>), BadRequest> {
    let reached = Cell::new(0);
    let messages = MessagesSeed(&reached)
        .deserialize(&mut serde_json::Deserializer::from_str(json))
        .map_err(|_| wrong(&format!("messages[{}]", reached.get()), "is not a message"))?;

    let mut conversation = Conversation { system: Vec::new(), turns: Vec::new(), names };
    for (at, message) in messages.into_iter().enumerate() {
        conversation.add(at, message, limits)?;
    }
    let Conversation { system, mut turns, .. } = conversation;
    if turns.is_empty() {
        return Err(wrong("messages", "must have a message of a user or an assistant that is not empty"));
    }
    trim_end(&mut turns);
    Ok((system, turns))
}

struct Conversation<'n, 'a> {
    system: Vec<Block<'a>>,
    turns: Vec<Turn<'a>>,
    names: &'n mut Names<'a>,
}

impl<'a> Conversation<'_, 'a> {
    fn add(&mut self, at: usize, message: Message<'a>, limits: Limits) -> Result<(), BadRequest> {
        match &*message.role.0 {
            "system" | "developer" => {
                let mut blocks = content(at, message.content, Place::System)?;
                cache_last(&mut blocks, message.cache_control);
                if self.turns.is_empty() {
                    for block in &mut blocks {
                        if let Block::Text { plain, .. } = block {
                            *plain = false;
                        }
                    }
                    self.system.append(&mut blocks);
                } else {
                    let role = if limits.abilities.mid_conversation_system { "system" } else { "user" };
                    self.extend(role, blocks);
                }
            }
            "user" => {
                let mut blocks = content(at, message.content, Place::User)?;
                cache_last(&mut blocks, message.cache_control);
                self.extend("user", blocks);
            }
            "assistant" => {
                let blocks = self.assistant(at, message)?;
                self.extend("assistant", blocks);
            }
            "tool" => {
                let result = self.tool_result(at, message)?;
                if let Some(turn) = self.turn("user") {
                    turn.results.push(result);
                }
            }
            _ => {
                return Err(wrong(
                    &format!("messages[{at}].role"),
                    "must be system, developer, user, assistant or tool",
                ));
            }
        }
        Ok(())
    }

    fn extend(&mut self, role: &'static str, mut blocks: Vec<Block<'a>>) {
        if blocks.is_empty() {
            return;
        }
        if let Some(turn) = self.turn(role) {
            turn.blocks.append(&mut blocks);
        }
    }

    /// The last turn when it is of this role, else a new one.
    fn turn(&mut self, role: &'static str) -> Option<&mut Turn<'a>> {
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn { role, results: Vec::new(), blocks: Vec::new() });
        }
        self.turns.last_mut()
    }

    fn assistant(&mut self, at: usize, message: Message<'a>) -> Result<Vec<Block<'a>>, BadRequest> {
        let mut blocks: Vec<Block<'a>> = message
            .thinking_blocks
            .unwrap_or_default()
            .into_iter()
            .filter(|block| parts::is_replayable(block))
            .map(Block::Verbatim)
            .collect();
        blocks.append(&mut content(at, message.content, Place::Assistant)?);
        if message.content.is_none()
            && let Some(refusal) =
                message.refusal.filter(|text| json::is_string(text) && !json::is_blank(text))
        {
            blocks.push(Block::Text { text: Token::Raw(refusal), cache_control: None, plain: true });
        }
        for (call_at, call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
            let field = format!("messages[{at}].tool_calls[{call_at}]");
            let function =
                call.function.ok_or_else(|| wrong(&field, "must be a function call for this provider"))?;
            let id = call.id.ok_or_else(|| wrong(&format!("{field}.id"), "is missing"))?;
            blocks.push(Block::ToolUse {
                id: self.names.id(&id.0),
                name: self.names.tool(&function.name.0),
                input: arguments(function.arguments)
                    .ok_or_else(|| wrong(&format!("{field}.function.arguments"), "must be a JSON object"))?,
                cache_control: call.cache_control,
            });
        }
        cache_last(&mut blocks, message.cache_control);
        Ok(blocks)
    }

    fn tool_result(&mut self, at: usize, message: Message<'a>) -> Result<Block<'a>, BadRequest> {
        let id = message
            .tool_call_id
            .ok_or_else(|| wrong(&format!("messages[{at}].tool_call_id"), "is missing"))?;
        let content = match message.content {
            Some(text) if json::is_string(text) => {
                (!json::is_blank(text)).then_some(ResultContent::Text(text))
            }
            other => {
                let blocks = content(at, other, Place::ToolResult)?;
                (!blocks.is_empty()).then_some(ResultContent::Blocks(blocks))
            }
        };
        Ok(Block::ToolResult {
            tool_use_id: self.names.id(&id.0),
            content,
            cache_control: message.cache_control,
        })
    }
}

fn cache_last<'a>(blocks: &mut [Block<'a>], mark: Option<&'a RawValue>) {
    if let Some(last) = blocks.last_mut() {
        last.cache(mark);
    }
}

/// A message's content: a string or an array of parts.
fn content(at: usize, raw: Option<&RawValue>, place: Place) -> Result<Vec<Block<'_>>, BadRequest> {
    match raw {
        None => Ok(Vec::new()),
        Some(text) if json::is_string(text) => Ok(if json::is_blank(text) {
            Vec::new()
        } else {
            vec![Block::Text { text: Token::Raw(text), cache_control: None, plain: true }]
        }),
        Some(array) => parts::translate(at, array, place),
    }
}

/// A tool call's arguments, a JSON object written as a string, as the object.
fn arguments(raw: Option<&RawValue>) -> Option<Token<'_>> {
    let empty = || Token::own("{}".to_owned());
    let Some(raw) = raw else { return empty() };
    if !json::is_string(raw) {
        return raw.get().starts_with('{').then_some(Token::Raw(raw));
    }
    if json::is_blank(raw) {
        return empty();
    }
    let text = json::string(raw)?;
    let object = text.trim();
    if !object.starts_with('{') {
        return None;
    }
    Token::own(object.to_owned())
}

/// Anthropic refuses a last assistant turn, which it would continue, that ends with white space.
fn trim_end(turns: &mut [Turn<'_>]) {
    if let Some(Turn { role: "assistant", blocks, .. }) = turns.last_mut()
        && let Some(Block::Text { text, .. }) = blocks.last_mut()
        && let Token::Raw(raw) = text
        && let Some(full) = json::string(raw)
        && full.trim_end() != full
    {
        let mut trimmed = String::with_capacity(full.len() + 2);
        json::push_string(&mut trimmed, full.trim_end());
        if let Some(token) = Token::own(trimmed) {
            *text = token;
        }
    }
}
