//! What one request changes in one account, under which conditions, and why it may not.
//!
//! A reservation is added to what is committed of its pool, so that one comparison guards a budget, and to the slot it
//! was made in. A slot counts for as long as one of its requests can still be running; then the next write takes what
//! is left in it off again. That is how the reservation of a function that died comes back.

use jiff::Timestamp;

use crate::admission::{Holder, KeyError, LimitType};
use crate::limits::Limits;
use crate::money::{count, dollars, nanos};
use crate::store::Account;

use super::settle::{Held, Part};
use super::slots::{
    Ended, PARALLEL, REQUESTS, TOKENS, end_of, ended, ended_of, forget_old, give_back, minute, slot,
};
use super::windows::{ALL_TIME, Pool, budget_pool, committed, model_pool, reserved};
use super::{Change, Counters, Require};

/// A busy account has next to no room when there is less than this part of a limit: 0.5 %. To look for the rest in all
/// shares, at every request, would cost more than it brings.
const NEARLY: i64 = 200;

/// What holds for an account: its limits at one time.
pub(crate) struct Terms<'a> {
    /// Whose they are.
    pub(crate) holder: Holder,
    /// The definition's revision.
    pub(crate) rev: i64,
    /// The limits.
    pub(crate) limits: &'a Limits,
    /// US dollars, what is allowed on top for a while included.
    pub(crate) max_budget: Option<f64>,
    /// When the account was made: where its windows are counted from.
    pub(crate) created_at: Timestamp,
}

/// What a request is about to use.
pub(crate) struct Wanted<'a> {
    /// The names of its model: as the client said it, and as it is meant.
    pub(crate) models: [&'a str; 2],
    pub(crate) tokens: i64,
    /// Nano-dollars.
    pub(crate) cost: i64,
    pub(crate) now: Timestamp,
}

/// A counter that must not go above a limit.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) counter: String,
    /// The most that it may be.
    pub(super) limit: i64,
    /// What the request adds.
    amount: i64,
    /// The room that the request needs: `amount`, but at least 1, so that what is used up admits nothing.
    pub(super) need: i64,
    /// The pool; `None` for a rate.
    pub(super) pool: Option<String>,
    what: What,
}

/// What a bound is, for the refusal.
#[derive(Debug, Clone)]
enum What {
    Budget { max_budget: f64, model: Option<String>, ends: Option<Timestamp> },
    Rate { kind: LimitType, limit: u64, model: Option<String> },
}

/// One request on one account at one time.
pub(crate) struct Plan {
    holder: Holder,
    rev: i64,
    now: Timestamp,
    bounds: Vec<Bound>,
    /// The budget's pools: each is settled, whether it has a limit or not.
    money: Vec<Pool>,
    /// When the present windows began, for what is to be forgotten: the budget's and each model's.
    starts: Vec<(Option<String>, i64)>,
}

