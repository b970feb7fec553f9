//! What one request adds to a key's counters, under which conditions, and why it may not.
//!
//! Time is cut into slots of five minutes for reservations and into minutes for rates. `committed` is the
//! settled spend and all reservations together, so that one comparison guards the budget. A slot counts for as
//! long as one of its requests can still be running; then the next write takes what is left in it off
//! `committed` and removes it. That is how the reservation of a function that died comes back.

use jiff::{SignedDuration, Timestamp};

use crate::money::{count, dollars, nanos};
use crate::port::{Ask, KeyError, LimitType, Reservation};

use super::record::{COMMITTED, Counter, REV, Record};
use super::update::Update;

/// Seconds in a window of the rate limits, as LiteLLM has it.
const WINDOW_SECONDS: i64 = 60;
/// Seconds in a slot of reservations.
const SLOT_SECONDS: i64 = 300;
/// Seconds that a request can last: a Lambda function's longest life.
const LONGEST_REQUEST_SECONDS: i64 = 900;
/// Attributes removed by one write at most; an expression may have 4 KB.
const MOST_REMOVED: usize = 16;

/// One request on one key at one time.
pub(super) struct Plan {
    cost: i64,
    tokens: i64,
    slot: i64,
    minute: i64,
}

impl Plan {
    pub(super) fn new(ask: &Ask<'_>, now: Timestamp) -> Self {
        Self {
            cost: nanos(ask.cost),
            tokens: count(ask.tokens),
            slot: now.as_second().div_euclid(SLOT_SECONDS),
            minute: minute(now),
        }
    }

    /// The write that authorises and reserves. `record` only says what to ask for: the conditions hold against
    /// the item as it is.
    pub(super) fn update(&self, record: &Record) -> Update {
        let key = &record.key;
        let mut update = Update::default();
        // Nobody has blocked, changed or deleted the key, so what the record allows is allowed.
        update.require_equal(REV, record.rev);
        let mut ended_amount = 0_i64;
        for (slot, amount) in self.ended(record) {
            let attribute = Counter::Reserved.attribute(slot);
            update.require_equal(&attribute, amount);
            update.remove(&attribute);
            ended_amount = amount.saturating_add(ended_amount);
        }
        let mut committed = 0_i64.saturating_sub(ended_amount);
        if let Some(max_budget) = key.max_budget {
            // Conditions see the item before the write, with what has ended still in it.
            let room = self.budget_room(max_budget).saturating_add(ended_amount);
            update.require_at_most(COMMITTED, room);
            update.add(&Counter::Reserved.attribute(self.slot), self.cost);
            committed = committed.saturating_add(self.cost);
        }
        update.add(COMMITTED, committed);
        if let Some(limit) = key.rpm_limit {
            let requests = Counter::Requests.attribute(self.minute);
            update.require_at_most(&requests, count(limit) - 1);
            update.add(&requests, 1);
        }
        if let Some(limit) = key.tpm_limit {
            let tokens = Counter::Tokens.attribute(self.minute);
            update.require_at_most(&tokens, self.token_room(limit));
            update.add(&tokens, self.tokens);
        }
        // The minute before is left alone: another machine's clock may still be in it.
        for counter in [Counter::Requests, Counter::Tokens] {
            let old = record.counters(counter).filter(|(minute, _)| *minute < self.minute - 1);
            for (minute, _) in old.take(MOST_REMOVED) {
                update.remove(&counter.attribute(minute));
            }
        }
        update
    }

    /// What to settle once the write is done.
    pub(super) fn reservation(&self, record: &Record) -> Reservation {
        Reservation {
            budget: record.key.max_budget.map(|_| (self.cost, self.slot)),
            tokens: record.key.tpm_limit.map(|_| self.tokens),
            minute: self.minute,
        }
    }

    /// Which limit the request does not fit into, given the item as it is; `None` when it fits.
    pub(super) fn refusal(&self, record: &Record) -> Option<KeyError> {
        let key = &record.key;
        if let Some(max_budget) = key.max_budget {
            let ended = self.ended(record).map(|(_, amount)| amount);
            let committed = ended.fold(record.committed, i64::saturating_sub);
            if committed > self.budget_room(max_budget) {
                return Some(KeyError::BudgetExceeded { spend: dollars(committed), max_budget });
            }
        }
        let requests = record.counter(Counter::Requests, self.minute);
        if let Some(limit) = key.rpm_limit
            && requests >= count(limit)
        {
            return Some(self.rate_limited(LimitType::Requests, limit, requests));
        }
        let tokens = record.counter(Counter::Tokens, self.minute);
        if let Some(limit) = key.tpm_limit
            && tokens > self.token_room(limit)
        {
            return Some(self.rate_limited(LimitType::Tokens, limit, tokens));
        }
        None
    }

    /// The response's headers, given the item after the write.
    pub(super) fn rate_headers(&self, record: &Record) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(limit) = record.key.rpm_limit {
            let left = remaining(limit, record.counter(Counter::Requests, self.minute));
            headers.push(("x-ratelimit-api_key-limit-requests", limit.to_string()));
            headers.push(("x-ratelimit-api_key-remaining-requests", left.to_string()));
        }
        if let Some(limit) = record.key.tpm_limit {
            let left = remaining(limit, record.counter(Counter::Tokens, self.minute));
            headers.push(("x-ratelimit-api_key-limit-tokens", limit.to_string()));
            headers.push(("x-ratelimit-api_key-remaining-tokens", left.to_string()));
        }
        headers
    }

    /// What may be committed already for the request to fit. A request of unknown cost needs a nano-dollar too:
    /// a budget that is used up admits nothing.
    fn budget_room(&self, max_budget: f64) -> i64 {
        nanos(max_budget) - self.cost.max(1)
    }

    /// How many tokens of the window may be used already for the request to fit.
    fn token_room(&self, limit: u64) -> i64 {
        count(limit) - self.tokens.max(1)
    }

    /// The slots whose requests must all have ended, with what they still hold.
    fn ended<'a>(&self, record: &'a Record) -> impl Iterator<Item = (i64, i64)> + use<'a> {
        let oldest = self.slot - LONGEST_REQUEST_SECONDS / SLOT_SECONDS;
        record.counters(Counter::Reserved).filter(move |(slot, _)| *slot < oldest).take(MOST_REMOVED)
    }

    fn rate_limited(&self, limit_type: LimitType, limit: u64, used: i64) -> KeyError {
        let seconds = (self.minute + 1).saturating_mul(WINDOW_SECONDS);
        let resets_at = Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_secs(seconds));
        KeyError::RateLimited {
            limit_type,
            limit,
            remaining: remaining(limit, used),
            resets_at: resets_at.unwrap_or(Timestamp::MAX),
        }
    }
}

/// The minute of a time, counted from 1970.
pub(super) fn minute(now: Timestamp) -> i64 {
    now.as_second().div_euclid(WINDOW_SECONDS)
}

/// What is left of a limit. Settling may bring a counter above the limit, or below 0 across a change of limits.
fn remaining(limit: u64, used: i64) -> u64 {
    limit.saturating_sub(u64::try_from(used).unwrap_or(0))
}
