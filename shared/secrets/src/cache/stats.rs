//! What the cache has done, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the cache has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Secrets read from a store, whatever came of it; in a batch each secret counts.
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

/// The counters behind [`CacheStats`].
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) reads: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) stale_serves: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            reads: read(&self.reads),
            hits: read(&self.hits),
            refreshes: read(&self.refreshes),
            refusals: read(&self.refusals),
            stale_serves: read(&self.stale_serves),
            failures: read(&self.failures),
        }
    }
}
