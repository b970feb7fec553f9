//! Budgets' windows: which pools count now, what has been spent in them, and how that is set.

use jiff::Timestamp;

use crate::limits::{Limits, ModelBudget};
use crate::period::Window;

use super::Counters;

/// All settled spend, in nano-dollars.
pub const SPEND: &str = "spend";
/// Before a pool's name: what is used of it.
pub(super) const COMMITTED: &str = "cm@";
/// Before a slot, `@` and a pool's name: what is reserved of it.
pub(super) const RESERVED: &str = "rs@";
/// The pool of a budget without windows. It is kept up beside windows too, so that a budget whose windows are taken
/// away counts all that was ever spent.
pub(super) const ALL_TIME: &str = "0";

/// A budget's pool in its present window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) name: String,
    /// When the window began and ends; `None` = it never does.
    pub(super) window: Option<Window>,
}

impl Pool {
    /// The counter of what is used.
    pub(super) fn committed(&self) -> String {
        committed(&self.name)
    }
}

/// The counter of what is used of a pool.
pub(super) fn committed(pool: &str) -> String {
    format!("{COMMITTED}{pool}")
}

/// The counter of what is reserved of a pool in a slot.
pub(super) fn reserved(slot: i64, pool: &str) -> String {
    format!("{RESERVED}{slot}@{pool}")
}

/// The slot and the pool that a counter's name after [`RESERVED`] says.
pub(super) fn slot_and_pool(rest: &str) -> Option<(i64, &str)> {
    let (slot, pool) = rest.split_once('@')?;
    Some((slot.parse().ok()?, pool))
}

/// The window that the budget is in; `None` when it has none.
#[must_use]
pub fn budget_window(limits: &Limits, created_at: Timestamp, now: Timestamp) -> Option<Window> {
    let period = limits.budget_duration?;
    Some(period.window(limits.budget_anchor.unwrap_or(created_at), now))
}

/// The budget's pool.
pub(super) fn budget_pool(limits: &Limits, created_at: Timestamp, now: Timestamp) -> Pool {
    match budget_window(limits, created_at, now) {
        Some(window) => Pool { name: window.start.as_second().to_string(), window: Some(window) },
        None => Pool { name: ALL_TIME.to_owned(), window: None },
    }
}

/// The pool of a model's budget. Its windows are counted from the account's making, so that no change of another
/// limit begins a new one.
pub(super) fn model_pool(budget: &ModelBudget, model: &str, created_at: Timestamp, now: Timestamp) -> Pool {
    let window = budget.time_period.window(created_at, now);
    Pool { name: format!("{}#{model}", window.start.as_second()), window: Some(window) }
}

/// What an account has spent, in nano-dollars: in the present window of its budget, or in all. `parts` are the
/// counters of its row and of all its shares.
pub fn spent<'a>(
    limits: &Limits,
    created_at: Timestamp,
    now: Timestamp,
    parts: impl IntoIterator<Item = &'a Counters>,
) -> i64 {
    let parts = parts.into_iter();
    if limits.budget_duration.is_none() {
        return parts.fold(0, |sum, counters| sum.saturating_add(counters.get(SPEND)));
    }
    settled(&budget_pool(limits, created_at, now).name, parts)
}

/// What a model has cost in the present window of its own budget, in nano-dollars.
pub fn spent_on_model<'a>(
    budget: &ModelBudget,
    model: &str,
    created_at: Timestamp,
    now: Timestamp,
    parts: impl IntoIterator<Item = &'a Counters>,
) -> i64 {
    settled(&model_pool(budget, model, created_at, now).name, parts.into_iter())
}

/// What is used of a pool without what is only reserved.
fn settled<'a>(pool: &str, parts: impl Iterator<Item = &'a Counters>) -> i64 {
    let committed = committed(pool);
    parts.fold(0, |sum: i64, counters| {
        let reserved = counters
            .with_prefix(RESERVED)
            .filter(|(rest, _)| slot_and_pool(rest).is_some_and(|(_, of)| of == pool))
            .fold(0, |sum: i64, (_, amount)| sum.saturating_add(amount));
        sum.saturating_add(counters.get(&committed)).saturating_sub(reserved)
    })
}

/// The counters of an account's row that a change of its spend is added to: everything that [`spent`] and the budget
/// go by. Adding `to - spent` sets it, and loses nothing that is settled meanwhile.
#[must_use]
pub fn spend_counters(limits: &Limits, created_at: Timestamp, now: Timestamp) -> Vec<String> {
    let mut counters = vec![SPEND.to_owned(), committed(ALL_TIME)];
    let pool = budget_pool(limits, created_at, now);
    if pool.window.is_some() {
        counters.push(pool.committed());
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn counters(numbers: &[(&str, i64)]) -> Counters {
        numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn spend_is_the_windows_where_there_are_windows() {
        let created = at("2026-01-01T00:00:00Z");
        let now = at("2026-01-03T12:00:00Z");
        let start = at("2026-01-03T00:00:00Z").as_second();
        let row = counters(&[
            ("spend", 100),
            ("cm@0", 110),
            ("rs@5@0", 10),
            (&format!("cm@{start}"), 30),
            (&format!("rs@5@{start}"), 4),
            (&format!("rs@6@{start}"), 1),
            (&format!("cm@{start}#gpt-4o"), 9),
            (&format!("rs@6@{start}#gpt-4o"), 2),
        ]);
        let share = counters(&[("spend", 7), (&format!("cm@{start}"), -5)]);
        let daily = Limits { budget_duration: Some("1d".parse().unwrap()), ..Limits::default() };
        assert_eq!(spent(&Limits::default(), created, now, [&row, &share]), 107);
        assert_eq!(spent(&daily, created, now, [&row, &share]), 20);
        assert_eq!(spent(&daily, created, now + jiff::SignedDuration::from_hours(24), [&row]), 0);
        let budget = ModelBudget { budget_limit: 1.0, time_period: "1d".parse().unwrap() };
        assert_eq!(spent_on_model(&budget, "gpt-4o", created, now, [&row]), 7);
    }

    #[test]
    fn adding_the_difference_sets_the_spend() {
        let created = at("2026-01-01T00:00:00Z");
        let now = at("2026-01-03T12:00:00Z");
        for duration in [None, Some("1d".parse().unwrap())] {
            let limits = Limits { budget_duration: duration, ..Limits::default() };
            let mut row = counters(&[("spend", 70), ("cm@0", 70)]);
            let difference = 25 - spent(&limits, created, now, [&row]);
            for counter in spend_counters(&limits, created, now) {
                row.add(&counter, difference);
            }
            assert_eq!(spent(&limits, created, now, [&row]), 25);
        }
    }

    #[test]
    fn the_anchor_moves_the_budget_and_not_the_models() {
        let created = at("2026-01-01T00:00:00Z");
        let limits = Limits {
            budget_duration: Some("1d".parse().unwrap()),
            budget_anchor: Some(at("2026-01-02T06:00:00Z")),
            ..Limits::default()
        };
        let now = at("2026-01-03T12:00:00Z");
        assert_eq!(budget_window(&limits, created, now).unwrap().start, at("2026-01-03T06:00:00Z"));
        let budget = ModelBudget { budget_limit: 1.0, time_period: "1d".parse().unwrap() };
        assert_eq!(model_pool(&budget, "m", created, now).window.unwrap().start, at("2026-01-03T00:00:00Z"));
    }
}
