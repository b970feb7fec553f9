//! What an account has spent, and how that is set.
//!
//! Spend is never written back from what was read: it is changed by the difference, so that what is settled
//! meanwhile is not lost. [`SET`] counts how often that was done; as a condition it keeps two who set it at once,
//! or one whose answer was lost, from adding the difference twice.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ledger::{Change, Counters, Require, SPEND, budget_window, spend_counters, spent};
use crate::limits::Limits;
use crate::money::dollars;
use crate::owners::Budget;
use crate::store::{Account, Charge, Charged, Kind, Row, RowId};

use super::rows::{Document, Loaded};
use super::{ATTEMPTS, ManageError, Manager};

/// The counter of changes by hand.
const SET: &str = "set@spend";

/// What an account has spent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccountSpend {
    /// US dollars: in the present window where the budget has windows, else in all.
    pub spend: f64,
    /// US dollars in all.
    pub total: f64,
    /// When the window ends.
    pub budget_reset_at: Option<Timestamp>,
}

/// The counters of an account, and by what they are to be read.
pub(crate) struct Books {
    row: Counters,
    shares: Vec<Counters>,
    limits: Limits,
    created_at: Timestamp,
}

impl Books {
    /// Nano-dollars that are shown as spent under `limits`.
    fn shown(&self, limits: &Limits, now: Timestamp) -> i64 {
        spent(limits, self.created_at, now, std::iter::once(&self.row).chain(&self.shares))
    }

    /// Nano-dollars that are shown as spent.
    pub(crate) fn nanos(&self, now: Timestamp) -> i64 {
        self.shown(&self.limits, now).max(0)
    }

    pub(crate) fn spend(&self, now: Timestamp) -> AccountSpend {
        let parts = std::iter::once(&self.row).chain(&self.shares);
        let total = parts.fold(0, |sum: i64, counters| sum.saturating_add(counters.get(SPEND)));
        AccountSpend {
            spend: dollars(self.nanos(now)),
            total: dollars(total.max(0)),
            budget_reset_at: budget_window(&self.limits, self.created_at, now).map(|window| window.end),
        }
    }

    /// What makes `to` the spend; `None` when it is already.
    fn set(&self, to: i64, now: Timestamp) -> Option<Change> {
        self.add(&spend_counters(&self.limits, self.created_at, now), to, now)
    }

    /// What takes `from`, the spend of another window, over into the present one. All that was ever spent stays the
    /// same.
    fn carry(&self, from: i64, now: Timestamp) -> Option<Change> {
        let always = spend_counters(&Limits::default(), self.created_at, now);
        let mut window = spend_counters(&self.limits, self.created_at, now);
        window.retain(|counter| !always.contains(counter));
        self.add(&window, from.saturating_add(self.shown(&self.limits, now)), now)
    }

    fn add(&self, counters: &[String], to: i64, now: Timestamp) -> Option<Change> {
        let difference = to.saturating_sub(self.shown(&self.limits, now));
        let mut change = Change::default();
        for counter in counters {
            change.add(counter, difference);
        }
        if change.is_empty() {
            return None;
        }
        change.require.push(match self.row.contains(SET) {
            true => Require::Equal(SET.to_owned(), self.row.get(SET)),
            false => Require::AtMost(SET.to_owned(), 0),
        });
        change.add(SET, 1);
        Some(change)
    }
}

/// What to do with spend after a change of definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Nothing.
    None,
    /// It becomes this, in nano-dollars.
    Set(i64),
    /// This was spent in a window that no longer counts.
    Carry(i64),
}

impl Manager {
    /// The counters of a row and its shares. `limits` are those that hold, the budget's included.
    pub(crate) async fn books<D: Document>(
        &self,
        row: &Row,
        value: &D,
        limits: Limits,
    ) -> Result<Books, ManageError> {
        let shares = match row.shares {
            0 => Vec::new(),
            shares => self.store.read_shares(&row.id, shares).await?,
        };
        let created_at = value.index().created_at;
        Ok(Books { row: row.counters.clone(), shares, limits, created_at })
    }

    /// What has to be done with spend when limits change; to be called with what was before.
    pub(crate) async fn turn<D: Document>(
        &self,
        before: &Loaded<D>,
        limits: &Limits,
        after: &Limits,
        now: Timestamp,
    ) -> Result<Move, ManageError> {
        let created_at = before.value.index().created_at;
        let window = |limits| budget_window(limits, created_at, now);
        let carried =
            window(after).is_some() && window(limits).map(|w| w.start) != window(after).map(|w| w.start);
        if !carried {
            return Ok(Move::None);
        }
        let books = self.books(&before.row, &before.value, limits.clone()).await?;
        Ok(Move::Carry(books.nanos(now)))
    }

