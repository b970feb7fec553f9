//! A change of counters that happens under conditions, or not at all.

use super::Counters;

/// What must hold of an account before it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Require {
    /// The account's definition is the one with this revision: nobody has changed or deleted it.
    Rev(i64),
    /// The account is there, whatever its revision.
    Exists,
    /// The counter is there.
    Present(String),
    /// The counter is there and has exactly this value.
    Equal(String, i64),
    /// The counter, 0 when it is missing, is at most this.
    AtMost(String, i64),
}

/// Conditions, additions and removals. Everything holds or nothing happens. No counter is named twice among the
/// additions and removals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Conditions on the account as it is before the change.
    pub require: Vec<Require>,
    /// What to add; a missing counter counts as 0.
    pub add: Vec<(String, i64)>,
    /// What to forget.
    pub remove: Vec<String>,
}

impl Change {
    /// Adds `amount`; together with what is added to the counter already.
    pub fn add(&mut self, counter: &str, amount: i64) {
        if amount == 0 {
            return;
        }
        match self.add.iter_mut().find(|(name, _)| name == counter) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None => self.add.push((counter.to_owned(), amount)),
        }
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn fits(&self, rev: i64, counters: &Counters) -> bool {
        self.require.iter().all(|condition| match condition {
            Require::Rev(wanted) => rev == *wanted,
            Require::Exists => true,
            Require::Present(name) => counters.contains(name),
            Require::Equal(name, number) => counters.contains(name) && counters.get(name) == *number,
            Require::AtMost(name, bound) => counters.get(name) <= *bound,
        })
    }

    /// Makes the change in memory, without a look at the conditions.
    pub fn apply(&self, counters: &mut Counters) {
        for name in &self.remove {
            counters.remove(name);
        }
        for (name, amount) in &self.add {
            counters.add(name, *amount);
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_or_do_not() {
        let counters: Counters = [("a".to_owned(), 5)].into_iter().collect();
        let fits =
            |condition: Require| Change { require: vec![condition], ..Change::default() }.fits(7, &counters);
        let a = || "a".to_owned();
        let b = || "b".to_owned();
        for condition in [
            Require::Rev(7),
            Require::Exists,
            Require::Present(a()),
            Require::Equal(a(), 5),
            Require::AtMost(a(), 5),
            Require::AtMost(b(), 0),
        ] {
            assert!(fits(condition.clone()), "{condition:?}");
        }
        for condition in [
            Require::Rev(8),
            Require::Present(b()),
            Require::Equal(a(), 4),
            Require::Equal(b(), 0),
            Require::AtMost(a(), 4),
            Require::AtMost(b(), -1),
        ] {
            assert!(!fits(condition.clone()), "{condition:?}");
        }
    }

    #[test]
    fn additions_to_one_counter_are_one() {
        let mut change = Change::default();
        change.add("a", 2);
        change.add("b", 0);
        change.add("a", 3);
        assert_eq!(change.add, [("a".to_owned(), 5)]);
        let mut counters = Counters::default();
        change.apply(&mut counters);
        assert_eq!(counters.get("a"), 5);
    }
}
