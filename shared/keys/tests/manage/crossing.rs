//! A store on which several are in each other's way for certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use keyturn_keys::ledger::Counters;
use keyturn_keys::store::{
    Charge, Charged, Edit, EditError, Filter, Listing, Opened, Page, Row, RowId, StoreFailure, UsageLine,
    UsageQuery,
};
use keyturn_keys::{KeyHash, KeyStore};
use tokio::sync::Barrier;

/// Lets the first edits and the first charges go on only when so many of them are there: all have read the same by
/// then.
pub(crate) struct Crossing {
    store: Arc<dyn KeyStore>,
    edits: Meeting,
    charges: Meeting,
}

/// The first so many meet.
struct Meeting {
    number: usize,
    came: AtomicUsize,
    barrier: Barrier,
}

impl Meeting {
    fn of(number: usize) -> Self {
        Self { number, came: AtomicUsize::new(0), barrier: Barrier::new(number) }
    }

    async fn meet(&self) {
        if self.came.fetch_add(1, Ordering::SeqCst) < self.number {
            self.barrier.wait().await;
        }
    }
}

impl Crossing {
    /// So many edits and so many charges meet; 0 = none have to.
    pub(crate) fn of(store: &Arc<dyn KeyStore>, edits: usize, charges: usize) -> Arc<dyn KeyStore> {
        Arc::new(Self { store: store.clone(), edits: Meeting::of(edits), charges: Meeting::of(charges) })
    }
}

#[async_trait]
impl KeyStore for Crossing {
    fn shares(&self) -> bool {
        self.store.shares()
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        self.store.open(hash).await
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        self.store.read(ids).await
    }

    async fn read_shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        self.store.read_shares(id, shares).await
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        self.charges.meet().await;
        self.store.charge(charges).await
    }

    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        self.edits.meet().await;
        self.store.edit(edits).await
    }

    async fn aliased(&self, alias: &str) -> Result<Option<KeyHash>, StoreFailure> {
        self.store.aliased(alias).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreFailure> {
        self.store.list(listing).await
    }

    async fn count(&self, filter: &Filter) -> Result<u64, StoreFailure> {
        self.store.count(filter).await
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        self.store.generation().await
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        self.store.next_generation().await
    }

    async fn log_usage(&self, line: &UsageLine, shares: u16) -> Result<(), StoreFailure> {
        self.store.log_usage(line, shares).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        self.store.usage(query).await
    }
}
