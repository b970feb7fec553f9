//! Where the values of created keys are kept too, if anywhere: LiteLLM's `store_virtual_keys`.

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::hash::KeyHash;
use crate::store::StoreFailure;

/// Under what a key's value is kept. The id never changes, so whatever the name is made of, it must contain the id:
/// two keys never share a secret, and a key without an alias has one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptName {
    /// The key's id.
    pub id: KeyHash,
    /// Its alias.
    pub alias: Option<String>,
    /// Its team, which may have a place of its own.
    pub team_id: Option<String>,
}

/// A place where the values of keys are kept besides the clients that use them. Every call may be repeated.
#[async_trait]
pub trait KeptKeys: Send + Sync {
    /// Keeps a value, in place of the one that is there.
    async fn write(&self, name: &KeptName, value: &SecretString) -> Result<(), StoreFailure>;

    /// Keeps under `to` what is kept under `from`, which may stay. No failure if there is nothing.
    async fn copy(&self, from: &KeptName, to: &KeptName) -> Result<(), StoreFailure>;

    /// Removes what is kept under a name; no failure if there is nothing.
    async fn remove(&self, name: &KeptName) -> Result<(), StoreFailure>;

    /// What is kept, page by page, to find what was left behind by a process that died half-way.
    async fn list(&self, from: Option<&str>) -> Result<KeptPage, StoreFailure>;
}

/// A page of what is kept.
#[derive(Debug, Clone, Default)]
pub struct KeptPage {
    /// The names, and when each was written last.
    pub names: Vec<(KeptName, Timestamp)>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}
