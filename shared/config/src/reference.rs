//! Secret references: where a secret lives, without its value.
//!
//! `scheme:name[#field][?stage=STAGE]`, for example
//! - `aws-secretsmanager:prod/keyturn/providers#OPENAI_API_KEY`
//! - `env:OPENAI_API_KEY` (LiteLLM's `os.environ/OPENAI_API_KEY` becomes this, or the key management system)
//! - `vault:secret/litellm/providers#OPENAI_API_KEY`
//! - `file:/vault/secrets/providers.env#OPENAI_API_KEY`, `file:/mnt/secrets/openai-api-key`

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a secret lives. It holds names only, so it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// The store: `env`, `file`, `aws-secretsmanager`, `vault`.
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
    /// The scheme names a store that Keyturn does not read.
    #[error(
        "names a secret store that is not supported: expected env:, file:, aws-secretsmanager: or vault:"
    )]
    UnknownScheme,
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

/// The stores that can be written as an explicit reference in a secret-bearing field.
const SCHEMES: &[&str] = &["aws-secretsmanager", "env", "federation", "file", "vault"];

/// Schemes of stores that are easy to expect here. Taken for literal keys they would be sent to a provider.
const UNSUPPORTED_SCHEMES: &[&str] = &[
    "aws-kms",
    "aws-secret-manager",
    "aws-secrets-manager",
    "aws-ssm",
    "azure-key-vault",
    "azure-keyvault",
    "cyberark",
    "google-secret-manager",
    "google-secretmanager",
    "gcp-secretmanager",
    "hashicorp-vault",
    "secretsmanager",
    "ssm",
];

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

    /// Reads `text` if it is an explicit reference to a supported store; `None`: it is something else, a literal key
    /// for example, which may hold a colon too.
    ///
    /// # Errors
    ///
    /// It begins like a reference and is malformed, or names a store that is not supported.
    pub fn explicit(text: &str) -> Result<Option<Self>, RefError> {
        let Some((scheme, _)) = text.split_once(':') else { return Ok(None) };
        if UNSUPPORTED_SCHEMES.contains(&scheme) {
            return Err(RefError::UnknownScheme);
        }
        if SCHEMES.contains(&scheme) { text.parse().map(Some) } else { Ok(None) }
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
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if scheme.is_empty() || !scheme.bytes().all(plain) {
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
    fn takes_only_supported_stores_for_explicit_references() {
        assert_eq!(SecretRef::explicit("sk-1234").unwrap(), None);
        assert_eq!(SecretRef::explicit("user:password").unwrap(), None);
        assert_eq!(SecretRef::explicit("env:A").unwrap(), Some(SecretRef::env("A").unwrap()));
        assert_eq!(SecretRef::explicit("hashicorp-vault:kv/a").unwrap_err(), RefError::UnknownScheme);
        assert_eq!(SecretRef::explicit("file:").unwrap_err(), RefError::BadName);
    }
}
