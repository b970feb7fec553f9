//! Documents that are to be looked at later, because something may be left of a change that was broken off, or because
//! they are no longer needed. A marker `due/<time>.<path>` is made before such a document is.
//!
//! Whoever changes definitions also looks at some documents that are due. Found, and put right, are: documents that
//! say that they are gone, pointers whose time is over or whose key does not know the hash, and aliases whose key is
//! gone or is called otherwise.

use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::store::{RowId, StoreFailure};

use super::documents::{Documents, Entry, SETTLED};
use super::names;

/// How many documents one change looks at, at most.
const SOME: usize = 100;

/// Has `path` looked at, not before `at`.
pub(super) async fn plan(documents: &Documents, path: &str, at: Timestamp) -> Result<(), StoreFailure> {
    documents.mark(&format!("due/{}.{}", names::time(at.as_microsecond()), names::part(path))).await
}

/// Looks at some documents that are due. A failure leaves them for the next time.
pub(super) async fn sweep(documents: &Documents) -> Result<(), StoreFailure> {
    let now = documents.now();
    let mut due: Vec<_> = documents
        .list("due")
        .await?
        .into_iter()
        .filter_map(|name| {
            let (time, path) = name.split_once('.')?;
            let path = names::text(path)?;
            Some((names::microseconds(time)?, path, name))
        })
        .filter(|(time, ..)| *time <= now.as_microsecond())
        .collect();
    due.sort_unstable();
    for (_, path, name) in due.into_iter().take(SOME) {
        if look(documents, &path, now).await? {
            documents.delete(&format!("due/{name}")).await?;
        }
    }
    Ok(())
}

/// Looks at a document; whether that is done with.
async fn look(documents: &Documents, path: &str, now: Timestamp) -> Result<bool, StoreFailure> {
    let Some((entry, version)) = documents.get::<Entry>(path).await? else { return Ok(true) };
    match entry {
        Entry::Gone { at, .. } if is_settled(at, now) => {
            // Who finds this leaves the document alone until it is deleted.
            let swept = Entry::Gone { at, swept: Some(now) };
            if documents.put(path, &swept, version).await?.is_none() {
                return Ok(false);
            }
            // A process that slept since then must not delete what somebody has made there.
            if !is_settled(now, documents.now()) {
                documents.delete(path).await?;
            }
            Ok(true)
        }
        Entry::Gone { .. } => Ok(false),
        Entry::Pointer { .. } | Entry::Alias { .. } => {
            if is_left_over(documents, path, &entry, now).await? {
                // The marker stays for the document that says so.
                documents.put(path, &Entry::Gone { at: now, swept: None }, version).await?;
                return Ok(false);
            }
            Ok(true)
        }
        Entry::Row(_) => Ok(true),
    }
}

/// Whether a pointer or an alias is nobody's, and not just about to become somebody's.
pub(super) async fn is_left_over(
    documents: &Documents,
    path: &str,
    entry: &Entry,
    now: Timestamp,
) -> Result<bool, StoreFailure> {
    match entry {
        Entry::Alias { of, at } if is_settled(*at, now) => {
            let alias = path.strip_prefix("alias/").and_then(names::text);
            let key = key(documents, of).await?;
            Ok(key.is_none_or(|key| key.stored().is_none_or(|row| row.alias != alias)))
        }
        Entry::Pointer { until: Some(until), .. } if *until <= now => Ok(true),
        Entry::Pointer { to, at, .. } if is_settled(*at, now) => {
            let hash = path.strip_prefix("row/key/").unwrap_or(path);
            let key = key(documents, to).await?;
            // A key lists the hashes that open it: see `VirtualKey::hashes`.
            Ok(key.is_none_or(|key| key.stored().is_none_or(|row| !row.definition.contains(hash))))
        }
        Entry::Alias { .. } | Entry::Pointer { .. } | Entry::Row(_) | Entry::Gone { .. } => Ok(false),
    }
}

async fn key(documents: &Documents, id: &KeyHash) -> Result<Option<Entry>, StoreFailure> {
    Ok(documents.get::<Entry>(&names::row(&RowId::key(id))).await?.map(|(entry, _)| entry))
}

/// Whether what was under way at `at` must be over.
pub(super) fn is_settled(at: Timestamp, now: Timestamp) -> bool {
    at + SETTLED <= now
}
