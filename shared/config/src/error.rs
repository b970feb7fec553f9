//! What can be wrong with a configuration.
//!
//! Messages name fields, variables and models; they never repeat a value.

use std::fmt;

use crate::lines::line_of;

/// Why a configuration cannot be used. The next move is always the operator's: to change the line that is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not YAML, or is YAML that no configuration needs (too large, too deep, two documents).
    #[error("line {line}, column {column}: {problem}")]
    Yaml {
        /// The line, from 1; 0 when the parser gave none.
        line: u64,
        /// The column in characters, from 1; 0 when the parser gave none.
        column: u64,
        /// What is wrong there, without the text itself.
        problem: String,
    },
    /// A field has a value that cannot be used, or is missing.
    #[error("{path} {problem}")]
    Invalid {
        /// The field: `model_list[2].litellm_params.rpm`.
        path: String,
        /// What is wrong with it, without the value.
        problem: String,
    },
    /// A field of LiteLLM's that Keyturn does not support, and whose absence would change what a request does.
    #[error("{path} is not supported: {why}")]
    Unsupported {
        /// The field.
        path: String,
        /// What it asks for.
        why: &'static str,
    },
    /// Neither LiteLLM nor Keyturn has such a field.
    #[error("{path} is not a known setting{}", hint(suggestion.as_deref()))]
    Unknown {
        /// The field.
        path: String,
        /// A known name that is close to it.
        suggestion: Option<String>,
    },
    /// `os.environ/VARIABLE` stands in a field that is read at load, and the variable is unset or empty.
    #[error("{path}: the environment variable {variable} is not set")]
    Unset {
        /// The field.
        path: String,
        /// The variable.
        variable: String,
    },
    /// An environment variable of Keyturn's own has a value that cannot be used.
    #[error("the environment variable {variable} {problem}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it, without the value.
        problem: String,
    },
    /// One of the others, with the line of the file where its field stands.
    #[error("line {line}: {error}")]
    At {
        /// The line, from 1.
        line: u64,
        /// What is wrong there.
        error: Box<Self>,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl ConfigError {
    pub(crate) fn invalid(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), problem: problem.into() }
    }

    /// The field that it names, if it names one of the file.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Invalid { path, .. }
            | Self::Unsupported { path, .. }
            | Self::Unknown { path, .. }
            | Self::Unset { path, .. } => Some(path),
            Self::At { error, .. } => error.path(),
            Self::Yaml { .. } | Self::Variable { .. } => None,
        }
    }

    /// With the line of its field in this file, or of what the field should stand in.
    #[must_use]
    pub fn in_file(self, yaml: &str) -> Self {
        match &self {
            Self::At { .. } => self,
            _ => match self.path().and_then(|path| line_of(yaml, path)) {
                Some(line) => Self::At { line, error: Box::new(self) },
                None => self,
            },
        }
    }
}

/// A field that was ignored, or that has no effect; harmless, but worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The field: `general_settings.alerting`.
    pub path: String,
    /// Why it has no effect.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ignored: {}", self.path, self.why)
    }
}

/// A name for a message. What cannot be the name of a field (a key pasted before a colon, control characters) is not
/// repeated.
pub(crate) fn shown(name: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        name
    } else {
        "(a name that is not shown)"
    }
}

/// The name of a model for a message: any printable text of a sensible length.
pub(crate) fn shown_model(name: &str) -> &str {
    if name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        name
    } else {
        "(a name that is not shown)"
    }
}
