//! One admission's change of counters: in the accounts of the key, its team and its user, all or none.

use std::sync::Arc;

use jiff::Timestamp;

use crate::admission::{Admission, Holder, KeyError, Reservation};
use crate::ledger::plan::Plan;
use crate::ledger::settle::Held;
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
    pub(super) entry: &'a Entry<'a>,
    pub(super) share: u16,
    /// The plan there.
    pub(super) plan: Option<Plan>,
    /// Whether a share had no room before.
    pub(super) was_refused: bool,
}

impl Seat<'_> {
    pub(super) fn plan(&self) -> &Plan {
        self.plan.as_ref().unwrap_or(&self.entry.plan)
    }

    pub(super) fn account(&self) -> Account {
        Account { row: self.entry.paper.id.clone(), share: self.share }
    }

    pub(super) fn sit(&mut self, share: u16) {
        let shares = self.entry.paper.shares;
        self.share = share;
        self.plan = (shares > 0).then(|| self.entry.plan.on_share(share, shares));
    }
}

/// What a refused change means.
pub(super) enum Verdict {
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
            seats.push(self.seat(entry));
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
            let seen = self.seen(&seat.account());
            let Some(refusal) = seat.plan().refusal(&seen) else { continue };
            if seat.entry.paper.shares == 0 {
                return Err(refusal);
            }
            if let Verdict::Changed = self.find_room(seat, &seen, refusal).await? {
                return Ok(Verdict::Changed);
            }
        }
        Ok(Verdict::Again)
    }

    /// Keeps the counters after a change; where the store did not tell them, as they must be.
    pub(super) fn note(&self, charges: &[Charge], counters: Vec<Option<Counters>>) {
        let counters = counters.into_iter().chain(std::iter::repeat(None));
        for (charge, counters) in charges.iter().zip(counters) {
            self.note_in_all(charge);
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
        let headers = seats.iter().flat_map(|seat| {
            // Requests are spread evenly: what one share has used stands for all.
            let (seen, shares) = (self.seen(&seat.account()), i64::from(seat.entry.paper.shares).max(1));
            seat.entry.plan.headers(|counter| seen.get(counter).saturating_mul(shares))
        });
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
                let places = self.places(entry.paper);
                let counters = places.iter().map(|place| &**place);
                spent(&entry.limits, entry.created_at, now, counters) >= nanos(soft)
            })
        };
        entries.iter().find(is_over).map(|entry| entry.holder.clone())
    }

    /// The counters of a row and of each of its shares, as far as this process has seen them.
    fn places(&self, paper: &Paper) -> Vec<Arc<Counters>> {
        let mut account = Account { row: paper.id.clone(), share: 0 };
        let places = (0..=paper.shares).map(|share| {
            account.share = share;
            self.seen(&account)
        });
        places.collect()
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
