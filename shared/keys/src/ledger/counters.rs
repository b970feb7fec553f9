//! Counters of one account.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::ops::Bound;

/// Whole numbers by name. A missing one counts as 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, i64>);

impl Counters {
    /// The number called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether there is a number of that name, be it 0.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Adds to a number; it stops at the ends of 64 bits.
    pub fn add(&mut self, name: &str, amount: i64) {
        match self.0.get_mut(name) {
            Some(number) => *number = number.saturating_add(amount),
            None => {
                self.0.insert(name.to_owned(), amount);
            }
        }
    }

    /// Forgets a number.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// All of them, by name.
    pub fn iter(&self) -> Iter<'_, String, i64> {
        self.0.iter()
    }

    /// Those whose names begin with `prefix`, with the rest of the name.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, i64)> {
        self.0
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map_while(move |(name, number)| Some((name.strip_prefix(prefix)?, *number)))
    }
}

impl FromIterator<(String, i64)> for Counters {
    fn from_iter<T: IntoIterator<Item = (String, i64)>>(numbers: T) -> Self {
        Self(numbers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_and_do_not_wrap() {
        let mut counters = Counters::default();
        counters.add("a", 2);
        counters.add("a", -5);
        assert_eq!((counters.get("a"), counters.get("b")), (-3, 0));
        counters.add("a", i64::MIN);
        assert_eq!(counters.get("a"), i64::MIN);
        counters.remove("a");
        assert!(!counters.contains("a"));
    }

    #[test]
    fn a_prefix_finds_its_own() {
        let numbers = [("rq@1", 1), ("rs@1@0", 2), ("rs@2@0", 3), ("spend", 4)];
        let counters: Counters =
            numbers.map(|(name, number)| (name.to_owned(), number)).into_iter().collect();
        assert_eq!(counters.with_prefix("rs@").collect::<Vec<_>>(), [("1@0", 2), ("2@0", 3)]);
    }
}
