//! A busy account's shares: where a request fits, and what to move when it fits nowhere though there is room.
//!
//! A rate's limit is divided among the shares. A pool's limit stays with the row; a share has what was granted to it,
//! which is committed in the row and taken off in the share, so that the limit there is 0. Both can be moved from one
//! share to another by adding to one counter what is taken off another. The sum over row and shares never changes by
//! that, so a limit holds exactly, and a request is refused only when there is no room anywhere.

use crate::admission::KeyError;

use super::plan::{Bound, Plan};
use super::slots::{Ended, give_back};
use super::{Change, Counters, Require};

/// Requests like the present one that a share gets room for at once. With it the row of a key with 10,000 requests a
/// second is written to 100 times a second; and a budget that is lowered can still be overdrawn by what was granted.
const MOST_GRANTED: i64 = 100;

/// How a request gets its room.
#[derive(Debug)]
pub(crate) enum Spread {
    /// It fits into this share.
    Fits(u16),
    /// It fits into this share once these changes were made, all or none; 0 is the row.
    After(u16, Vec<(u16, Change)>),
}

/// One of an account's places: the row or a share.
struct Place<'a> {
    number: u16,
    counters: &'a Counters,
    ended: Vec<Ended<'a>>,
}

impl Place<'_> {
    /// What is left there of what `bound` says for the whole account.
    fn room(&self, bound: &Bound, shares: u16) -> i64 {
        self.limit(bound, shares)
            .saturating_sub(self.counters.get(&bound.counter))
            .saturating_add(bound.ended(&self.ended))
    }

    fn limit(&self, bound: &Bound, shares: u16) -> i64 {
        match (self.number, &bound.pool) {
            (0, Some(_)) => bound.limit,
            (0, None) => 0,
            (share, _) => bound.on_share(share, shares),
        }
    }

    fn lacks(&self, bound: &Bound, shares: u16) -> i64 {
        bound.need.saturating_sub(self.room(bound, shares)).max(0)
    }
}

