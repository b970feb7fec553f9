//! The port: one place where secrets live.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::{Secret, SecretError, Stage};

/// How many reads [`SecretStore::get_many`] has under way at a time when a store has no batch call.
const READS_AT_A_TIME: usize = 10;

/// One place where secrets live, found by its URI scheme.
///
/// A store does not cache and does not pick fields: it reads a whole secret. Its errors name
/// `scheme:name`.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The scheme of its references.
    fn scheme(&self) -> &'static str;

    /// Reads one secret. A store without stages answers [`SecretError::NotFound`] to any but the current one.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError>;

    /// Whether [`SecretStore::get_many`] is cheaper than single reads: the cache then reads all at once at a cold start.
    /// Otherwise each is read by itself, so that none waits for another's endpoint.
    fn has_batches(&self) -> bool {
        false
    }

    /// Reads the current version of several secrets, in the order of `names`.
    async fn get_many(&self, names: &[&str]) -> Vec<Result<Secret, SecretError>> {
        let mut answers = Vec::with_capacity(names.len());
        for names in names.chunks(READS_AT_A_TIME) {
            answers.extend(join_all(names.iter().map(|name| self.get(name, &Stage::Current))).await);
        }
        answers
    }

    /// Whether a read costs microseconds and sees every change: the cache then reads at every use, and keeps
    /// what it has only against a failing read.
    fn always_fresh(&self) -> bool {
        false
    }

    /// The age from which this store's values are read again, in the place of the cache's own; `None` = that. The cache
    /// cuts it down to fit its hard TTL.
    fn soft_ttl(&self) -> Option<Duration> {
        None
    }
}
