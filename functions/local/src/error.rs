//! Why the gateway did not start, in words for a terminal.

use std::path::{Path, PathBuf};

use keyturn_entry::setup::SetupError;
use keyturn_keys::ManageError;
use keyturn_keys::store::StoreFailure;
use keyturn_request::LoadError;
use keyturn_secrets::stores::SaltKeyError;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory or a file in it.
    #[error("cannot use {path}")]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key in the data directory that is sealed.
    #[error("cannot open or seal {path}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SaltKeyError,
    },
    /// The salt key that keys are sealed with.
    #[error("cannot use the salt key")]
    SaltKey(#[source] SaltKeyError),
    /// The embedded DynamoDB.
    #[error("cannot open the key table (keys.db): {0}")]
    Table(String),
    /// The table in the embedded DynamoDB.
    #[error("cannot use the key table")]
    Keys(#[source] StoreFailure),
    /// The first virtual key.
    #[error("cannot make the first virtual key")]
    FirstKey(#[source] ManageError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] keyturn_http::ClientError),
    /// The configuration, or what it names.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Where created keys are stored too.
    #[error(transparent)]
    StoredKeys(#[from] keyturn_kept::NotWritable),
    /// The port.
    #[error("cannot listen on {address}")]
    Listen {
        /// Host and port.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The system does not let us use a file or directory of the data directory.
pub(crate) fn data(path: &Path, source: std::io::Error) -> Error {
    Error::Data { path: PathBuf::from(path), source }
}

/// Writes an error and its causes to standard error; red on a terminal.
pub fn complain(error: &Error) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{red}error{red:#}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        anstream::eprintln!("  because: {error}");
        cause = error.source();
    }
    if let Error::Load(LoadError::Setup(SetupError::File { .. })) = error {
        anstream::eprintln!("  help: name one with --config; it has LiteLLM's format");
    }
}
