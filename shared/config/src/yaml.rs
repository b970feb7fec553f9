//! YAML text → a tree. A plain text means what it means to LiteLLM's parser (PyYAML), save that `007` and `12:30` stay
//! texts, and `1e3` is a number.
//!
//! The tree is composed here from the events of `granit-parser`. A deserializer over it (`serde-saphyr`) has the same
//! outcome, brings a renderer of errors with pieces of the file, which may hold keys, and makes the request function
//! 0.4 MB larger.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::error::{ConfigError, shown};

/// The largest file that is read, in bytes. Secrets Manager holds 64 KiB; real files are a tenth of that.
const MAX_BYTES: usize = 1 << 20;
/// How deep mappings and lists may be in each other. Real files have seven levels.
const MAX_DEPTH: usize = 32;
/// The most nodes, those that aliases repeat included.
const MAX_NODES: usize = 100_000;

const TOO_MUCH: &str = "the file is too deep, too long, or repeats itself by too many aliases";

/// Reads a file, within limits that stop alias bombs and deep nesting.
///
/// # Errors
///
/// [`ConfigError::Yaml`] with the place, and never a line of the file: it may hold a key.
pub(crate) fn parse(text: &str) -> Result<Value, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(ConfigError::Yaml {
            line: 0,
            column: 0,
            problem: format!("the file is larger than {MAX_BYTES} bytes"),
        });
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let parser = Parser::new_from_str_with_options(text, options);
    Composer { parser, anchors: HashMap::new(), nodes: 0 }.document()
}

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// By the parser's id: a node that an alias may repeat, and how many nodes it is.
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    /// The one document of the file.
    fn document(mut self) -> Result<Value, ConfigError> {
        let mut document = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(document.unwrap_or_default()),
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (_, at) if document.is_some() => {
                    return Err(wrong(at, "a second document begins: expected one"));
                }
                (event, at) => document = Some(self.node(event, at, 0)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ConfigError> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            // The scanner's own sentences: fixed text, at most with the one character it stumbled over.
            Some(Err(error)) => Err(ConfigError::Yaml {
                line: error.marker().line() as u64,
                column: error.marker().col() as u64 + 1,
                problem: error.info(),
            }),
            None => Err(ConfigError::Yaml { line: 0, column: 0, problem: "the file is cut off".to_owned() }),
        }
    }

    /// A node, of which `event` is the first.
    fn node(&mut self, event: Event<'a>, at: Span, depth: usize) -> Result<Value, ConfigError> {
        self.nodes += 1;
        let first = self.nodes;
        if depth > MAX_DEPTH || first > MAX_NODES {
            return Err(wrong(at, TOO_MUCH));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let is_text = style != ScalarStyle::Plain || forced;
                let value = if is_text { Value::String(text.into_owned()) } else { plain(&text, at)? };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            // One that stands inside of what it names has no value yet.
            Event::Alias(anchor) => {
                let Some((value, size)) = self.anchors.get(&anchor) else {
                    return Err(wrong(at, "an alias has no anchor"));
                };
                self.nodes += size;
                if self.nodes > MAX_NODES {
                    return Err(wrong(at, TOO_MUCH));
                }
                return Ok(value.clone());
            }
            Event::UnresolvedAlias(_) => return Err(wrong(at, "an alias has no anchor")),
            _ => return Err(wrong(at, "the YAML cannot be read")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - first + 1));
        }
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let (mut fields, mut merged) = (Map::new(), Vec::new());
        loop {
            let (key, key_at) = self.next()?;
            let (name, style) = match key {
                Event::MappingEnd => break,
                Event::Scalar(name, style, ..) => (name, style),
                Event::Alias(_) | Event::UnresolvedAlias(_) => {
                    return Err(wrong(key_at, "an alias stands where a field's name should"));
                }
                _ => return Err(wrong(key_at, "a list or a mapping stands where a field's name should")),
            };
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            if name == "<<" && style == ScalarStyle::Plain {
                merge(value, &mut merged).ok_or_else(|| wrong(at, "<< brings in what is no mapping"))?;
                continue;
            }
            match fields.entry(name) {
                Entry::Vacant(field) => _ = field.insert(value),
                Entry::Occupied(field) => {
                    return Err(wrong(key_at, &format!("{} stands here twice", shown(field.key()))));
                }
            }
        }
        // What stands here itself wins, then what is brought in first.
        for (name, value) in merged.into_iter().flatten() {
            fields.entry(name).or_insert(value);
        }
        Ok(Value::Object(fields))
    }
}

/// The mappings that `<<` brings in; `None` when it is something else.
fn merge(value: Value, merged: &mut Vec<Map<String, Value>>) -> Option<()> {
    match value {
        Value::Object(fields) => merged.push(fields),
        Value::Array(items) => {
            for item in items {
                let Value::Object(fields) = item else { return None };
                merged.push(fields);
            }
        }
        _ => return None,
    }
    Some(())
}

/// What a text without quotes is: null, a boolean, a number, or itself.
fn plain(text: &str, at: Span) -> Result<Value, ConfigError> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.is_empty() || is(&["~", "null"]) {
        return Ok(Value::Null);
    }
    if is(&["true", "yes", "on"]) {
        return Ok(Value::Bool(true));
    }
    if is(&["false", "no", "off"]) {
        return Ok(Value::Bool(false));
    }
    if is(&[".inf", "+.inf", "-.inf", ".nan"]) {
        return Err(wrong(at, "a number is not finite"));
    }
    match number(text) {
        Some(Some(number)) => Ok(Value::Number(number)),
        Some(None) => Err(wrong(at, "a number is not finite")),
        None => Ok(Value::String(text.to_owned())),
    }
}

