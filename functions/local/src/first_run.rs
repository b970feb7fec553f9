//! The master key and a first virtual key, made once and kept in the data directory, readable by their owner
//! only.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keyturn_keys::manage::{Caller, KeyFields, NewKey, Patch};
use keyturn_keys::{ManageError, Manager};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// The alias of the first virtual key.
const FIRST_ALIAS: &str = "first-key";

/// Makes the data directory.
pub(crate) fn directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| data(path, source))
}

/// The master key of the data directory; made when there is none.
pub(crate) fn master_key(directory: &Path) -> Result<SecretString, Error> {
    let path = directory.join("master-key");
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    let mut random = [0_u8; 24];
    // The same source that the key store draws virtual keys from.
    getrandom::fill(&mut random).map_err(|error| data(&path, std::io::Error::other(error)))?;
    let key = SecretString::from(format!("sk-{}", BASE64_URL_SAFE_NO_PAD.encode(random)));
    write(&path, &key)?;
    // Another first run may have been quicker: what the file holds counts.
    Ok(read(&path)?.unwrap_or(key))
}

/// The first virtual key: the one in the data directory, if the table does not have it, is put back there.
pub(crate) async fn virtual_key(directory: &Path, keys: &Manager) -> Result<SecretString, Error> {
    let path = directory.join("virtual-key");
    let kept = read(&path)?;
    let admin = Caller::admin(None);
    let named =
        |key_alias| NewKey { key: kept.clone(), fields: KeyFields { key_alias, ..KeyFields::default() } };
    let made = match keys.generate(&admin, named(Patch::Set(FIRST_ALIAS.to_owned()))).await {
        // The alias belongs to a first key whose file is gone: its value cannot be had back.
        Err(ManageError::Duplicate { field: "key_alias" }) => keys.generate(&admin, named(Patch::Keep)).await,
        other => other,
    };
    match (made, kept) {
        (Ok(made), _) => {
            write(&path, &made.value)?;
            Ok(made.value)
        }
        (Err(ManageError::Duplicate { field: "key" }), Some(key)) => Ok(key),
        (Err(error), _) => Err(Error::FirstKey(error)),
    }
}

/// Makes a file that only its owner can read, or takes it away from the others.
pub(crate) fn owners_only(path: &Path) -> Result<(), Error> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let permissions = Permissions::from_mode(0o600);
    file.and_then(|file| file.set_permissions(permissions)).map_err(|source| data(path, source))
}

fn read(path: &Path) -> Result<Option<SecretString>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            owners_only(path)?;
            Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(SecretString::from))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(data(path, error)),
    }
}

/// Writes a key, unless there is one.
fn write(path: &Path, key: &SecretString) -> Result<(), Error> {
    owners_only(path)?;
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| match file.metadata()?.len() {
        0 => writeln!(file, "{}", key.expose_secret()),
        _ => Ok(()),
    })
    .map_err(|source| data(path, source))
}

fn data(path: &Path, source: std::io::Error) -> Error {
    Error::Data { path: PathBuf::from(path), source }
}
