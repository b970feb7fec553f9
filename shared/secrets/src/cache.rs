//! The credential cache: the current value of every provider credential, at hand, while it rotates.
//!
//! One entry is one whole secret at one stage; references into the same JSON secret share its reads.
//!
//! - Up to the soft TTL a value is served as it is. From then on it is still served, and one refresh runs in
//!   the background. From the hard TTL on it is not served any more: a question waits for a read and fails
//!   with the store's error. A failed refresh never makes a value live longer.
//! - At most one read of an entry is under way. It runs in a task of its own: whoever asked may go away. When
//!   Lambda freezes the environment, the read goes on in the next invocation; ages are wall-clock.
//! - A refused credential causes one read, and none for a while after that, so that forged refusals cannot
//!   storm the store.
//! - A failed read answers for a moment, so that a crowd does not storm a store that is down.
//! - A store whose reads are cheap and always fresh (files) is read at every use; what is held then only
//!   bridges a failing read, a half-written file for example, up to the hard TTL. The same holds for a field
//!   that a newer version of the secret does not have.

mod entry;
mod flight;
mod prefetch;
mod settings;
mod stats;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use keyturn_ambient::Clock;
use keyturn_config::SecretRef;

use crate::{Secret, SecretError, Stage, Stores, VersionId};
use entry::{Departure, Entry, Held, Moment, Wait};
use flight::Flight;
pub use settings::CacheSettings;
pub use stats::{CacheStats, StoreStats};
use stats::{Tally, count};

/// Provider credentials by reference. Clones share one cache.
///
/// It keeps an entry for every reference it was ever asked for: ask for references of the configuration only,
/// never for a client's.
#[derive(Clone)]
pub struct CredentialCache(Arc<Inner>);

struct Inner {
    stores: Stores,
    clock: Arc<dyn Clock>,
    settings: CacheSettings,
    rng: Mutex<fastrand::Rng>,
    generation: AtomicU64,
    /// By reference as it was asked for; references into one secret lead to one entry.
    entries: RwLock<HashMap<SecretRef, Arc<Entry>>>,
    tally: Tally,
}

impl CredentialCache {
    /// An empty cache in front of `stores`.
    #[must_use]
    pub fn new(stores: Stores, clock: Arc<dyn Clock>, settings: CacheSettings) -> Self {
        Self::with_rng(stores, clock, settings, fastrand::Rng::new())
    }

    /// [`CredentialCache::new`] with a source for the jitter that a test can seed.
    #[must_use]
    pub fn with_rng(
        stores: Stores,
        clock: Arc<dyn Clock>,
        settings: CacheSettings,
        rng: fastrand::Rng,
    ) -> Self {
        Self(Arc::new(Inner {
            stores,
            clock,
            settings,
            rng: Mutex::new(rng),
            generation: AtomicU64::new(0),
            entries: RwLock::default(),
            tally: Tally::default(),
        }))
    }

    /// The value of `reference` now.
    ///
    /// # Errors
    ///
    /// There is no value young enough, and the store gave none: its error.
    pub async fn get(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let entry = self.0.entry(reference)?;
        if entry.store.always_fresh() {
            return self.0.read_through(&entry, reference).await;
        }
        if let Some(answer) = entry.answer(reference, self.0.moment()) {
            count(&entry.counters.hits);
            if answer.stale {
                count(&entry.counters.stale_serves);
            }
            if let Some(departure) = answer.refresh {
                count(&entry.counters.refreshes);
                self.0.begin(&entry, departure);
            }
            return answer.secret;
        }
        self.0.wait(&entry, reference).await
    }

    /// The upstream refused the credential of this `version`: is there another one?
    ///
    /// Answers with what is held if that is another version, else reads the store, once for all who ask. For
    /// [`CacheSettings::refusal_cooldown`] after such a read the answer is what is held. The caller compares
    /// versions: the refused one again means that there is none newer.
    ///
    /// # Errors
    ///
    /// The read failed; or nothing is held and there is none.
    pub async fn refused(&self, reference: &SecretRef, version: &VersionId) -> Result<Secret, SecretError> {
        let entry = self.0.entry(reference)?;
        if entry.store.always_fresh() {
            return self.0.read_through(&entry, reference).await;
        }
        loop {
            let moment = self.0.moment();
            let (flight, departure) = {
                let mut state = entry.state();
                let held = state.live(moment).cloned();
                let known = held.map(|held| state.extract(&held, reference, moment).0);
                if let Some(Ok(secret)) = &known
                    && secret.version != *version
                {
                    count(&entry.counters.hits);
                    return Ok(secret.clone());
                }
                if let Some(flight) = state.flight() {
                    (flight, None)
                } else if let Some((flight, departure)) = state.depart_for_refusal(moment) {
                    (flight, Some(departure))
                } else if let Some(known) = known {
                    // Every read brings another token: that there is only the refused one means that none could be had.
                    if let (Ok(Secret { life: Some(_), .. }), Some(error)) = (&known, state.failure()) {
                        return Err(error);
                    }
                    count(&entry.counters.hits);
                    return known;
                } else {
                    break;
                }
            };
            let Some(departure) = departure else {
                // A read that began before the refusal may bring the refused version: look again then.
                self.0.land(&entry, flight).await?;
                continue;
            };
            count(&entry.counters.refusals);
            self.0.begin(&entry, departure);
            let held = self.0.land(&entry, flight).await?;
            return entry.extract(&held, reference, self.0.moment());
        }
        self.0.wait(&entry, reference).await
    }

