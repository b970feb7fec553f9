//! Changing definitions: all or none, in one transaction.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::store::{Definition, Edit, EditError, Kind, RowId, StoreFailure};

use super::charge::{is_passing, is_refusal};
use super::item::{
    DEFINITION, Item, Key, LEADS_TO, NUMBER, PK, REV, TTL, integer, number, row_attributes, string, text,
};
use super::list::COUNT_PARTS;
use super::table::{ATTEMPTS, Backoff, Table, busy, failure, incomplete};

/// The most actions of one transaction
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>).
const ACTIONS: usize = 100;

/// Makes the changes.
pub(super) async fn edit(table: &Table, edits: &[Edit]) -> Result<(), EditError> {
    let mut backoff = Backoff::new(ATTEMPTS);
    loop {
        let actions = actions(table, edits)?;
        if actions.is_empty() {
            return Ok(());
        }
        if actions.len() > ACTIONS {
            let excess = format!("{} actions do not fit into a transaction of DynamoDB's", actions.len());
            return Err(StoreFailure::new(excess).into());
        }
        let (places, actions): (Vec<_>, Vec<_>) = actions.into_iter().unzip();
        let request = table.client.transact_write_items().set_transact_items(Some(actions));
        let Err(error) = request.send().await else { return Ok(()) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
        else {
            return Err(failure(&error).into());
        };
        let reasons = canceled.cancellation_reasons();
        let refused: Vec<_> = places.iter().zip(reasons).filter(|(_, reason)| is_refusal(reason)).collect();
        if let Some((first, _)) = refused.first() {
            let made = refused.iter().any(|(place, reason)| is_made(edits.get(**place), reason));
            return if made { Ok(()) } else { Err(EditError::Conflict(**first)) };
        }
        if !reasons.iter().any(is_passing) {
            return Err(failure(&error).into());
        }
        if !backoff.pause().await {
            return Err(busy().into());
        }
    }
}

/// Whether an edit that does not fit has been made already, by this change whose answer was lost: a revision belongs
/// to one change only. Then all of the change has been made.
fn is_made(edit: Option<&Edit>, reason: &CancellationReason) -> bool {
    let (Some(Edit::Create(to) | Edit::Replace { to, .. }), Some(item)) = (edit, reason.item()) else {
        return false;
    };
    number(item, REV).is_ok_and(|rev| rev == to.rev)
        && text(item, DEFINITION).is_ok_and(|text| text == to.text)
}

/// A transaction's actions, each with the place of its edit.
fn actions(table: &Table, edits: &[Edit]) -> Result<Vec<(usize, TransactWriteItem)>, StoreFailure> {
    let mut actions = Vec::with_capacity(edits.len() * 2);
    let mut more: BTreeMap<Kind, i64> = BTreeMap::new();
    for (place, edit) in edits.iter().enumerate() {
        let mut push = |action: TransactWriteItem| actions.push((place, action));
        match edit {
            Edit::Create(definition) => {
                *more.entry(definition.id.kind).or_default() += 1;
                let mut item = Key::row(&definition.id).item();
                item.extend(present(definition));
                push(put(table, item, Some(Condition::new(format!("attribute_not_exists({PK})"))))?);
                for share in 0..=definition.shares {
                    let mut item = Key::account(&definition.id, share).item();
                    item.insert(REV.to_owned(), integer(definition.rev));
                    push(put(table, item, None)?);
                }
            }
            Edit::Replace { from, to } => {
                push(replace(table, *from, to)?);
                for share in 0..=to.shares {
                    push(set_rev(table, &to.id, share, to.rev)?);
                }
            }
            Edit::Delete { id, rev, shares } => {
                *more.entry(id.kind).or_default() -= 1;
                push(delete(table, &Key::row(id), Some(rev_is(*rev)))?);
                for share in 0..=*shares {
                    push(delete(table, &Key::account(id, share), None)?);
                }
            }
            Edit::Claim { alias, id } => push(lead(table, &Key::alias(alias), id, None)?),
            Edit::Release { alias, id } => {
                let own = Condition::new("#to = :to").name("#to", LEADS_TO).text(":to", id);
                push(delete(table, &Key::alias(alias), Some(own))?);
            }
            Edit::Point { hash, id, until } => push(lead(table, &Key::hash(hash), id, *until)?),
            Edit::Unpoint { hash } => {
                let no_row = format!("attribute_not_exists({PK}) OR attribute_exists(#to)");
                let no_row = Condition::new(no_row).name("#to", LEADS_TO);
                push(delete(table, &Key::hash(hash), Some(no_row))?);
            }
        }
    }
    for (kind, more) in more {
        if more != 0 {
            // It has no condition, so its place is never asked for.
            actions.push((edits.len(), count(table, kind, more)?));
        }
    }
    Ok(actions)
}

/// A condition with its placeholders.
struct Condition {
    text: String,
    names: HashMap<String, String>,
    values: Item,
}

impl Condition {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), names: HashMap::new(), values: Item::new() }
    }

    fn name(mut self, placeholder: &str, name: &str) -> Self {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    fn text(mut self, placeholder: &str, id: &KeyHash) -> Self {
        self.values.insert(placeholder.to_owned(), string(&id.to_string()));
        self
    }
}

