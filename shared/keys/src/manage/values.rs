//! A further value for a key beside the ones that it has: added with no end in sight for any of them, and ended one by
//! one later. This is how a secret's rotation gives a key a new value: what was handed out goes on working until
//! nobody can hold it any more, which only the rotation knows.
//!
//! Added values have names, so that the rotation whose secret they are for finds its own again, and no other's.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::hash::KeyHash;
use crate::store::{Edit, RowId};
use crate::virtual_key::{ValueName, VirtualKey};

use super::error::Lost;
use super::master::is_master;
use super::regenerate::{MOST_VALUES, UNDER_WAY};
use super::{ATTEMPTS, Caller, KeyRef, ManageError, Manager, Revision, value};

/// Which kind of key a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A virtual key.
    Key,
    /// The master key. The present value must be the one that is configured, or one that the key table knows.
    Master,
}

/// What values are called.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// The new value's name.
    pub new: &'a str,
    /// The present value's, if it has none yet.
    pub present: &'a str,
}

/// A value of a key, without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedValue {
    /// Its hash.
    pub hash: KeyHash,
    /// Its name, and since when it has it.
    pub name: ValueName,
}

impl Manager {
    /// Makes a further value for the key that `present` is a value of, and gives none of the values an end. Where
    /// values are kept too, the new one is.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of `key` when it is of the other kind, of `auto_rotate` when the key gets new values by
    /// itself, which ends others, and of `values` when there are too many; `Denied`; `Conflict`; `Unavailable`;
    /// `KeptUnavailable`, when the new value may work already.
    pub async fn add_value(
        &self,
        caller: &Caller,
        whose: Whose,
        present: &SecretString,
        naming: Naming<'_>,
    ) -> Result<SecretString, ManageError> {
        caller.must_be_admin("key")?;
        let new = match whose {
            Whose::Key => value::generate()?,
            Whose::Master if value::is_value(present.expose_secret()) => value::generate_master()?,
            Whose::Master => {
                // A gateway that is configured with the next one would not look it up.
                return Err(ManageError::invalid(
                    "key",
                    "must start with sk- to go on working beside a new one",
                ));
            }
        };
        let (hash, former) = (KeyHash::of(&new), KeyHash::of(present));
        for _ in 0..ATTEMPTS {
            let id = match whose {
                Whose::Key => self.resolve(&KeyRef::Value(present.clone())).await?,
                Whose::Master => self.master_row(caller, present, true).await?,
            };
            let before = self.required::<VirtualKey>(&id).await?;
            if (whose == Whose::Master) != is_master(&before.value) {
                let reason = "is a master key, or is none: the other was expected";
                return Err(ManageError::invalid("key", reason));
            }
            if before.value.auto_rotate {
                let reason = "must be off for a key whose values a secret's rotation adds";
                return Err(ManageError::invalid("auto_rotate", reason));
            }
            let now = self.now();
            let pending = before.value.pending_rotation.as_ref();
            if pending.is_some_and(|pending| now.duration_since(pending.since) < UNDER_WAY) {
                return Err(ManageError::Conflict);
            }
            let mut key = before.value.clone();
            key.hashes.retain(|_, until| is_good(*until, now));
            if key.hashes.len() >= MOST_VALUES {
                return Err(ManageError::invalid(
                    "values",
                    "are eight already, the most that a key can have",
                ));
            }
            key.hashes.insert(hash, None);
            let named = |name: &str| ValueName { name: name.to_owned(), since: now };
            key.named_values.insert(hash, named(naming.new));
            key.named_values.entry(former).or_insert_with(|| named(naming.present));
            let hashes = &key.hashes;
            key.named_values.retain(|hash, _| hashes.contains_key(hash));
            key.key_name = value::shown(&new);
            key.last_rotation_at = Some(now);
            key.rotation_count = key.rotation_count.saturating_add(1);
            let mut more = forgotten(&before.value, &key);
            more.push((Edit::Point { hash, id: key.id, until: None }, None));
            let kept = self.kept(&key).map(|(_, name)| name);
            match self.attempt(&before, Revision { value: key, more }, caller.name.as_deref(), now).await {
                Ok(()) => {
                    if let Some((kept, name)) = self.options.kept.as_deref().zip(kept) {
                        kept.write(&name, &new).await.map_err(ManageError::KeptUnavailable)?;
                    }
                    return Ok(new);
                }
                Err(Lost::Race(_)) => {}
                Err(Lost::For(error)) => return Err(error),
            }
        }
        Err(ManageError::Conflict)
    }

