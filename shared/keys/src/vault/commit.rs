//! Group commit: the changes of a document that come while it is being written are made together by the next write.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::store::StoreFailure;

use super::documents::Documents;

/// How long what is known of a document counts. It only saves a read: a write fails when it is wrong.
const KNOWN: Duration = Duration::from_secs(10);

/// How often to try while other processes write the same document. With N of them at it, one in N tries succeeds.
const TRIES: u32 = 60;

/// The longest wait before another try; the waits are random, and grow up to it.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How many documents are remembered.
const LANES: usize = 1_000;

/// A document that changes by operations.
pub(super) trait State: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What is to be done.
    type Operation: Send + Sync + 'static;
    /// What came of it.
    type Outcome: Send + 'static;

    /// Does it in memory; `None` is a document that is not there. Says whether the document has changed.
    fn apply(state: &mut Option<Self>, operation: &Self::Operation) -> (Self::Outcome, bool);
}

/// A document as it was last seen.
struct Known<S> {
    state: Option<S>,
    version: u64,
    at: Timestamp,
}

struct Waiting<S: State> {
    operation: S::Operation,
    answer: oneshot::Sender<Result<S::Outcome, StoreFailure>>,
}

struct Queue<S: State> {
    waiting: Vec<Waiting<S>>,
    /// Whether a task is at work on the document.
    running: bool,
    known: Option<Known<S>>,
}

/// One document's.
struct Lane<S: State>(Mutex<Queue<S>>);

impl<S: State> Lane<S> {
    fn queue(&self) -> MutexGuard<'_, Queue<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes of all documents of a kind.
pub(super) struct Lanes<S: State> {
    documents: Arc<Documents>,
    lanes: Mutex<HashMap<String, Arc<Lane<S>>>>,
}

impl<S: State> Lanes<S> {
    pub(super) fn new(documents: Arc<Documents>) -> Self {
        Self { documents, lanes: Mutex::default() }
    }

    /// Has an operation done on a document, together with others that come at the same time. It is done even if the
    /// caller goes away.
    pub(super) async fn submit(
        &self,
        path: &str,
        operation: S::Operation,
    ) -> Result<S::Outcome, StoreFailure> {
        let lane = self.lane(path);
        let (answer, outcome) = oneshot::channel();
        let start = {
            let mut queue = lane.queue();
            queue.waiting.push(Waiting { operation, answer });
            !mem::replace(&mut queue.running, true)
        };
        if start {
            let worker = Worker { documents: Arc::clone(&self.documents), path: path.to_owned(), lane };
            tokio::spawn(worker.run());
        }
        outcome.await.unwrap_or_else(|_| Err(StoreFailure::new("a write to Vault was cut off")))
    }

    fn lane(&self, path: &str) -> Arc<Lane<S>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(path) {
            return Arc::clone(lane);
        }
        if lanes.len() >= LANES {
            // Those that are at work stay: there must be one lane for a document.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let queue = Queue { waiting: Vec::new(), running: false, known: None };
        let lane = Arc::new(Lane(Mutex::new(queue)));
        lanes.insert(path.to_owned(), Arc::clone(&lane));
        lane
    }
}

/// Works off the queue of a document.
struct Worker<S: State> {
    documents: Arc<Documents>,
    path: String,
    lane: Arc<Lane<S>>,
}

impl<S: State> Worker<S> {
    async fn run(self) {
        let mut known = self.lane.queue().known.take();
        loop {
            let batch = {
                let mut queue = self.lane.queue();
                if queue.waiting.is_empty() {
                    queue.known = known;
                    queue.running = false;
                    return;
                }
                mem::take(&mut queue.waiting)
            };
            let outcomes = self.commit(&mut known, &batch).await;
            match outcomes {
                Ok(outcomes) => {
                    for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                        // Whoever asked may have gone.
                        let _ = waiting.answer.send(Ok(outcome));
                    }
                }
                Err(failure) => {
                    known = None;
                    for waiting in batch {
                        let _ = waiting.answer.send(Err(StoreFailure::new(failure.to_string())));
                    }
                }
            }
        }
    }

    /// Does all operations of a batch, in their order.
    async fn commit(
        &self,
        known: &mut Option<Known<S>>,
        batch: &[Waiting<S>],
    ) -> Result<Vec<S::Outcome>, StoreFailure> {
        let now = self.documents.now();
        let is_recent = |known: &Known<S>| now.duration_since(known.at).unsigned_abs() < KNOWN;
        let mut held = known.take().filter(is_recent);
        let mut fresh = false;
        for attempt in 0..TRIES {
            let Known { state, version, at } = match held.take() {
                Some(held) => held,
                None => {
                    fresh = true;
                    self.read().await?
                }
            };
            let mut next = state.clone();
            let mut changed = false;
            let outcomes: Vec<_> = batch
                .iter()
                .map(|waiting| {
                    let (outcome, has_changed) = S::apply(&mut next, &waiting.operation);
                    changed |= has_changed;
                    outcome
                })
                .collect();
            if !changed {
                // A refusal must not come from what was seen before it was asked for.
                if fresh {
                    *known = Some(Known { state, version, at });
                    return Ok(outcomes);
                }
                continue;
            }
            let at = self.documents.now();
            if let Some(version) = self.documents.put(&self.path, &next, version).await? {
                *known = Some(Known { state: next, version, at });
                return Ok(outcomes);
            }
            let pause = LONGEST_PAUSE.min(Duration::from_millis(2) * (attempt + 1));
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
        }
        Err(StoreFailure::new("other processes wrote the document at every attempt"))
    }

    async fn read(&self) -> Result<Known<S>, StoreFailure> {
        let at = self.documents.now();
        let (state, version) = match self.documents.get(&self.path).await? {
            Some((state, version)) => (Some(state), version),
            None => (None, 0),
        };
        Ok(Known { state, version, at })
    }
}

/// A worker that ends in the middle, with its runtime or by a panic, must not keep the document for ever.
impl<S: State> Drop for Worker<S> {
    fn drop(&mut self) {
        let mut queue = self.lane.queue();
        if queue.running {
            queue.running = false;
            queue.waiting.clear();
        }
    }
}
