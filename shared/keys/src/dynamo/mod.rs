//! Keys in one DynamoDB table; `docs/adr/0001-key-table.md` explains its design.
//!
//! | file | what |
//! |---|---|
//! | `table.rs` | names, the table's shape, reads |
//! | `update.rs` | one conditional write |
//! | `record.rs` | an item as a key with its counters, and back |
//! | `plan.rs` | what one request adds to a key's counters, and why it may not |
//! | `admit.rs`, `settle.rs`, `create.rs` | the port's three calls |
//!
//! The request path needs `dynamodb:BatchGetItem`, `dynamodb:GetItem` and `dynamodb:UpdateItem`; making keys
//! needs `dynamodb:PutItem` (a transaction of puts).

mod admit;
mod create;
mod plan;
mod record;
mod settle;
mod table;
mod update;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::Clock;
use secrecy::SecretString;

use crate::cache::Cache;
use crate::hash::KeyHash;
use crate::new_key::NewKey;
use crate::port::{Admission, Ask, KeyError, KeyStore, Spent};
use crate::virtual_key::VirtualKey;
use record::Record;
use table::Table;

/// Keys kept in memory. At about 1 KB each, 10 MB when it is full.
const KNOWN_KEYS: usize = 10_000;
/// Unknown hashes kept in memory.
const UNKNOWN_KEYS: usize = 10_000;
/// How long an unknown hash is refused without asking again: long enough to blunt a client that hammers a bad
/// key, short enough that nobody waits for a key that was made elsewhere a moment ago.
const UNKNOWN_LIFE: SignedDuration = SignedDuration::from_secs(2);

/// A [`KeyStore`] on DynamoDB, with a cache.
pub struct DynamoKeyStore {
    table: Table,
    clock: Arc<dyn Clock>,
    cache_life: SignedDuration,
    known: Cache<Known>,
    unknown: Cache<Timestamp>,
    generation: Mutex<Generation>,
}

/// A key as it was read last.
#[derive(Clone)]
struct Known {
    record: Arc<Record>,
    read_at: Timestamp,
}

/// The generation number as it was read last.
#[derive(Clone, Copy)]
struct Generation {
    number: u64,
    read_at: Option<Timestamp>,
}

impl DynamoKeyStore {
    /// A store on the table named `table`. A key without limits is served from memory for `cache_life` after it
    /// was read (usually 10 s; 0 = always ask), and so is a refusal; a key with limits asks the table at every
    /// request.
    #[must_use]
    pub fn new(client: Client, table: String, clock: Arc<dyn Clock>, cache_life: Duration) -> Self {
        Self {
            table: Table::new(client, table),
            clock,
            cache_life: SignedDuration::try_from(cache_life).unwrap_or(SignedDuration::MAX),
            known: Cache::new(KNOWN_KEYS),
            unknown: Cache::new(UNKNOWN_KEYS),
            generation: Mutex::new(Generation { number: 0, read_at: None }),
        }
    }

    /// Makes the table unless it is there: for the local gateway and for tests. `template.yaml` has the same
    /// table for AWS.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unavailable`] when DynamoDB refuses or does not answer.
    pub async fn create_table(&self) -> Result<(), KeyError> {
        self.table.create().await
    }

    /// Keeps what was read or written under `hash` just now.
    fn keep(&self, hash: &KeyHash, record: Record, now: Timestamp) -> Arc<Record> {
        let record = Arc::new(record);
        self.known.insert(*hash, Known { record: Arc::clone(&record), read_at: now });
        record
    }

    /// Keeps the generation that was read just now.
    fn keep_generation(&self, number: u64, now: Timestamp) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) =
            Generation { number, read_at: Some(now) };
    }

    fn generation(&self) -> Generation {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, read_at: Timestamp, now: Timestamp) -> bool {
        within(self.cache_life, read_at, now)
    }
}

/// Whether `now` is less than `life` after `read_at`. A clock that was set back makes everything old.
fn within(life: SignedDuration, read_at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(read_at);
    !age.is_negative() && age < life
}

#[async_trait]
impl KeyStore for DynamoKeyStore {
    async fn admit(&self, hash: &KeyHash, ask: &Ask<'_>) -> Result<Admission, KeyError> {
        self.admit_key(hash, ask).await
    }

    async fn authenticate(&self, hash: &KeyHash) -> Result<Arc<VirtualKey>, KeyError> {
        self.authenticate_key(hash).await
    }

    async fn settle(&self, admission: Admission, spent: &Spent) -> Result<(), KeyError> {
        self.settle_key(&admission, spent).await
    }

    async fn create(&self, key: NewKey) -> Result<(SecretString, VirtualKey), KeyError> {
        self.create_key(key).await
    }
}
