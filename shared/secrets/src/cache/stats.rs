//! What the cache has done, counted for each store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the cache has done with one store since it was made, or between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Secrets read from the store, whatever came of it; in a batch each secret counts.
    pub reads: u64,
    /// Answers given without a read.
    pub hits: u64,
    /// Reads begun in the background, for a value that was still being served.
    pub refreshes: u64,
    /// Reads begun because a credential was refused.
    pub refusals: u64,
    /// Answers given with a value past its soft TTL, or kept because a newer one cannot be had or read.
    pub stale_serves: u64,
    /// Reads that failed.
    pub failures: u64,
}

impl StoreStats {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Whether anything but hits was counted.
    #[must_use]
    pub fn is_eventful(&self) -> bool {
        Self { hits: 0, ..*self } != Self::default()
    }

    fn with(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            reads: of(self.reads, other.reads),
            hits: of(self.hits, other.hits),
            refreshes: of(self.refreshes, other.refreshes),
            refusals: of(self.refusals, other.refusals),
            stale_serves: of(self.stale_serves, other.stale_serves),
            failures: of(self.failures, other.failures),
        }
    }
}

/// What the cache has done since it was made, by the scheme of each store that was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheStats(BTreeMap<&'static str, StoreStats>);

impl CacheStats {
    /// Each store that was asked.
    pub fn stores(&self) -> impl Iterator<Item = (&'static str, StoreStats)> {
        self.0.iter().map(|(scheme, stats)| (*scheme, *stats))
    }

    /// The store of a scheme; nothing, if it was not asked.
    #[must_use]
    pub fn of(&self, scheme: &str) -> StoreStats {
        self.0.get(scheme).copied().unwrap_or_default()
    }

    /// All stores together.
    #[must_use]
    pub fn total(&self) -> StoreStats {
        self.0.values().fold(StoreStats::default(), |sum, stats| sum.with(stats, u64::saturating_add))
    }
}

/// The counters of every store that was asked. An entry holds those of its store, so that counting is an addition and
/// no look-up.
#[derive(Default)]
pub(super) struct Tally(Mutex<BTreeMap<&'static str, Arc<Counters>>>);

impl Tally {
    /// The counters of a store.
    pub(super) fn of(&self, scheme: &'static str) -> Arc<Counters> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(scheme).or_default())
    }

    pub(super) fn snapshot(&self) -> CacheStats {
        let stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        CacheStats(stores.iter().map(|(scheme, counters)| (*scheme, counters.snapshot())).collect())
    }
}

/// The counters behind [`StoreStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) reads: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) refreshes: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) stale_serves: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    fn snapshot(&self) -> StoreStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            reads: read(&self.reads),
            hits: read(&self.hits),
            refreshes: read(&self.refreshes),
            refusals: read(&self.refusals),
            stale_serves: read(&self.stale_serves),
            failures: read(&self.failures),
        }
    }
}
