//! One admission's change of counters: in the accounts of the key, its team and its user, all or none.

use std::sync::Arc;

use jiff::Timestamp;

use crate::admission::{Admission, Holder, KeyError, LimitType, Reservation};
use crate::ledger::plan::Plan;
use crate::ledger::settle::Held;
use crate::ledger::spread::{Spread, sum};
use crate::ledger::{Change, Counters, spent};
use crate::money::nanos;
use crate::store::{Account, Charge, Charged, Refused, RowId, StoreFailure};

use super::Keys;
use super::identity::{Entry, Identity, Paper};

/// How often a reservation is tried: again when a slot of reservations has ended, or a share had no room. Each time
/// somebody else has taken what there was, so few are enough.
const ATTEMPTS: usize = 16;

/// Where one account's part of the reservation is made.
pub(super) struct Seat<'a> {
    entry: &'a Entry<'a>,
    share: u16,
    /// The plan there.
    plan: Option<Plan>,
}

impl Seat<'_> {
    fn plan(&self) -> &Plan {
        self.plan.as_ref().unwrap_or(&self.entry.plan)
    }

    fn account(&self) -> Account {
        Account { row: self.entry.paper.id.clone(), share: self.share }
    }

    fn sit(&mut self, share: u16) {
        let shares = self.entry.paper.shares;
        self.share = share;
        self.plan = (shares > 0).then(|| self.entry.plan.on_share(share, shares));
    }
}

/// What a refused change means.
enum Verdict {
    /// Try again with what is known now.
    Again,
    /// A definition is not what it was.
    Changed,
}

