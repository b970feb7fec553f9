//! One conditional write to a key's item.

use std::collections::HashMap;
use std::fmt::Write;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::hash::KeyHash;
use crate::port::KeyError;

use super::table::{Item, SK_KEY, Table, key_pk, primary_key, unavailable};

/// Additions, removals and conditions on whole-number attributes, as DynamoDB wants them written. Everything
/// holds or nothing happens.
#[derive(Default)]
pub(super) struct Update {
    add: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

/// How a write ended.
pub(super) enum Written {
    /// The item after it.
    Done(Item),
    /// A condition did not hold; the item as it is, if there is one.
    Refused(Option<Item>),
}

impl Update {
    /// Adds `amount` to `attribute`, which counts as 0 when it is missing.
    pub(super) fn add(&mut self, attribute: &str, amount: i64) {
        if amount != 0 {
            let term = format!("{} {}", self.name(attribute), self.value(amount));
            self.add.push(term);
        }
    }

    /// Removes `attribute`.
    pub(super) fn remove(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.remove.push(name);
    }

    /// Requires that `attribute` is there.
    pub(super) fn require_present(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_exists({name})"));
    }

    /// Requires that `attribute` is exactly `number`.
    pub(super) fn require_equal(&mut self, attribute: &str, number: i64) {
        let condition = format!("{} = {}", self.name(attribute), self.value(number));
        self.conditions.push(condition);
    }

    /// Requires that `attribute`, which counts as 0 when it is missing, is at most `bound`.
    pub(super) fn require_at_most(&mut self, attribute: &str, bound: i64) {
        let name = self.name(attribute);
        let value = self.value(bound);
        // A comparison with a missing attribute is false.
        self.conditions.push(if bound < 0 {
            format!("{name} <= {value}")
        } else {
            format!("(attribute_not_exists({name}) OR {name} <= {value})")
        });
    }

    /// Writes it to the item of key `id`.
    pub(super) async fn send(self, table: &Table, id: &KeyHash) -> Result<Written, KeyError> {
        let mut expression = String::new();
        for (word, terms) in [("ADD", &self.add), ("REMOVE", &self.remove)] {
            if !terms.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(expression, "{word} {} ", terms.join(", "));
            }
        }
        let reply = table
            .client
            .update_item()
            .table_name(&table.name)
            .set_key(Some(primary_key(&key_pk(id), SK_KEY)))
            // Conditions alone are a valid write; an empty expression is not.
            .set_update_expression((!expression.is_empty()).then_some(expression))
            .condition_expression(self.conditions.join(" AND "))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values((!self.values.is_empty()).then_some(self.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match reply {
            Ok(reply) => Ok(Written::Done(reply.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(Written::Refused(refused.item().cloned()))
                }
                _ => Err(unavailable(&error)),
            },
        }
    }

    /// The placeholder for an attribute's name: names hold `#`, and some are reserved words.
    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{}", attribute.replace('#', "_"));
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    /// The placeholder for a number.
    fn value(&mut self, number: i64) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), AttributeValue::N(number.to_string()));
        placeholder
    }
}
