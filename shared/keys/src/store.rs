//! The port: what a place where keys live has to offer. Everything else, what a limit is and what a regeneration
//! does, is said once, above it.
//!
//! A store keeps *rows*: a definition (a JSON document that it does not look into), a revision that changes with
//! the definition, counters beside it, and what rows are found and sorted by.

mod layer;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use keyturn_ambient::with_causes;

use crate::hash::KeyHash;
use crate::ledger::{Change, Counters};

pub use layer::Layer;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A virtual key; its id is a [`KeyHash`] in hex.
    Key,
    /// A team.
    Team,
    /// A user.
    User,
    /// A budget.
    Budget,
}

/// A row's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// What it is about.
    pub kind: Kind,
    /// Which one.
    pub id: String,
}

impl RowId {
    /// The row of a virtual key.
    #[must_use]
    pub fn key(id: &KeyHash) -> Self {
        Self { kind: Kind::Key, id: id.to_string() }
    }

    /// The row of something with a name.
    #[must_use]
    pub fn named(kind: Kind, id: &str) -> Self {
        Self { kind, id: id.to_owned() }
    }
}

/// A row as it was read.
#[derive(Clone)]
pub struct Row {
    /// Its name.
    pub id: RowId,
    /// Changes whenever the definition does, and never comes back, not even when a row of the same name is made
    /// after this one was deleted.
    pub rev: i64,
    /// The definition: a JSON object.
    pub definition: Arc<str>,
    /// How many shares the account has, 0 = none: all counters are here. See [`Account`].
    pub shares: u16,
    /// The counters.
    pub counters: Counters,
}

/// Where counters are: in the row itself, or in one of the shares of a busy one, because one item of DynamoDB's
/// takes about 1,000 writes a second.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// The row.
    pub row: RowId,
    /// 0 = the row itself; from 1 up to [`Row::shares`] one of its shares.
    pub share: u16,
}

/// One account's part in a change of several.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Whose counters.
    pub account: Account,
    /// What happens to them.
    pub change: Change,
}

/// How a change of counters ended.
#[derive(Debug)]
pub enum Charged {
    /// It was made. The counters of each account after it, in the order of the charges; `None` where the store does
    /// not tell (then they are what was known plus the change).
    Done(Vec<Option<Counters>>),
    /// A condition did not hold and nothing was changed. The accounts as they are, in the order of the charges;
    /// `None` in `state` for one that does not exist.
    Refused(Vec<Refused>),
}

/// One account of a refused change.
#[derive(Debug)]
pub enum Refused {
    /// Its own conditions hold, or the store does not tell.
    Fits,
    /// It is not there.
    Missing,
    /// A condition does not hold: its revision and its counters.
    Unfit(i64, Counters),
}

/// What rows are found and sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// When it was made.
    pub created_at: Timestamp,
    /// A key's alias.
    pub alias: Option<String>,
    /// A key's team.
    pub team_id: Option<String>,
    /// A key's user.
    pub user_id: Option<String>,
}

/// A definition that is to be kept.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The row's name.
    pub id: RowId,
    /// Its new revision.
    pub rev: i64,
    /// The JSON object.
    pub text: String,
    /// What it is found by.
    pub index: Index,
    /// How many shares it has; never fewer than before.
    pub shares: u16,
}

/// One step of a change of definitions.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Makes a row that must not be there yet, with all counters 0.
    Create(Definition),
    /// Replaces the definition of a row that has revision `from`. Counters stay; every share gets the new revision.
    Replace {
        /// The revision it must have.
        from: i64,
        /// What it becomes.
        to: Definition,
    },
    /// Deletes a row that has revision `rev`, with its counters and shares.
    Delete {
        /// The row.
        id: RowId,
        /// The revision it must have.
        rev: i64,
        /// How many shares it has.
        shares: u16,
    },
    /// Takes an alias for a key; it must be free.
    Claim {
        /// The alias.
        alias: String,
        /// The key.
        id: KeyHash,
    },
    /// Gives an alias back, which must be the key's.
    Release {
        /// The alias.
        alias: String,
        /// The key.
        id: KeyHash,
    },
    /// Lets the hash of a later value lead to its key; it must lead nowhere, or to this key.
    Point {
        /// The hash.
        hash: KeyHash,
        /// The key.
        id: KeyHash,
        /// When the store may forget it; `None` = never.
        until: Option<Timestamp>,
    },
    /// Forgets where a hash leads to.
    Unpoint {
        /// The hash.
        hash: KeyHash,
    },
}

/// Why a change of definitions was not made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The edit at this place does not fit: the row is there already, is not there, has another revision, or the
    /// alias or hash is taken.
    #[error("edit {0} does not fit")]
    Conflict(usize),
    /// The store failed; the change may or may not have been made. To make it again does no harm.
    #[error(transparent)]
    Unavailable(#[from] StoreFailure),
}

