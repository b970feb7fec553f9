//! A key store that tells the gateway in this process what has changed, so that it need not wait for the end of a
//! cache life.

use std::sync::Arc;

use async_trait::async_trait;
use keyturn_keys::ledger::Counters;
use keyturn_keys::store::{
    Charge, Charged, Edit, EditError, Filter, Listing, Opened, Page, Row, RowId, StoreFailure, UsageLine,
    UsageQuery,
};
use keyturn_keys::{KeyHash, KeyStore, Keys};
use keyturn_request::Gateway;

/// The store of the management API.
pub(crate) struct Told {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) gateway: Arc<Gateway>,
}

impl Told {
    /// Also after a failure: the change may have been made.
    fn forget(&self, edits: &[Edit]) {
        let Some(keys) = self.gateway.keys() else { return };
        for edit in edits {
            forget(keys, edit);
        }
    }
}

fn forget(keys: &Keys, edit: &Edit) {
    match edit {
        Edit::Create(definition) | Edit::Replace { to: definition, .. } => keys.forget_row(&definition.id),
        Edit::Delete { id, .. } => keys.forget_row(id),
        Edit::Point { hash, .. } | Edit::Unpoint { hash } => keys.forget(hash),
        // An alias opens nothing.
        Edit::Claim { .. } | Edit::Release { .. } => {}
    }
}

#[async_trait]
impl KeyStore for Told {
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
        self.store.charge(charges).await
    }

    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        let edited = self.store.edit(edits).await;
        self.forget(edits);
        edited
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
        if let Some(keys) = self.gateway.keys() {
            keys.write_usage().await?;
        }
        self.store.usage(query).await
    }
}
