//! Keys in files of the data directory: each readable by its owner only, and sealed where there is a salt key.
//!
//! A file that is not sealed yet, or with a former version of the salt key, is sealed anew when it is read. Without a
//! salt key nothing is sealed.

use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use keyturn_sealed::{SCHEME, SaltKey, Sealed};
use keyturn_secrets::stores::{SaltKeyError, SaltKeys};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, data};
use crate::seal::replace;

/// The salt keys, and the one that seals.
pub(crate) struct Chest {
    keys: SaltKeys,
    newest: Option<SaltKey>,
}

impl Chest {
    /// With the salt keys of the environment.
    pub(crate) async fn new(keys: SaltKeys) -> Result<Self, Error> {
        let newest = match keys.newest().await {
            // It is there for another program: nobody has asked for it to be used here.
            Err(error @ SaltKeyError::Weak { variable: "LITELLM_SALT_KEY", .. }) => {
                let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
                anstream::eprintln!("{yellow}warning{yellow:#}: {error}; keys are kept without it");
                None
            }
            newest => newest.map_err(Error::SaltKey)?,
        };
        Ok(Self { keys, newest })
    }

    /// The key in a file, if there is one.
    pub(crate) async fn read(&self, path: &Path) -> Result<Option<SecretString>, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(data(path, error)),
        };
        owners_only(path)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let key = opened(text, &self.keys).await.map_err(|source| sealed(path, source))?;
        if let Some(newest) = &self.newest
            && sealed_with(text) != Some(newest.version())
        {
            let again = Sealed::seal(&key, newest).map_err(|error| sealed(path, error.into()))?;
            replace(path, &format!("{again}\n")).map_err(|source| data(path, source))?;
        }
        Ok(Some(key))
    }

    /// Writes a key, unless there is one. Of several processes that start at once, one writes.
    pub(crate) fn write(&self, path: &Path, key: &SecretString) -> Result<(), Error> {
        let text = match &self.newest {
            None => Zeroizing::new(key.expose_secret().to_owned()),
            Some(newest) => {
                let again = Sealed::seal(key, newest).map_err(|error| sealed(path, error.into()))?;
                Zeroizing::new(again.to_string())
            }
        };
        let line = Zeroizing::new(format!("{}\n", *text));
        owners_only(path)?;
        let file = OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| {
            // Until it is closed: nobody else writes between the look and the line.
            file.lock()?;
            match file.metadata()?.len() {
                0 => file.write_all(line.as_bytes()),
                _ => Ok(()),
            }
        })
        .map_err(|source| data(path, source))
    }
}

/// The key that a file's text is, sealed or not.
///
/// # Errors
///
/// It is sealed, and does not open.
pub(crate) async fn opened(text: &str, keys: &SaltKeys) -> Result<SecretString, SaltKeyError> {
    if is_sealed(text) { keys.open(text).await } else { Ok(SecretString::from(text)) }
}

fn is_sealed(text: &str) -> bool {
    text.strip_prefix(SCHEME).is_some_and(|rest| rest.starts_with(':'))
}

fn sealed_with(text: &str) -> Option<keyturn_sealed::Version> {
    Some(text.parse::<Sealed>().ok()?.version())
}

fn sealed(path: &Path, source: SaltKeyError) -> Error {
    Error::Sealed { path: path.to_owned(), source }
}

/// Makes a file that only its owner can read, or takes it away from the others.
pub(crate) fn owners_only(path: &Path) -> Result<(), Error> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let permissions = Permissions::from_mode(0o600);
    file.and_then(|file| file.set_permissions(permissions)).map_err(|source| data(path, source))
}

#[cfg(test)]
mod tests;
