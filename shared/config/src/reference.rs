//! Secret references: where a secret lives, without its value.
//!
//! `scheme:name[#field][?stage=STAGE]`, for example
//! - `aws-secretsmanager:prod/keyturn/providers#OPENAI_API_KEY`
//! - `env:OPENAI_API_KEY` (LiteLLM's `os.environ/OPENAI_API_KEY` becomes this, or the key management system)
//! - `vault:secret/litellm/providers#OPENAI_API_KEY`
//! - `sealed:1.AbCd…`, the secret itself, encrypted (`keyturn seal` makes it)
//! - `file:/vault/secrets/providers.env#OPENAI_API_KEY`, `file:/mnt/secrets/openai-api-key`
//!
//! Which schemes there are is known to who has the stores: [`Config::check_stores`](crate::Config::check_stores) is
//! told. Until then, a reference may be a key that only begins like one (`user:password`), so it is shown nowhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a secret lives. It holds names only, so it may be logged once its store is known to be there. Its `Debug`
/// shows nothing: a configuration may be shown before that.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// The store: `env`, `file`, `aws-secretsmanager`, `vault`, …
    pub scheme: String,
    /// The secret's name in that store: a variable, a path, a mount and a path, a name or an ARN.
    pub name: String,
    /// The field of a JSON (or `KEY=value`) secret; `None` is the whole value.
    pub field: Option<String>,
    /// The version stage; `None` is the current one.
    pub stage: Option<String>,
}

/// Why a text is no secret reference. It never repeats the text: that may be a key put in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// There is no `scheme:` in front.
    #[error("is not a secret reference: expected scheme:name[#field][?stage=STAGE]")]
    NoScheme,
    /// The name after the scheme is empty or holds control characters.
    #[error("names no secret after the scheme")]
    BadName,
    /// The name after `env:` or `os.environ/` cannot be a variable's.
    #[error("is not the name of an environment variable")]
    BadVariable,
    /// The field after `#` is empty.
    #[error("names no field after #")]
    EmptyField,
    /// What follows `?` is not `stage=` and a stage.
    #[error("may end in ?stage=STAGE only")]
    BadStage,
}

/// The most characters of a scheme.
const MAX_SCHEME: usize = 32;

/// Whether a text can be a scheme: words of small letters, with dashes between. There are no digits in one, so that no
/// identifier before a colon is taken for it.
fn is_scheme(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    text.len() <= MAX_SCHEME && text.split('-').all(is_word)
}

/// Schemes for a message: `env:, file: or vault:`.
#[must_use]
pub fn listed(schemes: &[&str]) -> String {
    match schemes {
        [] => "none".to_owned(),
        [one] => format!("{one}:"),
        [rest @ .., last] => format!("{}: or {last}:", rest.join(":, ")),
    }
}

impl SecretRef {
    /// The environment variable `name`.
    ///
    /// # Errors
    ///
    /// [`RefError::BadVariable`]: `name` is not made of letters, digits and `_`.
    pub fn env(name: &str) -> Result<Self, RefError> {
        if !is_variable(name) {
            return Err(RefError::BadVariable);
        }
        Ok(Self { scheme: "env".to_owned(), name: name.to_owned(), field: None, stage: None })
    }

    /// Reads `text` if it begins like a reference, with words of small letters and a colon; `None`: it is something
    /// else, a literal key for example, which may hold a colon too. Whether there is such a store is not known here.
    ///
    /// # Errors
    ///
    /// It begins like a reference and is malformed.
    pub fn explicit(text: &str) -> Result<Option<Self>, RefError> {
        match text.split_once(':') {
            Some((scheme, _)) if is_scheme(scheme) => text.parse().map(Some),
            _ => Ok(None),
        }
    }
}

