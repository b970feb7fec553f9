//! The numbers of the credential cache as CloudWatch metrics: what each secret store was asked, and how it went.
//!
//! They are log lines in the Embedded Metric Format, as `SoftBudgetExceeded` is, and need `KEYTURN_LOG_LEVEL=info`. A
//! line is for one store, because a line has one value of a dimension; a store has at most one a minute, and none when
//! nothing was asked of it. The first is written with the first request after something else than a hit, so that the
//! reads of the init phase are there at once. Figures that are zero are left out: CloudWatch charges by the metric, and
//! what never happens is none.
//!
//! They are written when requests end: what happens after an environment's last line goes with it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, TryLockError};

use jiff::Timestamp;
use keyturn_entry::Metric;
use keyturn_secrets::{CacheStats, CredentialCache, StoreStats};
use serde::Serialize;
use serde_json::Value;

use crate::log::{Level, Log};

/// Seconds between two lines of a store.
const EVERY: i64 = 60;

/// By store, and altogether.
const BY: &[&str] = &["store"];

/// Picks a figure.
type Figure = fn(&StoreStats) -> u64;

/// Each figure and its name.
const FIGURES: [(Metric, Figure); 6] = [
    (Metric::count("CredentialReads", BY), |stats| stats.reads),
    (Metric::count("CredentialHits", BY), |stats| stats.hits),
    (Metric::count("CredentialRefreshes", BY), |stats| stats.refreshes),
    (Metric::count("CredentialRefusals", BY), |stats| stats.refusals),
    (Metric::count("CredentialStaleServes", BY), |stats| stats.stale_serves),
    (Metric::count("CredentialFailures", BY), |stats| stats.failures),
];

/// What was written already, and when.
pub(crate) struct CredentialNumbers {
    /// The second before which nothing is written; the least one: nothing was written yet.
    next: AtomicI64,
    written: Mutex<CacheStats>,
}

#[derive(Serialize)]
struct Fields {
    store: &'static str,
}

impl CredentialNumbers {
    pub(crate) fn new() -> Self {
        Self { next: AtomicI64::new(i64::MIN), written: Mutex::default() }
    }

    /// Writes what has happened since the last time, if it is time. Most calls are one comparison.
    pub(crate) fn write(&self, credentials: &CredentialCache, log: Log, now: Timestamp) {
        let next = self.next.load(Ordering::Relaxed);
        if now.as_second() < next || log.level < Level::Info {
            return;
        }
        // Whoever else is here is about to write all of it.
        let mut written = match self.written.try_lock() {
            Ok(written) => written,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let stats = credentials.stats();
        let between: Vec<(&'static str, StoreStats)> = stats
            .stores()
            .map(|(store, stats)| (store, stats.since(&written.of(store))))
            .filter(|(_, stats)| *stats != StoreStats::default())
            .collect();
        let first = next == i64::MIN;
        if between.is_empty() || (first && !between.iter().any(|(_, stats)| stats.is_eventful())) {
            return;
        }
        self.next.store(now.as_second().saturating_add(EVERY), Ordering::Relaxed);
        *written = stats;
        drop(written);
        for (store, stats) in between {
            let figures: Vec<(Metric, Value)> = FIGURES
                .iter()
                .map(|(metric, figure)| (*metric, figure(&stats)))
                .filter(|(_, figure)| *figure > 0)
                .map(|(metric, figure)| (metric, figure.into()))
                .collect();
            log.measure_all(Level::Info, now, "credentials", &Fields { store }, &figures);
        }
    }
}

#[cfg(test)]
mod tests;
