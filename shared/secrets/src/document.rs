//! A secret as it was read, and its fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use secrecy::SecretString;
use serde_json::value::RawValue;

use crate::{Secret, SecretError, SecretValue};

mod env_file;

/// A secret that may hold fields: a JSON object, or `KEY=value` lines. It is parsed at the first question for
/// a field, once.
pub(crate) struct Document {
    whole: Secret,
    fields: OnceLock<Result<Fields, String>>,
}

/// The fields by name. `None` is one that holds no text: an object, a list or null.
type Fields = BTreeMap<String, Option<SecretValue>>;

impl Document {
    pub(crate) fn new(whole: Secret) -> Self {
        Self { whole, fields: OnceLock::new() }
    }

    /// The whole value and its version.
    pub(crate) fn whole(&self) -> &Secret {
        &self.whole
    }

    /// One field's value, at the version of the whole. `reference` is for the error.
    pub(crate) fn field(&self, field: &str, reference: &dyn Fn() -> String) -> Result<Secret, SecretError> {
        if self.whole.value.is_field(field) {
            return Ok(self.whole.clone());
        }
        let fields = self.fields.get_or_init(|| parse(self.whole.value.expose()));
        let fields = fields.as_ref().map_err(|what| SecretError::malformed(reference(), what))?;
        match fields.get(field) {
            None => Err(SecretError::not_found(reference(), "the secret has no such field")),
            Some(None) => Err(SecretError::malformed(reference(), "not a string, a number or a boolean")),
            Some(Some(value)) if value.expose().is_empty() => {
                Err(SecretError::malformed(reference(), "the field is empty"))
            }
            Some(Some(value)) => Ok(Secret { value: value.clone(), ..self.whole.clone() }),
        }
    }
}

/// The fields of `text`, or what is wrong with it, in words that hold none of it.
fn parse(text: &str) -> Result<Fields, String> {
    if text.trim_start().starts_with(['{', '[', '"']) { json(text) } else { env_file::parse(text) }
}

fn json(text: &str) -> Result<Fields, String> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text)
        .map_err(|error| format!("not a JSON object: line {}, column {}", error.line(), error.column()))?;
    members.into_iter().map(|(name, value)| Ok((name.into_owned(), json_text(value)?))).collect()
}

/// A scalar's text: a string's contents, a number or boolean as it is written.
fn json_text(value: &RawValue) -> Result<Option<SecretValue>, String> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => {
            let text: SecretString =
                serde_json::from_str(text).map_err(|_| "not a JSON string".to_owned())?;
            Some(text.into())
        }
        Some(b'{' | b'[' | b'n') | None => None,
        Some(_) => Some(text.to_owned().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VersionId;

    fn field(text: &str, field: &str) -> Result<String, SecretError> {
        let whole = Secret::new(text.to_owned(), VersionId::new("v1"));
        let found = Document::new(whole).field(field, &|| "test:doc#field".to_owned())?;
        assert_eq!(found.version.as_str(), "v1");
        Ok(found.value.expose().to_owned())
    }

    #[test]
    fn json_scalars_are_text_as_written() {
        let text = r#" {"s": "a\"b\u00e9", "n": 1.50, "big": 123456789012345678901, "t": true, "": "x"}"#;
        assert_eq!(field(text, "s").unwrap(), "a\"bé");
        assert_eq!(field(text, "n").unwrap(), "1.50");
        assert_eq!(field(text, "big").unwrap(), "123456789012345678901");
        assert_eq!(field(text, "t").unwrap(), "true");
        assert_eq!(field(text, "").unwrap(), "x");
    }

    #[test]
    fn an_escaped_name_is_found_by_its_meaning() {
        assert_eq!(field(r#"{"k\u0065y": "v"}"#, "key").unwrap(), "v");
    }

    #[test]
    fn what_holds_no_text_is_malformed_and_what_is_absent_is_not_found() {
        let text = r#"{"o": {"k": "v"}, "l": [], "z": null, "e": ""}"#;
        for name in ["o", "l", "z", "e"] {
            assert!(matches!(field(text, name), Err(SecretError::Malformed { .. })), "{name}");
        }
        assert!(matches!(field(text, "k"), Err(SecretError::NotFound { .. })));
    }

    #[test]
    fn broken_json_is_malformed_and_the_error_says_where_but_not_what() {
        for text in [r#"{"a": "sk-canary"#, r#"["sk-canary"]"#, r#""sk-canary""#, r#"{"a": sk-canary}"#] {
            let error = field(text, "a").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, SecretError::Malformed { .. }), "{text}: {shown}");
            assert!(!shown.contains("canary"), "{shown}");
            assert!(shown.contains("line 1"), "{shown}");
        }
    }

    #[test]
    fn deep_json_neither_overflows_nor_fails() {
        let text = format!(r#"{{"a": {}{}, "b": "v"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let found = field(&text, "b");
        assert!(matches!(found.as_deref(), Ok("v") | Err(SecretError::Malformed { .. })));
    }

    #[test]
    fn the_only_field_of_a_document_is_the_whole_value() {
        let field = |text: &str, field: &str| {
            let value = SecretValue::of_only_field("key", text.into());
            let document = Document::new(Secret::new(value, VersionId::new("v1")));
            document.field(field, &String::new).map(|found| found.value.expose().to_owned())
        };
        for text in ["sk-1", r#"{"key": "inner"}"#, "key=inner"] {
            assert_eq!(field(text, "key").unwrap(), text);
        }
        assert_eq!(field(r#"{"A": "1"}"#, "A").unwrap(), "1");
        assert!(matches!(field("sk-1", "A"), Err(SecretError::Malformed { .. })));
    }

    #[test]
    fn what_is_not_json_is_key_value_lines() {
        assert_eq!(field("A=1\nB=two", "B").unwrap(), "two");
        assert!(matches!(field("A=1", "B"), Err(SecretError::NotFound { .. })));
        assert!(matches!(field("just a key", "B"), Err(SecretError::Malformed { .. })));
    }
}
