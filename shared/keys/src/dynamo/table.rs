//! Reading items, what can go wrong, and what is tried again.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValue};

use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{Opened, Row, RowId, StoreFailure};

use super::item::{Item, Key, NUMBER, account_of, integer, leads_to, row, single_number};

/// The most items of one BatchGetItem
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>).
const BATCH: usize = 100;

/// The table.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Table {
    /// The key that a hash opens and the generation, in one round trip; one more through a pointer.
    pub(super) async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        let id = RowId::key(hash);
        let (key, account, generation) = (Key::row(&id), Key::account(&id, 0), Key::generation());
        let keys = vec![key.clone(), account.clone(), generation.clone()];
        let mut found = self.get_all(keys, ATTEMPTS_TO_OPEN).await?;
        if found.unread.iter().any(|key| *key != generation) {
            return Err(unread());
        }
        let generation = match found.unread.is_empty() {
            true => Some(single_number(found.items.get(&generation))?),
            false => None,
        };
        let Some(item) = found.items.remove(&key) else { return Ok(Opened { row: None, generation }) };
        let row = match leads_to(&item)? {
            Some(id) => self.rows(&[RowId::key(&id)]).await?.pop().flatten(),
            None => found.items.get(&account).map(|account| row(&id, &item, account)).transpose()?,
        };
        Ok(Opened { row, generation })
    }

    /// Rows, in the order of the ids. One whose account is missing has just been made or deleted.
    pub(super) async fn rows(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        // DynamoDB refuses to read an item twice.
        let keys: HashSet<_> = ids.iter().flat_map(|id| [Key::row(id), Key::account(id, 0)]).collect();
        let items = self.get(keys.into_iter().collect()).await?;
        let find = |id: &RowId| {
            let (item, account) = (items.get(&Key::row(id))?, items.get(&Key::account(id, 0))?);
            Some(row(id, item, account))
        };
        ids.iter().map(|id| find(id).transpose()).collect()
    }

    /// The counters of every share of a row.
    pub(super) async fn shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        let keys: Vec<_> = (1..=shares).map(|share| Key::account(id, share)).collect();
        let items = self.get(keys.clone()).await?;
        let counters = keys.iter().map(|key| match items.get(key) {
            Some(item) => Ok(account_of(item)?.1),
            None => Ok(Counters::default()),
        });
        counters.collect()
    }

    /// The key that has an alias.
    pub(super) async fn aliased(&self, alias: &str) -> Result<Option<KeyHash>, StoreFailure> {
        let item = self.get_one(&Key::alias(alias)).await?;
        Ok(item.map(|item| leads_to(&item)).transpose()?.flatten())
    }

    /// The generation.
    pub(super) async fn generation(&self) -> Result<u64, StoreFailure> {
        single_number(self.get_one(&Key::generation()).await?.as_ref())
    }

    /// Raises the generation. Should an answer be lost and the write be sent again, it rises twice: no harm.
    pub(super) async fn next_generation(&self) -> Result<u64, StoreFailure> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request
            .set_key(Some(Key::generation().item()))
            .update_expression("ADD #n :one")
            .expression_attribute_names("#n", NUMBER)
            .expression_attribute_values(":one", integer(1))
            .return_values(ReturnValue::AllNew);
        let reply = request.send().await.map_err(|error| failure(&error))?;
        single_number(reply.attributes.as_ref())
    }

    /// One item.
    async fn get_one(&self, key: &Key) -> Result<Option<Item>, StoreFailure> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key.item()));
        Ok(request.consistent_read(true).send().await.map_err(|error| failure(&error))?.item)
    }

    /// Items, those that are there. No key may be named twice.
    pub(super) async fn get(&self, keys: Vec<Key>) -> Result<HashMap<Key, Item>, StoreFailure> {
        let found = self.get_all(keys, ATTEMPTS).await?;
        if found.unread.is_empty() { Ok(found.items) } else { Err(unread()) }
    }

    /// Items, a hundred at a time. What DynamoDB leaves unread, because it is throttled or because there is too much
    /// for one answer, is asked for again, `attempts` times in all unless something came.
    async fn get_all(&self, mut unread: Vec<Key>, attempts: u32) -> Result<Found, StoreFailure> {
        let mut items = HashMap::with_capacity(unread.len());
        let mut backoff = Backoff::new(attempts);
        while !unread.is_empty() {
            let batch = unread.split_off(unread.len().saturating_sub(BATCH));
            let keys = batch.iter().map(Key::item).collect();
            let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
            let keys = keys.build().map_err(incomplete)?;
            let request = self.client.batch_get_item().request_items(&self.name, keys);
            let reply = request.send().await.map_err(|error| failure(&error))?;
            for item in reply.responses.unwrap_or_default().remove(&self.name).unwrap_or_default() {
                items.insert(Key::of(&item)?, item);
            }
            let left = reply.unprocessed_keys.unwrap_or_default().remove(&self.name);
            let left = left.iter().flat_map(KeysAndAttributes::keys).map(Key::of);
            let left = left.collect::<Result<Vec<_>, _>>()?;
            let stuck = left.len() == batch.len();
            let pause = !left.is_empty();
            unread.extend(left);
            if !stuck {
                backoff = Backoff::new(attempts);
            }
            if pause && !backoff.pause().await {
                break;
            }
        }
        Ok(Found { items, unread })
    }
}

/// What a read of several items brought.
struct Found {
    items: HashMap<Key, Item>,
    unread: Vec<Key>,
}

fn unread() -> StoreFailure {
    StoreFailure::new("DynamoDB left items unread")
}

/// How often is tried what the SDK does not try again by itself. Transactions on a team that many keys share
/// cancel one another as a matter of course.
pub(super) const ATTEMPTS: u32 = 10;
/// How often a client's key is asked for, if it is left unread.
const ATTEMPTS_TO_OPEN: u32 = 3;
/// The longest first pause; each later one may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Pauses of random length between attempts.
pub(super) struct Backoff {
    attempts: u32,
    made: u32,
}

impl Backoff {
    pub(super) fn new(attempts: u32) -> Self {
        Self { attempts, made: 0 }
    }

    /// Waits before another attempt; `false` when there have been enough.
    pub(super) async fn pause(&mut self) -> bool {
        self.made += 1;
        if self.made >= self.attempts {
            return false;
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << (self.made - 1).min(10)).min(LONGEST_PAUSE);
        tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
        true
    }
}

/// There have been enough attempts.
pub(super) fn busy() -> StoreFailure {
    StoreFailure::new("DynamoDB: throttled, or other transactions were in the way, at every attempt")
}

/// Every failure of DynamoDB's that is not an answer: throttled, denied, no such table, no connection. The SDK
/// has retried what it was worth to retry.
pub(super) fn failure<E, R>(error: &SdkError<E, R>) -> StoreFailure
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug + 'static,
{
    match error.as_service_error().map(ProvideErrorMetadata::meta) {
        Some(meta) => StoreFailure::new(format!("DynamoDB: {meta}")),
        None => StoreFailure::from_error(error),
    }
}

/// A request that we left incomplete.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn incomplete(error: BuildError) -> StoreFailure {
    StoreFailure::from_error(&error)
}