/// POSIX names a variable with letters, digits and underscores, not beginning with a digit
/// (<https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html>). Holding to it keeps a key that was
/// pasted in the place of a name out of messages: keys have dashes.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl FromStr for SecretRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        let (scheme, rest) = text.split_once(':').ok_or(RefError::NoScheme)?;
        if !is_scheme(scheme) {
            return Err(RefError::NoScheme);
        }
        let (rest, stage) = match rest.split_once('?') {
            None => (rest, None),
            Some((rest, query)) => match query.strip_prefix("stage=") {
                Some(stage) if !stage.is_empty() && !stage.contains(['&', '#', '?']) => (rest, Some(stage)),
                _ => return Err(RefError::BadStage),
            },
        };
        let (name, field) = match rest.split_once('#') {
            None => (rest, None),
            Some((_, "")) => return Err(RefError::EmptyField),
            Some((name, field)) => (name, Some(field)),
        };
        if name.is_empty() || text.contains(char::is_control) {
            return Err(RefError::BadName);
        }
        if scheme == "env" && !is_variable(name) {
            return Err(RefError::BadVariable);
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            name: name.to_owned(),
            field: field.map(str::to_owned),
            stage: stage.map(str::to_owned),
        })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.name)?;
        if let Some(field) = &self.field {
            write!(f, "#{field}")?;
        }
        if let Some(stage) = &self.stage {
            write!(f, "?stage={stage}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretRef(..)")
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_form() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/keys-AbCdEf";
        for (text, scheme, name, field, stage) in [
            ("env:OPENAI_API_KEY", "env", "OPENAI_API_KEY", None, None),
            ("file:/run/secrets/openai-api-key", "file", "/run/secrets/openai-api-key", None, None),
            ("vault:secret/prod/keys#A", "vault", "secret/prod/keys", Some("A"), None),
            ("file:/run/p.env#KEY", "file", "/run/p.env", Some("KEY"), None),
            ("aws-secretsmanager:prod/keys#A", "aws-secretsmanager", "prod/keys", Some("A"), None),
            (
                "aws-secretsmanager:prod/keys?stage=AWSPREVIOUS",
                "aws-secretsmanager",
                "prod/keys",
                None,
                Some("AWSPREVIOUS"),
            ),
            (
                &format!("aws-secretsmanager:{arn}#A?stage=AWSPENDING"),
                "aws-secretsmanager",
                arn,
                Some("A"),
                Some("AWSPENDING"),
            ),
        ] {
            let reference: SecretRef = text.parse().unwrap();
            let expected = SecretRef {
                scheme: scheme.to_owned(),
                name: name.to_owned(),
                field: field.map(str::to_owned),
                stage: stage.map(str::to_owned),
            };
            assert_eq!(reference, expected, "{text}");
            assert_eq!(reference.to_string(), text);
            let json = serde_json::to_string(&reference).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<SecretRef>(&json).unwrap(), reference);
        }
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for (text, error) in [
            ("", RefError::NoScheme),
            ("sk-1234", RefError::NoScheme),
            (":name", RefError::NoScheme),
            ("C:\\keys", RefError::NoScheme),
            ("s3:keys", RefError::NoScheme),
            ("env:", RefError::BadName),
            ("file:a\nb", RefError::BadName),
            ("env:sk-1234", RefError::BadVariable),
            ("env:1A", RefError::BadVariable),
            ("file:/a#", RefError::EmptyField),
            ("file:/a?stage=", RefError::BadStage),
            ("file:/a?version=3", RefError::BadStage),
            ("file:/a?stage=A#B", RefError::BadStage),
        ] {
            assert_eq!(text.parse::<SecretRef>().unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn takes_what_begins_like_a_reference_for_one() {
        let of = |text: &str| SecretRef::explicit(text).map(|found| found.map(|found| found.to_string()));
        let long = "a".repeat(33);
        for literal in [
            "sk-1234",
            "Bearer:x",
            "9f86d081:x",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479:x",
            "sk-proj-1:x",
            "-a:x",
            "a--b:x",
            ":x",
            "a b:x",
            "a_b:x",
            "{\"type\": \"service_account\"}",
            &format!("{long}:x"),
        ] {
            assert_eq!(of(literal), Ok(None), "{literal}");
        }
        for reference in ["env:A", "user:password", "https://example.com", "hashicorp-vault:kv/a"] {
            assert_eq!(of(reference), Ok(Some(reference.to_owned())));
        }
        assert_eq!(of("file:"), Err(RefError::BadName));
        assert_eq!(format!("{:?}", SecretRef::explicit("user:password")), "Ok(Some(SecretRef(..)))");
    }

    #[test]
    fn lists_schemes() {
        for (schemes, expected) in
            [(&[][..], "none"), (&["a"], "a:"), (&["a", "b"], "a: or b:"), (&["a", "b", "c"], "a:, b: or c:")]
        {
            assert_eq!(listed(schemes), expected);
        }
    }
}
