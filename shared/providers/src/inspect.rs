//! One look at the client's body: what routing needs and where the splices go, without building a tree.
//!
//! serde_json walks the body once and skips what is not needed; skipping does not recurse, so nesting is measured
//! apart, by a scan that jumps over strings.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{self, Text};
use crate::port::{BadRequest, Surface};

/// How deep a body may nest: serde_json's own limit for whatever it builds.
const MAX_DEPTH: usize = 128;

/// What was read from a request body. The offsets inside are those of that body and of no other.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The model that the client asked for. Of a key given twice the last counts, as with most JSON readers.
    pub model: String,
    /// Does the client want a stream?
    pub stream: bool,
    /// Does the client want usage in its stream? Always true where the format always has it.
    pub include_usage: bool,
    /// `max_completion_tokens`, else `max_tokens`, when it is a whole number.
    pub max_tokens: Option<u64>,
    /// How many answers are asked for (`n`), 1 when absent; an upper bound for estimates.
    pub choices: u64,
    /// Where `messages` lies in the body.
    pub(crate) messages: Range<usize>,
    /// Where `tools` lies in the body.
    pub(crate) tools: Option<Range<usize>>,
    /// What [`crate::splice::splice`] replaces, by offset.
    pub(crate) edits: Vec<Edit>,
}

impl Facts {
    /// A rough count of the prompt's tokens: four bytes each.
    #[must_use]
    pub fn estimated_prompt_tokens(&self) -> u64 {
        let bytes = self.messages.len() + self.tools.as_ref().map_or(0, ExactSizeIterator::len);
        u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
    }
}

/// One replacement in the body.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) at: Range<usize>,
    pub(crate) with: Patch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patch {
    /// The upstream's model name.
    Model,
    /// A `"model":…,` member, where the body has none.
    ModelMember,
    Text(&'static str),
}

/// Reads a body whose `model` names the model.
///
/// # Errors
///
/// [`BadRequest`] names the field: `request_body` (not JSON, not an object, not UTF-8, nested too deep), `model`,
/// `messages` or `stream`.
pub fn inspect(surface: Surface, body: &[u8]) -> Result<Facts, BadRequest> {
    read(surface, body, None)
}

/// Reads a body whose model was named elsewhere (`/engines/{model}/chat/completions`), where the body may leave
/// `model` out.
///
/// # Errors
///
/// As [`inspect`].
pub fn inspect_for(surface: Surface, body: &[u8], model: &str) -> Result<Facts, BadRequest> {
    read(surface, body, Some(model))
}

fn read(surface: Surface, body: &[u8], named: Option<&str>) -> Result<Facts, BadRequest> {
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(&format!("not UTF-8 (byte {})", error.valid_up_to())))?;
    let start = text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len();
    if !text[start..].starts_with('{') {
        return Err(malformed("it must be a JSON object"));
    }
    if depth_exceeds(body, MAX_DEPTH) {
        return Err(malformed(&format!("nested deeper than {MAX_DEPTH} levels")));
    }
    let mut scan = Scan { text, surface, ..Scan::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    ScanSeed(&mut scan).deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(
        |error| {
            // serde_json's own words may quote the body; the position never does.
            malformed(&format!("invalid JSON at line {} column {}", error.line(), error.column()))
        },
    )?;
    scan.finish(named, start)
}

fn malformed(detail: &str) -> BadRequest {
    BadRequest {
        message: format!("The request body could not be read: {detail}."),
        param: Some("request_body".to_owned()),
        code: None,
    }
}

fn wrong(field: &str, message: &str) -> BadRequest {
    BadRequest { message: message.to_owned(), param: Some(field.to_owned()), code: None }
}

/// Does the document nest deeper than `limit`? Brackets inside strings do not count.
fn depth_exceeds(body: &[u8], limit: usize) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = body.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                    at += found + 1;
                    if body.get(at - 1) == Some(&b'"') {
                        break;
                    }
                    at += 1; // the escaped character
                }
            }
            _ => {}
        }
    }
    false
}

#[derive(Clone, Copy)]
enum Key {
    Model,
    Messages,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    N,
    Tools,
    IncludeUsage,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "model" => Key::Model,
                    "messages" => Key::Messages,
                    "stream" => Key::Stream,
                    "stream_options" => Key::StreamOptions,
                    "max_tokens" => Key::MaxTokens,
                    "max_completion_tokens" => Key::MaxCompletionTokens,
                    "n" => Key::N,
                    "tools" => Key::Tools,
                    "include_usage" => Key::IncludeUsage,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

/// What one walk over the top level collects.
struct Scan<'a> {
    text: &'a str,
    surface: Surface,
    model: Option<Text<'a>>,
    model_wrong: bool,
    models: Vec<Range<usize>>,
    messages: Option<&'a str>,
    stream: Option<&'a str>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    tools: Option<Range<usize>>,
    stream_options: bool,
    include_usage: bool,
    usage_edits: Vec<Edit>,
}

