//! What can go wrong. No text here ever holds a token or a value: what the server says is not repeated.

use keyturn_http::ClientError as HttpClientError;
use rustify::errors::ClientError as RestError;
use vaultrs::error::ClientError;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no such document, or this version of it is deleted.
    #[error("Vault has nothing there")]
    NotFound,
    /// Not allowed, after a new login too.
    #[error("Vault denied the {0}")]
    Denied(&'static str),
    /// The document has another version than the one that the write was to follow. Nothing was written.
    #[error("the document in Vault has another version by now")]
    CasMismatch,
    /// The path would name another document than it says: it has an empty, `.` or `..` part, or a control character.
    #[error("the path cannot be that of a document in Vault")]
    BadPath,
    /// Vault failed, or was not reached. A write may or may not have been made, unless the outage says otherwise.
    #[error("Vault is unavailable: {0}")]
    Unavailable(Outage),
}

/// How Vault failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// It is sealed; a write was not made.
    #[error("it is sealed")]
    Sealed,
    /// Its rate limit is reached; a write was not made.
    #[error("its rate limit is reached")]
    Throttled,
    /// A replica has not caught up; a write was not made.
    #[error("the replica has not caught up")]
    Behind,
    /// No connection, or it broke.
    #[error("no connection")]
    Unreachable,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Another status.
    #[error("it answered with status {0}")]
    Status(u16),
    /// The answer is not what it should be.
    #[error("its answer cannot be read")]
    Malformed,
    /// The login could not be tried.
    #[error("{0}")]
    Login(&'static str),
}

impl Outage {
    /// Whether a write that failed so was surely not made.
    #[must_use]
    pub fn surely_nothing_written(&self) -> bool {
        match self {
            Self::Sealed | Self::Throttled | Self::Behind | Self::Login(_) => true,
            Self::Unreachable | Self::TimedOut | Self::Status(_) | Self::Malformed => false,
        }
    }

    /// Whether to read again at once may help.
    pub(crate) fn is_brief(&self) -> bool {
        match self {
            Self::Behind | Self::Unreachable | Self::TimedOut => true,
            Self::Status(status) => *status >= 500,
            Self::Sealed | Self::Throttled | Self::Malformed | Self::Login(_) => false,
        }
    }
}

/// Why the client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A variable, which is named; its value is not.
    #[error("the environment variable {variable} {problem}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong, to be read after the name.
        problem: &'static str,
    },
    /// A file that a variable names.
    #[error("cannot read the file that {variable} names")]
    File {
        /// The variable.
        variable: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The client for a server with its own roots or with a client certificate.
    #[error("cannot use the certificates for Vault")]
    Client(#[source] HttpClientError),
}

impl SetupError {
    pub(crate) fn variable(variable: &'static str, problem: &'static str) -> Self {
        Self::Variable { variable, problem }
    }
}

/// Sorts a failure of vaultrs'. `what` was denied, if it was.
pub(crate) fn classify(error: &ClientError, what: &'static str) -> VaultError {
    match error {
        ClientError::APIError { code, errors } => of_status(*code, errors, what),
        ClientError::RestClientError { source } => match source {
            RestError::ServerResponseError { code, .. } => of_status(*code, &[], what),
            RestError::RequestError { .. } | RestError::ResponseError { .. } => {
                VaultError::Unavailable(Outage::Unreachable)
            }
            _ => VaultError::Unavailable(Outage::Malformed),
        },
        _ => VaultError::Unavailable(Outage::Malformed),
    }
}

fn of_status(code: u16, errors: &[String], what: &'static str) -> VaultError {
    let says = |text: &str| errors.iter().any(|error| error.contains(text));
    match code {
        400 if says("check-and-set parameter did not match") => VaultError::CasMismatch,
        403 => VaultError::Denied(what),
        404 => VaultError::NotFound,
        412 => VaultError::Unavailable(Outage::Behind),
        429 => VaultError::Unavailable(Outage::Throttled),
        503 if says("sealed") => VaultError::Unavailable(Outage::Sealed),
        code => VaultError::Unavailable(Outage::Status(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_class_and_no_text_of_the_servers() {
        let api = |code, text: &str| ClientError::APIError { code, errors: vec![text.to_owned()] };
        let rest = |code| ClientError::RestClientError {
            source: RestError::ServerResponseError { code, content: Some("canary".to_owned()) },
        };
        let status = |code| VaultError::Unavailable(Outage::Status(code));
        for (error, expected) in [
            (api(400, "check-and-set parameter did not match the current version"), VaultError::CasMismatch),
            (api(400, "canary"), status(400)),
            (api(403, "permission denied: canary"), VaultError::Denied("token")),
            (rest(404), VaultError::NotFound),
            (rest(412), VaultError::Unavailable(Outage::Behind)),
            (api(429, "canary"), VaultError::Unavailable(Outage::Throttled)),
            (api(500, "canary"), status(500)),
            (api(503, "Vault is sealed"), VaultError::Unavailable(Outage::Sealed)),
            (rest(503), status(503)),
            (ClientError::ResponseDataEmptyError, VaultError::Unavailable(Outage::Malformed)),
        ] {
            let found = classify(&error, "token");
            assert_eq!(found, expected, "{error}");
            assert!(!format!("{found:?} {found}").contains("canary"));
        }
    }
}
