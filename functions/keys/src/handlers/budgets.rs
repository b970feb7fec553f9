//! Budgets.

use keyturn_keys::manage::{NewBudget, Slice};

use super::keys::few;
use super::{ok, required};
use crate::error::Refusal;
use crate::routes::{Answer, Call};
use crate::types::budgets::{BudgetRow, CreateBudget, ManyBudgets, NoParams, OneBudget, UpdateBudget};
use crate::{input, query};

/// Make a budget
#[utoipa::path(post, path = "/budget/new", tag = "budgets", request_body = Option<CreateBudget>,
    responses((status = 200, description = "The budget.", body = BudgetRow)))]
pub(crate) async fn create(call: Call<'_>) -> Answer {
    let mut asked = input::read::<CreateBudget>(call.body)?;
    let new = NewBudget { budget_id: asked.budget_id.take(), limits: asked.limits() };
    Ok(ok(&BudgetRow::from(call.manager.new_budget(call.caller()?, new).await?)))
}

/// Change a budget
///
/// What is left out stays, null clears.
#[utoipa::path(post, path = "/budget/update", tag = "budgets", request_body = UpdateBudget,
    responses((status = 200, description = "The budget as it is now.", body = BudgetRow)))]
pub(crate) async fn update(call: Call<'_>) -> Answer {
    let mut asked = input::read::<UpdateBudget>(call.body)?;
    let budget_id = required("budget_id", asked.budget_id.take())?;
    let limits = asked.limits();
    Ok(ok(&BudgetRow::from(call.manager.update_budget(call.caller()?, &budget_id, &limits).await?)))
}

/// Show budgets; those that are not there are left out
#[utoipa::path(post, path = "/budget/info", tag = "budgets", request_body = ManyBudgets,
    responses((status = 200, description = "The budgets.", body = Vec<BudgetRow>)))]
pub(crate) async fn info(call: Call<'_>) -> Answer {
    let ManyBudgets { budgets } = input::read(call.body)?;
    if budgets.is_empty() {
        return Err(Refusal::field("budgets", "must not be empty"));
    }
    few("budgets", budgets.len())?;
    let found = call.manager.budgets(call.caller()?, &budgets).await?;
    Ok(ok(&found.into_iter().map(BudgetRow::from).collect::<Vec<_>>()))
}

/// List all budgets, the youngest first
#[utoipa::path(get, path = "/budget/list", tag = "budgets",
    responses((status = 200, description = "The budgets.", body = Vec<BudgetRow>)))]
pub(crate) async fn list(call: Call<'_>) -> Answer {
    query::read::<NoParams>(call.query)?;
    let mut all = Vec::new();
    let mut slice = Slice { page: 1, size: 100, from: None };
    loop {
        let page = call.manager.list_budgets(call.caller()?, &slice).await?;
        all.extend(page.items.into_iter().map(BudgetRow::from));
        slice.from = page.next;
        if slice.from.is_none() {
            return Ok(ok(&all));
        }
    }
}

/// Delete a budget
///
/// What refers to it has no limits from it any more.
#[utoipa::path(post, path = "/budget/delete", tag = "budgets", request_body = OneBudget,
    responses((status = 200, description = "It is deleted.", body = BudgetRow)))]
pub(crate) async fn delete(call: Call<'_>) -> Answer {
    let OneBudget { id } = input::read(call.body)?;
    let caller = call.caller()?;
    let budget = call.manager.budgets(caller, std::slice::from_ref(&id)).await?.pop();
    call.manager.delete_budget(caller, &id).await?;
    // Without a budget the call before has failed.
    Ok(ok(&budget.map(BudgetRow::from)))
}
