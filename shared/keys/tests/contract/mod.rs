//! What the service [`Keys`] promises, as one suite that is run over every store.

mod budgets;
mod concurrency;
mod memory;
mod rates;
mod refusals;
mod together;
mod watched;
mod world;

use std::sync::Arc;

use keyturn_ambient::ManualClock;
use keyturn_keys::KeyStore;

pub(crate) use world::World;

/// A store under test, empty at first.
pub(crate) trait Fixture: Send + Sync {
    /// The store as another gateway process would open it: the same rows, nothing in memory.
    fn open(&self) -> Arc<dyn KeyStore>;

    /// The clock of all processes. It begins at the full hour, and the suite moves it by some days.
    fn clock(&self) -> Arc<ManualClock>;
}

/// Runs everything. The runtime needs more than one thread.
pub(crate) async fn suite(fixture: &dyn Fixture) {
    let world = World::new(fixture);
    refusals::all(&world).await;
    budgets::all(&world).await;
    rates::all(&world).await;
    together::all(&world).await;
    memory::all(&world).await;
    concurrency::all(&world).await;
}