    /// Moves spend, after the definition was changed.
    pub(crate) async fn move_spend<D: Document>(
        &self,
        id: &RowId,
        to: Move,
        now: Timestamp,
    ) -> Result<(), ManageError> {
        let mut seen = None;
        for _ in 0..ATTEMPTS {
            let Some(loaded) = self.load::<D>(id).await? else { return Ok(()) };
            // Carrying adds, so it must not happen twice: a change by hand since the first attempt is this one, its
            // answer lost, or another's, which then counts.
            let hand = loaded.row.counters.get(SET);
            if matches!(to, Move::Carry(_)) && *seen.get_or_insert(hand) != hand {
                return Ok(());
            }
            let limits = self.limits_of(&loaded.value).await?;
            let books = self.books(&loaded.row, &loaded.value, limits).await?;
            let change = match to {
                Move::None => None,
                Move::Set(nanos) => books.set(nanos, now),
                Move::Carry(nanos) => books.carry(nanos, now),
            };
            let Some(mut change) = change else { return Ok(()) };
            change.require.push(Require::Rev(loaded.row.rev));
            let account = Account { row: id.clone(), share: 0 };
            if let Charged::Done(_) = self.store.charge(&[Charge { account, change }]).await? {
                return Ok(());
            }
        }
        Err(ManageError::Conflict)
    }

    /// The limits that hold for something, with those of its budget.
    pub(crate) async fn limits_of<D: Document>(&self, value: &D) -> Result<Limits, ManageError> {
        let Some(id) = value.budget_id() else { return Ok(value.limits().clone()) };
        let budget = self.load::<Budget>(&RowId::named(Kind::Budget, id)).await?;
        Ok(budget.map_or_else(|| value.limits().clone(), |budget| value.limits().or(&budget.value.limits)))
    }

    /// What has been spent, by something.
    pub(crate) async fn spend_of<D: Document>(
        &self,
        loaded: &Loaded<D>,
    ) -> Result<AccountSpend, ManageError> {
        let limits = self.limits_of(&loaded.value).await?;
        Ok(self.books(&loaded.row, &loaded.value, limits).await?.spend(self.now()))
    }

    /// What has been spent, by many; every budget is read once.
    pub(crate) async fn spends<D: Document>(
        &self,
        many: &[Loaded<D>],
    ) -> Result<Vec<AccountSpend>, ManageError> {
        let mut ids: Vec<&str> = many.iter().filter_map(|loaded| loaded.value.budget_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut budgets: BTreeMap<&str, Limits> = BTreeMap::new();
        if !ids.is_empty() {
            let rows: Vec<RowId> = ids.iter().map(|id| RowId::named(Kind::Budget, id)).collect();
            for (id, row) in ids.into_iter().zip(self.store.read(&rows).await?) {
                if let Some(row) = row {
                    budgets.insert(id, Loaded::<Budget>::read(row)?.value.limits);
                }
            }
        }
        let now = self.now();
        let mut spends = Vec::with_capacity(many.len());
        for Loaded { row, value } in many {
            let limits = match value.budget_id().and_then(|id| budgets.get(id)) {
                Some(budget) => value.limits().or(budget),
                None => value.limits().clone(),
            };
            spends.push(self.books(row, value, limits).await?.spend(now));
        }
        Ok(spends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn books(limits: &Limits, numbers: &[(&str, i64)]) -> Books {
        Books {
            row: numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect(),
            shares: vec![[(SPEND.to_owned(), 2), ("cm@0".to_owned(), 2)].into_iter().collect()],
            limits: limits.clone(),
            created_at: at("2026-11-20T00:00:00Z"),
        }
    }

    #[test]
    fn setting_spend_changes_it_by_the_difference_and_only_once() {
        let now = at("2026-11-21T12:00:00Z");
        let mut books = books(&Limits::default(), &[("spend", 5), ("cm@0", 7), ("rs@9@0", 2)]);
        let change = books.set(1, now).unwrap();
        assert!(change.fits(0, &books.row));
        change.apply(&mut books.row);
        // A second process that saw the same, or a repeat.
        assert!(!change.fits(0, &books.row));
        assert_eq!((books.nanos(now), books.row.get("cm@0"), books.row.get(SET)), (1, 1, 1));
        assert_eq!(books.set(1, now), None);
        let change = books.set(4, now).unwrap();
        assert!(change.fits(0, &books.row));
    }

    #[test]
    fn a_new_window_begins_with_what_the_last_one_held() {
        let now = at("2026-11-21T12:00:00Z");
        let anchor = Some(at("2026-11-21T11:00:00Z"));
        let daily = Limits { budget_duration: "1d".parse().ok(), budget_anchor: anchor, ..Limits::default() };
        let pool = format!("cm@{}", at("2026-11-21T11:00:00Z").as_second());
        // 3 were settled in it already.
        let mut books = books(&daily, &[("spend", 9), ("cm@0", 9), (&pool, 3)]);
        let change = books.carry(8, now).unwrap();
        change.apply(&mut books.row);
        assert_eq!((books.nanos(now), books.row.get(SPEND), books.row.get("cm@0")), (11, 9, 9));
        let spend = books.spend(now);
        assert_eq!(spend.budget_reset_at, Some(at("2026-11-22T11:00:00Z")));
        assert!((spend.total - 11e-9).abs() < 1e-12);
        assert_eq!(books.carry(0, now), None);
    }
}