/// The number that a text is; `Some(None)`: it is beyond all numbers.
fn number(text: &str) -> Option<Option<Number>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let hexadecimal = text.strip_prefix("0x").map(|digits| (digits, 16));
    if let Some((digits, radix)) = hexadecimal.or_else(|| Some((text.strip_prefix("0o")?, 8))) {
        return u64::from_str_radix(digits, radix).ok().map(|number| Some(number.into()));
    }
    // Dates, versions and addresses have other characters, or too many points; 0123 is an identifier.
    let fits = |byte: u8| byte.is_ascii_digit() || b"._+-eE".contains(&byte);
    let begins = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let padded =
        digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") && !digits.starts_with("0e");
    if !begins || padded || !text.bytes().all(fits) {
        return None;
    }
    let text = text.replace('_', "");
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Some(whole.into()));
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Some(whole.into()));
    }
    text.parse().ok().map(Number::from_f64)
}

fn wrong(at: Span, problem: &str) -> ConfigError {
    let (line, column) = (at.start.line() as u64, at.start.col() as u64 + 1);
    ConfigError::Yaml { line, column, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn names_the_place() {
        assert_eq!(error("a: 1\na: 2\n"), "line 2, column 1: a stands here twice");
        assert_eq!(
            error("sk-1: 1\nsk-1: 2\n"),
            "line 2, column 1: (a name that is not shown) stands here twice"
        );
        assert_eq!(error("a: *missing\n"), "line 1, column 4: an alias has no anchor");
        assert_eq!(error("a: .inf\n"), "line 1, column 4: a number is not finite");
        assert_eq!(error("a: [1, 2\nb: 3\n"), "line 2, column 2: illegal placement of ':' indicator");
        assert_eq!(error("a: 1\n---\nb: 2\n"), "line 3, column 1: a second document begins: expected one");
    }

    #[test]
    fn a_plain_text_means_what_pyyaml_says_and_quotes_make_it_a_text() {
        for (text, expected) in [
            ("1", serde_json::json!(1)),
            ("-7", serde_json::json!(-7)),
            ("1_000", serde_json::json!(1000)),
            ("0x1F", serde_json::json!(31)),
            ("1.5", serde_json::json!(1.5)),
            (".5", serde_json::json!(0.5)),
            ("0.000015", serde_json::json!(0.000_015)),
            ("1.5e-6", serde_json::json!(0.000_001_5)),
            ("123456789012345678901", serde_json::json!(123_456_789_012_345_680_000.0)),
            ("On", serde_json::json!(true)),
            ("NO", serde_json::json!(false)),
            ("Null", serde_json::json!(null)),
            ("''", serde_json::json!("")),
            ("\"12\"", serde_json::json!("12")),
            ("!!str 12", serde_json::json!("12")),
            ("|-\n  yes", serde_json::json!("yes")),
        ] {
            assert_eq!(parse(&format!("a: {text}")).unwrap()["a"], expected, "{text}");
        }
        for text in ["y", "007", "1.2.3", "12:30", "2024-10-21", "1e", "0xyz", "e5", "+", ".", "sk-1_2"] {
            assert_eq!(parse(&format!("a: {text}")).unwrap()["a"], text);
        }
        assert_eq!(error("a: 1e999\n"), "line 1, column 4: a number is not finite");
    }

    #[test]
    fn merges_fill_in_what_is_not_there() {
        let tree = parse(
            "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nthree:\n  c: 3\n  <<: [*one, *two]\n  d: 3\n",
        );
        assert_eq!(tree.unwrap()["three"], serde_json::json!({"a": 1, "b": 1, "c": 3, "d": 3}));
        assert_eq!(error("a: {<<: 1}\n"), "line 1, column 9: << brings in what is no mapping");
        assert_eq!(error("a: &a {b: *a}\n"), "line 1, column 11: an alias has no anchor");
        assert_eq!(
            error("? [a]\n: 1\n"),
            "line 1, column 3: a list or a mapping stands where a field's name should"
        );
    }

    #[test]
    fn stops_bombs() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(error(&bomb).contains("too many aliases"), "{}", error(&bomb));
        assert!(error(&"[".repeat(100_000)).starts_with("line 1, "));
        assert!(error(&format!("a: {}", "- ".repeat(1_000))).starts_with("line 1, "));
        assert_eq!(
            error(&" ".repeat(MAX_BYTES + 1)),
            "line 0, column 0: the file is larger than 1048576 bytes"
        );
    }

    #[test]
    fn reads_what_pyyaml_reads() {
        let tree = parse("a: yes\nb: 'yes'\nc: 2024-10-21\nd: ~\ne: &x {k: 1}\nf: {<<: *x, l: 2}\n").unwrap();
        let expected = serde_json::json!({
            "a": true, "b": "yes", "c": "2024-10-21", "d": null, "e": {"k": 1}, "f": {"k": 1, "l": 2},
        });
        assert_eq!(tree, expected);
    }
}
