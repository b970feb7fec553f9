//! A change of counters as DynamoDB wants it written.

use std::collections::HashMap;
use std::fmt::Write;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::ledger::{Change, Require};

use super::item::{Item, REV, integer};

/// Additions, removals and conditions on attributes that hold whole numbers.
pub(super) struct Expression {
    /// `None` when nothing is changed.
    pub(super) update: Option<String>,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    /// `None` when there are none: DynamoDB refuses an empty map.
    pub(super) values: Option<Item>,
}

impl Expression {
    /// A change of an account that must be there.
    pub(super) fn of(change: &Change) -> Self {
        let mut words = Words::default();
        let mut conditions = Vec::with_capacity(change.require.len() + 1);
        if !change.require.iter().any(|require| matches!(require, Require::Rev(_))) {
            // A write would bring a deleted account back.
            conditions.push(format!("attribute_exists({})", words.name(REV)));
        }
        conditions.extend(change.require.iter().filter_map(|require| words.condition(require)));
        let mut update = String::new();
        let add = change.add.iter().filter(|(_, amount)| *amount != 0);
        let add = add.map(|(name, amount)| format!("{} {}", words.name(name), words.value(*amount)));
        let add = add.collect::<Vec<_>>();
        let remove = change.remove.iter().map(|name| words.name(name)).collect::<Vec<_>>();
        for (verb, terms) in [("ADD", add), ("REMOVE", remove)] {
            if !terms.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(update, "{verb} {} ", terms.join(", "));
            }
        }
        Self {
            update: (!update.is_empty()).then_some(update),
            condition: conditions.join(" AND "),
            names: words.names.into_iter().map(|(name, placeholder)| (placeholder, name)).collect(),
            values: (!words.values.is_empty()).then_some(words.values),
        }
    }
}

/// Placeholders: attributes' names hold `@` and `#`, and some are reserved words.
#[derive(Default)]
struct Words {
    /// Name → placeholder.
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Words {
    fn name(&mut self, attribute: &str) -> String {
        if let Some(placeholder) = self.names.get(attribute) {
            return placeholder.clone();
        }
        let placeholder = format!("#{}", self.names.len());
        self.names.insert(attribute.to_owned(), placeholder.clone());
        placeholder
    }

    fn value(&mut self, number: i64) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), integer(number));
        placeholder
    }

    /// A condition; `None` for one that the existence of the account implies.
    fn condition(&mut self, require: &Require) -> Option<String> {
        Some(match require {
            Require::Exists => return None,
            Require::Rev(rev) => format!("{} = {}", self.name(REV), self.value(*rev)),
            Require::Present(name) => format!("attribute_exists({})", self.name(name)),
            Require::Equal(name, number) => format!("{} = {}", self.name(name), self.value(*number)),
            // A comparison with a missing attribute is false.
            Require::AtMost(name, bound) if *bound < 0 => {
                format!("{} <= {}", self.name(name), self.value(*bound))
            }
            Require::AtMost(name, bound) => {
                let name = self.name(name);
                format!("(attribute_not_exists({name}) OR {name} <= {})", self.value(*bound))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_once_and_what_is_empty_is_left_out() {
        let mut change = Change::default();
        let bare = Expression::of(&change);
        assert_eq!((bare.update, bare.condition.as_str()), (None, "attribute_exists(#0)"));
        assert!(bare.values.is_none());

        change.require = vec![
            Require::Rev(7),
            Require::Exists,
            Require::AtMost("cm@0".to_owned(), 5),
            Require::AtMost("a".to_owned(), -1),
            Require::Equal("rs@1@0".to_owned(), 3),
            Require::Present("b".to_owned()),
        ];
        change.add = vec![("cm@0".to_owned(), 2), ("c".to_owned(), 0)];
        change.remove = vec!["rs@1@0".to_owned()];
        let whole = Expression::of(&change);
        assert_eq!(
            whole.condition,
            "#0 = :0 AND (attribute_not_exists(#1) OR #1 <= :1) AND #2 <= :2 AND #3 = :3 AND attribute_exists(#4)"
        );
        assert_eq!(whole.update.as_deref(), Some("ADD #1 :4 REMOVE #3 "));
        assert_eq!(whole.names.len(), 5);
        assert_eq!(whole.names["#1"], "cm@0");
        assert_eq!(whole.values.map(|values| values.len()), Some(5));
    }
}