impl Plan {
    /// The plan for an account that keeps all its counters in one place.
    pub(crate) fn new(terms: Terms<'_>, wanted: &Wanted<'_>) -> Self {
        let Terms { holder, rev, limits, max_budget, created_at } = terms;
        let now = wanted.now;
        let mut plan = Self { holder, rev, now, bounds: Vec::new(), money: Vec::new(), starts: Vec::new() };

        let pool = budget_pool(limits, created_at, now);
        if let Some(max_budget) = max_budget {
            plan.bounds.push(Bound::budget(&pool, max_budget, None, wanted.cost));
        }
        for (model, budget) in &limits.model_max_budget {
            let pool = model_pool(budget, model, created_at, now);
            plan.starts.extend(pool.window.map(|window| (Some(model.clone()), window.start.as_second())));
            if wanted.is_for(model) {
                plan.bounds.push(Bound::budget(&pool, budget.budget_limit, Some(model), wanted.cost));
                plan.money.push(pool);
            }
        }
        if let Some(window) = pool.window {
            plan.starts.push((None, window.start.as_second()));
            plan.money.push(Pool { name: ALL_TIME.to_owned(), window: None });
        }
        plan.money.push(pool);

        let minute = minute(now);
        let rates = [(LimitType::Requests, REQUESTS, 1), (LimitType::Tokens, TOKENS, wanted.tokens)];
        let account = [limits.rpm_limit, limits.tpm_limit];
        let models = [&limits.model_rpm_limit, &limits.model_tpm_limit];
        for ((kind, prefix, amount), (account, models)) in
            rates.into_iter().zip(account.into_iter().zip(models))
        {
            if let Some(limit) = account {
                plan.bounds.push(Bound::rate(format!("{prefix}{minute}"), kind, limit, None, amount));
            }
            for (model, limit) in models.iter().filter(|(model, _)| wanted.is_for(model)) {
                let counter = format!("{prefix}{minute}#{model}");
                plan.bounds.push(Bound::rate(counter, kind, *limit, Some(model), amount));
            }
        }
        if let Some(limit) = limits.max_parallel_requests {
            plan.bounds.push(Bound::parallel(limit));
        }
        plan
    }

    /// The same on one share of `shares`, counted from 1: a pool has there what was granted to it, a rate its part.
    pub(crate) fn on_share(&self, share: u16, shares: u16) -> Self {
        let mut plan = Self {
            holder: self.holder.clone(),
            bounds: self.bounds.clone(),
            money: self.money.clone(),
            starts: self.starts.clone(),
            ..*self
        };
        for bound in &mut plan.bounds {
            bound.limit = bound.on_share(share, shares);
        }
        plan
    }

    /// The change that reserves. `known` only says what to ask for: the conditions hold against the account as it is.
    pub(crate) fn change(&self, known: &Counters) -> Change {
        let mut change = Change { require: vec![Require::Rev(self.rev)], ..Change::default() };
        let ended = self.ended(known);
        for bound in &self.bounds {
            // Conditions see the account before the change, with what has ended still in it.
            let room = bound.limit.saturating_sub(bound.need).saturating_add(bound.ended(&ended));
            change.require.push(Require::AtMost(bound.counter.clone(), room));
            change.add(&bound.counter, bound.amount);
            if let Some(pool) = &bound.pool {
                change.add(&reserved(slot(self.now), pool), bound.amount);
            }
        }
        give_back(&mut change, &ended);
        // What is given back and reserved again at once need not be written.
        change.add.retain(|(_, amount)| *amount != 0);
        self.forget_old(&mut change, known);
        change
    }

    /// A change that only proves that the account's definition is the one that was read.
    pub(crate) fn proof(rev: i64) -> Change {
        Change { require: vec![Require::Rev(rev)], ..Change::default() }
    }

    /// Removes what is of no use any more.
    pub(super) fn forget_old(&self, change: &mut Change, known: &Counters) {
        forget_old(change, known, self.now, |model| {
            self.starts.iter().find(|(of, _)| of.as_deref() == model).map(|(_, start)| *start)
        });
    }

    /// Which limit the request does not fit into, given the account as it is; `None` when it fits.
    pub(crate) fn refusal(&self, counters: &Counters) -> Option<KeyError> {
        let ended = self.ended(counters);
        let unfit = self.bounds.iter().find(|bound| bound.room(counters, &ended) < bound.need)?;
        Some(self.refused_by(unfit, counters, &ended))
    }

    /// The same, for requests in a minute alone: what is used of them never comes back.
    pub(crate) fn refusal_for_the_minute(&self, counters: &Counters) -> Option<KeyError> {
        let ended = self.ended(counters);
        let of_requests =
            |bound: &&Bound| bound.is_of_requests() && bound.room(counters, &ended) < bound.need;
        let unfit = self.bounds.iter().find(of_requests)?;
        Some(self.refused_by(unfit, counters, &ended))
    }