impl Plan {
    /// Finds room among the shares, given the row and all shares as they are. `own` is the share that has none; `pick`
    /// chooses one of so many.
    ///
    /// # Errors
    ///
    /// There is none: the limit that was reached.
    pub(crate) fn spread(
        &self,
        row: &Counters,
        shares: &[Counters],
        own: u16,
        pick: impl Fn(usize) -> usize,
    ) -> Result<Spread, KeyError> {
        if let Some(refusal) = self.refusal(&sum([row].into_iter().chain(shares))) {
            return Err(refusal);
        }
        let count = u16::try_from(shares.len()).unwrap_or(u16::MAX);
        let place = |number: u16, counters| Place { number, counters, ended: self.ended(counters) };
        let row = place(0, row);
        let shares: Vec<_> =
            (1..=count).zip(shares).map(|(number, counters)| place(number, counters)).collect();

        let lacks = |share: &Place<'_>| -> i64 {
            self.bounds().iter().fold(0, |sum: i64, bound| sum.saturating_add(share.lacks(bound, count)))
        };
        let fitting: Vec<_> = shares.iter().filter(|share| lacks(share) == 0).collect();
        let own = shares.iter().find(|share| share.number == own);
        // Room is brought to where chance has put the request, unless many other shares have some: requests that all
        // went to a few would be more than those carry. What the row grants is brought first.
        let stays = own.filter(|own| {
            fitting.len() < shares.len().div_ceil(2)
                || self.bounds().iter().all(|bound| self.grants(bound, &row, &shares, own, count))
        });
        let fits = fitting.get(pick(fitting.len().max(1)) % fitting.len().max(1));
        Ok(match (stays, fits) {
            (None, Some(share)) => Spread::Fits(share.number),
            (Some(own), _) => Spread::After(own.number, self.moves(&row, &shares, own, count, pick)),
            (None, None) => Spread::Fits(0),
        })
    }

    /// Whether the share has room, or the row alone can give it.
    fn grants(
        &self,
        bound: &Bound,
        row: &Place<'_>,
        shares: &[Place<'_>],
        share: &Place<'_>,
        count: u16,
    ) -> bool {
        let lack = share.lacks(bound, count);
        lack == 0 || (bound.pool.is_some() && free(bound, row, shares, share, count) >= lack)
    }

    /// What brings to share `to` the room that it lacks.
    fn moves(
        &self,
        row: &Place<'_>,
        shares: &[Place<'_>],
        to: &Place<'_>,
        count: u16,
        pick: impl Fn(usize) -> usize,
    ) -> Vec<(u16, Change)> {
        let mut moves = Moves { rev: self.rev(), changes: Vec::new() };
        for bound in self.bounds() {
            let lack = to.lacks(bound, count);
            if lack == 0 {
                continue;
            }
            let others = shares.iter().filter(|share| share.number != to.number);
            let mut brought = 0;
            if bound.pool.is_some() {
                let free = free(bound, row, shares, to, count);
                // More than is needed now, and to every share that is short of it, so that the next requests need not
                // come back for it; but not so much that the row has nothing left for one that needs more.
                let part = free / (2 * i64::from(count).max(1));
                let part = part.min(bound.need.saturating_mul(MOST_GRANTED));
                brought = lack.max(part).min(free);
                let mut granted = brought;
                for share in others.clone().filter(|_| part >= bound.need) {
                    if share.room(bound, count) < part / 2 && granted.saturating_add(part) <= free {
                        moves.of(share).add(&bound.counter, -part);
                        granted = granted.saturating_add(part);
                    }
                }
                moves.take(row, bound, row.room(bound, count).saturating_sub(free), granted, count);
            }
            let mut donors: Vec<_> = others.map(|share| (share.room(bound, count), share)).collect();
            donors.sort_by_key(|(room, share)| (std::cmp::Reverse(*room), share.number));
            // One of the richer ones, so that not all processes choose the same.
            let much = donors.first().map_or(0, |(room, _)| lack.max(room / 2));
            let rich = donors.partition_point(|(room, _)| *room >= much);
            donors.rotate_left(pick(rich.max(1)) % rich.max(1));
            for (room, share) in donors {
                let missing = lack.saturating_sub(brought);
                // Half of what the other has, for the same reason.
                let part = (room / 2).min(bound.need.saturating_mul(MOST_GRANTED));
                let amount = room.min(missing.max(part));
                if missing <= 0 || amount <= 0 {
                    continue;
                }
                moves.take(share, bound, 0, amount, count);
                brought = brought.saturating_add(amount);
            }
            moves.of(to).add(&bound.counter, -brought);
        }
        moves.changes
    }
}

/// Changes of row and shares in the making.
struct Moves {
    rev: i64,
    changes: Vec<(u16, Change)>,
}

impl Moves {
    /// Takes room away from a place that must have it, and must keep `keep` of it.
    fn take(&mut self, from: &Place<'_>, bound: &Bound, keep: i64, amount: i64, count: u16) {
        if amount <= 0 {
            return;
        }
        let most = from.limit(bound, count).saturating_sub(keep).saturating_sub(amount);
        let most = most.saturating_add(bound.ended(&from.ended));
        let change = self.of(from);
        change.require.push(Require::AtMost(bound.counter.clone(), most));
        change.add(&bound.counter, amount);
    }

    /// The change of a place, which gives back there what has ended.
    fn of(&mut self, place: &Place<'_>) -> &mut Change {
        let at = self.changes.iter().position(|(number, _)| *number == place.number).unwrap_or_else(|| {
            let mut change = Change { require: vec![Require::Rev(self.rev)], ..Change::default() };
            give_back(&mut change, &place.ended);
            self.changes.push((place.number, change));
            self.changes.len() - 1
        });
        &mut self.changes[at].1
    }
}

/// What the row can give of a pool. What shares other than `to` have overdrawn is missing there.
fn free(bound: &Bound, row: &Place<'_>, shares: &[Place<'_>], to: &Place<'_>, count: u16) -> i64 {
    let others = shares.iter().filter(|share| share.number != to.number);
    let overdrawn = others
        .fold(0, |sum: i64, share| sum.saturating_add(share.room(bound, count).saturating_neg().max(0)));
    row.room(bound, count).saturating_sub(overdrawn).max(0)
}

/// Counters of several places as if they were one.
pub(crate) fn sum<'a>(places: impl IntoIterator<Item = &'a Counters>) -> Counters {
    let mut total = Counters::default();
    for (name, amount) in places.into_iter().flat_map(Counters::iter) {
        total.add(name, *amount);
    }
    total
}
