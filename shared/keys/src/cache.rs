//! A bounded map of what has been read lately.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps the values used lately, at most `capacity` of them, in two halves: when the young half is full it
/// becomes the old one, and the old one is dropped. What is read moves to the young half. So each step costs
/// the same however many keys are thrown at it, and a key in use is not pushed out by a flood.
pub(crate) struct Cache<K, V> {
    half: usize,
    halves: Mutex<Halves<K, V>>,
}

struct Halves<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// An empty cache for `capacity` values.
    pub(crate) fn new(capacity: usize) -> Self {
        let halves = Halves { young: HashMap::new(), old: HashMap::new() };
        Self { half: (capacity / 2).max(1), halves: Mutex::new(halves) }
    }

    /// The value kept for `key`.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut halves = self.lock();
        if let Some(value) = halves.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = halves.old.remove_entry(key)?;
        halves.put(key, value.clone(), self.half);
        Some(value)
    }

    /// Keeps `value` for `key`.
    pub(crate) fn insert(&self, key: K, value: V) {
        let mut halves = self.lock();
        halves.old.remove(&key);
        halves.put(key, value, self.half);
    }

    /// Forgets `key`.
    pub(crate) fn remove(&self, key: &K) {
        let mut halves = self.lock();
        halves.young.remove(key);
        halves.old.remove(key);
    }

    /// Each change to the halves leaves them whole, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Halves<K, V>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Halves<K, V> {
    fn put(&mut self, key: K, value: V, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found_until_it_is_removed() {
        let cache = Cache::new(4);
        cache.insert(1, "one");
        cache.insert(1, "uno");
        assert_eq!(cache.get(&1), Some("uno"));
        assert_eq!(cache.get(&2), None);
        cache.remove(&1);
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn a_new_value_replaces_one_in_the_old_half() {
        let cache = Cache::new(2);
        cache.insert(1, "one");
        cache.insert(2, "two");
        cache.insert(1, "uno");
        assert_eq!(cache.get(&1), Some("uno"));
    }

    #[test]
    fn a_flood_neither_grows_it_nor_pushes_out_a_key_in_use() {
        let cache = Cache::new(100);
        cache.insert(0, 0);
        for number in 1..10_000 {
            cache.insert(number, number);
            assert_eq!(cache.get(&0), Some(0), "after {number}");
            let halves = cache.lock();
            assert!(halves.young.len() + halves.old.len() <= 100);
        }
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&9_999), Some(9_999));
    }
}
