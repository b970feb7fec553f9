//! Settlements that nobody waits for, gathered and written together.
//!
//! A write to the embedded table takes half a millisecond of processor time, ten times what all else of a request
//! takes. No admission waits for the spend of an account without limits, so it is summed for a moment and written once;
//! LiteLLM does the same, in production for a minute (`proxy_batch_write_at`,
//! https://docs.litellm.ai/docs/proxy/prod). An account with limits is settled at once: its next admission goes by it.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyturn_keys::KeyStore;
use keyturn_keys::ledger::{Change, Counters, Require};
use keyturn_keys::store::{Account, Charge, Charged, Layer, Listing, Page, Row, RowId, StoreFailure};
use tokio_util::task::TaskTracker;

/// How long is gathered. A process that is killed loses this much.
const MOMENT: Duration = Duration::from_millis(250);

/// What is to be added to each account.
type Sums = HashMap<Account, Change>;

/// A key store in front of another one, which it spares settlements.
pub(crate) struct Gathering<S> {
    store: Arc<S>,
    /// What was gathered since the last write.
    sums: Arc<Mutex<Sums>>,
    writes: TaskTracker,
}

impl<S: KeyStore + 'static> Gathering<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store: Arc::new(store), sums: Arc::default(), writes: TaskTracker::new() }
    }

    /// Waits until everything is written.
    pub(crate) async fn written(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    /// Writes what is gathered, so that whoever reads sees it. An account whose write fails is no reason to lose the
    /// others: the first failure is told when all were written.
    async fn write(&self) -> Result<(), StoreFailure> {
        let (store, sums) = (Arc::clone(&self.store), mem::take(&mut *lock(&self.sums)));
        // A task of its own: whoever asked may go away.
        let written = self.writes.spawn(async move {
            let mut outcome = Ok(());
            for (account, change) in sums {
                let written = store.charge(&[Charge { account, change }]).await;
                outcome = outcome.and(written.map(drop));
            }
            outcome
        });
        // A write that panicked has told so.
        written.await.unwrap_or(Ok(()))
    }

    /// Adds to what is gathered for this account; `true` when nothing was, and somebody has to see to it being
    /// written.
    fn gather(&self, charge: &Charge) -> bool {
        let mut sums = lock(&self.sums);
        let first = !sums.contains_key(&charge.account);
        let sum = sums.entry(charge.account.clone()).or_default();
        sum.require.clone_from(&charge.change.require);
        for (counter, amount) in &charge.change.add {
            sum.add(counter, *amount);
        }
        first
    }
}

fn lock(sums: &Mutex<Sums>) -> MutexGuard<'_, Sums> {
    sums.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The charge, if it may wait: it only adds, to one account that has to be there.
fn patient(charges: &[Charge]) -> Option<&Charge> {
    let [charge] = charges else { return None };
    let change = &charge.change;
    let only_adds = change.remove.is_empty() && change.require.iter().all(|must| *must == Require::Exists);
    only_adds.then_some(charge)
}

#[async_trait]
impl<S: KeyStore + 'static> Layer for Gathering<S> {
    fn inner(&self) -> &dyn KeyStore {
        &*self.store
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        self.write().await?;
        self.store.read(ids).await
    }

    async fn read_shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        self.write().await?;
        self.store.read_shares(id, shares).await
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        let Some(charge) = patient(charges) else {
            return self.store.charge(charges).await;
        };
        if !self.gather(charge) {
            return Ok(Charged::Done(vec![None]));
        }
        let (store, sums) = (Arc::clone(&self.store), Arc::clone(&self.sums));
        let account = charge.account.clone();
        // A task of its own: others count on it, and whoever asked may go away.
        let written = self.writes.spawn(async move {
            tokio::time::sleep(MOMENT).await;
            let sum = lock(&sums).remove(&account);
            match sum {
                Some(change) => store.charge(&[Charge { account, change }]).await,
                None => Ok(Charged::Done(vec![None])),
            }
        });
        // A write that panicked has told so.
        written.await.unwrap_or(Ok(Charged::Done(vec![None])))
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreFailure> {
        self.write().await?;
        self.store.list(listing).await
    }
}

#[cfg(test)]
mod tests;
