//! The other port: a store whose secrets can be written, version by version, and so be rotated.
//!
//! It is apart from [`SecretStore`](crate::SecretStore) because the request function only reads: what it cannot do
//! is not in its binary.
//!
//! Versions have AWS Secrets Manager's stages: one version is [`Stage::Current`], the one before it
//! [`Stage::Previous`], and one that is being made [`Stage::Pending`]. A store without such labels keeps them by its
//! own means. Whoever calls names the versions, so that every call may be repeated.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::{Secret, SecretError, Stage, VersionId};

/// A store that writes, found by its URI scheme.
///
/// Its errors name `scheme:name`, as those of [`SecretStore`](crate::SecretStore) do.
#[async_trait]
pub trait StagedStore: Send + Sync {
    /// The scheme of its references.
    fn scheme(&self) -> &'static str;

    /// What is known of a secret without its values.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn describe(&self, name: &str) -> Result<Description, SecretError>;

    /// Reads one version, whatever its stages. [`SecretError::NotFound`] when it has no value (yet).
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn version(&self, name: &str, version: &VersionId) -> Result<Secret, SecretError>;

    /// Begins a rotation, or goes on with the one under way: returns the version to make. Until `lease` is over, only
    /// the same `holder` can begin or go on; others get [`SecretError::Conflict`]. A store whose own service leads
    /// rotations (AWS) has no leases and ignores both.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn begin(
        &self,
        name: &str,
        proposed: &VersionId,
        holder: &str,
        lease: Lease,
    ) -> Result<VersionId, SecretError>;

    /// Ends the lease of a holder whose rotation broke off: others may go on with it from now. Nothing, if the lease is
    /// another's or over. A version that this holder began and that has no value yet is pending no more: nothing is to
    /// be gone on with. A store without leases has nothing to end.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn release(&self, name: &str, holder: &str) -> Result<(), SecretError> {
        let _ = (name, holder);
        Ok(())
    }

    /// Gives a version its value and a stage, which any other version loses. Repeated with the same value, it does
    /// nothing; a version that has another value is a [`SecretError::Conflict`]: the value it has stays.
    /// `authority` is the `RotationToken` of a Secrets Manager event.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn stage(
        &self,
        name: &str,
        version: &VersionId,
        value: &SecretString,
        stage: &Stage,
        authority: Option<&SecretString>,
    ) -> Result<(), SecretError>;

    /// Makes `version` the current one in the place of `from`, which becomes the previous one; a pending stage of
    /// `version` may stay on it or go. [`SecretError::Conflict`] when `from` is not the current version, unless
    /// `version` already is.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn promote(&self, name: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError>;

    /// Notes that a version has been seen as the current one, for [`Description::current_since`]. A store that knows
    /// when versions became current has nothing to note.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn mark_current(
        &self,
        name: &str,
        version: &VersionId,
        seen: Timestamp,
    ) -> Result<(), SecretError> {
        let _ = (name, version, seen);
        Ok(())
    }

    /// Takes a stage other than the current one off a version; [`SecretError::Conflict`] if it does not have it: who
    /// takes a stage off relies on its having been there. A version without any stage may be forgotten by the store.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn unstage(&self, name: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError>;

    /// Writes a new current version, whatever was there; a secret that is not there is made, one that waits for its
    /// deletion is restored.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn write(&self, name: &str, value: &SecretString, about: &About) -> Result<VersionId, SecretError>;

    /// Removes a secret with all its versions, so that its name is free at once; nothing if it is not there.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn remove(&self, name: &str) -> Result<(), SecretError>;

    /// The secrets whose names begin with `prefix`, a page at a time, in no order that matters. `from` is the `next`
    /// of the page before.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, SecretError>;
}

/// For how long a rotation is one holder's: from `now` until `until`.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// The time of the call.
    pub now: Timestamp,
    /// The end.
    pub until: Timestamp,
}

/// What is known of a secret without its values.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// Its name, whichever way it was asked for.
    pub name: String,
    /// Its versions, those with a stage at least, with their stages.
    pub versions: BTreeMap<VersionId, Vec<Stage>>,
    /// Since when the current version has been current, or later: never earlier, since what was replaced may be
    /// revoked some time after it. `None`: not known; [`StagedStore::mark_current`] may have to say.
    pub current_since: Option<Timestamp>,
    /// Whether the store's own service rotates it. `None` for a store that has no such service.
    pub rotation_enabled: Option<bool>,
    /// When it was rotated last, as far as the store knows.
    pub last_rotated: Option<Timestamp>,
    /// When the store's own service will rotate it next.
    pub next_rotation: Option<Timestamp>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Description {
    /// The version with a stage.
    #[must_use]
    pub fn at(&self, stage: &Stage) -> Option<&VersionId> {
        self.versions.iter().find(|(_, stages)| stages.contains(stage)).map(|(version, _)| version)
    }

    /// Whether a version has a stage.
    #[must_use]
    pub fn has(&self, version: &VersionId, stage: &Stage) -> bool {
        self.versions.get(version).is_some_and(|stages| stages.contains(stage))
    }
}

/// What a secret is made with. A store without such a thing leaves it out, unless the doc of the store says that it
/// refuses it.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What it is for.
    pub description: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The key that the store encrypts it with; `None` is the store's default.
    pub kms_key: Option<String>,
    /// The regions that it is copied to (AWS).
    pub replica_regions: Vec<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The secrets.
    pub secrets: Vec<Listed>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// A secret in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was written last, as far as the list tells.
    pub changed: Option<Timestamp>,
    /// Its tags, as far as the list tells.
    pub tags: BTreeMap<String, String>,
}