    /// The values with names that begin with `prefix` that still work, of the key that `present` is a value of.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unavailable`.
    pub async fn named_values(
        &self,
        caller: &Caller,
        present: &SecretString,
        prefix: &str,
    ) -> Result<Vec<NamedValue>, ManageError> {
        caller.must_be_admin("key")?;
        let id = self.resolve(&KeyRef::Value(present.clone())).await?;
        let key = self.required::<VirtualKey>(&id).await?.value;
        let now = self.now();
        let works = |hash: &KeyHash| key.hashes.get(hash).is_some_and(|until| is_good(*until, now));
        let named =
            key.named_values.iter().filter(|(hash, name)| name.name.starts_with(prefix) && works(hash));
        Ok(named.map(|(hash, name)| NamedValue { hash: *hash, name: name.clone() }).collect())
    }

    /// Whether a value is one of a key's now. What the key may do, or whether it is blocked, is not asked. Of a master
    /// key that a person made, and that has never been replaced, the table knows nothing: it is taken for one.
    ///
    /// # Errors
    /// `Invalid` of `key` when it is a key's of the other kind; `Unavailable`.
    pub async fn has_value(&self, whose: Whose, value: &SecretString) -> Result<bool, ManageError> {
        let id = match self.resolve(&KeyRef::Value(value.clone())).await {
            Ok(id) => id,
            Err(ManageError::NotFound { .. }) => {
                let made_by_hand =
                    value::is_value(value.expose_secret()) && !value::is_generated_master(value);
                return Ok(whose == Whose::Master && made_by_hand);
            }
            Err(error) => return Err(error),
        };
        let Some(key) = self.load::<VirtualKey>(&id).await? else { return Ok(false) };
        if (whose == Whose::Master) != is_master(&key.value) {
            return Err(ManageError::invalid("key", "is a master key, or is none: the other was expected"));
        }
        let until = key.value.hashes.get(&KeyHash::of(value));
        Ok(until.is_some_and(|until| is_good(*until, self.now())))
    }

    /// Ends one value of a key at once; false when there is no such value any more.
    ///
    /// # Errors
    /// `Invalid` of `key` when no other value would go on working, or when this is the one that is kept for clients;
    /// `Denied`; `Conflict`, also while the key is being given this value; `Unavailable`; `KeptUnavailable`.
    pub async fn end_value(&self, caller: &Caller, hash: &KeyHash) -> Result<bool, ManageError> {
        caller.must_be_admin("key")?;
        for _ in 0..ATTEMPTS {
            let id: RowId = match self.resolve(&KeyRef::Hash(*hash)).await {
                Ok(id) => id,
                Err(ManageError::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            let Some(before) = self.load::<VirtualKey>(&id).await? else { return Ok(false) };
            let mut key = before.value.clone();
            if key.hashes.remove(hash).is_none() {
                return Ok(false);
            }
            if key.hashes.values().all(Option::is_some) {
                return Err(ManageError::invalid("key", "would be left without a value"));
            }
            if key.pending_rotation.as_ref().is_some_and(|pending| pending.hash == *hash) {
                return Err(ManageError::Conflict);
            }
            if let Some((kept, name)) = self.kept(&key) {
                let value = kept.read(&name).await.map_err(ManageError::KeptUnavailable)?;
                if value.is_some_and(|value| KeyHash::of(&value) == *hash) {
                    return Err(ManageError::invalid("key", "would be kept with a value that has ended"));
                }
            }
            key.named_values.remove(hash);
            let more = forgotten(&before.value, &key);
            let now = self.now();
            match self.attempt(&before, Revision { value: key, more }, caller.name.as_deref(), now).await {
                Ok(()) => return Ok(true),
                Err(Lost::Race(_)) => {}
                Err(Lost::For(error)) => return Err(error),
            }
        }
        Err(ManageError::Conflict)
    }
}

/// Whether a value with this end is still good.
fn is_good(until: Option<Timestamp>, now: Timestamp) -> bool {
    until.is_none_or(|until| now < until)
}

/// The edits that forget where values led that are no more. The first one leads to its row by itself.
fn forgotten(before: &VirtualKey, after: &VirtualKey) -> Vec<(Edit, Option<&'static str>)> {
    let gone = |hash: &&KeyHash| **hash != after.id && !after.hashes.contains_key(hash);
    before.hashes.keys().filter(gone).map(|hash| (Edit::Unpoint { hash: *hash }, None)).collect()
}
