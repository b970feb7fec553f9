//! One secret in the cache: what is held of it, and what is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_config::SecretRef;

use super::flight::{Flight, Pilot, flight};
use super::settings::{CacheSettings, within};
use super::stats::Counters;
use crate::document::Document;
use crate::{Secret, SecretError, SecretStore, Stage, VersionId};

/// One whole secret at one stage; all references into it share this.
pub(super) struct Entry {
    pub(super) store: Arc<dyn SecretStore>,
    pub(super) name: String,
    pub(super) stage: Stage,
    /// Those of its store.
    pub(super) counters: Arc<Counters>,
    state: Mutex<State>,
}

/// What is known of the secret. It is locked for moments only, never across an `await`.
#[derive(Default)]
pub(super) struct State {
    /// The last successful read.
    held: Option<Held>,
    /// By field: the last read that gave it, for when a later one does not.
    good: HashMap<String, Held>,
    /// The read under way.
    flight: Option<Flight>,
    /// The last read, if it failed.
    failure: Option<(Timestamp, SecretError)>,
    /// When a refused credential last caused a read.
    refused_at: Option<Timestamp>,
    /// For a previous version: the current version that it is the previous one of.
    successor: Option<VersionId>,
}

/// A secret that was read.
#[derive(Clone)]
pub(super) struct Held {
    document: Arc<Document>,
    /// When the read began: what it brought may be that old.
    read_at: Timestamp,
    /// The age at which a refresh is due.
    soft_ttl: Duration,
    /// The generation that was known when the read began.
    generation: u64,
}

impl Held {
    pub(super) fn is_live(&self, now: Timestamp, settings: &CacheSettings) -> bool {
        match self.document.whole().life {
            Some(life) => life.serves(now),
            // A clock that was set back does not kill what is held; `is_due` has it read again.
            None => now < self.read_at || within(now, self.read_at, settings.hard_ttl),
        }
    }

    pub(super) fn is_older_than(&self, now: Timestamp) -> bool {
        self.read_at < now
    }

    fn is_due(&self, now: Timestamp, generation: u64) -> bool {
        match self.document.whole().life {
            // What ends by itself is not what was rotated.
            Some(life) => life.is_due(now),
            None => self.generation < generation || !within(now, self.read_at, self.soft_ttl),
        }
    }
}

/// The circumstances of a question.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    pub(super) generation: u64,
    pub(super) settings: &'a CacheSettings,
}

/// A read that is about to begin.
pub(super) struct Departure {
    pub(super) pilot: Pilot,
    pub(super) began: Timestamp,
    pub(super) generation: u64,
}

/// An answer from what is held.
pub(super) struct Answer {
    pub(super) secret: Result<Secret, SecretError>,
    /// It is past its soft TTL, or older than the last read.
    pub(super) stale: bool,
    /// A refresh that the caller now has to begin.
    pub(super) refresh: Option<Departure>,
}

/// What a question that must wait waits for.
pub(super) enum Wait {
    /// Nothing: a read failed a moment ago.
    Failed(SecretError),
    /// A read that is under way.
    Join(Flight),
    /// A read that the caller now has to begin.
    Begin(Flight, Departure),
}

impl Entry {
    pub(super) fn new(
        store: Arc<dyn SecretStore>,
        name: String,
        stage: Stage,
        counters: Arc<Counters>,
    ) -> Self {
        Self { store, name, stage, counters, state: Mutex::default() }
    }

