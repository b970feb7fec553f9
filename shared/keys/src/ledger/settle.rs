//! Settlement: the actual usage instead of the reservation.

use jiff::Timestamp;

use crate::store::Account;

use super::slots::minute;
use super::windows::{SPEND, committed, reserved};
use super::{Change, Counters, Require};

/// What an admission has set aside in one account.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where.
    pub(crate) account: Account,
    /// The time slot that the reservations are booked in.
    pub(super) slot: i64,
    /// The minute that the tokens are counted in.
    pub(super) minute: i64,
    /// The counters of tokens, and what was added to each.
    pub(super) tokens: Vec<(String, i64)>,
    /// The counter of requests, if they are limited: for [`Held::undo`].
    pub(super) requests: Vec<String>,
    pub(super) parts: Vec<Part>,
    /// Counters that are of no use any more. An account without limits is written to by settlements alone.
    pub(super) old: Vec<String>,
}

/// One pool's part in a request.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(super) pool: String,
    /// What was reserved; 0 where the pool has no limit, or the cost was unknown.
    pub(super) reserved: i64,
    /// When the pool's window ends.
    pub(super) ends: Option<Timestamp>,
    /// Whether the cost is counted in it. Otherwise it is the requests under way.
    pub(super) is_money: bool,
}

/// What a request has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Nano-dollars.
    pub(crate) cost: i64,
    pub(crate) tokens: i64,
}

impl Held {
    /// The change that settles; empty when nothing was used and nothing was reserved. `refused` is the account as it
    /// was when the settlement was refused: a slot that is not there any more has ended, and what was reserved in it
    /// has been given back already.
    pub(crate) fn change(&self, used: Used, now: Timestamp, refused: Option<&Counters>) -> Change {
        // A write would bring a deleted account back as a torso.
        let mut change = Change { require: vec![Require::Exists], ..Change::default() };
        change.add(SPEND, used.cost);
        for part in &self.parts {
            let slot = reserved(self.slot, &part.pool);
            let is_held = part.reserved != 0 && refused.is_none_or(|counters| counters.contains(&slot));
            let cost = if part.is_money { used.cost } else { 0 };
            if is_held {
                change.add(&slot, -part.reserved);
                change.add(&committed(&part.pool), cost - part.reserved);
                change.require.push(Require::Present(slot));
            } else if part.ends.is_none_or(|end| now < end) {
                change.add(&committed(&part.pool), cost);
            }
        }
        // Nobody asks a minute that is over.
        if self.minute == minute(now) {
            for (counter, estimate) in &self.tokens {
                change.add(counter, used.tokens - estimate);
            }
        }
        let added = |name: &String| change.add.iter().any(|(counter, _)| counter == name);
        let old: Vec<_> = self.old.iter().filter(|name| !added(name)).cloned().collect();
        if !change.is_empty() {
            change.remove = old;
        }
        change
    }

    /// The change that takes the reservation back as if it had never been made.
    pub(crate) fn undo(&self, now: Timestamp) -> Change {
        let mut change = self.change(Used { cost: 0, tokens: 0 }, now, None);
        for counter in &self.requests {
            change.add(counter, -1);
        }
        change
    }
}
