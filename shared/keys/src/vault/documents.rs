//! Documents that are changed by check-and-set, and never simply deleted: a deleted document would start at version
//! 1 again, and a process that remembers a version of the former one could overwrite the new one. So what goes leaves
//! a document that says so ([`Entry::Gone`]), and [`super::due`] deletes that when nobody remembers anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Clock;
use keyturn_vault::{Vault, VaultError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{Definition, Index, Row, RowId, StoreFailure};

/// When whatever was under way must be over: the longest life of a Lambda function.
pub(super) const SETTLED: Duration = Duration::from_secs(15 * 60);

/// How long a process waits before it looks again at what is due.
const SWEEPS: Duration = Duration::from_secs(10);

/// How often a write is tried whose answers get lost.
const TRIES: u32 = 3;

/// The document, as text: numbers keep their digits, and OpenBao counts the texts in a request.
const JSON: &str = "json";
/// A number of each write's own.
const WRITE: &str = "write";

/// What is at the path of a row or of an alias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Entry {
    /// A row.
    Row(Box<Stored>),
    /// The hash of a later value of a key.
    Pointer { to: KeyHash, until: Option<Timestamp>, at: Timestamp },
    /// An alias.
    Alias { of: KeyHash, at: Timestamp },
    /// Nothing any more.
    Gone {
        at: Timestamp,
        /// When somebody was about to delete the document.
        swept: Option<Timestamp>,
    },
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) rev: i64,
    pub(super) definition: String,
    pub(super) created_at: Timestamp,
    pub(super) alias: Option<String>,
    pub(super) team_id: Option<String>,
    pub(super) user_id: Option<String>,
    /// What its markers end with.
    pub(super) mark: i64,
    #[serde(with = "numbers")]
    pub(super) counters: Counters,
}

/// Counters as a JSON object.
mod numbers {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::ledger::Counters;

    pub(super) fn serialize<S: Serializer>(counters: &Counters, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(counters.iter())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Counters, D::Error> {
        Ok(BTreeMap::<String, i64>::deserialize(from)?.into_iter().collect())
    }
}

impl Stored {
    pub(super) fn new(definition: &Definition, mark: i64, counters: Counters) -> Self {
        let index = definition.index.clone();
        Self {
            rev: definition.rev,
            definition: definition.text.clone(),
            created_at: index.created_at,
            alias: index.alias,
            team_id: index.team_id,
            user_id: index.user_id,
            mark,
            counters,
        }
    }

    pub(super) fn index(&self) -> Index {
        Index {
            created_at: self.created_at,
            alias: self.alias.clone(),
            team_id: self.team_id.clone(),
            user_id: self.user_id.clone(),
        }
    }
}

impl Entry {
    /// The row here, if there is one.
    pub(super) fn row(self, id: &RowId) -> Option<Row> {
        let Self::Row(stored) = self else { return None };
        Some(Row {
            id: id.clone(),
            rev: stored.rev,
            definition: stored.definition.into(),
            shares: 0,
            counters: stored.counters,
        })
    }

    pub(super) fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Row(stored) => Some(stored),
            Self::Pointer { .. } | Self::Alias { .. } | Self::Gone { .. } => None,
        }
    }

    pub(super) fn alias_of(&self) -> Option<KeyHash> {
        match self {
            Self::Alias { of, .. } => Some(*of),
            Self::Row(_) | Self::Pointer { .. } | Self::Gone { .. } => None,
        }
    }
}

/// The documents of a store.
pub(super) struct Documents {
    vault: Vault,
    path: String,
    clock: Arc<dyn Clock>,
    /// When this process last looked at what is due.
    swept: Mutex<Option<Timestamp>>,
}

impl Documents {
    pub(super) fn new(vault: Vault, path: &str, clock: Arc<dyn Clock>) -> Self {
        Self { vault, path: path.trim_matches('/').to_owned(), clock, swept: Mutex::default() }
    }

    /// Whether it is time again to look at what is due.
    pub(super) fn may_sweep(&self) -> bool {
        let now = self.now();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let may = swept.is_none_or(|last| now.duration_since(last).unsigned_abs() >= SWEEPS);
        if may {
            *swept = Some(now);
        }
        may
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.path)
    }

    /// A document and its version.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<(T, u64)>, StoreFailure> {
        Ok(self.read(path).await?.map(|(document, version, _)| (document, version)))
    }

    /// The same, with the number of the write that made it.
    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<(T, u64, u64)>, StoreFailure> {
        let found = match self.vault.get(&self.path(path)).await {
            Ok(found) => found,
            Err(VaultError::NotFound) => return Ok(None),
            Err(error) => return Err(failure(&error)),
        };
        let text = found.data.get(JSON).and_then(|text| text.as_str());
        let document = text.and_then(|text| serde_json::from_str(text).ok());
        // The path, without a value; paths hold hashes and names only.
        let document = document
            .ok_or_else(|| StoreFailure::new(format!("the document {path} in Vault is malformed")))?;
        let write = found.data.get(WRITE).and_then(|write| write.as_str()?.parse().ok());
        Ok(Some((document, found.version, write.unwrap_or_default())))
    }

    /// Writes a document after its version `after` (0 = it is not there) and returns the new version; `None` when it
    /// has another version.
    pub(super) async fn put<T: Serialize>(
        &self,
        path: &str,
        document: &T,
        after: u64,
    ) -> Result<Option<u64>, StoreFailure> {
        let text = serde_json::to_string(document);
        let text = text.map_err(|_| StoreFailure::new("a document cannot be written as JSON"))?;
        let write = fastrand::u64(1..);
        let data = json!({JSON: text, WRITE: write.to_string()});
        let whole = self.path(path);
        let mut tries = 1;
        loop {
            match self.vault.put(&whole, &data, after).await {
                Ok(version) => return Ok(Some(version)),
                // It may be our own write, whose answer was lost, that is in the way.
                Err(VaultError::CasMismatch) if tries == 1 => return Ok(None),
                Err(VaultError::CasMismatch) => {
                    let found = self.read::<serde::de::IgnoredAny>(path).await?;
                    let ours = found.filter(|(_, _, by)| *by == write);
                    return Ok(ours.map(|(_, version, _)| version));
                }
                Err(VaultError::Unavailable(outage)) if !outage.surely_nothing_written() && tries < TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(failure(&error)),
            }
        }
    }

    /// Makes an empty document.
    pub(super) async fn mark(&self, path: &str) -> Result<(), StoreFailure> {
        self.vault
            .set(&self.path(path), &json!({JSON: "{}"}))
            .await
            .map(drop)
            .map_err(|error| failure(&error))
    }

    /// Deletes a document that nobody changes by check-and-set any more.
    pub(super) async fn delete(&self, path: &str) -> Result<(), StoreFailure> {
        self.vault.delete(&self.path(path)).await.map_err(|error| failure(&error))
    }

    /// The names under a path, in no order.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<String>, StoreFailure> {
        self.vault.list(&self.path(path)).await.map_err(|error| failure(&error))
    }
}

/// Vault's errors hold no tokens and no values.
fn failure(error: &VaultError) -> StoreFailure {
    StoreFailure::from_error(error)
}
