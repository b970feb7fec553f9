//! Reading many secrets at once, in the init phase.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use keyturn_config::SecretRef;

use super::entry::{Departure, Entry, Wait};
use super::{CredentialCache, Inner};
use crate::{SecretError, Stage};

/// See [`CredentialCache::prefetch`].
pub(super) async fn prefetch(
    cache: &CredentialCache,
    references: &[SecretRef],
) -> Vec<(SecretRef, SecretError)> {
    let inner = &cache.0;
    let mut batches: BTreeMap<&str, Vec<(Arc<Entry>, Departure)>> = BTreeMap::new();
    for reference in references {
        // What has no store fails below.
        let Ok(entry) = inner.entry(reference) else { continue };
        let moment = inner.moment();
        if entry.store.always_fresh() || entry.state().live(moment).is_some() {
            continue;
        }
        match entry.wait(moment) {
            Wait::Failed(_) | Wait::Join(_) => {}
            Wait::Begin(_, departure) if entry.stage == Stage::Current && entry.store.has_batches() => {
                batches.entry(entry.store.scheme()).or_default().push((Arc::clone(&entry), departure));
            }
            Wait::Begin(_, departure) => inner.begin(&entry, departure),
        }
    }
    for batch in batches.into_values() {
        tokio::spawn(read_batch(Arc::clone(inner), batch));
    }
    // All at once, so that each joins its read before any has failed for long.
    let secrets = join_all(references.iter().map(|reference| cache.get(reference))).await;
    let answers = references.iter().zip(secrets);
    answers.filter_map(|(reference, secret)| Some((reference.clone(), secret.err()?))).collect()
}

/// Reads the secrets of one store and tells those who wait for each.
async fn read_batch(inner: Arc<Inner>, batch: Vec<(Arc<Entry>, Departure)>) {
    let Some((first, _)) = batch.first() else { return };
    let store = Arc::clone(&first.store);
    let names: Vec<&str> = batch.iter().map(|(entry, _)| entry.name.as_str()).collect();
    let answers = tokio::time::timeout(inner.settings.read_timeout, store.get_many(&names)).await;
    let mut answers = answers.unwrap_or_default().into_iter();
    for (entry, departure) in batch {
        let answer = answers.next().unwrap_or_else(|| Err(entry.unavailable("no answer in time")));
        inner.arrive(&entry, departure, answer);
    }
}
