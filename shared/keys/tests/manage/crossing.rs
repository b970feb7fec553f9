//! A store on which several are in each other's way for certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use keyturn_keys::KeyStore;
use keyturn_keys::store::{Charge, Charged, Edit, EditError, Layer, StoreFailure};
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
impl Layer for Crossing {
    fn inner(&self) -> &dyn KeyStore {
        &*self.store
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        self.charges.meet().await;
        self.store.charge(charges).await
    }

    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        self.edits.meet().await;
        self.store.edit(edits).await
    }
}
