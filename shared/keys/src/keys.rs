//! Virtual keys as the request path needs them: [`Keys`] admits requests and settles them, over any store.
//!
//! | file | what |
//! |---|---|
//! | `rows.rs` | definitions that have been read lately |
//! | `identity.rs` | a key with its team, its user and their budgets: what they may do |
//! | `reserve.rs` | one admission's change of counters |
//! | `busy.rs` | the same in an account that is spread over shares |
//! | `settle.rs` | what a request has used |
//! | `usage.rs` | lines of reports, gathered |
//!
//! What is in memory is trusted for the cache life. A key with limits costs one change of counters at every request,
//! which also proves that its definition is still the one in memory, however old that is.

mod busy;
mod identity;
mod reserve;
mod rows;
mod settle;
mod usage;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::Clock;

pub use identity::Identity;

use crate::admission::{Admission, Ask, KeyError};
use crate::cache::Cache;
use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{Account, AdmissionStore, Kind, RowId, StoreFailure};
use busy::Looked;
use rows::Seen;
use usage::Gathered;

/// Definitions kept in memory: keys, teams, users and budgets. At about 1 KB each, 10 MB when it is full.
const KNOWN_ROWS: usize = 10_000;
/// Accounts whose counters are kept in memory.
const KNOWN_ACCOUNTS: usize = 20_000;
/// Unknown hashes kept in memory.
const UNKNOWN_KEYS: usize = 10_000;
/// Master keys kept in memory: the one that is configured.
const MASTER_KEYS: usize = 2;
/// How long an unknown hash is refused without asking again: long enough to blunt a client that hammers a bad
/// key, short enough that nobody waits for a key that was made elsewhere a moment ago.
const UNKNOWN_LIFE: SignedDuration = SignedDuration::from_secs(2);
/// How often an admission begins anew because a definition turned out to have changed.
const ATTEMPTS: usize = 4;

/// How keys are served.
#[derive(Debug, Clone, Copy)]
pub struct KeysOptions {
    /// How long a key without limits is served from memory after it was read (0 = always ask), and a refusal that is
    /// not one of a limit.
    pub cache_life: Duration,
    /// How long usage is gathered in memory before it is written down for reports, by day, key, model and tags; 0 =
    /// each request at once. The first request after such a time writes at once, so that only a process that is busy
    /// has something to lose when it ends. `None` = no reports.
    pub usage_every: Option<Duration>,
    /// Where the choice of a busy account's share begins; `None` = anywhere.
    pub seed: Option<u64>,
}

impl Default for KeysOptions {
    fn default() -> Self {
        Self { cache_life: Duration::from_secs(10), usage_every: Some(Duration::from_secs(10)), seed: None }
    }
}

/// Virtual keys, with a memory of what was read lately. One for each process.
pub struct Keys {
    store: Arc<dyn AdmissionStore>,
    clock: Arc<dyn Clock>,
    cache_life: SignedDuration,
    usage: Option<Gathered>,
    /// Which key a hash opens, or opened once.
    ids: Cache<KeyHash, RowId>,
    rows: Cache<RowId, Seen>,
    /// Counters as they were seen last. They only say what to ask for.
    counters: Cache<Account, Arc<Counters>>,
    /// Busy accounts as they were found when a share had no room.
    looked: Cache<RowId, Looked>,
    /// Held by who reads all shares of one.
    looking: tokio::sync::Mutex<()>,
    unknown: Cache<KeyHash, Timestamp>,
    /// Master keys that have not been replaced, as of then.
    masters: Cache<KeyHash, Timestamp>,
    /// How often something was forgotten.
    forgotten: AtomicU64,
    generation: Mutex<Generation>,
    random: Mutex<Rng>,
}

/// The generation number as it was read last.
#[derive(Clone, Copy)]
struct Generation {
    number: u64,
    read_at: Option<Timestamp>,
}

