//! Time as counters see it: slots of five minutes for reservations, minutes for rates, and what of both is over.

use jiff::{SignedDuration, Timestamp};

use super::windows::{ALL_TIME, COMMITTED, RESERVED, committed, reserved, slot_and_pool};
use super::{Change, Counters, Require};

/// Before a minute and, for a single model, `#` and its name: requests.
pub(super) const REQUESTS: &str = "rq@";
/// Before the same: tokens.
pub(super) const TOKENS: &str = "tk@";
/// The pool of requests under way.
pub(super) const PARALLEL: &str = "parallel";

/// Seconds in a window of the rate limits, as LiteLLM has it.
const MINUTE_SECONDS: i64 = 60;
/// Seconds in a slot of reservations.
const SLOT_SECONDS: i64 = 300;
/// Seconds that a request can last: a Lambda function's longest life.
const LONGEST_REQUEST_SECONDS: i64 = 900;
/// Counters removed by one write at most; an expression of DynamoDB's may have 4 KB. The slots of four pools, five
/// of each, fit in: no request has more pools.
const MOST_REMOVED: usize = 24;
/// Seconds that the clocks of two machines may differ by, before a window that is over is forgotten.
const CLOCKS_DIFFER_SECONDS: i64 = 60;

/// The minute of a time, counted from 1970.
pub(crate) fn minute(now: Timestamp) -> i64 {
    now.as_second().div_euclid(MINUTE_SECONDS)
}

/// When a minute is over.
pub(super) fn end_of(minute: i64) -> Timestamp {
    let end = SignedDuration::from_secs((minute + 1).saturating_mul(MINUTE_SECONDS));
    Timestamp::UNIX_EPOCH.saturating_add(end).unwrap_or(Timestamp::MAX)
}

/// The slot of a time.
pub(super) fn slot(now: Timestamp) -> i64 {
    now.as_second().div_euclid(SLOT_SECONDS)
}

/// A slot whose requests must all have ended, and what is still reserved in it.
pub(super) struct Ended<'a> {
    slot: i64,
    pool: &'a str,
    amount: i64,
}

/// The slots that have ended, as many as one write can remove; those of the pools in `first` before all others.
pub(super) fn ended<'a>(
    counters: &'a Counters,
    now: Timestamp,
    first: impl Fn(&str) -> bool,
) -> Vec<Ended<'a>> {
    let oldest = slot(now) - LONGEST_REQUEST_SECONDS / SLOT_SECONDS;
    let mut ended: Vec<_> = counters
        .with_prefix(RESERVED)
        .filter_map(|(rest, amount)| slot_and_pool(rest).map(|(slot, pool)| Ended { slot, pool, amount }))
        .filter(|ended| ended.slot < oldest)
        .collect();
    ended.sort_by_key(|ended| !first(ended.pool));
    ended.truncate(MOST_REMOVED);
    ended
}

/// What has ended of one pool.
pub(super) fn ended_of(ended: &[Ended<'_>], pool: &str) -> i64 {
    ended
        .iter()
        .filter(|ended| ended.pool == pool)
        .fold(0, |sum: i64, ended| sum.saturating_add(ended.amount))
}

/// Takes what has ended off its pools, once, however many processes notice.
pub(super) fn give_back(change: &mut Change, ended: &[Ended<'_>]) {
    for ended in ended {
        let counter = reserved(ended.slot, ended.pool);
        change.add(&committed(ended.pool), 0_i64.saturating_sub(ended.amount));
        change.require.push(Require::Equal(counter.clone(), ended.amount));
        change.remove.push(counter);
    }
}

/// Forgets minutes before the last one, and pools of windows that are over. The last minute is left, and a window that
/// has just ended: another machine's clock may still be in it. `present` says when the present window of a pool began:
/// of the budget's (`None`) or of a model's; `None` if there is none.
pub(super) fn forget_old(
    change: &mut Change,
    counters: &Counters,
    now: Timestamp,
    present: impl Fn(Option<&str>) -> Option<i64>,
) {
    let this_minute = minute(now);
    let minutes = [REQUESTS, TOKENS].into_iter().flat_map(|kind| {
        counters.with_prefix(kind).filter_map(move |(rest, _)| {
            let number: i64 = rest.split('#').next()?.parse().ok()?;
            (number < this_minute - 1).then(|| format!("{kind}{rest}"))
        })
    });
    let pools = counters.with_prefix(COMMITTED).filter_map(|(pool, _)| {
        if pool == ALL_TIME || pool == PARALLEL {
            return None;
        }
        let (start, model) = match pool.split_once('#') {
            Some((start, model)) => (start, Some(model)),
            None => (pool, None),
        };
        let start: i64 = start.parse().ok()?;
        let over = present(model).is_none_or(|began| {
            start < began && began.saturating_add(CLOCKS_DIFFER_SECONDS) <= now.as_second()
        });
        let in_use = || {
            counters
                .with_prefix(RESERVED)
                .any(|(rest, _)| slot_and_pool(rest).is_some_and(|(_, of)| of == pool))
        };
        (over && !in_use()).then(|| committed(pool))
    });
    let room = MOST_REMOVED.saturating_sub(change.remove.len());
    let old: Vec<String> = minutes
        .chain(pools)
        .filter(|name| !change.add.iter().any(|(added, _)| added == name))
        .take(room)
        .collect();
    change.remove.extend(old);
}