impl Default for Scan<'_> {
    fn default() -> Self {
        Self {
            text: "",
            surface: Surface::ChatCompletions,
            model: None,
            model_wrong: false,
            models: Vec::new(),
            messages: None,
            stream: None,
            max_tokens: None,
            max_completion_tokens: None,
            n: None,
            tools: None,
            stream_options: false,
            include_usage: false,
            usage_edits: Vec::new(),
        }
    }
}

impl<'a> Scan<'a> {
    fn take(&mut self, key: Key, raw: &'a RawValue) {
        let at = json::span(self.text, raw.get());
        match key {
            Key::Model => {
                self.model = serde_json::from_str(raw.get()).ok();
                self.model_wrong |= self.model.is_none();
                self.models.push(at);
            }
            Key::Messages => self.messages = Some(raw.get()),
            Key::Stream => self.stream = Some(raw.get()),
            Key::StreamOptions => self.take_stream_options(raw, at),
            Key::MaxTokens => self.max_tokens = raw.get().parse().ok(),
            Key::MaxCompletionTokens => self.max_completion_tokens = raw.get().parse().ok(),
            Key::N => self.n = raw.get().parse().ok(),
            Key::Tools => self.tools = Some(at),
            Key::IncludeUsage | Key::Other => {}
        }
    }

    fn take_stream_options(&mut self, raw: &'a RawValue, at: Range<usize>) {
        self.stream_options = true;
        self.include_usage = false;
        if raw.get() == "null" {
            self.usage_edits.push(Edit { at, with: Patch::Text(r#"{"include_usage":true}"#) });
            return;
        }
        let mut members = Members { text: self.text, found: Vec::new(), any: false };
        if MembersSeed(&mut members).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).is_err()
        {
            return; // not an object: the upstream's to refuse
        }
        if members.found.is_empty() {
            let member = if members.any { r#""include_usage":true,"# } else { r#""include_usage":true"# };
            let open = at.start + 1;
            self.usage_edits.push(Edit { at: open..open, with: Patch::Text(member) });
        }
        for (value, at) in members.found {
            self.include_usage = value == "true";
            if matches!(value, "false" | "null") {
                self.usage_edits.push(Edit { at, with: Patch::Text("true") });
            }
        }
    }

    fn finish(self, named: Option<&str>, start: usize) -> Result<Facts, BadRequest> {
        if self.model_wrong {
            return Err(wrong("model", "`model` must be a string."));
        }
        let model = match (named, self.model) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) if !name.0.is_empty() => name.0.into_owned(),
            (None, Some(_)) => return Err(wrong("model", "`model` must not be empty.")),
            (None, None) => return Err(wrong("model", "`model` is missing.")),
        };
        let messages = match self.messages {
            Some(messages) if messages.starts_with('[') => json::span(self.text, messages),
            Some(_) => return Err(wrong("messages", "`messages` must be an array.")),
            None => return Err(wrong("messages", "`messages` is missing.")),
        };
        let stream = match self.stream {
            Some("true") => true,
            Some("false" | "null") | None => false,
            Some(_) => return Err(wrong("stream", "`stream` must be true or false.")),
        };

        let mut edits: Vec<Edit> =
            self.models.into_iter().map(|at| Edit { at, with: Patch::Model }).collect();
        if edits.is_empty() {
            edits.push(Edit { at: start + 1..start + 1, with: Patch::ModelMember });
        }
        let chat = self.surface == Surface::ChatCompletions;
        if chat && stream {
            edits.extend(self.usage_edits);
            if !self.stream_options
                && let Some(end) = self.text.rfind('}')
            {
                let member = r#","stream_options":{"include_usage":true}"#;
                edits.push(Edit { at: end..end, with: Patch::Text(member) });
            }
            edits.sort_by_key(|edit| edit.at.start);
        }
        Ok(Facts {
            model,
            stream,
            include_usage: !chat || self.include_usage,
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            choices: self.n.unwrap_or(1).max(1),
            messages,
            tools: self.tools,
            edits,
        })
    }
}

struct ScanSeed<'s, 'a>(&'s mut Scan<'a>);

impl<'de> DeserializeSeed<'de> for ScanSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ScanSeed<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            if matches!(key, Key::Other) {
                map.next_value::<IgnoredAny>()?;
            } else {
                self.0.take(key, map.next_value()?);
            }
        }
        Ok(())
    }
}

/// The `include_usage` members of one `stream_options`.
struct Members<'a> {
    text: &'a str,
    found: Vec<(&'a str, Range<usize>)>,
    any: bool,
}

struct MembersSeed<'s, 'a>(&'s mut Members<'a>);

impl<'de> DeserializeSeed<'de> for MembersSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MembersSeed<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            self.0.any = true;
            let raw: &'de RawValue = map.next_value()?;
            if matches!(key, Key::IncludeUsage) {
                self.0.found.push((raw.get(), json::span(self.0.text, raw.get())));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
