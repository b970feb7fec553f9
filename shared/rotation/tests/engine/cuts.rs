//! Where a process ends: before or after any effect.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use keyturn_secrets::VersionId;
use tokio::sync::Notify;

/// Every effect passes a gate before it and one after it. At the one that is chosen, the process ends: nothing that
/// waits there goes on, unless [`Cuts::go_on`] says so.
pub(crate) struct Cuts {
    left: AtomicI64,
    hit: Notify,
    go_on: Notify,
    rng: Mutex<fastrand::Rng>,
}

impl Cuts {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            left: AtomicI64::new(0),
            hit: Notify::new(),
            go_on: Notify::new(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// An id for a version: drawn, so that no order of ids is the usual one, and the same in every run.
    pub(crate) fn version(&self) -> VersionId {
        VersionId::new(&format!("{:032x}", self.rng.lock().unwrap().u128(..)))
    }

    /// A gate. Others may go first.
    pub(crate) async fn gate(&self) {
        let turns = self.rng.lock().unwrap().u32(0..4);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.hit.notify_one();
            self.go_on.notified().await;
        }
    }

    /// Runs `work` until its end, or until it comes to gate number `cut` (from 1; 0 = never): then `None`.
    pub(crate) async fn run<T>(&self, cut: i64, work: impl Future<Output = T>) -> Option<T> {
        self.left.store(cut, Ordering::Relaxed);
        let done = tokio::select! {
            biased;
            () = self.hit.notified() => None,
            done = work => Some(done),
        };
        self.left.store(0, Ordering::Relaxed);
        done
    }

    /// Lets go on what waits at the gate that was chosen.
    pub(crate) fn go_on(&self) {
        self.go_on.notify_waiters();
    }
}
