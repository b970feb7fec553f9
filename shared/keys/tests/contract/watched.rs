//! A store that counts what is asked of it and can be switched off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyturn_keys::ledger::Counters;
use keyturn_keys::store::{
    Charge, Charged, Edit, EditError, Filter, Listing, Opened, Page, Row, RowId, StoreFailure, Usage,
    UsageLine, UsageQuery,
};
use keyturn_keys::{AdmissionStore, KeyHash, KeyStore};

/// Another store, watched.
pub(crate) struct Watched {
    store: Arc<dyn KeyStore>,
    calls: Mutex<Vec<&'static str>>,
    down: AtomicBool,
    report_down: AtomicBool,
}

impl Watched {
    pub(crate) fn new(store: Arc<dyn KeyStore>) -> Self {
        let (calls, down, report_down) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        Self { store, calls, down, report_down }
    }

    /// The calls since the last time this was asked.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    pub(crate) fn switch_off(&self) {
        self.down.store(true, Ordering::SeqCst);
    }

    /// Reports alone are not taken any more.
    pub(crate) fn take_no_reports(&self) {
        self.report_down.store(true, Ordering::SeqCst);
    }

    fn call(&self, name: &'static str) -> Result<&dyn KeyStore, StoreFailure> {
        self.calls.lock().unwrap().push(name);
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreFailure::new("switched off"));
        }
        Ok(&*self.store)
    }
}

#[async_trait]
impl AdmissionStore for Watched {
    fn shares(&self) -> bool {
        self.store.shares()
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        self.call("open")?.open(hash).await
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        self.call("read")?.read(ids).await
    }

    async fn read_shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        self.call("read_shares")?.read_shares(id, shares).await
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        self.call("charge")?.charge(charges).await
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        self.call("generation")?.generation().await
    }

    async fn log_usage(&self, line: &UsageLine, shares: u16) -> Result<(), StoreFailure> {
        let store = self.call("log_usage")?;
        if self.report_down.load(Ordering::SeqCst) {
            return Err(StoreFailure::new("no reports"));
        }
        assert_ne!(line.usage, Usage::default(), "a line of nothing");
        store.log_usage(line, shares).await
    }
}

#[async_trait]
impl KeyStore for Watched {
    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        self.call("edit")?.edit(edits).await
    }

    async fn aliased(&self, alias: &str) -> Result<Option<KeyHash>, StoreFailure> {
        self.call("aliased")?.aliased(alias).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreFailure> {
        self.call("list")?.list(listing).await
    }

    async fn count(&self, filter: &Filter) -> Result<u64, StoreFailure> {
        self.call("count")?.count(filter).await
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        self.call("next_generation")?.next_generation().await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        self.call("usage")?.usage(query).await
    }
}
