//! Definitions as they were read last. Each is parsed once for each of its revisions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::admission::KeyError;
use crate::hash::KeyHash;
use crate::owners::{Budget, Team, User};
use crate::store::{Account, Kind, Row, RowId, StoreFailure};
use crate::virtual_key::VirtualKey;

use super::Keys;

/// A row as it was read last.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) read_at: Timestamp,
    pub(super) rev: i64,
    pub(super) shares: u16,
    pub(super) definition: Definition,
}

/// A row, and whether it was read for this very request.
pub(super) struct Found {
    pub(super) id: RowId,
    pub(super) seen: Seen,
    pub(super) is_new: bool,
}

/// A definition, parsed.
#[derive(Clone)]
pub(super) enum Definition {
    Key(Arc<VirtualKey>),
    Team(Arc<Team>),
    User(Arc<User>),
    Budget(Arc<Budget>),
    /// There is no such row.
    Missing,
}

impl Keys {
    /// The key that `hash` opens, or opened once. `anew`: not from memory, unless it is fresh.
    pub(super) async fn key_row(
        &self,
        hash: &KeyHash,
        now: Timestamp,
        anew: bool,
    ) -> Result<Found, KeyError> {
        if let Some(id) = self.ids.get(hash)
            && let Some(seen) = self.rows.get(&id)
            && (!anew || self.is_fresh(seen.read_at, now))
        {
            return Ok(Found { id, seen, is_new: false });
        }
        if self.is_unknown(hash, now) {
            return Err(KeyError::NotFound);
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let opened = self.store.open(hash).await?;
        let read_at = self.read_at(forgotten, now);
        if let Some(generation) = opened.generation {
            self.keep_generation(generation, now);
        }
        let Some(row) = opened.row.filter(|row| row.id.kind == Kind::Key) else {
            self.ids.remove(hash);
            self.unknown.insert(*hash, read_at);
            return Err(KeyError::NotFound);
        };
        let id = row.id.clone();
        self.ids.insert(*hash, id.clone());
        Ok(Found { id, seen: self.keep(row, read_at)?, is_new: true })
    }

    /// Rows by name, in one read at most. `anew`: not from memory, unless it is fresh.
    pub(super) async fn rows(
        &self,
        ids: Vec<RowId>,
        now: Timestamp,
        anew: bool,
    ) -> Result<Vec<Found>, KeyError> {
        let usable = |seen: &Seen| !anew || self.is_fresh(seen.read_at, now);
        let known: Vec<_> = ids.iter().map(|id| self.rows.get(id).filter(usable)).collect();
        let wanted: Vec<RowId> =
            ids.iter().zip(&known).filter(|(_, seen)| seen.is_none()).map(|(id, _)| id.clone()).collect();
        let read = if wanted.is_empty() { Vec::new() } else { self.read(&wanted, now).await? };
        let mut read = read.into_iter();
        let found = ids.into_iter().zip(known).map(|(id, known)| {
            let is_new = known.is_none();
            let seen = known.or_else(|| read.next());
            let seen = seen.ok_or_else(|| StoreFailure::new("the key store answered with too few rows"))?;
            Ok(Found { id, seen, is_new })
        });
        found.collect()
    }

    /// Reads rows, whatever is in memory.
    pub(super) async fn read(&self, ids: &[RowId], now: Timestamp) -> Result<Vec<Seen>, KeyError> {
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let rows = self.store.read(ids).await?;
        let now = self.read_at(forgotten, now);
        ids.iter()
            .zip(rows)
            .map(|(id, row)| match row {
                Some(row) => self.keep(row, now),
                None => {
                    let seen = Seen { read_at: now, rev: 0, shares: 0, definition: Definition::Missing };
                    self.rows.insert(id.clone(), seen.clone());
                    Ok(seen)
                }
            })
            .collect()
    }

    /// Keeps a row that was read just now, and its counters.
    pub(super) fn keep(&self, row: Row, now: Timestamp) -> Result<Seen, KeyError> {
        let known = self
            .rows
            .get(&row.id)
            .filter(|seen| seen.rev == row.rev && !matches!(seen.definition, Definition::Missing));
        let definition = match known {
            Some(seen) => seen.definition,
            None => parse(&row)?,
        };
        let seen = Seen { read_at: now, rev: row.rev, shares: row.shares, definition };
        self.rows.insert(row.id.clone(), seen.clone());
        self.counters.insert(Account { row: row.id, share: 0 }, Arc::new(row.counters));
        Ok(seen)
    }

    /// Notes that a row still has this revision.
    pub(super) fn prove(&self, id: &RowId, rev: i64, now: Timestamp) {
        if let Some(seen) = self.rows.get(id).filter(|seen| seen.rev == rev) {
            self.rows.insert(id.clone(), Seen { read_at: now, ..seen });
        }
    }
}

fn parse(row: &Row) -> Result<Definition, KeyError> {
    Ok(match row.id.kind {
        Kind::Key => Definition::Key(document(row)?),
        Kind::Team => Definition::Team(document(row)?),
        Kind::User => Definition::User(document(row)?),
        Kind::Budget => Definition::Budget(document(row)?),
    })
}

/// The document says what its owner wrote, so an error only says where it is wrong.
fn document<T: DeserializeOwned>(row: &Row) -> Result<Arc<T>, KeyError> {
    serde_json::from_str(&row.definition).map(Arc::new).map_err(|error| {
        let place = (error.line(), error.column());
        let what = format!("malformed definition of {:?} {} at {place:?}", row.id.kind, row.id.id);
        KeyError::Unavailable(StoreFailure::new(what))
    })
}