    /// The version before the current one, for the time in which a rotation's new credential does not work
    /// yet. `None`: the store keeps none, or `reference` names a stage itself.
    ///
    /// # Errors
    ///
    /// As [`CredentialCache::get`], except that what is not there is no error.
    pub async fn previous(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
        if Stage::of(reference.stage.as_deref()) != Stage::Current {
            return Ok(None);
        }
        let current = self.0.entry(reference)?.state().version();
        let stage = Some(Stage::Previous.label().to_owned());
        let reference = SecretRef { stage, ..reference.clone() };
        self.0.entry(&reference)?.state().precede(current);
        match self.get(&reference).await {
            Ok(secret) => Ok(Some(secret)),
            Err(SecretError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads what is not held yet, in one batch per store, and returns what could not be had. For the init
    /// phase: nothing is served from it that [`CredentialCache::get`] would not serve.
    pub async fn prefetch(&self, references: &[SecretRef]) -> Vec<(SecretRef, SecretError)> {
        prefetch::prefetch(self, references).await
    }

    /// A rotation was finished somewhere, which made the generation at least `generation`. What was read
    /// before this was first heard of is due for a refresh, once. A lower or known generation changes nothing.
    pub fn generation(&self, generation: u64) {
        self.0.generation.fetch_max(generation, Ordering::Relaxed);
    }

    /// What the cache has done so far, with each store.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.tally.snapshot()
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn moment(&self) -> Moment<'_> {
        let generation = self.generation.load(Ordering::Relaxed);
        Moment { now: self.now(), generation, settings: &self.settings }
    }

    /// The entry that a reference leads to.
    fn entry(&self, reference: &SecretRef) -> Result<Arc<Entry>, SecretError> {
        let known = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(reference).cloned();
        if let Some(entry) = known {
            return Ok(entry);
        }
        let store = self.stores.find(&reference.scheme);
        let store = store.ok_or_else(|| SecretError::unknown_scheme(&self.stores.schemes()))?;
        let stage = Stage::of(reference.stage.as_deref());
        let label = (stage != Stage::Current).then(|| stage.label().to_owned());
        let whole = SecretRef { field: None, stage: label, ..reference.clone() };
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(whole).or_insert_with(|| {
            let counters = self.tally.of(store.scheme());
            Arc::new(Entry::new(Arc::clone(store), reference.name.clone(), stage, counters))
        });
        let entry = Arc::clone(entry);
        entries.insert(reference.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    /// Waits for a value: joins the read under way or begins one.
    async fn wait(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        reference: &SecretRef,
    ) -> Result<Secret, SecretError> {
        loop {
            let held = match entry.wait(self.moment()) {
                Wait::Failed(error) => {
                    count(&entry.counters.hits);
                    return Err(error);
                }
                Wait::Begin(flight, departure) => {
                    self.begin(entry, departure);
                    self.land(entry, flight).await?
                }
                Wait::Join(flight) => {
                    let held = self.land(entry, flight).await?;
                    // A read that was frozen along with the environment may bring what is too old by now.
                    if !held.is_live(self.now(), &self.settings) {
                        continue;
                    }
                    held
                }
            };
            return entry.extract(&held, reference, self.moment());
        }
    }

    /// Reads in a task of its own.
    fn begin(self: &Arc<Self>, entry: &Arc<Entry>, departure: Departure) {
        let (inner, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            let result = inner.read(&entry).await;
            inner.arrive(&entry, departure, result);
        });
    }

    /// Asks the store.
    async fn read(&self, entry: &Entry) -> Result<Secret, SecretError> {
        let read =
            tokio::time::timeout(self.settings.read_timeout, entry.store.get(&entry.name, &entry.stage));
        read.await.unwrap_or_else(|_| Err(entry.unavailable("no answer in time")))
    }

    /// Takes in what a read brought and tells those who wait.
    fn arrive(&self, entry: &Entry, departure: Departure, result: Result<Secret, SecretError>) {
        let outcome = self.absorb(entry, result, (departure.began, departure.generation));
        departure.pilot.land(outcome);
    }

    fn absorb(
        &self,
        entry: &Entry,
        result: Result<Secret, SecretError>,
        read: (Timestamp, u64),
    ) -> Result<Held, SecretError> {
        count(&entry.counters.reads);
        if result.is_err() {
            count(&entry.counters.failures);
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let soft_ttl = self.settings.soft_ttl(entry.store.soft_ttl(), &mut rng);
        drop(rng);
        entry.absorb(result, read, self.now(), soft_ttl)
    }

    /// Waits for a read to end.
    async fn land(&self, entry: &Entry, flight: Flight) -> Result<Held, SecretError> {
        flight.outcome().await.unwrap_or_else(|| Err(entry.unavailable("the read was cut off")))
    }

    /// Reads a store that is always fresh; what is held bridges a failure.
    async fn read_through(&self, entry: &Entry, reference: &SecretRef) -> Result<Secret, SecretError> {
        let moment = self.moment();
        let result = self.read(entry).await;
        let held = match self.absorb(entry, result, (moment.now, moment.generation)) {
            Ok(held) => held,
            Err(error) => entry.state().live(moment).cloned().ok_or(error)?,
        };
        let (secret, kept) = entry.state().extract(&held, reference, moment);
        if kept || held.is_older_than(moment.now) {
            count(&entry.counters.stale_serves);
        }
        secret
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialCache")
            .field("stores", &self.0.stores)
            .field("settings", &self.0.settings)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
