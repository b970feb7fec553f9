//! Settlements of keys without limits, gathered and written together.
//!
//! A write to the embedded table takes half a millisecond of processor time, ten times what all else of a request
//! takes. No admission waits for the spend of a key without limits, so it is summed for a moment and written once;
//! LiteLLM does the same, in production for a minute (`proxy_batch_write_at`, https://docs.litellm.ai/docs/proxy/prod). A key with limits is settled at once: its next admission goes
//! by it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyturn_keys::{Admission, Ask, KeyError, KeyHash, KeyStore, NewKey, Spent, VirtualKey};
use secrecy::SecretString;
use tokio_util::task::TaskTracker;

/// How long spend is gathered. A process that is killed loses this much of it.
const MOMENT: Duration = Duration::from_millis(250);

/// A key store in front of another one, which it spares settlements.
pub(crate) struct Settlements<S> {
    store: Arc<S>,
    /// By key, what was spent since the last write.
    gathered: Arc<Mutex<HashMap<KeyHash, Spent>>>,
    writes: TaskTracker,
}

impl<S: KeyStore + 'static> Settlements<S> {
    pub(crate) fn new(store: Arc<S>) -> Self {
        Self { store, gathered: Arc::default(), writes: TaskTracker::new() }
    }

    /// Waits until everything is written.
    pub(crate) async fn written(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    /// Adds to what is gathered for this key; `true` when nothing was, and somebody has to see to it being written.
    fn gather(&self, id: KeyHash, spent: &Spent) -> bool {
        match lock(&self.gathered).entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(*spent);
                true
            }
            Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.tokens = sum.tokens.saturating_add(spent.tokens);
                sum.cost += spent.cost;
                false
            }
        }
    }
}

fn lock(gathered: &Mutex<HashMap<KeyHash, Spent>>) -> MutexGuard<'_, HashMap<KeyHash, Spent>> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl<S: KeyStore + 'static> KeyStore for Settlements<S> {
    async fn admit(&self, hash: &KeyHash, ask: &Ask<'_>) -> Result<Admission, KeyError> {
        self.store.admit(hash, ask).await
    }

    async fn authenticate(&self, hash: &KeyHash) -> Result<Arc<VirtualKey>, KeyError> {
        self.store.authenticate(hash).await
    }

    async fn settle(&self, admission: Admission, spent: &Spent) -> Result<(), KeyError> {
        if admission.reservation.is_some() {
            return self.store.settle(admission, spent).await;
        }
        let id = admission.key.id;
        if !self.gather(id, spent) {
            return Ok(());
        }
        let (store, gathered) = (Arc::clone(&self.store), Arc::clone(&self.gathered));
        // A task of its own: others count on it, and whoever asked may go away.
        let written = self.writes.spawn(async move {
            tokio::time::sleep(MOMENT).await;
            let sum = lock(&gathered).remove(&id).unwrap_or_default();
            store.settle(admission, &sum).await
        });
        // A write that panicked has told so.
        written.await.unwrap_or(Ok(()))
    }

    async fn create(&self, key: NewKey) -> Result<(SecretString, VirtualKey), KeyError> {
        self.store.create(key).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    /// Keeps what it is asked to settle; refuses it when it is told to.
    #[derive(Default)]
    struct Ledger {
        settled: Mutex<Vec<(KeyHash, Spent)>>,
        down: bool,
    }

    #[async_trait]
    impl KeyStore for Ledger {
        async fn admit(&self, _: &KeyHash, _: &Ask<'_>) -> Result<Admission, KeyError> {
            Err(KeyError::NotFound)
        }
        async fn authenticate(&self, _: &KeyHash) -> Result<Arc<VirtualKey>, KeyError> {
            Err(KeyError::NotFound)
        }
        async fn settle(&self, admission: Admission, spent: &Spent) -> Result<(), KeyError> {
            self.settled.lock().unwrap().push((admission.key.id, *spent));
            if self.down { Err(KeyError::Blocked) } else { Ok(()) }
        }
        async fn create(&self, _: NewKey) -> Result<(SecretString, VirtualKey), KeyError> {
            Err(KeyError::NotFound)
        }
    }

    fn admission(value: &str) -> Admission {
        let key = VirtualKey {
            id: KeyHash::of(&SecretString::from(value)),
            key_name: String::new(),
            key_alias: None,
            team_id: None,
            user_id: None,
            models: Vec::new(),
            aliases: BTreeMap::new(),
            metadata: "{}".to_owned(),
            tags: Vec::new(),
            max_budget: None,
            rpm_limit: None,
            tpm_limit: None,
            blocked: false,
            expires: None,
            created_at: Timestamp::UNIX_EPOCH,
            spend: 0.0,
        };
        Admission { key: Arc::new(key), generation: 0, reservation: None, rate_headers: Vec::new() }
    }

    const SPENT: Spent = Spent { tokens: 10, cost: 0.25 };

    #[tokio::test(start_paused = true)]
    async fn what_a_key_spends_in_a_moment_is_one_write() {
        let ledger = Arc::new(Ledger::default());
        let settlements = Settlements::new(Arc::clone(&ledger));
        let settle = |key: &str| settlements.settle(admission(key), &SPENT);
        let outcomes = tokio::join!(settle("sk-a"), settle("sk-a"), settle("sk-a"), settle("sk-b"));
        assert!(matches!(outcomes, (Ok(()), Ok(()), Ok(()), Ok(()))));
        // The next moment.
        settle("sk-a").await.unwrap();
        let mut settled = ledger.settled.lock().unwrap().clone();
        settled.sort_by_key(|(key, spent)| (key.to_string(), spent.tokens));
        let (a, b) = (admission("sk-a").key.id, admission("sk-b").key.id);
        let mut expected = vec![(a, SPENT), (a, Spent { tokens: 30, cost: 0.75 }), (b, SPENT)];
        expected.sort_by_key(|(key, spent)| (key.to_string(), spent.tokens));
        assert_eq!(settled, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_gathered_is_written_though_its_requester_went_away() {
        let ledger = Arc::new(Ledger::default());
        let settlements = Settlements::new(Arc::clone(&ledger));
        tokio::select! {
            biased;
            _ = settlements.settle(admission("sk-a"), &SPENT) => panic!("it waits for a moment"),
            () = std::future::ready(()) => {}
        }
        settlements.settle(admission("sk-a"), &SPENT).await.unwrap();
        settlements.written().await;
        let expected = vec![(admission("sk-a").key.id, Spent { tokens: 20, cost: 0.5 })];
        assert_eq!(*ledger.settled.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_told() {
        let ledger = Arc::new(Ledger { down: true, ..Ledger::default() });
        let outcome = Settlements::new(ledger).settle(admission("sk-a"), &SPENT).await;
        assert!(matches!(outcome, Err(KeyError::Blocked)));
    }
}