/// What was found under a hash.
#[derive(Clone)]
pub struct Opened {
    /// The key's row, pointers followed; `None` when there is none.
    pub row: Option<Row>,
    /// How many rotations of provider credentials have finished; `None` when that could not be read.
    pub generation: Option<u64>,
}

/// Which rows to list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of a kind, by age.
    All(Kind),
    /// A team's keys, by age.
    Team(String),
    /// A user's keys, by age.
    User(String),
    /// Keys with an alias that begins so, by alias.
    Alias(String),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listing {
    /// Which rows.
    pub filter: Filter,
    /// The last first.
    pub descending: bool,
    /// How many rows at most.
    pub limit: usize,
    /// How many to leave out first.
    pub skip: usize,
    /// Where to go on: the `next` of the page before.
    pub from: Option<String>,
}

/// Rows, and where the next ones are.
#[derive(Clone, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where to go on; `None` at the end. Opaque, and no secret.
    pub next: Option<String>,
}

/// Tokens and money of some requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Requests.
    pub requests: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Nano-dollars.
    pub cost: i64,
}

impl Usage {
    /// Adds to it; sums stop at the ends of 64 bits.
    pub fn add(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.prompt_tokens = self.prompt_tokens.saturating_add(more.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(more.completion_tokens);
        self.cost = self.cost.saturating_add(more.cost);
    }
}

/// What was used on one day with one key, model and set of tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsageLine {
    /// The day, in UTC.
    pub day: Date,
    /// The key's id; `None` for the master key.
    pub key: Option<KeyHash>,
    /// The key's team then.
    pub team_id: Option<String>,
    /// The key's user then.
    pub user_id: Option<String>,
    /// The model group.
    pub model: String,
    /// The labels of key and request, sorted.
    pub tags: Vec<String>,
    /// How much.
    pub usage: Usage,
}

/// Which lines of usage to read.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// Only this key's.
    pub key: Option<KeyHash>,
}

/// What a store reported, as text for the log. A client library's error is not kept: its `Debug` may show a whole
/// response.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreFailure {
    text: String,
    is_bad_place: bool,
}

impl StoreFailure {
    /// A failure in one's own words.
    pub fn new(message: impl Into<String>) -> Self {
        Self { text: message.into(), is_bad_place: false }
    }

    /// A list was to go on at a place that no page of this store's has told: the caller's fault.
    #[must_use]
    pub fn bad_place() -> Self {
        Self {
            text: "not a cursor of this store: the place to go on at is malformed".to_owned(),
            is_bad_place: true,
        }
    }

    /// Whether it is that.
    #[must_use]
    pub fn is_bad_place(&self) -> bool {
        self.is_bad_place
    }

    /// A failure with its causes, outermost first.
    #[must_use]
    pub fn from_error(error: &dyn Error) -> Self {
        Self::new(with_causes(error))
    }
}

/// A place where keys live, as far as requests need it: to find a key, to reserve, to settle.
///
/// It is apart from [`KeyStore`] because the request function makes and changes no keys: what it cannot do is not in
/// its binary.
#[async_trait]
pub trait AdmissionStore: Send + Sync {
    /// Whether it can spread a busy account over shares.
    fn shares(&self) -> bool;

    /// Finds the key that a hash opens, or opened once, and the generation, in one round trip; one more where the
    /// hash is that of a later value.
    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure>;

    /// Reads rows, in the order of the ids.
    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure>;

    /// The counters of every share of a row, from 1 on.
    async fn read_shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure>;

    /// Changes counters: all or none, in one round trip.
    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure>;

    /// How many rotations of provider credentials have finished.
    async fn generation(&self) -> Result<u64, StoreFailure>;

    /// Adds to what was used. `shares`: how many shares the key has (see [`Row::shares`]); the line of a busy key is
    /// spread like its counters.
    async fn log_usage(&self, line: &UsageLine, shares: u16) -> Result<(), StoreFailure>;
}

/// A place where keys live.
#[async_trait]
pub trait KeyStore: AdmissionStore {
    /// Changes definitions: all or none.
    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError>;

    /// The key that has an alias.
    async fn aliased(&self, alias: &str) -> Result<Option<KeyHash>, StoreFailure>;

    /// Lists rows.
    async fn list(&self, listing: &Listing) -> Result<Page, StoreFailure>;

    /// How many rows a filter finds.
    async fn count(&self, filter: &Filter) -> Result<u64, StoreFailure>;

    /// Adds a finished rotation; how many there are now.
    async fn next_generation(&self) -> Result<u64, StoreFailure>;

    /// What was used, a line for each day, key, model and set of tags.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure>;
}

/// Says which row it is; definitions hold their owners' data.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("id", &self.id).field("rev", &self.rev).finish_non_exhaustive()
    }
}
