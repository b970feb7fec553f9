//! Making, changing, deleting and showing keys.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::hash::KeyHash;
use crate::limits::Limits;
use crate::money::{dollars, nanos};
use crate::owners::Team;
use crate::store::{Edit, EditError, Kind, RowId};
use crate::virtual_key::{KeyType, VirtualKey};

use super::error::Lost;
use super::kept::carry;
use super::rows::Loaded;
use super::spend::Move;
use super::{ATTEMPTS, Caller, KeyFields, KeyInfo, ManageError, Manager, Patch, Revision};
use super::{check, value};

/// The metadata that makes a key a service account's.
const SERVICE_ACCOUNT: &str = "service_account_id";

/// How a key is named in a request.
#[derive(Debug, Clone)]
pub enum KeyRef {
    /// By one of its values.
    Value(SecretString),
    /// By its id, or the hash of one of its values.
    Hash(KeyHash),
    /// By its alias.
    Alias(String),
}

impl KeyRef {
    /// A value or a hash, as LiteLLM's `key` fields take both; `None` for what is neither.
    #[must_use]
    pub fn value_or_hash(text: SecretString) -> Option<Self> {
        if value::is_value(text.expose_secret()) {
            return Some(Self::Value(text));
        }
        KeyHash::from_hex(text.expose_secret()).map(Self::Hash)
    }
}

/// A key to be made.
#[derive(Default)]
pub struct NewKey {
    /// The caller's own value: begins with `sk-`, 16 to 1,024 visible ASCII characters. `None` = generate one.
    pub key: Option<SecretString>,
    /// Its fields.
    pub fields: KeyFields,
}

/// A key that was made. The value is shown this once.
#[derive(Debug)]
pub struct Created {
    /// The value.
    pub value: SecretString,
    /// The key.
    pub info: KeyInfo,
}

impl Manager {
    /// Makes a key. With a place for values, the value is written there first; what a process leaves there that dies
    /// in between, [`Manager::tidy_kept`] removes.
    ///
    /// # Errors
    /// `Duplicate` of `key` or `key_alias`; `Invalid`; `Denied`; `Unavailable`.
    pub async fn generate(&self, caller: &Caller, new: NewKey) -> Result<Created, ManageError> {
        let NewKey { key, mut fields } = new;
        fields.check_caller(caller)?;
        if let (Some(user), Patch::Keep | Patch::Clear) = (&caller.only_user, &fields.user_id) {
            fields.user_id = Patch::Set(user.clone());
        }
        let made = self.unwritten(caller, key, &fields).await?;
        self.write_new(made, &fields, Vec::new()).await
    }

    /// Makes a key that belongs to a team and to no user.
    ///
    /// # Errors
    /// As [`Manager::generate`]; `Invalid` without a team that is there.
    pub async fn generate_service_account(
        &self,
        caller: &Caller,
        mut new: NewKey,
    ) -> Result<Created, ManageError> {
        let Some(team_id) = new.fields.team_id.set() else {
            return Err(ManageError::invalid("team_id", "is required for service account keys"));
        };
        let Some(team) = self.load::<Team>(&RowId::named(Kind::Team, team_id)).await? else {
            return Err(ManageError::invalid("team_id", "is not the id of a team"));
        };
        if !caller.leads(&team.value) {
            return Err(ManageError::Denied { field: "team_id" });
        }
        new.fields.check_caller(caller)?;
        new.fields.user_id = Patch::Clear;
        let (value, mut key) = self.unwritten(caller, new.key, &new.fields).await?;
        let name = key.key_alias.clone().unwrap_or_else(|| key.id.to_string());
        key.metadata.entry(SERVICE_ACCOUNT).or_insert(Value::String(name));
        check::key(&key)?;
        self.write_new((value, key), &new.fields, Vec::new()).await
    }

    /// A new key, checked but not written.
    pub(crate) async fn unwritten(
        &self,
        caller: &Caller,
        value: Option<SecretString>,
        fields: &KeyFields,
    ) -> Result<(SecretString, VirtualKey), ManageError> {
        let value = match value {
            Some(value) => {
                value::check("key", &value)?;
                value
            }
            None => value::generate()?,
        };
        let now = self.now();
        let mut key = empty(&value, now);
        key.created_by.clone_from(&caller.name);
        key.updated_by.clone_from(&caller.name);
        fields.apply(&mut key, now);
        self.check_fields(fields, &key)?;
        self.may_have(caller, &key, None).await?;
        Ok((value, key))
    }

