//! Settlements that nobody waits for, gathered and written together.
//!
//! A write to the embedded table takes half a millisecond of processor time, ten times what all else of a request
//! takes. No admission waits for the spend of an account without limits, so it is summed for a moment and written once;
//! LiteLLM does the same, in production for a minute (`proxy_batch_write_at`,
//! https://docs.litellm.ai/docs/proxy/prod). An account with limits is settled at once: its next admission goes by it.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyturn_keys::KeyStore;
use keyturn_keys::ledger::{Change, Counters, Require};
use keyturn_keys::store::{Account, Charge, Charged, Layer, Listing, Page, Row, RowId, StoreFailure};
use tokio_util::task::TaskTracker;

/// How long is gathered. A process that is killed loses this much.
const MOMENT: Duration = Duration::from_millis(250);

/// A key store in front of another one, which it spares settlements.
pub(crate) struct Gathering<S> {
    store: Arc<S>,
    charges: Arc<Sums<Account, Change>>,
    writes: TaskTracker,
}

/// What was gathered since the last write.
struct Sums<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Default> Sums<K, V> {
    /// Adds; `true` when nothing was there, and somebody has to see to it being written.
    fn add(&self, key: K, add: impl FnOnce(&mut V)) -> bool {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !sums.contains_key(&key);
        add(sums.entry(key).or_default());
        first
    }

    fn take(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    fn take_all(&self) -> HashMap<K, V> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K, V> Default for Sums<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: KeyStore + 'static> Gathering<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store: Arc::new(store), charges: Arc::default(), writes: TaskTracker::new() }
    }

    /// Waits until everything is written.
    pub(crate) async fn written(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    /// Writes what is gathered, so that whoever reads sees it.
    async fn write(&self) -> Result<(), StoreFailure> {
        for (account, change) in self.charges.take_all() {
            self.store.charge(&[Charge { account, change }]).await?;
        }
        Ok(())
    }

    /// The charge, if it may wait: it only adds, to one account that has to be there.
    fn patient<'a>(&self, charges: &'a [Charge]) -> Option<&'a Charge> {
        let [charge] = charges else { return None };
        let change = &charge.change;
        let only_adds =
            change.remove.is_empty() && change.require.iter().all(|must| *must == Require::Exists);
        only_adds.then_some(charge)
    }
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
        let Some(Charge { account, change }) = self.patient(charges) else {
            return self.store.charge(charges).await;
        };
        let gathered = |sum: &mut Change| {
            sum.require.clone_from(&change.require);
            for (counter, amount) in &change.add {
                sum.add(counter, *amount);
            }
        };
        if !self.charges.add(account.clone(), gathered) {
            return Ok(Charged::Done(vec![None]));
        }
        let (store, sums, account) = (Arc::clone(&self.store), Arc::clone(&self.charges), account.clone());
        // A task of its own: others count on it, and whoever asked may go away.
        let written = self.writes.spawn(async move {
            tokio::time::sleep(MOMENT).await;
            match sums.take(&account) {
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
