//! Changing counters: all or none, in one round trip.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};

use crate::ledger::Counters;
use crate::store::{Charge, Charged, Refused, StoreFailure};

use super::expression::Expression;
use super::item::{Item, Key, account_of};
use super::table::{ATTEMPTS, Backoff, Table, busy, failure, incomplete};

/// Makes the changes. One of them is one write, several are a transaction. Conditions alone are read: that costs no
/// write and disturbs nobody's.
pub(super) async fn charge(table: &Table, charges: &[Charge]) -> Result<Charged, StoreFailure> {
    if charges.iter().all(|charge| charge.change.is_empty()) {
        return check(table, charges).await;
    }
    let mut backoff = Backoff::new(ATTEMPTS);
    loop {
        let outcome = match charges {
            [charge] => update(table, charge).await?,
            _ => transact(table, charges).await?,
        };
        match outcome {
            Some(charged) => return Ok(charged),
            None if backoff.pause().await => {}
            None => return Err(busy()),
        }
    }
}

/// Looks whether all conditions hold.
async fn check(table: &Table, charges: &[Charge]) -> Result<Charged, StoreFailure> {
    let keys: Vec<_> = charges.iter().map(key).collect();
    let items = table.get(keys.clone()).await?;
    let accounts = keys.iter().map(|key| items.get(key).map(account_of).transpose());
    let accounts = accounts.collect::<Result<Vec<_>, _>>()?;
    let fits = |(charge, account): (&Charge, &Option<(i64, Counters)>)| {
        account.as_ref().is_some_and(|(rev, counters)| charge.change.fits(*rev, counters))
    };
    if charges.iter().zip(&accounts).all(fits) {
        let counters = accounts.into_iter().map(|account| account.map(|(_, counters)| counters));
        return Ok(Charged::Done(counters.collect()));
    }
    let refused = charges.iter().zip(accounts).map(|(charge, account)| match account {
        None => Refused::Missing,
        Some((rev, counters)) if charge.change.fits(rev, &counters) => Refused::Fits,
        Some((rev, counters)) => Refused::Unfit(rev, counters),
    });
    Ok(Charged::Refused(refused.collect()))
}

/// One write; `None` when a transaction is in its way.
async fn update(table: &Table, charge: &Charge) -> Result<Option<Charged>, StoreFailure> {
    let expression = Expression::of(&charge.change);
    let reply = table
        .client
        .update_item()
        .table_name(&table.name)
        .set_key(Some(key(charge).item()))
        .set_update_expression(expression.update)
        .condition_expression(expression.condition)
        .set_expression_attribute_names(Some(expression.names))
        .set_expression_attribute_values(expression.values)
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    let error = match reply {
        Ok(reply) => {
            let (_, counters) = account_of(&reply.attributes.unwrap_or_default())?;
            return Ok(Some(Charged::Done(vec![Some(counters)])));
        }
        Err(error) => error,
    };
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
            Ok(Some(Charged::Refused(vec![refused(refusal.item())?])))
        }
        Some(UpdateItemError::TransactionConflictException(_)) => Ok(None),
        _ => Err(failure(&error)),
    }
}

/// A transaction; `None` when another one is in its way. The SDK gives it a token, so that DynamoDB recognises it when
/// it is sent again after an answer was lost.
async fn transact(table: &Table, charges: &[Charge]) -> Result<Option<Charged>, StoreFailure> {
    let items = charges.iter().map(|charge| action(table, charge)).collect::<Result<Vec<_>, _>>()?;
    let Err(error) = table.client.transact_write_items().set_transact_items(Some(items)).send().await else {
        return Ok(Some(Charged::Done(vec![None; charges.len()])));
    };
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
    else {
        return Err(failure(&error));
    };
    let reasons = canceled.cancellation_reasons();
    if reasons.iter().any(is_refusal) {
        let each = reasons.iter().map(|reason| match is_refusal(reason) {
            true => refused(reason.item()),
            false => Ok(Refused::Fits),
        });
        return Ok(Some(Charged::Refused(each.collect::<Result<_, _>>()?)));
    }
    if reasons.iter().any(is_passing) { Ok(None) } else { Err(failure(&error)) }
}

fn action(table: &Table, charge: &Charge) -> Result<TransactWriteItem, StoreFailure> {
    let Expression { update, condition, names, values } = Expression::of(&charge.change);
    let key = key(charge).item();
    let old = ReturnValuesOnConditionCheckFailure::AllOld;
    let item = TransactWriteItem::builder();
    Ok(match update {
        Some(update) => item.update(
            Update::builder()
                .table_name(&table.name)
                .set_key(Some(key))
                .update_expression(update)
                .condition_expression(condition)
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(old)
                .build()
                .map_err(incomplete)?,
        ),
        None => item.condition_check(
            ConditionCheck::builder()
                .table_name(&table.name)
                .set_key(Some(key))
                .condition_expression(condition)
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(old)
                .build()
                .map_err(incomplete)?,
        ),
    }
    .build())
}

fn key(charge: &Charge) -> Key {
    Key::account(&charge.account.row, charge.account.share)
}

/// A condition did not hold; the account as it is, if it is there.
fn refused(item: Option<&Item>) -> Result<Refused, StoreFailure> {
    match item {
        Some(item) => account_of(item).map(|(rev, counters)| Refused::Unfit(rev, counters)),
        None => Ok(Refused::Missing),
    }
}

/// Whether a condition did not hold.
pub(super) fn is_refusal(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Whether a transaction was cancelled for what will pass. The SDK does not try that again.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
pub(super) fn is_passing(reason: &CancellationReason) -> bool {
    let passing = ["TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"];
    reason.code().is_some_and(|code| passing.contains(&code))
}
