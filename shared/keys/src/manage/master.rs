//! Another master key, while the former one goes on working for a while.
//!
//! The configured master key has no row. The first time it is replaced it gets one: that of a key that may call
//! everything and has no limits, whose id is the master key's hash. From then on the row says which master keys work
//! and until when, the configured one included; only hashes are kept. Without a table, or when the row is deleted, the
//! configuration alone counts again.

use secrecy::SecretString;
use serde_json::Value;

use crate::store::RowId;
use crate::virtual_key::{KeyType, VirtualKey};

use super::keys::empty;
use super::regenerate::{Regenerate, Regenerated};
use super::{Caller, KeyFields, KeyRef, ManageError, Manager, value};

/// The metadata that the row of master keys has.
const MASTER: &str = "keyturn_master_key";
/// Everything there is.
const ALL_ROUTES: [&str; 3] = ["llm_api_routes", "management_routes", "info_routes"];

impl Manager {
    /// Replaces a master key: `present` by `how.new_key`, which must be there. `is_configured`: whether `present` is
    /// the one that stands in the configuration.
    ///
    /// # Errors
    /// `Invalid` of `key` when it is no master key; else as [`Manager::regenerate`]. What worked works as before then.
    pub async fn rotate_master(
        &self,
        caller: &Caller,
        present: &SecretString,
        is_configured: bool,
        how: &Regenerate,
    ) -> Result<Regenerated, ManageError> {
        caller.must_be_admin("key")?;
        match &how.new_key {
            Some(new) => value::check("new_master_key", new)?,
            None => return Err(ManageError::invalid("new_master_key", "is required")),
        }
        if how.fields != KeyFields::default() {
            return Err(ManageError::invalid("new_master_key", "must come without fields of keys"));
        }
        self.master_row(caller, present, is_configured).await?;
        self.regenerate(caller, &KeyRef::Value(present.clone()), how).await
    }

    /// The row of master keys that `present` is one of; made when there is none, if `present` is the one that stands
    /// in the configuration.
    pub(super) async fn master_row(
        &self,
        caller: &Caller,
        present: &SecretString,
        is_configured: bool,
    ) -> Result<RowId, ManageError> {
        let not_master = || ManageError::invalid("key", "is not the master key");
        match self.resolve(&KeyRef::Value(present.clone())).await {
            Ok(id) => {
                let row = self.required::<VirtualKey>(&id).await?.value;
                if is_master(&row) { Ok(id) } else { Err(not_master()) }
            }
            Err(ManageError::NotFound { .. }) if is_configured => {
                let mut row = empty(present, self.now());
                row.key_type = KeyType::Management;
                row.allowed_routes = ALL_ROUTES.map(str::to_owned).into();
                row.metadata.insert(MASTER.to_owned(), Value::Bool(true));
                row.created_by.clone_from(&caller.name);
                let id = RowId::key(&row.id);
                match self.write_new((present.clone(), row), &KeyFields::default(), Vec::new()).await {
                    // Somebody else was quicker.
                    Ok(_) | Err(ManageError::Duplicate { .. }) => Ok(id),
                    Err(error) => Err(error),
                }
            }
            Err(ManageError::NotFound { .. }) => Err(not_master()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a row is that of master keys.
pub(crate) fn is_master(key: &VirtualKey) -> bool {
    key.metadata.contains_key(MASTER)
}
