//! A DynamoDB in memory that has the limits of the real one: what an item takes in a second, what a transaction costs
//! and whom it is in the way of, and how long a call takes. It stands where [`keyturn_keys::DynamoKeyStore`] stands,
//! and tries again what that and the AWS SDK try again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use keyturn_keys::ledger::Counters;
use keyturn_keys::store::{
    Account, Charge, Charged, Edit, EditError, Filter, Listing, Opened, Page, Refused, Row, RowId,
    StoreFailure, UsageLine, UsageQuery,
};
use keyturn_keys::{AdmissionStore, KeyHash, KeyStore};
use tokio::time::{Instant, sleep};

/// Writes of up to 1 KB that a partition takes in a second, and an item with it: "each individual partition is limited
/// to 1,000 write units per second and 3,000 read units per second"
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput-scenarios.html>). That a
/// partition may borrow what it has not used before is left out.
pub(crate) const WRITES: u64 = 1_000;
/// Consistent reads of up to 4 KB, likewise.
pub(crate) const READS: u64 = 3_000;
/// "DynamoDB performs two underlying reads or writes of every item in the transaction: one to prepare the transaction
/// and one to commit the transaction"
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html>).
const TRANSACTION: u64 = 2;
/// How long a transaction is in the way of others, from prepare to commit. AWS tells no number; this is about a write to
/// a majority of three zones, twice.
const HELD: Duration = Duration::from_millis(5);
/// And how much longer for each item.
const HELD_EACH: Duration = Duration::from_micros(100);
/// Milliseconds of one way between a function and DynamoDB, which promises "single-digit millisecond" answers.
const ONE_WAY: std::ops::RangeInclusive<u64> = 1..=3;
/// Attempts of the SDK's at a throttled write, and the longest first pause: `shared/http/src/aws.rs`, the SDK's
/// standard retries.
const SDK_ATTEMPTS: u32 = 3;
const SDK_PAUSE: Duration = Duration::from_secs(1);
/// Attempts of the store's at a transaction, or beside one, its longest first pause and its longest one:
/// `shared/keys/src/dynamo/table.rs`.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The model.
pub(crate) struct Model {
    state: Mutex<State>,
    started: Instant,
}

/// What happened in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Changes that were made with one write.
    pub(crate) single: u64,
    /// Transactions that were made.
    pub(crate) transactions: u64,
    /// Writes and transactions that met a transaction.
    pub(crate) conflicts: u64,
    /// Calls that DynamoDB turned away because an item was at its limit.
    pub(crate) throttled: u64,
    /// Reads of a row with all its shares.
    pub(crate) surveys: u64,
    /// The most writes that one item was asked for in a second.
    pub(crate) writes: u64,
    /// The most reads, likewise.
    pub(crate) reads: u64,
    /// Counters, each summed over row and shares.
    pub(crate) counters: BTreeMap<String, Level>,
}

/// A counter over time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Level {
    /// What it is.
    pub(crate) now: i64,
    /// The most that it ever was.
    pub(crate) most: i64,
}

struct State {
    random: Rng,
    rows: HashMap<RowId, Definition>,
    items: HashMap<Account, Item>,
    seen: Seen,
}

struct Definition {
    text: Arc<str>,
    rev: i64,
    shares: u16,
}

#[derive(Default)]
struct Item {
    rev: i64,
    counters: Counters,
    /// Whether a transaction is between prepare and commit.
    is_held: bool,
    second: u64,
    writes: u64,
    reads: u64,
}

