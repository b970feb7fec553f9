//! A bounded map of what has been read lately.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::hash::KeyHash;

/// Keeps the values used lately, at most `capacity` of them, in two halves: when the young half is full it
/// becomes the old one, and the old one is dropped. What is read moves to the young half. So each step costs
/// the same however many keys are thrown at it, and a key in use is not pushed out by a flood.
pub(crate) struct Cache<V> {
    half: usize,
    halves: Mutex<Halves<V>>,
}

struct Halves<V> {
    young: HashMap<KeyHash, V>,
    old: HashMap<KeyHash, V>,
}

impl<V: Clone> Cache<V> {
    /// An empty cache for `capacity` values.
    pub(crate) fn new(capacity: usize) -> Self {
        let halves = Halves { young: HashMap::new(), old: HashMap::new() };
        Self { half: (capacity / 2).max(1), halves: Mutex::new(halves) }
    }

    /// The value kept for `hash`.
    pub(crate) fn get(&self, hash: &KeyHash) -> Option<V> {
        let mut halves = self.lock();
        if let Some(value) = halves.young.get(hash) {
            return Some(value.clone());
        }
        let value = halves.old.remove(hash)?;
        halves.put(*hash, value.clone(), self.half);
        Some(value)
    }

    /// Keeps `value` for `hash`.
    pub(crate) fn insert(&self, hash: KeyHash, value: V) {
        let mut halves = self.lock();
        halves.old.remove(&hash);
        halves.put(hash, value, self.half);
    }

    /// Forgets `hash`.
    pub(crate) fn remove(&self, hash: &KeyHash) {
        let mut halves = self.lock();
        halves.young.remove(hash);
        halves.old.remove(hash);
    }

    /// Each change to the halves leaves them whole, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Halves<V>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Halves<V> {
    fn put(&mut self, hash: KeyHash, value: V, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&hash) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(hash, value);
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn hash(number: usize) -> KeyHash {
        KeyHash::of(&SecretString::from(number.to_string()))
    }

    #[test]
    fn what_is_put_in_is_found_until_it_is_removed() {
        let cache = Cache::new(4);
        cache.insert(hash(1), "one");
        cache.insert(hash(1), "uno");
        assert_eq!(cache.get(&hash(1)), Some("uno"));
        assert_eq!(cache.get(&hash(2)), None);
        cache.remove(&hash(1));
        assert_eq!(cache.get(&hash(1)), None);
    }

    #[test]
    fn a_new_value_replaces_one_in_the_old_half() {
        let cache = Cache::new(2);
        cache.insert(hash(1), "one");
        cache.insert(hash(2), "two");
        cache.insert(hash(1), "uno");
        assert_eq!(cache.get(&hash(1)), Some("uno"));
    }

    #[test]
    fn a_flood_neither_grows_it_nor_pushes_out_a_key_in_use() {
        let cache = Cache::new(100);
        cache.insert(hash(0), 0);
        for number in 1..10_000 {
            cache.insert(hash(number), number);
            assert_eq!(cache.get(&hash(0)), Some(0), "after {number}");
            let halves = cache.lock();
            assert!(halves.young.len() + halves.old.len() <= 100);
        }
        assert_eq!(cache.get(&hash(1)), None);
        assert_eq!(cache.get(&hash(9_999)), Some(9_999));
    }
}
