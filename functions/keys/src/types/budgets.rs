//! Budgets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyturn_keys::manage::{LimitFields, Patch};
use keyturn_keys::{Budget, ModelBudget, Period};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::scalars::{Count, Dollars, Duration, ModelLimit, Name, count, counts};
use crate::input::Fields;
use crate::unsupported;

/// A request with the fields that a budget has, besides its id.
macro_rules! budget_request {
    ($(#[$meta:meta])* $name:ident { $(#[$id_meta:meta])* }) => {
        $(#[$meta])*
        #[derive(Default, Deserialize, ToSchema)]
        pub(crate) struct $name {
            $(#[$id_meta])*
            pub(crate) budget_id: Option<String>,
            /// US dollars, in each window of `budget_duration`, or in all.
            #[serde(default)]
            #[schema(value_type = Option<Dollars>)]
            max_budget: Patch<f64>,
            /// US dollars above which requests are admitted with a warning.
            #[serde(default)]
            #[schema(value_type = Option<Dollars>)]
            soft_budget: Patch<f64>,
            /// How long a window is; null = for ever.
            #[serde(default)]
            #[schema(value_type = Option<Duration>)]
            budget_duration: Patch<Period>,
            /// Budgets of single models.
            #[serde(default)]
            #[schema(value_type = Option<BTreeMap<String, ModelLimit>>)]
            model_max_budget: Patch<BTreeMap<String, ModelBudget>>,
            /// Requests in a minute.
            #[serde(default, deserialize_with = "count")]
            #[schema(value_type = Option<Count>)]
            rpm_limit: Patch<u64>,
            /// Tokens in a minute.
            #[serde(default, deserialize_with = "count")]
            #[schema(value_type = Option<Count>)]
            tpm_limit: Patch<u64>,
            /// Requests in a minute for single models.
            #[serde(default, deserialize_with = "counts")]
            #[schema(value_type = Option<BTreeMap<String, Count>>)]
            model_rpm_limit: Patch<BTreeMap<String, u64>>,
            /// Tokens in a minute for single models.
            #[serde(default, deserialize_with = "counts")]
            #[schema(value_type = Option<BTreeMap<String, Count>>)]
            model_tpm_limit: Patch<BTreeMap<String, u64>>,
            /// Requests under way at once.
            #[serde(default, deserialize_with = "count")]
            #[schema(value_type = Option<Count>)]
            max_parallel_requests: Patch<u64>,
        }

        impl Fields for $name {
            const UNSUPPORTED: &'static [&'static str] = unsupported::BUDGET;
        }

        impl $name {
            /// The limits that it asks for.
            pub(crate) fn limits(self) -> LimitFields {
                LimitFields {
                    max_budget: self.max_budget,
                    soft_budget: self.soft_budget,
                    budget_duration: self.budget_duration,
                    model_max_budget: self.model_max_budget,
                    rpm_limit: self.rpm_limit,
                    tpm_limit: self.tpm_limit,
                    model_rpm_limit: self.model_rpm_limit,
                    model_tpm_limit: self.model_tpm_limit,
                    max_parallel_requests: self.max_parallel_requests,
                }
            }
        }
    };
}

budget_request! {
    /// A budget to be made.
    CreateBudget {
        /// Its id; a new one when left out.
        #[schema(value_type = Option<Name>)]
    }
}

budget_request! {
    /// Changes of a budget: what is left out stays, null clears.
    UpdateBudget {
        /// Its id.
        #[schema(required = true, nullable = false)]
    }
}

/// Budgets.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ManyBudgets {
    /// Their ids.
    #[schema(min_items = 1, max_items = 500)]
    pub(crate) budgets: Vec<String>,
}

impl Fields for ManyBudgets {}

/// A budget.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OneBudget {
    /// Its id.
    pub(crate) id: String,
}

impl Fields for OneBudget {}

/// A budget.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetRow {
    /// Its id.
    budget_id: String,
    /// US dollars.
    max_budget: Option<f64>,
    /// US dollars above which requests are admitted with a warning.
    soft_budget: Option<f64>,
    /// How long a window is.
    #[schema(value_type = Option<String>)]
    budget_duration: Option<Period>,
    /// Budgets of single models.
    #[schema(value_type = BTreeMap<String, ModelLimit>)]
    model_max_budget: BTreeMap<String, ModelBudget>,
    /// Requests in a minute.
    rpm_limit: Option<u64>,
    /// Tokens in a minute.
    tpm_limit: Option<u64>,
    /// Requests in a minute for single models.
    model_rpm_limit: BTreeMap<String, u64>,
    /// Tokens in a minute for single models.
    model_tpm_limit: BTreeMap<String, u64>,
    /// Requests under way at once.
    max_parallel_requests: Option<u64>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed last.
    updated_at: Timestamp,
}

impl From<Budget> for BudgetRow {
    fn from(budget: Budget) -> Self {
        let limits = budget.limits;
        Self {
            budget_id: budget.budget_id,
            max_budget: limits.max_budget,
            soft_budget: limits.soft_budget,
            budget_duration: limits.budget_duration,
            model_max_budget: limits.model_max_budget,
            rpm_limit: limits.rpm_limit,
            tpm_limit: limits.tpm_limit,
            model_rpm_limit: limits.model_rpm_limit,
            model_tpm_limit: limits.model_tpm_limit,
            max_parallel_requests: limits.max_parallel_requests,
            created_at: budget.created_at,
            updated_at: budget.updated_at,
        }
    }
}

/// No parameters.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct NoParams {}

impl crate::query::Params for NoParams {}
