//! The master key and a first virtual key, made once and kept in the data directory, readable by their owner
//! only ([`chest`](crate::chest)).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keyturn_keys::manage::{Caller, KeyFields, NewKey, Patch};
use keyturn_keys::{ManageError, Manager};
use secrecy::SecretString;

use crate::chest::Chest;
use crate::error::{Error, data};

/// The alias of the first virtual key.
const FIRST_ALIAS: &str = "first-key";

/// Makes the data directory.
pub(crate) fn directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| data(path, source))
}

/// The master key of the data directory; made when there is none.
pub(crate) async fn master_key(directory: &Path, chest: &Chest) -> Result<SecretString, Error> {
    let path = directory.join("master-key");
    if let Some(key) = chest.read(&path).await? {
        return Ok(key);
    }
    let mut random = [0_u8; 24];
    // The same source that the key store draws virtual keys from.
    getrandom::fill(&mut random).map_err(|error| data(&path, std::io::Error::other(error)))?;
    let key = SecretString::from(format!("sk-{}", BASE64_URL_SAFE_NO_PAD.encode(random)));
    chest.write(&path, &key)?;
    // Another first run may have been quicker: what the file holds counts.
    Ok(chest.read(&path).await?.unwrap_or(key))
}

/// The first virtual key: the one in the data directory, if the table does not have it, is put back there.
pub(crate) async fn virtual_key(
    directory: &Path,
    chest: &Chest,
    keys: &Manager,
) -> Result<SecretString, Error> {
    let path = directory.join("virtual-key");
    let kept = chest.read(&path).await?;
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
            chest.write(&path, &made.value)?;
            Ok(made.value)
        }
        (Err(ManageError::Duplicate { field: "key" }), Some(key)) => Ok(key),
        (Err(error), _) => Err(Error::FirstKey(error)),
    }
}
