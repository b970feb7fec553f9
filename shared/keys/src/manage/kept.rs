//! Where the values of created keys are kept too, if anywhere: LiteLLM's `store_virtual_keys`.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::hash::KeyHash;
use crate::store::StoreFailure;
use crate::virtual_key::VirtualKey;

use super::ManageError;

/// After how long a place where values are kept tells of what was written. All operations of AWS Secrets Manager are
/// eventually consistent, lists within five minutes
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html>).
const SETTLED: SignedDuration = SignedDuration::from_mins(5);

/// Under what a key's value is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptName {
    /// The key's id.
    pub id: KeyHash,
    /// The name in the place, made of the id and the alias.
    pub name: String,
}

/// A place where the values of keys are kept besides the clients that use them. Every call may be repeated.
#[async_trait]
pub trait KeptKeys: Send + Sync {
    /// Under what the value of a key with this id and alias is kept. The id never changes and is part of the name: two
    /// keys never share a secret, and a key without an alias has one too. Two aliases may make the same name.
    fn name(&self, id: &KeyHash, alias: Option<&str>) -> KeptName;

    /// Keeps a value, in place of the one that is there.
    async fn write(&self, name: &KeptName, value: &SecretString) -> Result<(), StoreFailure>;

    /// The value that is kept under a name; `None` when there is none. A place may be slow to tell of what was just
    /// written.
    async fn read(&self, name: &KeptName) -> Result<Option<SecretString>, StoreFailure>;

    /// Removes what is kept under a name; no failure if there is nothing.
    async fn remove(&self, name: &KeptName) -> Result<(), StoreFailure>;

    /// What is kept for keys of this gateway, page by page, to find what was left behind by a process that died
    /// half-way.
    async fn list(&self, from: Option<&str>) -> Result<KeptPage, StoreFailure>;
}

/// A page of what is kept.
#[derive(Debug, Clone, Default)]
pub struct KeptPage {
    /// The names, and when each was written last; `None` when the place cannot tell.
    pub names: Vec<(KeptName, Option<Timestamp>)>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// Keeps under another name what is kept of a key. Who reads a moment after a write may be told what was there before
/// it: such a value is not carried on.
pub(super) async fn carry(
    kept: &dyn KeptKeys,
    from: &KeptName,
    to: &KeptName,
    key: &VirtualKey,
    now: Timestamp,
) -> Result<(), ManageError> {
    let value = kept.read(from).await.map_err(ManageError::KeptUnavailable)?;
    let is_present = value.as_ref().is_some_and(|value| key.hashes.get(&KeyHash::of(value)) == Some(&None));
    let written = key.last_rotation_at.unwrap_or(key.created_at);
    if !is_present && now.duration_since(written) < SETTLED {
        let failure = StoreFailure::new("the value that was just written cannot be read yet");
        return Err(ManageError::KeptUnavailable(failure));
    }
    match value {
        None => Ok(()),
        Some(value) => kept.write(to, &value).await.map_err(ManageError::KeptUnavailable),
    }
}