    /// Which limit has no room on a share and next to none in all, when `total` was a moment ago what all places
    /// together had used; `here` is the plan on the share, `counters` are the share's.
    pub(crate) fn nearly_reached(
        &self,
        here: &Self,
        counters: &Counters,
        total: &Counters,
    ) -> Option<KeyError> {
        let (ended, in_all) = (self.ended(counters), self.ended(total));
        let places = self.bounds.iter().zip(&here.bounds);
        let (unfit, _) = places.into_iter().find(|(whole, here)| {
            let least = whole.need.max(whole.limit / NEARLY);
            !whole.is_of_requests()
                && here.room(counters, &ended) < here.need
                && whole.room(total, &in_all) < least
        })?;
        Some(self.refused_by(unfit, total, &in_all))
    }

    /// The refusal for a limit that is reached.
    fn refused_by(&self, unfit: &Bound, counters: &Counters, ended: &[Ended<'_>]) -> KeyError {
        let used = counters.get(&unfit.counter).saturating_sub(unfit.ended(ended));
        let holder = self.holder.clone();
        match unfit.what.clone() {
            What::Budget { max_budget, model, ends } => {
                KeyError::BudgetExceeded { holder, model, spend: dollars(used), max_budget, resets_at: ends }
            }
            What::Rate { kind, limit, model } => KeyError::RateLimited {
                holder,
                model,
                limit_type: kind,
                limit,
                remaining: remaining(limit, used),
                resets_at: (kind != LimitType::Parallel).then(|| end_of(minute(self.now))),
            },
        }
    }

    /// Whether a rate has no room on this share, as far as is known. What a pool lacks, the account may grant.
    pub(crate) fn is_rate_used_up(&self, counters: &Counters) -> bool {
        self.bounds.iter().any(|bound| bound.pool.is_none() && bound.room(counters, &[]) < bound.need)
    }

    /// What to settle, for a request that was admitted. `known` says what may be forgotten by the way.
    pub(crate) fn held(&self, account: Account, known: &Counters) -> Held {
        let amount = |name: &str| {
            let bound = self.bounds.iter().find(|bound| bound.pool.as_deref() == Some(name));
            bound.map_or(0, |bound| bound.amount)
        };
        let money = self.money.iter().map(|pool| Part {
            reserved: amount(&pool.name),
            ends: pool.window.map(|window| window.end),
            pool: pool.name.clone(),
            is_money: true,
        });
        let parallel =
            Part { pool: PARALLEL.to_owned(), reserved: amount(PARALLEL), ends: None, is_money: false };
        let rates = |wanted| {
            let is_it = move |bound: &&Bound| matches!(bound.what, What::Rate { kind, .. } if kind == wanted);
            self.bounds.iter().filter(is_it)
        };
        let mut forget = Change::default();
        self.forget_old(&mut forget, known);
        Held {
            account,
            slot: slot(self.now),
            minute: minute(self.now),
            tokens: rates(LimitType::Tokens).map(|bound| (bound.counter.clone(), bound.amount)).collect(),
            requests: rates(LimitType::Requests).map(|bound| bound.counter.clone()).collect(),
            old: forget.remove,
            parts: money.chain((parallel.reserved > 0).then_some(parallel)).collect(),
        }
    }

    /// The response's headers, given what the account has used, by counter. The limits of the whole account, not of one
    /// model.
    pub(crate) fn headers(&self, used: impl Fn(&str) -> i64) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        for bound in &self.bounds {
            if let What::Rate { kind, limit, model: None } = bound.what
                && let Some([of_limit, of_rest]) = header_names(&self.holder, kind)
            {
                headers.push((of_limit, limit.to_string()));
                headers.push((of_rest, remaining(limit, used(&bound.counter)).to_string()));
            }
        }
        headers
    }

    /// Whether anything is limited.
    pub(crate) fn is_bound(&self) -> bool {
        !self.bounds.is_empty()
    }

    pub(super) fn rev(&self) -> i64 {
        self.rev
    }