    /// An error of the cache's own about this secret.
    pub(super) fn unavailable(&self, what: &str) -> SecretError {
        SecretError::unavailable(format!("{}:{}", self.store.scheme(), self.name), what)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a failed read answers for further ones. A previous version is asked for when a credential is
    /// refused, and is often not there: refusals must not become reads.
    pub(super) fn failure_cooldown(&self, settings: &CacheSettings) -> Duration {
        match self.stage {
            Stage::Previous => settings.failure_cooldown.max(settings.refusal_cooldown),
            Stage::Current | Stage::Pending | Stage::Named(_) => settings.failure_cooldown,
        }
    }

    /// Answers from what is held; `None` when that takes a read.
    pub(super) fn answer(&self, reference: &SecretRef, moment: Moment<'_>) -> Option<Answer> {
        let cooldown = self.failure_cooldown(moment.settings);
        let mut state = self.state();
        let held = state.live(moment)?.clone();
        let (secret, kept) = state.extract(&held, reference, moment);
        if secret.is_err() && !within(moment.now, held.read_at, cooldown) {
            // The field may have come since.
            return None;
        }
        let due = held.is_due(moment.now, moment.generation);
        let idle = state.flight().is_none() && state.recent_failure(moment.now, cooldown).is_none();
        let refresh = (due && idle).then(|| state.depart(moment).1);
        Some(Answer { secret, stale: due || kept, refresh })
    }

    /// What to wait for when there is no answer.
    pub(super) fn wait(&self, moment: Moment<'_>) -> Wait {
        let cooldown = self.failure_cooldown(moment.settings);
        let mut state = self.state();
        if let Some(flight) = state.flight() {
            return Wait::Join(flight);
        }
        if let Some(error) = state.recent_failure(moment.now, cooldown) {
            return Wait::Failed(error);
        }
        let (flight, departure) = state.depart(moment);
        Wait::Begin(flight, departure)
    }

    /// The field of `reference` in what a read brought.
    pub(super) fn extract(
        &self,
        held: &Held,
        reference: &SecretRef,
        moment: Moment<'_>,
    ) -> Result<Secret, SecretError> {
        self.state().extract(held, reference, moment).0
    }

    /// Takes in what a read brought.
    pub(super) fn absorb(
        &self,
        result: Result<Secret, SecretError>,
        read: (Timestamp, u64),
        now: Timestamp,
        soft_ttl: Duration,
    ) -> Result<Held, SecretError> {
        let mut state = self.state();
        state.flight = None;
        let secret = match result {
            Ok(secret) => secret,
            Err(error) => {
                state.failure = Some((now, error.clone()));
                return Err(error);
            }
        };
        // A version that is held already is not parsed again, unless its life has changed.
        let same = state.held.as_ref().filter(|held| {
            let whole = held.document.whole();
            whole.version == secret.version && whole.life == secret.life
        });
        let document = same.map(|held| Arc::clone(&held.document));
        let document = document.unwrap_or_else(|| Arc::new(Document::new(secret)));
        let held = Held { document, read_at: read.0, soft_ttl, generation: read.1 };
        state.failure = None;
        state.held = Some(held.clone());
        Ok(held)
    }
}

impl State {
    /// What is held, if it may still be served.
    pub(super) fn live(&self, moment: Moment<'_>) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.is_live(moment.now, moment.settings))
    }

    /// The version that is held, whatever its age.
    pub(super) fn version(&self) -> Option<VersionId> {
        self.held.as_ref().map(|held| held.document.whole().version.clone())
    }

    /// The read under way.
    pub(super) fn flight(&self) -> Option<Flight> {
        self.flight.clone().filter(Flight::is_up)
    }

    /// The failure of the last read, if it failed.
    pub(super) fn failure(&self) -> Option<SecretError> {
        self.failure.as_ref().map(|(_, error)| error.clone())
    }

    fn recent_failure(&self, now: Timestamp, cooldown: Duration) -> Option<SecretError> {
        let (at, error) = self.failure.as_ref()?;
        within(now, *at, cooldown).then(|| error.clone())
    }

    /// Opens a read.
    pub(super) fn depart(&mut self, moment: Moment<'_>) -> (Flight, Departure) {
        let (pilot, flight) = flight();
        self.flight = Some(flight.clone());
        (flight, Departure { pilot, began: moment.now, generation: moment.generation })
    }

    /// Opens a read for a refused credential, unless one was opened lately.
    pub(super) fn depart_for_refusal(&mut self, moment: Moment<'_>) -> Option<(Flight, Departure)> {
        let cooldown = moment.settings.refusal_cooldown;
        if self.refused_at.is_some_and(|at| within(moment.now, at, cooldown)) {
            return None;
        }
        self.refused_at = Some(moment.now);
        Some(self.depart(moment))
    }

    /// The field of `reference` in `held`, or else in the last read that had it and may still be served (then
    /// the second part of the answer is true).
    pub(super) fn extract(
        &mut self,
        held: &Held,
        reference: &SecretRef,
        moment: Moment<'_>,
    ) -> (Result<Secret, SecretError>, bool) {
        let Some(field) = reference.field.as_deref() else {
            return (Ok(held.document.whole().clone()), false);
        };
        let found = held.document.field(field, &|| reference.to_string());
        match (found, self.good.get_mut(field)) {
            (Ok(secret), Some(good)) => {
                if good.read_at != held.read_at || !Arc::ptr_eq(&good.document, &held.document) {
                    *good = held.clone();
                }
                (Ok(secret), false)
            }
            (Ok(secret), None) => {
                self.good.insert(field.to_owned(), held.clone());
                (Ok(secret), false)
            }
            (Err(_), Some(good)) if good.is_live(moment.now, moment.settings) => {
                (good.document.field(field, &|| reference.to_string()), true)
            }
            (Err(error), _) => (Err(error), false),
        }
    }

    /// Tells a previous version which current version it precedes; what was read beside another one is
    /// forgotten, because a rotation moves both.
    pub(super) fn precede(&mut self, current: Option<VersionId>) {
        if self.successor != current {
            *self = Self { successor: current, flight: self.flight.take(), ..Self::default() };
        }
    }
}
