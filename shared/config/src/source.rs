//! Where the configuration file is.

use std::path::PathBuf;

use crate::reference::{RefError, SecretRef};

/// Where the configuration file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file, relative to the working directory (the deployment package's root in a Lambda function).
    File(PathBuf),
    /// A secret whose value is the file.
    Secret(SecretRef),
}

impl ConfigSource {
    /// Reads a path, or an explicit secret reference.
    ///
    /// # Errors
    ///
    /// The text begins like a reference and is malformed.
    pub fn read(text: &str) -> Result<Self, RefError> {
        Ok(match SecretRef::explicit(text)? {
            Some(reference) => Self::Secret(reference),
            None => Self::File(PathBuf::from(text)),
        })
    }
}