impl Keys {
    /// Keys that are in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn AdmissionStore>, clock: Arc<dyn Clock>, options: KeysOptions) -> Self {
        Self {
            store,
            clock,
            cache_life: SignedDuration::try_from(options.cache_life).unwrap_or(SignedDuration::MAX),
            usage: options.usage_every.map(Gathered::new),
            ids: Cache::new(KNOWN_ROWS),
            rows: Cache::new(KNOWN_ROWS),
            counters: Cache::new(KNOWN_ACCOUNTS),
            looked: Cache::new(KNOWN_ROWS),
            looking: tokio::sync::Mutex::new(()),
            unknown: Cache::new(UNKNOWN_KEYS),
            masters: Cache::new(MASTER_KEYS),
            forgotten: AtomicU64::new(0),
            generation: Mutex::new(Generation { number: 0, read_at: None }),
            random: Mutex::new(options.seed.map_or_else(Rng::new, Rng::with_seed)),
        }
    }

    /// Where the keys are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn AdmissionStore> {
        &self.store
    }

    /// Authenticates the key, authorises the request and reserves what it asks for of the limits of the key, its team
    /// and its user, in one step: of any number of concurrent requests, only as many as fit are admitted.
    ///
    /// # Errors
    ///
    /// The refusals of [`KeyError`]; [`KeyError::Unavailable`] when the store cannot answer.
    pub async fn admit(&self, hash: &KeyHash, ask: &Ask<'_>) -> Result<Admission, KeyError> {
        let mut anew = false;
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let identity = self.identity(hash, now, anew).await?;
            if let Err(refusal) = identity.check(hash, now).and_then(|()| identity.check_ask(ask)) {
                if self.is_current(&identity, now) {
                    return Err(refusal);
                }
                anew = true;
                continue;
            }
            let plans = identity.plans(ask, now);
            if plans.iter().any(|entry| entry.plan.is_bound()) {
                if let Some(admission) = self.reserve(&identity, &plans, now).await? {
                    return Ok(admission);
                }
                anew = false;
                continue;
            }
            if self.is_current(&identity, now) {
                return Ok(self.admission(&identity, &plans, &[], now));
            }
            anew = true;
        }
        Err(KeyError::Unavailable(StoreFailure::new("the key changed at every attempt to reserve")))
    }

    /// Whose key it is, for requests that use nothing up: no limit is touched.
    ///
    /// # Errors
    ///
    /// As [`Keys::admit`], but for route, model and limits.
    pub async fn authenticate(&self, hash: &KeyHash) -> Result<Identity, KeyError> {
        let now = self.clock.now();
        let mut identity = self.identity(hash, now, false).await?;
        if !self.is_current(&identity, now) {
            identity = self.identity(hash, now, true).await?;
        }
        identity.check(hash, now)?;
        Ok(identity)
    }

    /// Whether the master key with this hash has been replaced at some time (see
    /// [`Manager::rotate_master`](crate::Manager::rotate_master)): its row then says whether it still works.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unavailable`].
    pub async fn replaced_master(&self, hash: &KeyHash) -> Result<bool, KeyError> {
        let now = self.clock.now();
        if self.masters.get(hash).is_some_and(|asked_at| within(self.cache_life, asked_at, now)) {
            return Ok(false);
        }
        match self.key_row(hash, now, false).await {
            Ok(_) => Ok(true),
            Err(KeyError::NotFound) => {
                self.masters.insert(*hash, now);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether everything about it was read within the cache life, or for this request.
    fn is_current(&self, identity: &Identity, now: Timestamp) -> bool {
        identity.papers.iter().all(|paper| paper.is_new || self.is_fresh(paper.read_at, now))
    }

    fn is_fresh(&self, read_at: Timestamp, now: Timestamp) -> bool {
        within(self.cache_life, read_at, now)
    }

    fn is_unknown(&self, hash: &KeyHash, now: Timestamp) -> bool {
        let life = UNKNOWN_LIFE.min(self.cache_life);
        self.unknown.get(hash).is_some_and(|asked_at| within(life, asked_at, now))
    }

    /// Forgets what is remembered of a hash: its key was made, changed or deleted in this process just now.
    pub fn forget(&self, hash: &KeyHash) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.unknown.remove(hash);
        self.masters.remove(hash);
        if let Some(id) = self.ids.get(hash) {
            self.rows.remove(&id);
        }
        self.ids.remove(hash);
    }

    /// Forgets what is remembered of a row, as [`Keys::forget`] does of a hash.
    pub fn forget_row(&self, id: &RowId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.rows.remove(id);
        if id.kind == Kind::Key
            && let Some(hash) = KeyHash::from_hex(&id.id)
        {
            self.forget(&hash);
        }
    }

    /// When something counts as read that was asked for at `now`, when so much was `forgotten`: what was forgotten
    /// meanwhile may be this, so it is asked for again next time.
    fn read_at(&self, forgotten: u64, now: Timestamp) -> Timestamp {
        if self.forgotten.load(Ordering::SeqCst) == forgotten { now } else { Timestamp::MIN }
    }

    /// Keeps the generation that was read just now.
    fn keep_generation(&self, number: u64, now: Timestamp) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) =
            Generation { number, read_at: Some(now) };
    }

    fn generation(&self) -> Generation {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the generation when it is due. It only hastens the refresh of provider credentials, so a failure
    /// costs nothing but another attempt at the next admission.
    async fn refresh_generation(&self, now: Timestamp) {
        let due = self.generation().read_at.is_none_or(|read_at| !self.is_fresh(read_at, now));
        if due && let Ok(number) = self.store.generation().await {
            self.keep_generation(number, now);
        }
    }

    /// One of `count`, by chance.
    fn pick(&self, count: usize) -> usize {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).usize(..count.max(1))
    }

    /// A share of an account, by chance; the row itself if it has none.
    fn pick_share(&self, shares: u16) -> u16 {
        let share = if shares == 0 { 0 } else { self.pick(shares.into()) + 1 };
        u16::try_from(share).unwrap_or(shares)
    }

    /// The counters of an account as they were seen last.
    fn seen(&self, account: &Account) -> Arc<Counters> {
        self.counters.get(account).unwrap_or_default()
    }
}

/// Whether `now` is less than `life` after `read_at`. A clock that was set back makes everything old.
fn within(life: SignedDuration, read_at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(read_at);
    !age.is_negative() && age < life
}
