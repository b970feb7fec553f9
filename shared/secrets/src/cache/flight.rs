//! One read under way, and those who wait for it.

use tokio::sync::watch;

use super::entry::Held;
use crate::SecretError;

/// What a read came to.
pub(super) type Outcome = Result<Held, SecretError>;

/// The waiting side of a read. The read itself runs in a task of its own, so that whoever asked for it may go
/// away without taking it along.
#[derive(Clone)]
pub(super) struct Flight(watch::Receiver<Option<Outcome>>);

/// The reading side. Dropped without a landing, by a panic or the end of the runtime, it lets the waiters go.
pub(super) struct Pilot(watch::Sender<Option<Outcome>>);

/// Opens a flight.
pub(super) fn flight() -> (Pilot, Flight) {
    let (sender, receiver) = watch::channel(None);
    (Pilot(sender), Flight(receiver))
}

impl Pilot {
    /// Tells everybody the outcome.
    pub(super) fn land(self, outcome: Outcome) {
        self.0.send_replace(Some(outcome));
    }
}

impl Flight {
    /// Whether the read is still under way.
    pub(super) fn is_up(&self) -> bool {
        self.0.has_changed().is_ok()
    }

    /// Waits for the outcome; `None` when the read ended without one.
    pub(super) async fn outcome(mut self) -> Option<Outcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}
