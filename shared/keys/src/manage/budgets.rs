//! Budgets: limits under a name. A change reaches those that refer to it when they are next read; over how many shares
//! a busy key is spread follows when the key itself is changed next.

use crate::limits::Limits;
use crate::owners::Budget;
use crate::store::{EditError, Filter, Kind, RowId};

use super::error::Lost;
use super::list::{Items, Slice};
use super::rows::Loaded;
use super::{Caller, LimitFields, ManageError, Manager, check, new_id};

/// A budget to be made.
#[derive(Default)]
pub struct NewBudget {
    /// Its id; `None` = a new one.
    pub budget_id: Option<String>,
    /// Its limits.
    pub limits: LimitFields,
}

impl Manager {
    /// Makes a budget.
    ///
    /// # Errors
    /// `Duplicate` of `budget_id`; `Invalid`; `Denied`; `Unavailable`.
    pub async fn new_budget(&self, caller: &Caller, new: NewBudget) -> Result<Budget, ManageError> {
        caller.must_be_admin("budget")?;
        let now = self.now();
        let budget_id = new.budget_id.unwrap_or_else(new_id);
        check::name("budget_id", &budget_id)?;
        let mut budget = Budget { budget_id, limits: Limits::default(), created_at: now, updated_at: now };
        new.limits.apply(&mut budget.limits, now);
        check_limits(&budget.limits)?;
        match self.store.edit(&[self.creation(&budget).await?]).await {
            Ok(()) => Ok(budget),
            Err(EditError::Conflict(_)) => Err(ManageError::Duplicate { field: "budget_id" }),
            Err(error) => Err(Lost::from(error).into_error()),
        }
    }

    /// Changes the limits of a budget that are not `Keep`.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Denied`, `Conflict`, `Unavailable`.
    pub async fn update_budget(
        &self,
        caller: &Caller,
        budget_id: &str,
        limits: &LimitFields,
    ) -> Result<Budget, ManageError> {
        caller.must_be_admin("budget")?;
        let id = budget_row(budget_id);
        let change = |budget: &mut Budget, now| {
            limits.apply(&mut budget.limits, now);
            check_limits(&budget.limits)
        };
        Ok(self.revise(&id, caller, None, change).await?.value)
    }

    /// Those of the budgets that are there.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`.
    pub async fn budgets(&self, caller: &Caller, ids: &[String]) -> Result<Vec<Budget>, ManageError> {
        caller.must_be_admin("budget")?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<RowId> = ids.iter().map(|id| budget_row(id)).collect();
        let found = self.store.read(&rows).await?.into_iter().flatten();
        found.map(|row| Ok(Loaded::<Budget>::read(row)?.value)).collect()
    }

    /// Lists budgets, the youngest first.
    ///
    /// # Errors
    /// `Denied`, `Invalid`, `Unavailable`.
    pub async fn list_budgets(&self, caller: &Caller, slice: &Slice) -> Result<Items<Budget>, ManageError> {
        caller.must_be_admin("budget")?;
        let listing = slice.listing(Filter::All(Kind::Budget), true)?;
        let total = self.store.count(&listing.filter).await?;
        let page = self.store.list(&listing).await?;
        let read = |row| Ok(Loaded::<Budget>::read(row)?.value);
        let items = page.rows.into_iter().map(read).collect::<Result<_, ManageError>>()?;
        Ok(Items { items, total, next: page.next })
    }

    /// Deletes a budget. What refers to it has no limits from it any more.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Conflict`, `Unavailable`.
    pub async fn delete_budget(&self, caller: &Caller, budget_id: &str) -> Result<(), ManageError> {
        caller.must_be_admin("budget")?;
        match self.remove::<Budget>(&budget_row(budget_id)).await? {
            true => Ok(()),
            false => Err(ManageError::NotFound { what: "budget" }),
        }
    }
}

fn check_limits(limits: &Limits) -> Result<(), ManageError> {
    check::limits(limits)?;
    check::sizes(&check::limit_sizes(limits))
}

fn budget_row(budget_id: &str) -> RowId {
    RowId::named(Kind::Budget, budget_id)
}
