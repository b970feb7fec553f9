//! Budgets.

use jiff::Timestamp;
use keyturn_keys::Budget;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::{LimitsRow, with_limits};
use super::scalars::Name;
use crate::input::Fields;
use crate::unsupported;

with_limits! {
    /// A budget to be made.
    CreateBudget {
        /// Its id; a new one when left out.
        #[schema(value_type = Option<Name>)]
        budget_id: Option<String>,
    }
}

impl Fields for CreateBudget {
    const UNSUPPORTED: &'static [&'static str] = unsupported::BUDGET;
}

with_limits! {
    /// Changes of a budget: what is left out stays, null clears.
    UpdateBudget {
        /// Its id.
        #[schema(required = true, nullable = false)]
        budget_id: Option<String>,
    }
}

impl Fields for UpdateBudget {
    const UNSUPPORTED: &'static [&'static str] = unsupported::BUDGET;
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
    /// Its limits.
    #[serde(flatten)]
    limits: LimitsRow,
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed last.
    updated_at: Timestamp,
}

impl From<Budget> for BudgetRow {
    fn from(budget: Budget) -> Self {
        Self {
            budget_id: budget.budget_id,
            limits: budget.limits.into(),
            created_at: budget.created_at,
            updated_at: budget.updated_at,
        }
    }
}

/// No parameters.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct NoParams {}

impl crate::query::Params for NoParams {}