    /// Writes a new key, together with `more` rows.
    pub(crate) async fn write_new(
        &self,
        (value, key): (SecretString, VirtualKey),
        fields: &KeyFields,
        more: Vec<(Edit, &'static str)>,
    ) -> Result<Created, ManageError> {
        let id = RowId::key(&key.id);
        let mut edits = vec![(self.creation(&key).await?, "key")];
        if let Some(alias) = &key.key_alias {
            edits.push((Edit::Claim { alias: alias.clone(), id: key.id }, "key_alias"));
        }
        edits.extend(more);
        let (edits, names): (Vec<_>, Vec<_>) = edits.into_iter().unzip();
        let kept = self.kept(&key);
        if let Some((kept, name)) = &kept {
            // Nothing may be written over the value of a key that is there.
            if self.store.open(&key.id).await?.row.is_some() {
                return Err(ManageError::Duplicate { field: "key" });
            }
            if let Some(alias) = &key.key_alias
                && self.store.aliased(alias).await?.is_some()
            {
                return Err(ManageError::Duplicate { field: "key_alias" });
            }
            kept.write(name, &value).await.map_err(ManageError::KeptUnavailable)?;
        }
        if let Err(error) = self.store.edit(&edits).await {
            let EditError::Conflict(at) = error else { return Err(Lost::from(error).into_error()) };
            // The same value may have been made a key by another in between; then what is kept is that key's.
            if let Some((kept, name)) = &kept
                && self.store.open(&key.id).await?.row.is_none()
            {
                kept.remove(name).await.map_err(ManageError::KeptUnavailable)?;
            }
            let field = names.get(at).copied().unwrap_or("key");
            return Err(ManageError::Duplicate { field });
        }
        self.set_spend::<VirtualKey>(&id, fields.spend.filter(|spend| *spend > 0.0)).await?;
        let info = self.found(self.required(&id).await?).await?;
        Ok(Created { value, info })
    }

    /// Changes the fields of a key that are not [`Patch::Keep`].
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Duplicate` of `key_alias`, `Denied`, `Conflict`, `Unavailable`.
    pub async fn update(
        &self,
        caller: &Caller,
        key: &KeyRef,
        fields: &KeyFields,
    ) -> Result<KeyInfo, ManageError> {
        fields.check_caller(caller)?;
        let id = self.resolve(key).await?;
        self.revise_key(caller, &id, fields.spend, |key, now| {
            fields.apply(key, now);
            self.check_fields(fields, key)
        })
        .await
    }

    /// Changes many keys, one after the other; each has its own result.
    pub async fn bulk_update(
        &self,
        caller: &Caller,
        changes: &[(KeyRef, KeyFields)],
    ) -> Vec<Result<KeyInfo, ManageError>> {
        let mut results = Vec::with_capacity(changes.len());
        for (key, fields) in changes {
            results.push(self.update(caller, key, fields).await);
        }
        results
    }

    /// Refuses a key's requests, or no longer.
    ///
    /// # Errors
    /// As [`Manager::update`].
    pub async fn block(&self, caller: &Caller, key: &KeyRef, blocked: bool) -> Result<KeyInfo, ManageError> {
        let fields = KeyFields { blocked: Patch::Set(blocked), ..KeyFields::default() };
        self.update(caller, key, &fields).await
    }

    /// Sets what counts as spent back, in US dollars; the key, and what was spent before.
    ///
    /// # Errors
    /// `Invalid` when it is more than what is spent or allowed; else as [`Manager::update`].
    pub async fn reset_spend(
        &self,
        caller: &Caller,
        key: &KeyRef,
        reset_to: f64,
    ) -> Result<(KeyInfo, f64), ManageError> {
        check::dollars("reset_to", reset_to)?;
        let id = self.resolve(key).await?;
        let loaded = self.required::<VirtualKey>(&id).await?;
        if caller.only_user.is_some() {
            let team = self.team_of(&loaded.value).await?;
            if !team.is_some_and(|team| caller.leads(&team)) {
                return Err(ManageError::Denied { field: "spend" });
            }
        }
        let limits = self.limits_of(&loaded.value).await?;
        let max_budget = limits.max_budget;
        let previous = self.books(&loaded.row, &loaded.value, limits).await?.nanos(self.now());
        if nanos(reset_to) > previous {
            return Err(ManageError::invalid("reset_to", "must not be more than what is spent"));
        }
        if max_budget.is_some_and(|budget| reset_to > budget) {
            return Err(ManageError::invalid("reset_to", "must not be more than the budget"));
        }
        self.move_spend::<VirtualKey>(&id, Move::Set(nanos(reset_to)), self.now()).await?;
        Ok((self.found(self.required(&id).await?).await?, dollars(previous)))
    }

    /// Deletes keys; for each whether it was there, and its id.
    ///
    /// # Errors
    /// `NotFound` when none of them is there; `Denied` before any is deleted; `Conflict`; `Unavailable`, when some
    /// may be deleted already.
    pub async fn delete(
        &self,
        caller: &Caller,
        keys: &[KeyRef],
    ) -> Result<Vec<Option<KeyHash>>, ManageError> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let loaded = match self.resolve(key).await {
                Ok(id) => self.load::<VirtualKey>(&id).await?,
                Err(ManageError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            if let Some(loaded) = &loaded {
                self.may_touch(caller, &loaded.value).await?;
            }
            found.push(loaded.map(|loaded| loaded.value.id));
        }
        if found.iter().all(Option::is_none) {
            return Err(ManageError::NotFound { what: "key" });
        }
        for id in found.iter().flatten() {
            self.delete_key(id).await?;
        }
        Ok(found)
    }

    /// Deletes a key with everything that leads to it; true when it was there. What is kept of it goes first, so
    /// that a repeat finds the key and goes on.
    pub(crate) async fn delete_key(&self, id: &KeyHash) -> Result<bool, ManageError> {
        for _ in 0..ATTEMPTS {
            let Some(Loaded { row, value: key }) = self.load::<VirtualKey>(&RowId::key(id)).await? else {
                return Ok(false);
            };
            if let Some((kept, name)) = self.kept(&key) {
                kept.remove(&name).await.map_err(ManageError::KeptUnavailable)?;
            }
            let mut edits = vec![Edit::Delete { id: row.id, rev: row.rev, shares: row.shares }];
            edits.extend(key.key_alias.map(|alias| Edit::Release { alias, id: key.id }));
            let later = key.hashes.into_keys().filter(|hash| *hash != key.id);
            edits.extend(later.map(|hash| Edit::Unpoint { hash }));
            match self.store.edit(&edits).await {
                Ok(()) => return Ok(true),
                Err(error) => match error.into() {
                    Lost::Race(_) => {}
                    Lost::For(error) => return Err(error),
                },
            }
        }
        Err(ManageError::Conflict)
    }

    /// A key and what it has spent.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unavailable`.
    pub async fn info(&self, caller: &Caller, key: &KeyRef) -> Result<KeyInfo, ManageError> {
        let id = self.resolve(key).await?;
        let loaded = self.required::<VirtualKey>(&id).await?;
        self.may_touch(caller, &loaded.value).await?;
        self.found(loaded).await
    }

    /// The row of the key that is meant.
    pub(crate) async fn resolve(&self, key: &KeyRef) -> Result<RowId, ManageError> {
        let missing = ManageError::NotFound { what: "key" };
        let hash = match key {
            KeyRef::Value(value) => KeyHash::of(value),
            KeyRef::Hash(hash) => *hash,
            KeyRef::Alias(alias) => {
                let id = self.store.aliased(alias).await?;
                return id.map(|id| RowId::key(&id)).ok_or(missing);
            }
        };
        let row = self.store.open(&hash).await?.row.ok_or(missing)?;
        let Loaded { row, value: key } = Loaded::<VirtualKey>::read(row)?;
        // A pointer alone opens nothing.
        if hash != key.id && !key.hashes.contains_key(&hash) {
            return Err(ManageError::NotFound { what: "key" });
        }
        Ok(row.id)
    }

    /// Changes a key's definition, its alias and what is kept of it.
    pub(crate) async fn revise_key(
        &self,
        caller: &Caller,
        id: &RowId,
        spend: Option<f64>,
        mut make: impl FnMut(&mut VirtualKey, Timestamp) -> Result<(), ManageError>,
    ) -> Result<KeyInfo, ManageError> {
        for _ in 0..ATTEMPTS {
            let before = self.required::<VirtualKey>(id).await?;
            let now = self.now();
            let mut key = before.value.clone();
            make(&mut key, now)?;
            self.may_touch(caller, &before.value).await?;
            self.may_have(caller, &key, Some(&before.value)).await?;
            let kept = self.kept(&before.value).zip(self.kept(&key));
            let kept =
                kept.map(|((kept, from), (_, to))| (kept, from, to)).filter(|(_, from, to)| from != to);
            if let Some((kept, from, to)) = &kept {
                carry(*kept, from, to, &before.value, now).await?;
            }
            let more = alias_edits(&before.value, &key);
            let revision = Revision { value: key, more };
            match self.attempt(&before, revision, caller.name.as_deref(), now).await {
                Ok(()) => {
                    if let Some((kept, from, _)) = &kept {
                        kept.remove(from).await.map_err(ManageError::KeptUnavailable)?;
                    }
                    self.set_spend::<VirtualKey>(id, spend).await?;
                    return self.found(self.required(id).await?).await;
                }
                Err(Lost::Race(_)) => {}
                Err(Lost::For(error)) => {
                    // The copy under a name that the key did not get.
                    if let (Some((kept, _, to)), ManageError::Duplicate { .. }) = (&kept, &error) {
                        kept.remove(to).await.map_err(ManageError::KeptUnavailable)?;
                    }
                    return Err(error);
                }
            }
        }
        Err(ManageError::Conflict)
    }

    /// Checks a key as it is to be kept.
    pub(crate) fn check_fields(&self, fields: &KeyFields, key: &VirtualKey) -> Result<(), ManageError> {
        check::key(key)?;
        if let Some(spend) = fields.spend {
            check::dollars("spend", spend)?;
        }
        if key.team_id.is_none() && key.metadata.contains_key(SERVICE_ACCOUNT) {
            return Err(ManageError::invalid("team_id", "is required for service account keys"));
        }
        if key.auto_rotate && self.options.kept.is_none() {
            let reason = "needs store_virtual_keys: nobody would learn the new values";
            return Err(ManageError::invalid("auto_rotate", reason));
        }
        Ok(())
    }
}

/// The edits of guards that a change of alias calls for.
pub(crate) fn alias_edits(before: &VirtualKey, after: &VirtualKey) -> Vec<(Edit, Option<&'static str>)> {
    if before.key_alias == after.key_alias {
        return Vec::new();
    }
    let id = before.id;
    let release = before.key_alias.clone().map(|alias| (Edit::Release { alias, id }, None));
    let claim = after.key_alias.clone().map(|alias| (Edit::Claim { alias, id }, Some("key_alias")));
    release.into_iter().chain(claim).collect()
}

/// A key with nothing set.
pub(crate) fn empty(value: &SecretString, now: Timestamp) -> VirtualKey {
    let id = KeyHash::of(value);
    VirtualKey {
        id,
        key_name: value::shown(value),
        hashes: BTreeMap::from([(id, None)]),
        named_values: BTreeMap::new(),
        key_alias: None,
        team_id: None,
        user_id: None,
        budget_id: None,
        models: Vec::new(),
        aliases: BTreeMap::new(),
        allowed_routes: Vec::new(),
        key_type: KeyType::default(),
        metadata: Map::new(),
        permissions: Map::new(),
        tags: Vec::new(),
        limits: Limits::default(),
        temp_budget_increase: None,
        temp_budget_expiry: None,
        blocked: false,
        expires: None,
        auto_rotate: false,
        rotation_interval: None,
        key_rotation_at: None,
        last_rotation_at: None,
        rotation_count: 0,
        last_rotation_id: None,
        last_rotation_salt: None,
        pending_rotation: None,
        created_by: None,
        created_at: now,
        updated_by: None,
        updated_at: now,
    }
}

/// Says nothing of the value.
impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("fields", &self.fields).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_value_or_its_hash() {
        let named = |text: &str| KeyRef::value_or_hash(SecretString::from(text));
        assert!(matches!(named("sk-1"), Some(KeyRef::Value(_))));
        assert!(matches!(named(&"a".repeat(64)), Some(KeyRef::Hash(_))));
        for text in ["", "prod", &"g".repeat(64)] {
            assert!(named(text).is_none(), "{text}");
        }
        assert!(!format!("{:?}", named("sk-secret")).contains("secret"));
    }
}