    pub(super) fn bounds(&self) -> &[Bound] {
        &self.bounds
    }

    pub(super) fn ended<'a>(&self, counters: &'a Counters) -> Vec<Ended<'a>> {
        ended(counters, self.now, |pool| self.bounds.iter().any(|bound| bound.pool.as_deref() == Some(pool)))
    }
}

impl Wanted<'_> {
    fn is_for(&self, model: &str) -> bool {
        self.models.contains(&model)
    }
}

impl Bound {
    fn budget(pool: &Pool, max_budget: f64, model: Option<&str>, cost: i64) -> Self {
        let ends = pool.window.map(|window| window.end);
        Self {
            counter: pool.committed(),
            limit: nanos(max_budget),
            amount: cost,
            need: cost.max(1),
            pool: Some(pool.name.clone()),
            what: What::Budget { max_budget, model: model.map(str::to_owned), ends },
        }
    }

    fn rate(counter: String, kind: LimitType, limit: u64, model: Option<&str>, amount: i64) -> Self {
        let what = What::Rate { kind, limit, model: model.map(str::to_owned) };
        Self { counter, limit: count(limit), amount, need: amount.max(1), pool: None, what }
    }

    fn is_of_requests(&self) -> bool {
        matches!(self.what, What::Rate { kind: LimitType::Requests, .. })
    }

    fn parallel(limit: u64) -> Self {
        let what = What::Rate { kind: LimitType::Parallel, limit, model: None };
        let pool = Some(PARALLEL.to_owned());
        Self { counter: committed(PARALLEL), limit: count(limit), amount: 1, need: 1, pool, what }
    }

    /// Its limit on a share. What does not divide evenly goes to the first shares.
    pub(super) fn on_share(&self, share: u16, shares: u16) -> i64 {
        if self.pool.is_some() {
            return 0;
        }
        let (share, shares) = (i64::from(share), i64::from(shares).max(1));
        self.limit / shares + i64::from(share <= self.limit % shares)
    }

    pub(super) fn ended(&self, ended: &[Ended<'_>]) -> i64 {
        self.pool.as_deref().map_or(0, |pool| ended_of(ended, pool))
    }

    /// What is left, below 0 when it is overdrawn.
    pub(super) fn room(&self, counters: &Counters, ended: &[Ended<'_>]) -> i64 {
        self.limit.saturating_sub(counters.get(&self.counter)).saturating_add(self.ended(ended))
    }
}

/// What is left of a limit. Settling may bring a counter above the limit, or below 0 across a change of limits.
fn remaining(limit: u64, used: i64) -> u64 {
    limit.saturating_sub(u64::try_from(used).unwrap_or(0))
}

/// The names of the limit's header and of the rest's.
fn header_names(holder: &Holder, kind: LimitType) -> Option<[&'static str; 2]> {
    Some(match (holder, kind) {
        (Holder::Key, LimitType::Requests) => {
            ["x-ratelimit-api_key-limit-requests", "x-ratelimit-api_key-remaining-requests"]
        }
        (Holder::Key, LimitType::Tokens) => {
            ["x-ratelimit-api_key-limit-tokens", "x-ratelimit-api_key-remaining-tokens"]
        }
        (Holder::Team(_), LimitType::Requests) => {
            ["x-ratelimit-team-limit-requests", "x-ratelimit-team-remaining-requests"]
        }
        (Holder::Team(_), LimitType::Tokens) => {
            ["x-ratelimit-team-limit-tokens", "x-ratelimit-team-remaining-tokens"]
        }
        (Holder::User(_), LimitType::Requests) => {
            ["x-ratelimit-user-limit-requests", "x-ratelimit-user-remaining-requests"]
        }
        (Holder::User(_), LimitType::Tokens) => {
            ["x-ratelimit-user-limit-tokens", "x-ratelimit-user-remaining-tokens"]
        }
        (_, LimitType::Parallel) => return None,
    })
}

#[cfg(test)]
mod tests;
