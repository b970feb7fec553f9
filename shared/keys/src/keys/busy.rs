//! A busy account: which of its shares a request tries, and how it finds room when one has none
//! (`docs/adr/0004-busy-keys.md`).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::admission::KeyError;
use crate::ledger::Counters;
use crate::ledger::spread::{Spread, sum};
use crate::store::{Account, Charge, Charged, StoreFailure};

use super::identity::{Entry, Paper};
use super::reserve::{Seat, Verdict};
use super::{Keys, within};

/// How long it counts that a busy account was found to have next to no room. Each process may look again after that, so
/// that 200 of them read an account 800 times a second at most; an item takes 3,000 reads.
const LOOKED_LIFE: SignedDuration = SignedDuration::from_millis(250);
/// Of how many requests one reads all shares after a first refusal; after a second one each does.
const ONE_LOOKS_OF: usize = 8;
/// How many shares are left aside because they had no room for a rate when they were seen last.
const MOST_PASSED: usize = 8;

/// A busy account as it was found when all its shares were read.
#[derive(Clone)]
pub(super) struct Looked {
    rev: i64,
    at: Timestamp,
    /// The sum over row and shares.
    total: Arc<Counters>,
}

impl Keys {
    /// A share, by chance, and rather one that had room for the rates when it was seen last.
    pub(super) fn seat<'a>(&self, entry: &'a Entry<'a>) -> Seat<'a> {
        let mut seat = Seat { entry, share: 0, plan: None, was_refused: false };
        self.sit_anywhere(&mut seat);
        seat
    }

    fn sit_anywhere(&self, seat: &mut Seat<'_>) {
        let shares = seat.entry.paper.shares;
        for _ in 0..=MOST_PASSED {
            seat.sit(self.pick_share(shares));
            if shares == 0 || !seat.plan().is_rate_used_up(&self.seen(&seat.account())) {
                break;
            }
        }
    }

    /// Whether to try another share before all of them are read. Where many requests find no room at once, a few of them
    /// look around and bring some for all.
    fn tries_another(&self, seat: &mut Seat<'_>) -> bool {
        let tries = !seat.was_refused && self.pick(ONE_LOOKS_OF) != 0;
        seat.was_refused = true;
        if tries {
            self.sit_anywhere(seat);
        }
        tries
    }

    /// What to do when a share has no room: `seen` is what it has counted, `refusal` what that means.
    pub(super) async fn find_room(
        &self,
        seat: &mut Seat<'_>,
        seen: &Counters,
        refusal: KeyError,
    ) -> Result<Verdict, KeyError> {
        let looked = self.looked(seat.entry.paper, LOOKED_LIFE, self.clock.now());
        let nearly = |total: Arc<Counters>| seat.entry.plan.nearly_reached(seat.plan(), seen, &total);
        if let Some(refusal) = looked.and_then(nearly) {
            return Err(refusal);
        }
        if self.tries_another(seat) {
            return Ok(Verdict::Again);
        }
        let asked_at = self.clock.now();
        // One at a time: where reads are throttled, more of them would be in the way of those that wait already.
        let _alone = self.looking.lock().await;
        if self.looked.get(&seat.entry.paper.id).is_some_and(|looked| looked.at > asked_at) {
            self.refuse_early(seat.entry, self.clock.now())?;
            self.sit_anywhere(seat);
            return Ok(Verdict::Again);
        }
        let seen_all = self.see_all(seat.entry.paper).await;
        // The store answered the write just now: it is this account that is read too often.
        let Some((row, shares)) = seen_all.or(Err(refusal))? else { return Ok(Verdict::Changed) };
        self.look_around(seat, &row, &shares).await?;
        Ok(Verdict::Again)
    }

    /// The counters of a busy account and of all its shares; `None` when its definition has changed.
    async fn see_all(&self, paper: &Paper) -> Result<Option<(Counters, Vec<Counters>)>, StoreFailure> {
        let ids = [paper.id.clone()];
        let (row, shares) =
            tokio::join!(self.store.read(&ids), self.store.read_shares(&paper.id, paper.shares));
        let row = row?.into_iter().next().flatten().filter(|row| row.rev == paper.rev);
        if row.is_none() {
            self.rows.remove(&paper.id);
        }
        let shares = shares?;
        Ok(row.map(|row| (row.counters, shares)))
    }

    /// Finds another share of a busy account, and moves room there if none has enough.
    ///
    /// # Errors
    ///
    /// There is no room anywhere: the limit that was reached.
    async fn look_around(
        &self,
        seat: &mut Seat<'_>,
        row: &Counters,
        shares: &[Counters],
    ) -> Result<(), KeyError> {
        let paper = seat.entry.paper;
        let spread = seat.entry.plan.spread(row, shares, seat.share, |count| self.pick(count));
        let account = |share| Account { row: paper.id.clone(), share };
        let total = Arc::new(sum([row].into_iter().chain(shares)));
        self.looked.insert(paper.id.clone(), Looked { rev: paper.rev, at: self.clock.now(), total });
        for (share, counters) in (1..).zip(shares) {
            self.counters.insert(account(share), Arc::new(counters.clone()));
        }
        match spread? {
            Spread::Fits(share) => seat.sit(share),
            Spread::After(share, moves) => {
                let charge = |(share, change)| Charge { account: account(share), change };
                let charges: Vec<_> = moves.into_iter().map(charge).collect();
                // When it is refused, somebody was quicker, and when it fails, others are at it: the next attempt sees
                // what is left, and whether the store is there.
                if let Ok(Charged::Done(counters)) = self.store.charge(&charges).await {
                    self.note(&charges, counters);
                }
                seat.sit(share);
            }
        }
        Ok(())
    }

    /// Refuses from memory what all shares of a busy account had no room for in this minute: requests are never
    /// given back, so that it is so still. Otherwise every refusal would read all of them.
    pub(super) fn refuse_early(&self, entry: &Entry<'_>, now: Timestamp) -> Result<(), KeyError> {
        let paper = entry.paper;
        if paper.shares == 0 || !self.is_fresh(paper.read_at, now) {
            return Ok(());
        }
        let looked = self.looked(paper, SignedDuration::MAX, now);
        let refusal = looked.and_then(|total| entry.plan.refusal_for_the_minute(&total));
        refusal.map_or(Ok(()), Err)
    }

    /// What a busy account had used in all when this process looked last, unless that is longer ago than `life`.
    fn looked(&self, paper: &Paper, life: SignedDuration, now: Timestamp) -> Option<Arc<Counters>> {
        let looked = self.looked.get(&paper.id)?;
        (looked.rev == paper.rev && within(life, looked.at, now)).then_some(looked.total)
    }

    /// Counts a change of this process's in what it found in all shares a moment ago.
    pub(super) fn note_in_all(&self, Charge { account, change }: &Charge) {
        if let Some(mut looked) = self.looked.get(&account.row)
            && within(LOOKED_LIFE, looked.at, self.clock.now())
        {
            change.apply(Arc::make_mut(&mut looked.total));
            self.looked.insert(account.row.clone(), looked);
        }
    }
}