/// How one attempt ended.
enum Attempt {
    Made(Charged),
    Conflict,
    Throttled,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            random: Rng::with_seed(seed),
            rows: HashMap::new(),
            items: HashMap::new(),
            seen: Seen::default(),
        };
        Self { state: Mutex::new(state), started: Instant::now() }
    }

    /// What happened so far.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// What a counter is now, over row and shares.
    pub(crate) fn level(&self, counter: &str) -> i64 {
        self.lock().seen.counters.get(counter).map_or(0, |level| level.now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    async fn travel(&self) {
        let way = self.lock().random.u64(ONE_WAY);
        sleep(Duration::from_millis(way)).await;
    }

    /// A pause of random length before attempt `made + 1`.
    async fn pause(&self, first: Duration, longest: Duration, made: u32) {
        let part = self.lock().random.f64();
        sleep(first.saturating_mul(1 << (made - 1).min(10)).min(longest).mul_f64(part)).await;
    }

    async fn transact(&self, charges: &[Charge]) -> Attempt {
        let second = self.second();
        {
            let mut state = self.lock();
            if charges.iter().any(|charge| state.is_held(&charge.account)) {
                state.seen.conflicts += 1;
                return Attempt::Conflict;
            }
            let mut throttled = false;
            for charge in charges {
                throttled |= !state.write(&charge.account, TRANSACTION, second);
            }
            if throttled {
                state.seen.throttled += 1;
                return Attempt::Throttled;
            }
            if let Some(refused) = state.refused(charges) {
                return Attempt::Made(refused);
            }
            for charge in charges {
                state.hold(&charge.account, true);
            }
        }
        sleep(HELD + HELD_EACH * u32::try_from(charges.len()).unwrap_or(u32::MAX)).await;
        let mut state = self.lock();
        for charge in charges {
            state.apply(charge);
            state.hold(&charge.account, false);
        }
        state.seen.transactions += 1;
        Attempt::Made(Charged::Done(vec![None; charges.len()]))
    }

    fn update(&self, charge: &Charge) -> Attempt {
        let second = self.second();
        let mut state = self.lock();
        if state.is_held(&charge.account) {
            state.seen.conflicts += 1;
            return Attempt::Conflict;
        }
        // A write that is refused by its condition counts too.
        if !state.write(&charge.account, 1, second) {
            state.seen.throttled += 1;
            return Attempt::Throttled;
        }
        if let Some(refused) = state.refused(std::slice::from_ref(charge)) {
            return Attempt::Made(refused);
        }
        state.apply(charge);
        state.seen.single += 1;
        let counters = state.items.get(&charge.account).map(|item| item.counters.clone());
        Attempt::Made(Charged::Done(vec![counters]))
    }

    /// Reads accounts, which may be at their limit; tried again like the store does.
    async fn survey<T>(
        &self,
        accounts: &[Account],
        units: u64,
        take: impl Fn(&State) -> T,
    ) -> Result<T, StoreFailure> {
        let mut left: Vec<&Account> = accounts.iter().collect();
        for made in 1..=ATTEMPTS {
            self.travel().await;
            let second = self.second();
            let taken = {
                let mut state = self.lock();
                // What has been read is not asked for again.
                left.retain(|account| !state.read(account, units, second));
                if left.is_empty() { Some(take(&state)) } else { None }
            };
            self.travel().await;
            match taken {
                Some(taken) => return Ok(taken),
                None => {
                    self.lock().seen.throttled += 1;
                    self.pause(PAUSE, LONGEST_PAUSE, made).await;
                }
            }
        }
        Err(StoreFailure::new("the model left items unread"))
    }
}

impl State {
    fn is_held(&self, account: &Account) -> bool {
        self.items.get(account).is_some_and(|item| item.is_held)
    }

    fn hold(&mut self, account: &Account, held: bool) {
        if let Some(item) = self.items.get_mut(account) {
            item.is_held = held;
        }
    }

    /// Asks an item for writes; `false` when it is at its limit.
    fn write(&mut self, account: &Account, units: u64, second: u64) -> bool {
        let Some(item) = self.items.get_mut(account) else { return true };
        item.turn(second);
        item.writes += units;
        self.seen.writes = self.seen.writes.max(item.writes);
        item.writes <= WRITES
    }

    fn read(&mut self, account: &Account, units: u64, second: u64) -> bool {
        let Some(item) = self.items.get_mut(account) else { return true };
        item.turn(second);
        item.reads += units;
        self.seen.reads = self.seen.reads.max(item.reads);
        item.reads <= READS
    }

    /// Why a change cannot be made; `None` when it can.
    fn refused(&self, charges: &[Charge]) -> Option<Charged> {
        let judge = |charge: &Charge| match self.items.get(&charge.account) {
            None => Refused::Missing,
            Some(item) if charge.change.fits(item.rev, &item.counters) => Refused::Fits,
            Some(item) => Refused::Unfit(item.rev, item.counters.clone()),
        };
        let all: Vec<_> = charges.iter().map(judge).collect();
        all.iter().any(|one| !matches!(one, Refused::Fits)).then_some(Charged::Refused(all))
    }

    fn apply(&mut self, charge: &Charge) {
        let Some(item) = self.items.get_mut(&charge.account) else { return };
        let moved = charge.change.add.iter().map(|(name, amount)| (name, *amount));
        let gone = charge.change.remove.iter().map(|name| (name, -item.counters.get(name)));
        for (name, amount) in moved.chain(gone) {
            match self.seen.counters.get_mut(name) {
                Some(level) => level.add(amount),
                None => {
                    let mut level = Level::default();
                    level.add(amount);
                    self.seen.counters.insert(name.clone(), level);
                }
            }
        }
        charge.change.apply(&mut item.counters);
    }

    fn row(&self, id: &RowId) -> Option<Row> {
        let Definition { text, rev, shares } = self.rows.get(id)?;
        let account = Account { row: id.clone(), share: 0 };
        let counters = self.items.get(&account)?.counters.clone();
        Some(Row { id: id.clone(), rev: *rev, definition: Arc::clone(text), shares: *shares, counters })
    }
}

impl Level {
    fn add(&mut self, amount: i64) {
        self.now += amount;
        self.most = self.most.max(self.now);
    }
}

impl Item {
    fn turn(&mut self, second: u64) {
        if self.second != second {
            (self.second, self.writes, self.reads) = (second, 0, 0);
        }
    }
}

fn not_here<T>() -> Result<T, StoreFailure> {
    Err(StoreFailure::new("the model has no such call"))
}

#[async_trait]
impl AdmissionStore for Model {
    fn shares(&self) -> bool {
        true
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        let row = self.read(&[RowId::key(hash)]).await?.pop().flatten();
        Ok(Opened { row, generation: Some(0) })
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        let accounts: Vec<_> = ids.iter().map(|id| Account { row: id.clone(), share: 0 }).collect();
        // Row and account have one partition key.
        self.survey(&accounts, 2, |state| ids.iter().map(|id| state.row(id)).collect()).await
    }

    async fn read_shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        self.lock().seen.surveys += 1;
        let accounts: Vec<_> = (1..=shares).map(|share| Account { row: id.clone(), share }).collect();
        let counters = |state: &State, account| state.items.get(account).map(|item| item.counters.clone());
        let all = |state: &State| {
            accounts.iter().map(|account| counters(state, account).unwrap_or_default()).collect()
        };
        self.survey(&accounts, 1, all).await
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        let (mut attempts, mut of_the_sdk) = (0, 0);
        loop {
            self.travel().await;
            let attempt = match charges {
                [charge] => self.update(charge),
                _ => self.transact(charges).await,
            };
            self.travel().await;
            match attempt {
                Attempt::Made(charged) => return Ok(charged),
                Attempt::Throttled if charges.len() == 1 => {
                    of_the_sdk += 1;
                    if of_the_sdk >= SDK_ATTEMPTS {
                        return Err(StoreFailure::new("the model throttled the write"));
                    }
                    self.pause(SDK_PAUSE, Duration::MAX, of_the_sdk).await;
                }
                Attempt::Conflict | Attempt::Throttled => {
                    attempts += 1;
                    if attempts >= ATTEMPTS {
                        return Err(StoreFailure::new("other transactions were in the way"));
                    }
                    self.pause(PAUSE, LONGEST_PAUSE, attempts).await;
                }
            }
        }
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        self.travel().await;
        self.travel().await;
        Ok(0)
    }

    async fn log_usage(&self, _: &UsageLine, _: u16) -> Result<(), StoreFailure> {
        self.travel().await;
        self.travel().await;
        Ok(())
    }
}

#[async_trait]
impl KeyStore for Model {
    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        let mut state = self.lock();
        for edit in edits {
            let (Edit::Create(to) | Edit::Replace { to, .. }) = edit else {
                return not_here().map_err(EditError::Unavailable);
            };
            let definition = Definition { text: to.text.as_str().into(), rev: to.rev, shares: to.shares };
            state.rows.insert(to.id.clone(), definition);
            for share in 0..=to.shares {
                let account = Account { row: to.id.clone(), share };
                state.items.entry(account).or_default().rev = to.rev;
            }
        }
        Ok(())
    }

    async fn aliased(&self, _: &str) -> Result<Option<KeyHash>, StoreFailure> {
        not_here()
    }

    async fn list(&self, _: &Listing) -> Result<Page, StoreFailure> {
        not_here()
    }

    async fn count(&self, _: &Filter) -> Result<u64, StoreFailure> {
        not_here()
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        not_here()
    }

    async fn usage(&self, _: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        not_here()
    }
}