fn rev_is(rev: i64) -> Condition {
    let mut condition = Condition::new("#rev = :rev").name("#rev", REV);
    condition.values.insert(":rev".to_owned(), integer(rev));
    condition
}

/// The attributes that a row has.
fn present(definition: &Definition) -> Item {
    let attributes = row_attributes(definition).into_iter();
    attributes.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Replaces a row, whose counters are in another item.
fn replace(table: &Table, from: i64, to: &Definition) -> Result<TransactWriteItem, StoreFailure> {
    let mut item = Key::row(&to.id).item();
    item.extend(present(to));
    put(table, item, Some(rev_is(from)))
}

/// Gives an account the revision of its row; a share that is new comes into being.
fn set_rev(table: &Table, id: &RowId, share: u16, rev: i64) -> Result<TransactWriteItem, StoreFailure> {
    let update = Update::builder()
        .table_name(&table.name)
        .set_key(Some(Key::account(id, share).item()))
        .update_expression("SET #rev = :rev")
        .expression_attribute_names("#rev", REV)
        .expression_attribute_values(":rev", integer(rev));
    Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
}

/// Lets an alias or a hash lead to a key, unless it leads elsewhere or is a key itself.
fn lead(
    table: &Table,
    key: &Key,
    id: &KeyHash,
    until: Option<Timestamp>,
) -> Result<TransactWriteItem, StoreFailure> {
    let mut item = key.item();
    item.insert(LEADS_TO.to_owned(), string(&id.to_string()));
    if let Some(until) = until {
        item.insert(TTL.to_owned(), integer(until.as_second().saturating_add(1)));
    }
    let free = format!("attribute_not_exists({PK}) OR #to = :to");
    put(table, item, Some(Condition::new(free).name("#to", LEADS_TO).text(":to", id)))
}

/// Changes the number of rows of a kind, in one of its parts.
fn count(table: &Table, kind: Kind, more: i64) -> Result<TransactWriteItem, StoreFailure> {
    let update = Update::builder()
        .table_name(&table.name)
        .set_key(Some(Key::count(kind, fastrand::u16(..COUNT_PARTS)).item()))
        .update_expression("ADD #n :more")
        .expression_attribute_names("#n", NUMBER)
        .expression_attribute_values(":more", integer(more));
    Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
}

fn put(table: &Table, item: Item, condition: Option<Condition>) -> Result<TransactWriteItem, StoreFailure> {
    let mut put = Put::builder().table_name(&table.name).set_item(Some(item));
    if let Some(Condition { text, names, values }) = condition {
        put = put
            .condition_expression(text)
            .set_expression_attribute_names((!names.is_empty()).then_some(names))
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    }
    Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
}

fn delete(table: &Table, key: &Key, condition: Option<Condition>) -> Result<TransactWriteItem, StoreFailure> {
    let mut delete = Delete::builder().table_name(&table.name).set_key(Some(key.item()));
    if let Some(Condition { text, names, values }) = condition {
        delete = delete
            .condition_expression(text)
            .set_expression_attribute_names((!names.is_empty()).then_some(names))
            .set_expression_attribute_values((!values.is_empty()).then_some(values));
    }
    Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
}
