//! A store that answers at once, so that what is measured is everything but the store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use keyturn_keys::ledger::Counters;
use keyturn_keys::store::{
    Account, AdmissionStore, Charge, Charged, Edit, EditError, Filter, Listing, Opened, Page, Row, RowId,
    StoreFailure, UsageLine, UsageQuery,
};
use keyturn_keys::{KeyHash, KeyStore};

/// Rows in memory, made by the real manager. Whatever is asked for has room.
#[derive(Default)]
pub(super) struct Stub {
    rows: Mutex<HashMap<RowId, Row>>,
    counters: Mutex<HashMap<Account, Counters>>,
}

fn not_here<T>() -> Result<T, StoreFailure> {
    Err(StoreFailure::new("the stub has no such call"))
}

#[async_trait]
impl AdmissionStore for Stub {
    fn shares(&self) -> bool {
        true
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        let row = self.read(&[RowId::key(hash)]).await?.pop().flatten();
        Ok(Opened { row, generation: Some(0) })
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ids.iter().map(|id| rows.get(id).cloned()).collect())
    }

    async fn read_shares(&self, _: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        Ok(vec![Counters::default(); shares.into()])
    }

    /// Makes the change. One account's counters are told, as DynamoDB does.
    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        let mut all = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for Charge { account, change } in charges {
            match all.get_mut(account) {
                Some(counters) => change.apply(counters),
                None => change.apply(all.entry(account.clone()).or_default()),
            }
        }
        let told =
            charges.iter().map(|charge| all.get(&charge.account).filter(|_| charges.len() == 1).cloned());
        Ok(Charged::Done(told.collect()))
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        Ok(0)
    }

    async fn log_usage(&self, _: &UsageLine, _: u16) -> Result<(), StoreFailure> {
        Ok(())
    }
}

#[async_trait]
impl KeyStore for Stub {
    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for edit in edits {
            if let Edit::Create(to) | Edit::Replace { to, .. } = edit {
                let row = Row {
                    id: to.id.clone(),
                    rev: to.rev,
                    definition: to.text.as_str().into(),
                    shares: to.shares,
                    counters: Counters::default(),
                };
                rows.insert(to.id.clone(), row);
            }
        }
        Ok(())
    }

    async fn aliased(&self, _: &str) -> Result<Option<KeyHash>, StoreFailure> {
        not_here()
    }

    async fn list(&self, _: &Listing) -> Result<Page, StoreFailure> {
        Ok(Page::default())
    }

    async fn count(&self, _: &Filter) -> Result<u64, StoreFailure> {
        not_here()
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        not_here()
    }

    async fn usage(&self, _: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        not_here()
    }
}
