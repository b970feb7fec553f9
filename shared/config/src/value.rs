//! A secret-bearing setting.

use secrecy::SecretString;

use crate::reference::{RefError, SecretRef};

/// What AWS KMS encrypted, where a value stands: LiteLLM writes this and the ciphertext in base64
/// (`litellm/secret_managers/aws_secret_manager.py`).
pub(crate) const AWS_KMS: &str = "aws_kms/";

/// A secret-bearing setting. Its `Debug` shows which of the two it is, and nothing else.
#[derive(Debug, Clone)]
pub enum Value {
    /// Where the secret lives; it is read when it is needed.
    Reference(SecretRef),
    /// The secret itself, as the file or the environment holds it.
    Literal(SecretString),
}

impl Value {
    /// Reads an explicit reference (`aws-secretsmanager:…`, `env:…`, `file:…`) or `aws_kms/` and a ciphertext, which
    /// is a reference to itself; or takes the text for the secret.
    ///
    /// # Errors
    ///
    /// The text begins like a reference and is malformed.
    pub fn read(text: &str) -> Result<Self, RefError> {
        if let Some(ciphertext) = text.strip_prefix(AWS_KMS) {
            return aws_kms(ciphertext).map(Self::Reference);
        }
        Ok(match SecretRef::explicit(text)? {
            Some(reference) => Self::Reference(reference),
            None => Self::Literal(SecretString::from(text)),
        })
    }

    /// Where the secret lives, unless it is a literal.
    #[must_use]
    pub fn reference(&self) -> Option<&SecretRef> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Literal(_) => None,
        }
    }
}

/// A ciphertext in base64 as a reference to itself.
fn aws_kms(ciphertext: &str) -> Result<SecretRef, RefError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let ciphertext = ciphertext.trim();
    if ciphertext.is_empty() || !ciphertext.bytes().all(plain) {
        return Err(RefError::BadName);
    }
    Ok(SecretRef {
        scheme: "aws-kms".to_owned(),
        name: format!("data/{ciphertext}"),
        field: None,
        stage: None,
    })
}
