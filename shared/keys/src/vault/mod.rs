//! [`KeyStore`] on HashiCorp Vault or OpenBao: documents of a KV engine, version 2, changed by check-and-set only.
//!
//! | document | holds |
//! |---|---|
//! | `row/<kind>/<id>` | a row: revision, definition, index and counters |
//! | `row/key/<hash of a later value>` | a pointer to the key |
//! | `alias/<alias>` | the key that has it |
//! | `by/<what>/…` | an empty marker of a row for each list it is in ([`list`]) |
//! | `usage/<month>/<key>` | lines of usage ([`usage`]) |
//! | `due/<time>.<path>` | an empty marker: this document is to be looked at then ([`due`]) |
//! | `generation` | how many rotations have finished |
//!
//! # What is exact, and what it costs
//!
//! Counters are as exact as DynamoDB's: no request gets in that does not fit, no change is lost. A process collects
//! the changes that come while a write of a document is under way, judges them one after another in memory, and makes
//! them with one write ([`commit`]). When another process wrote meanwhile, the document is read again and they are
//! judged anew. So a document takes one *write* at a time however many processes there are, each of which may
//! carry any number of a process's requests. Vault syncs each write to its disks and keeps ten versions of a document.
//! There are no shares of a busy account.
//!
//! | call | calls to Vault |
//! |---|---|
//! | `open` | two reads side by side; one more through a pointer |
//! | `charge` of one account | a write; before it a read when the document was not used in the last ten seconds |
//! | `charge` of several | the same for each, one after another |
//! | `list`, `count` | one list of all names, whatever the page; then a read for each row of the page |
//! | `usage` | a list for each month, then a read for each key in it |
//!
//! Where it is less exact than DynamoDB:
//!
//! - A change of several accounts is made one after another and undone when a later one refuses. In between, the
//!   earlier accounts count it, so that a request of theirs can be refused for which there is room a moment later. A
//!   process that dies in between leaves it: reservations end with their slot, rates with their minute.
//! - A write whose answer is lost is recognised by a number that it bears, unless another process has written since:
//!   then it counts twice.
//! - A change of several definitions is not one transaction: see [`edit`].
//! - A month of a key has at most 2,000 lines of usage; what comes then is counted without its tags.

mod commit;
mod counters;
mod documents;
mod due;
mod edit;
mod list;
mod names;
mod usage;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use keyturn_ambient::Clock;
use keyturn_vault::Vault;
use serde::{Deserialize, Serialize};

use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{
    AdmissionStore, Charge, Charged, Edit, EditError, Filter, KeyStore, Listing, Opened, Page, Row, RowId,
    StoreFailure, UsageLine, UsageQuery,
};

use commit::Lanes;
use counters::Account;
use documents::{Documents, Entry};
use usage::Month;

/// How many documents are read at a time.
const READS_AT_A_TIME: usize = 16;

/// How often to try to add to the generation while others do.
const TRIES: u32 = 20;

/// Virtual keys in Vault.
#[derive(Clone)]
pub struct VaultKeyStore(Arc<Inner>);

struct Inner {
    documents: Arc<Documents>,
    accounts: Lanes<Account>,
    months: Lanes<Month>,
}

/// The document with the number of finished rotations.
#[derive(Serialize, Deserialize)]
struct Generation {
    n: u64,
}

const GENERATION: &str = "generation";

impl VaultKeyStore {
    /// A store under `path`, which several gateways may share. Nothing is called before the first use.
    #[must_use]
    pub fn new(vault: Vault, path: &str, clock: Arc<dyn Clock>) -> Self {
        let documents = Arc::new(Documents::new(vault, path, clock));
        Self(Arc::new(Inner {
            accounts: Lanes::new(Arc::clone(&documents)),
            months: Lanes::new(Arc::clone(&documents)),
            documents,
        }))
    }
}

impl Inner {
    /// The row of that name.
    async fn row(&self, id: &RowId) -> Result<Option<Row>, StoreFailure> {
        let found = self.documents.get::<Entry>(&names::row(id)).await?;
        Ok(found.and_then(|(entry, _)| entry.row(id)))
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        let id = RowId::key(hash);
        let path = names::row(&id);
        let (entry, generation) = join(self.documents.get::<Entry>(&path), self.generation()).await;
        let row = match entry?.map(|(entry, _)| entry) {
            Some(Entry::Pointer { to, .. }) => self.row(&RowId::key(&to)).await?,
            Some(entry) => entry.row(&id),
            None => None,
        };
        Ok(Opened { row, generation: generation.ok() })
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        Ok(self.documents.get::<Generation>(GENERATION).await?.map_or(0, |(found, _)| found.n))
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        for _ in 0..TRIES {
            let found = self.documents.get::<Generation>(GENERATION).await?;
            let (n, version) = found.map_or((0, 0), |(found, version)| (found.n, version));
            let next = Generation { n: n.saturating_add(1) };
            if self.documents.put(GENERATION, &next, version).await?.is_some() {
                return Ok(next.n);
            }
        }
        Err(StoreFailure::new("others wrote the generation at every attempt"))
    }
}

#[async_trait]
impl AdmissionStore for VaultKeyStore {
    fn shares(&self) -> bool {
        false
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        self.0.open(hash).await
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        let reads = ids.iter().map(|id| self.0.row(id)).collect::<Vec<_>>();
        stream::iter(reads).buffered(READS_AT_A_TIME).try_collect().await
    }

    async fn read_shares(&self, _: &RowId, _: u16) -> Result<Vec<Counters>, StoreFailure> {
        Ok(Vec::new())
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        let inner = Arc::clone(&self.0);
        let charges = charges.to_vec();
        uncancelled(async move { counters::charge(&inner.accounts, &charges).await }).await?
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        self.0.generation().await
    }

    async fn log_usage(&self, line: &UsageLine, _: u16) -> Result<(), StoreFailure> {
        self.0.months.submit(&usage::path(line), line.clone()).await
    }
}

#[async_trait]
impl KeyStore for VaultKeyStore {
    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        let inner = Arc::clone(&self.0);
        let edits = edits.to_vec();
        uncancelled(async move { edit::edit(&inner.documents, &edits).await }).await?
    }

    async fn aliased(&self, alias: &str) -> Result<Option<KeyHash>, StoreFailure> {
        let found = self.0.documents.get::<Entry>(&names::alias(alias)).await?;
        Ok(found.and_then(|(entry, _)| entry.alias_of()))
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreFailure> {
        list::list(&self.0.documents, listing).await
    }

    async fn count(&self, filter: &Filter) -> Result<u64, StoreFailure> {
        list::count(&self.0.documents, filter).await
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        self.0.next_generation().await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        usage::read(&self.0.documents, query).await
    }
}

/// Runs to its end whether or not somebody waits for it: what has several steps must not stop after one because a
/// client has gone.
async fn uncancelled<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreFailure> {
    tokio::spawn(work).await.map_err(|_| StoreFailure::new("the work was cut off"))
}