impl Keys {
    /// Reserves what the request asks for; `None` when a definition has changed and has to be read again.
    pub(super) async fn reserve(
        &self,
        identity: &Identity,
        entries: &[Entry<'_>],
        now: Timestamp,
    ) -> Result<Option<Admission>, KeyError> {
        let bound = entries.iter().filter(|entry| entry.plan.is_bound());
        let mut seats = Vec::with_capacity(entries.len());
        for entry in bound {
            self.refuse_early(entry, now)?;
            let mut seat = Seat { entry, share: 0, plan: None };
            seat.sit(self.pick_share(entry.paper.shares));
            seats.push(seat);
        }
        // What else the decision rests on, and is too old to be trusted.
        let old = |paper: &&Paper| {
            !paper.is_new
                && !self.is_fresh(paper.read_at, now)
                && !seats.iter().any(|seat| seat.entry.paper.id == paper.id)
        };
        let (missing, proofs): (Vec<_>, Vec<_>) =
            identity.papers.iter().filter(old).partition(|paper| paper.is_missing);
        let missing: Vec<RowId> = missing.into_iter().map(|paper| paper.id.clone()).collect();

        for _ in 0..ATTEMPTS {
            let charges = self.charges(&seats, &proofs);
            // What was missing may be there by now; the generation may be due. Neither costs a further round trip.
            let (charged, found, ()) = tokio::join!(
                self.store.charge(&charges),
                self.appeared(&missing, now),
                self.refresh_generation(now)
            );
            match charged? {
                Charged::Done(counters) => {
                    self.note(&charges, counters);
                    for paper in seats.iter().map(|seat| seat.entry.paper).chain(proofs.iter().copied()) {
                        self.prove(&paper.id, paper.rev, now);
                    }
                    let admission = self.admission(identity, entries, &seats, now);
                    return match found {
                        Ok(false) => Ok(Some(admission)),
                        // Its limits have not been asked: everything back, and once more.
                        Ok(true) => self.give_back(&admission, now).await.map(|()| None),
                        Err(error) => {
                            self.give_back(&admission, now).await?;
                            Err(error)
                        }
                    };
                }
                Charged::Refused(refused) => match self.judge(&charges, &mut seats, refused).await? {
                    Verdict::Again => {}
                    Verdict::Changed => return Ok(None),
                },
            }
        }
        Err(KeyError::Unavailable(StoreFailure::new("an account changed at every attempt to reserve")))
    }

    fn charges(&self, seats: &[Seat<'_>], proofs: &[&Paper]) -> Vec<Charge> {
        let seats = seats.iter().map(|seat| {
            let account = seat.account();
            let change = seat.plan().change(&self.seen(&account));
            Charge { account, change }
        });
        let proofs = proofs.iter().map(|paper| Charge {
            account: Account { row: paper.id.clone(), share: 0 },
            change: Plan::proof(paper.rev),
        });
        seats.chain(proofs).collect()
    }

    /// Whether any of these rows is there now.
    async fn appeared(&self, missing: &[RowId], now: Timestamp) -> Result<bool, KeyError> {
        if missing.is_empty() {
            return Ok(false);
        }
        let found = self.read(missing, now).await?;
        Ok(found.iter().any(|seen| !matches!(seen.definition, super::rows::Definition::Missing)))
    }

    /// What to do about a refused change.
    async fn judge(
        &self,
        charges: &[Charge],
        seats: &mut [Seat<'_>],
        refused: Vec<Refused>,
    ) -> Result<Verdict, KeyError> {
        let mut changed = false;
        let mut unfit = Vec::new();
        for (at, (charge, refused)) in charges.iter().zip(refused).enumerate() {
            match refused {
                Refused::Fits => {}
                Refused::Missing => {
                    self.rows.remove(&charge.account.row);
                    changed = true;
                }
                Refused::Unfit(rev, counters) => {
                    self.counters.insert(charge.account.clone(), Arc::new(counters));
                    if charge.change.fits_rev(rev) {
                        unfit.extend((at < seats.len()).then_some(at));
                    } else {
                        self.rows.remove(&charge.account.row);
                        changed = true;
                    }
                }
            }
        }
        if changed {
            return Ok(Verdict::Changed);
        }
        for at in unfit {
            let seat = &mut seats[at];
            let Some(refusal) = seat.plan().refusal(&self.seen(&seat.account())) else { continue };
            if seat.entry.paper.shares == 0 {
                return Err(refusal);
            }
            if let Verdict::Changed = self.look_around(seat).await? {
                return Ok(Verdict::Changed);
            }
        }
        Ok(Verdict::Again)
    }

    /// Finds another share of a busy account, and moves room there if none has enough.
    async fn look_around(&self, seat: &mut Seat<'_>) -> Result<Verdict, KeyError> {
        let paper = seat.entry.paper;
        let ids = [paper.id.clone()];
        let (row, shares) =
            tokio::join!(self.store.read(&ids), self.store.read_shares(&paper.id, paper.shares));
        let (row, shares) = (row?.into_iter().next().flatten(), shares?);
        let Some(row) = row.filter(|row| row.rev == paper.rev) else {
            self.rows.remove(&paper.id);
            return Ok(Verdict::Changed);
        };
        let spread = seat.entry.plan.spread(&row.counters, &shares, |count| self.pick(count));
        let total = |places: &[Counters]| Arc::new(sum([&row.counters].into_iter().chain(places)));
        let account = |share| Account { row: paper.id.clone(), share };
        if let Err(KeyError::RateLimited { limit_type: LimitType::Requests, .. }) = &spread {
            self.used_up.insert(paper.id.clone(), (paper.rev, total(&shares)));
        }
        for (share, counters) in (1..).zip(&shares) {
            self.counters.insert(account(share), Arc::new(counters.clone()));
        }
        match spread? {
            Spread::Fits(share) => seat.sit(share),
            Spread::After(share, moves) => {
                let charge = |(share, change)| Charge { account: account(share), change };
                let charges: Vec<_> = moves.into_iter().map(charge).collect();
                // When it is refused, somebody was quicker; the next attempt sees what is left.
                if let Charged::Done(counters) = self.store.charge(&charges).await? {
                    self.note(&charges, counters);
                }
                seat.sit(share);
            }
        }
        Ok(Verdict::Again)
    }

    /// Refuses from memory what all shares of a busy account had no room for in this minute: requests are never
    /// given back, so that it is so still. Otherwise every refusal would read all of them.
    fn refuse_early(&self, entry: &Entry<'_>, now: Timestamp) -> Result<(), KeyError> {
        let paper = entry.paper;
        if paper.shares == 0 || !self.is_fresh(paper.read_at, now) {
            return Ok(());
        }
        let used_up = self.used_up.get(&paper.id).filter(|(rev, _)| *rev == paper.rev);
        let refusal = used_up.and_then(|(_, counters)| entry.plan.refusal_for_the_minute(&counters));
        refusal.map_or(Ok(()), Err)
    }

    /// Keeps the counters after a change; where the store did not tell them, as they must be.
    pub(super) fn note(&self, charges: &[Charge], counters: Vec<Option<Counters>>) {
        let counters = counters.into_iter().chain(std::iter::repeat(None));
        for (charge, counters) in charges.iter().zip(counters) {
            if counters.is_none() && charge.change.is_empty() {
                continue;
            }
            let counters = counters.unwrap_or_else(|| {
                let mut known = (*self.seen(&charge.account)).clone();
                charge.change.apply(&mut known);
                known
            });
            self.counters.insert(charge.account.clone(), Arc::new(counters));
        }
    }

    /// The admission after its change was made.
    pub(super) fn admission(
        &self,
        identity: &Identity,
        entries: &[Entry<'_>],
        seats: &[Seat<'_>],
        now: Timestamp,
    ) -> Admission {
        let seat_of = |entry: &Entry<'_>| seats.iter().find(|seat| seat.entry.paper.id == entry.paper.id);
        let held = entries.iter().map(|entry| match seat_of(entry) {
            Some(seat) => seat.plan().held(seat.account(), &Counters::default()),
            None => self.unlimited(entry),
        });
        let headers =
            seats.iter().flat_map(|seat| seat.entry.plan.headers(&self.seen_in_all(seat.entry.paper)));
        Admission {
            key: Arc::clone(&identity.key),
            generation: self.generation().number,
            reservation: Reservation { held: held.collect(), shares: identity.shares() },
            rate_headers: headers.collect(),
            over_soft_budget: self.over_soft_budget(entries, now),
        }
    }

    /// What an account without limits has to settle: its spend.
    fn unlimited(&self, entry: &Entry<'_>) -> Held {
        let account = Account { row: entry.paper.id.clone(), share: self.pick_share(entry.paper.shares) };
        let seen = self.seen(&account);
        entry.plan.held(account, &seen)
    }

    /// Whose soft budget is used up, as far as this process has seen.
    fn over_soft_budget(&self, entries: &[Entry<'_>], now: Timestamp) -> Option<Holder> {
        let is_over = |entry: &&Entry<'_>| {
            entry.limits.soft_budget.is_some_and(|soft| {
                let counters = self.seen_in_all(entry.paper);
                spent(&entry.limits, entry.created_at, now, [&*counters]) >= nanos(soft)
            })
        };
        entries.iter().find(is_over).map(|entry| entry.holder.clone())
    }

    /// The counters of a row and all its shares, as far as this process has seen them.
    fn seen_in_all(&self, paper: &Paper) -> Arc<Counters> {
        let account = |share| Account { row: paper.id.clone(), share };
        if paper.shares == 0 {
            return self.seen(&account(0));
        }
        let places: Vec<_> = (0..=paper.shares).map(|share| self.seen(&account(share))).collect();
        Arc::new(sum(places.iter().map(|counters| &**counters)))
    }

    async fn give_back(&self, admission: &Admission, now: Timestamp) -> Result<(), KeyError> {
        let change = |held: &Held| Charge { account: held.account.clone(), change: held.undo(now) };
        let charges: Vec<_> = admission.reservation.held.iter().map(change).collect();
        let charges: Vec<_> = charges.into_iter().filter(|charge| !charge.change.is_empty()).collect();
        if !charges.is_empty()
            && let Charged::Done(counters) = self.store.charge(&charges).await?
        {
            self.note(&charges, counters);
        }
        Ok(())
    }
}

impl Change {
    /// Whether its condition on the revision holds.
    fn fits_rev(&self, rev: i64) -> bool {
        use crate::ledger::Require;
        self.require.iter().all(|condition| !matches!(condition, Require::Rev(wanted) if *wanted != rev))
    }
}
