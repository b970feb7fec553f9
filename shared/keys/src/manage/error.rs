//! Why a management call did not do what it was asked.

use crate::store::{EditError, StoreFailure};

/// Why a management call did not do what it was asked. Unless it says otherwise, nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// A field cannot be accepted.
    #[error("{field} {reason}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What is wrong, to be read after the field's name.
        reason: &'static str,
    },
    /// Something else has this already.
    #[error("this {field} is taken")]
    Duplicate {
        /// `key`, `new_key`, `key_alias`, `team_id`, `user_id`, `budget_id` or `member`.
        field: &'static str,
    },
    /// There is none.
    #[error("{what} not found")]
    NotFound {
        /// `key`, `team`, `user`, `budget` or `member`.
        what: &'static str,
    },
    /// The caller may not do this.
    #[error("not allowed to change {field}")]
    Denied {
        /// What the caller may not touch: a field, or `key`, `team`, `user`, `budget` or `spend` as a whole.
        field: &'static str,
    },
    /// Others changed the same thing all the time. Trying again may help.
    #[error("changed by others at the same time")]
    Conflict,
    /// The store failed; the change may or may not have been made. To make it again does no harm.
    #[error("the key store is unavailable")]
    Unavailable(#[source] StoreFailure),
    /// The place where values are kept failed; a key that exists works as before.
    #[error("the secret store for virtual keys is unavailable")]
    KeptUnavailable(#[source] StoreFailure),
}

impl ManageError {
    pub(crate) fn invalid(field: &'static str, reason: &'static str) -> Self {
        Self::Invalid { field, reason }
    }
}

impl From<StoreFailure> for ManageError {
    fn from(failure: StoreFailure) -> Self {
        if failure.is_bad_place() {
            return Self::invalid("from", "is not the next of a page");
        }
        Self::Unavailable(failure)
    }
}

/// How an attempt to change definitions ended.
pub(crate) enum Lost {
    /// Another change came first, at the edit of this number: read again.
    Race(usize),
    /// It makes no sense to try again.
    For(ManageError),
}

impl From<EditError> for Lost {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Conflict(at) => Self::Race(at),
            EditError::Unavailable(failure) => Self::For(failure.into()),
        }
    }
}

impl Lost {
    /// What the caller hears when it is not tried again.
    pub(crate) fn into_error(self) -> ManageError {
        match self {
            Self::Race(_) => ManageError::Conflict,
            Self::For(error) => error,
        }
    }
}
