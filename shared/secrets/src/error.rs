//! Why a secret could not be had, named for what the caller does next.

use std::fmt;
use std::sync::Arc;

use keyturn_ambient::with_causes;

/// What a store said about a failure, reduced to text.
///
/// An SDK's own error would carry the raw response, and with it perhaps a secret.
#[derive(Debug, Clone)]
pub struct Cause(Arc<str>);

impl Cause {
    /// A cause in words. It must not hold any part of a value.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// An error and what it comes from. Only for errors that hold no part of a value.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        Self::new(&with_causes(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Why a secret could not be had. It names the reference, if it is one, and never a value.
///
/// It is `Clone` because all who wait for one read share its outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretError {
    /// The secret, its stage or its field is not there, or is scheduled for deletion. Asking again is no use
    /// until somebody creates it.
    #[error("secret `{reference}` not found")]
    NotFound {
        /// The reference that was asked for.
        reference: String,
        /// What is missing.
        #[source]
        cause: Cause,
    },
    /// The store refuses us: permissions, its decryption key, our credentials or settings. An operator's work.
    #[error("secret `{reference}`: access denied")]
    Denied {
        /// The reference that was asked for.
        reference: String,
        /// What the store said.
        #[source]
        cause: Cause,
    },
    /// The store cannot answer now: throttled, failing, unreachable, too slow. Asking later may work.
    #[error("secret `{reference}`: the store is unavailable")]
    Unavailable {
        /// The reference that was asked for.
        reference: String,
        /// What the store said.
        #[source]
        cause: Cause,
    },
    /// Another writer was there first, or still is: its stages are not where they were thought to be, or a version
    /// already has another value. Look again, then decide.
    #[error("secret `{reference}` was changed by somebody else")]
    Conflict {
        /// The reference that was written to.
        reference: String,
        /// What the store said.
        #[source]
        cause: Cause,
    },
    /// The secret is there but not in a form that the reference can be read from.
    #[error("secret `{reference}` is malformed")]
    Malformed {
        /// The reference that was asked for.
        reference: String,
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
    /// No store has this scheme: a mistake in the configuration. Neither the reference nor its scheme is named: it may
    /// be no reference at all, but a key with a colon in it.
    #[error("there is no such secret store: expected {expected}")]
    UnknownScheme {
        /// The schemes that there are.
        expected: String,
    },
}

impl SecretError {
    /// Nothing by this reference.
    #[must_use]
    pub fn not_found(reference: impl Into<String>, cause: &str) -> Self {
        Self::NotFound { reference: reference.into(), cause: Cause::new(cause) }
    }

    /// No access.
    #[must_use]
    pub fn denied(reference: impl Into<String>, cause: &str) -> Self {
        Self::Denied { reference: reference.into(), cause: Cause::new(cause) }
    }

    /// No answer now.
    #[must_use]
    pub fn unavailable(reference: impl Into<String>, cause: &str) -> Self {
        Self::Unavailable { reference: reference.into(), cause: Cause::new(cause) }
    }

    /// Somebody else was there first.
    #[must_use]
    pub fn conflict(reference: impl Into<String>, cause: &str) -> Self {
        Self::Conflict { reference: reference.into(), cause: Cause::new(cause) }
    }

    /// No store of this scheme, but of these.
    #[must_use]
    pub fn unknown_scheme(schemes: &[&str]) -> Self {
        Self::UnknownScheme { expected: keyturn_config::listed(schemes) }
    }

    /// Not readable.
    #[must_use]
    pub fn malformed(reference: impl Into<String>, cause: &str) -> Self {
        Self::Malformed { reference: reference.into(), cause: Cause::new(cause) }
    }
}
