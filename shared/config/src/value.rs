//! A secret-bearing setting.

use secrecy::SecretString;

use crate::reference::{RefError, SecretRef};

/// A secret-bearing setting. Its `Debug` shows a reference, never a literal.
#[derive(Debug, Clone)]
pub enum Value {
    /// Where the secret lives; it is read when it is needed.
    Reference(SecretRef),
    /// The secret itself, as the file or the environment holds it.
    Literal(SecretString),
}

impl Value {
    /// Reads an explicit reference (`aws-secretsmanager:…`, `env:…`, `file:…`), or takes the text for the secret.
    ///
    /// # Errors
    ///
    /// The text begins like a reference and is malformed, or names a store that is not supported.
    pub fn read(text: &str) -> Result<Self, RefError> {
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
