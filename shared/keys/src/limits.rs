//! What a key, a team or a user may use up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::period::Period;

/// Limits, with LiteLLM's names. What is missing has no end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// US dollars, in each window of `budget_duration`, or in all.
    pub max_budget: Option<f64>,
    /// US dollars above which requests are admitted with a warning.
    pub soft_budget: Option<f64>,
    /// How long a budget's window is; `None` = for ever.
    pub budget_duration: Option<Period>,
    /// When the first window began: when `budget_duration` was set.
    pub budget_anchor: Option<Timestamp>,
    /// US dollars for single models.
    pub model_max_budget: BTreeMap<String, ModelBudget>,
    /// Requests in a minute.
    pub rpm_limit: Option<u64>,
    /// Tokens in a minute.
    pub tpm_limit: Option<u64>,
    /// Requests in a minute for single models.
    pub model_rpm_limit: BTreeMap<String, u64>,
    /// Tokens in a minute for single models.
    pub model_tpm_limit: BTreeMap<String, u64>,
    /// Requests under way at once.
    pub max_parallel_requests: Option<u64>,
}

/// A budget for one model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModelBudget {
    /// US dollars in each window.
    #[serde(alias = "max_budget")]
    pub budget_limit: f64,
    /// How long a window is.
    #[serde(alias = "budget_duration")]
    pub time_period: Period,
}

impl Limits {
    /// These limits, and what they leave open from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        fn either<V: Clone>(own: &BTreeMap<String, V>, other: &BTreeMap<String, V>) -> BTreeMap<String, V> {
            if own.is_empty() { other.clone() } else { own.clone() }
        }
        Self {
            max_budget: self.max_budget.or(other.max_budget),
            soft_budget: self.soft_budget.or(other.soft_budget),
            budget_duration: self.budget_duration.or(other.budget_duration),
            budget_anchor: self.budget_anchor,
            model_max_budget: either(&self.model_max_budget, &other.model_max_budget),
            rpm_limit: self.rpm_limit.or(other.rpm_limit),
            tpm_limit: self.tpm_limit.or(other.tpm_limit),
            model_rpm_limit: either(&self.model_rpm_limit, &other.model_rpm_limit),
            model_tpm_limit: either(&self.model_tpm_limit, &other.model_tpm_limit),
            max_parallel_requests: self.max_parallel_requests.or(other.max_parallel_requests),
        }
    }

    /// Whether anything is counted before a request.
    #[must_use]
    pub fn any(&self) -> bool {
        self.max_budget.is_some()
            || self.rpm_limit.is_some()
            || self.tpm_limit.is_some()
            || self.max_parallel_requests.is_some()
            || !self.model_max_budget.is_empty()
            || !self.model_rpm_limit.is_empty()
            || !self.model_tpm_limit.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_limits_go_before_those_of_the_budget() {
        let daily = "1d".parse().ok();
        let anchor = "2026-11-20T00:00:00Z".parse().ok();
        let own = Limits { max_budget: Some(1.0), rpm_limit: Some(5), ..Limits::default() };
        let budget = Limits {
            max_budget: Some(9.0),
            tpm_limit: Some(7),
            budget_duration: daily,
            budget_anchor: anchor,
            model_rpm_limit: [("m".to_owned(), 3)].into(),
            ..Limits::default()
        };
        let both = own.or(&budget);
        assert_eq!((both.max_budget, both.rpm_limit, both.tpm_limit), (Some(1.0), Some(5), Some(7)));
        // Windows are counted from the account's own anchor, whatever their length comes from.
        assert_eq!((both.budget_duration, both.budget_anchor), (daily, None));
        assert_eq!(both.model_rpm_limit, budget.model_rpm_limit);

        let weekly = Limits { budget_duration: "1w".parse().ok(), ..Limits::default() };
        let both = weekly.or(&budget);
        assert_eq!((both.budget_duration, both.budget_anchor), (weekly.budget_duration, None));
    }
}
