//! Why a rotator could not do its work, named for what happens next.

use keyturn_keys::manage::ManageError;
use keyturn_secrets::SecretError;

use crate::document::NotADocument;

/// Why a rotator could not do its work. No text in it holds any part of a credential: of what a service answers, only
/// its status and the name of its error are kept.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The service does not accept the credential that was tried: it is wrong, revoked, or not known everywhere yet.
    #[error("the service refuses the credential ({0})")]
    Refused(String),
    /// The service does not let us issue, list or take back credentials: the admin credential, or what it may do.
    #[error("the service refuses the administrator's credential ({0})")]
    Denied(String),
    /// The service has no room for another credential, or there is no further one to use.
    #[error("there is no room for another credential: {0}")]
    Full(String),
    /// The service cannot answer now, or took too long. Asking later may work.
    #[error("the service is unavailable ({0})")]
    Unavailable(String),
    /// What the service answers is not what its documentation says.
    #[error("the service's answer is not understood: {0}")]
    Malformed(String),
    /// What the secret or its settings say does not fit what is found.
    #[error("{0}")]
    Unfit(String),
    /// A secret could not be read or written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The gateway's own keys could not be changed.
    #[error("the virtual keys could not be changed")]
    Keys(#[source] ManageError),
}

impl From<NotADocument> for RotationError {
    fn from(wrong: NotADocument) -> Self {
        Self::Unfit(wrong.to_string())
    }
}
