//! The keys of an upstream: several at a time, each with its state. What is revoked is refused at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It works.
    Active,
    /// It was stopped, and may be started again.
    Inactive,
    /// It is gone.
    Gone,
}

/// A key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The upstream's id of it.
    pub id: String,
    /// The name it was issued under.
    pub name: String,
    /// What clients send.
    pub value: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// The same, of its last use.
    pub last_used_at: Option<u64>,
    /// Whether it works.
    pub state: KeyState,
    /// How many more times it is refused as if it were not known everywhere yet.
    pub unknown_for: u32,
}

/// Whether a key is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Not known, or not known everywhere yet.
    Unknown,
    /// It was good once.
    Revoked,
}

/// All keys that there are or were.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
    /// How many times a new key is refused at first.
    pub(super) slowness: u32,
}

impl Keyring {
    /// Adds a key that works everywhere.
    pub(super) fn allow(&mut self, value: &str) {
        match self.keys.iter_mut().find(|key| key.value == value) {
            Some(key) => key.state = KeyState::Active,
            None => {
                self.add("by hand", value.to_owned(), 0);
            }
        }
    }

    /// Ends a key.
    pub(super) fn revoke(&mut self, value: &str) {
        for key in self.keys.iter_mut().filter(|key| key.value == value) {
            key.state = KeyState::Gone;
        }
    }

    /// Issues a key, which may take its time to be known everywhere.
    pub fn issue(&mut self, name: &str, prefix: &str) -> &Key {
        self.add(name, fresh(prefix), self.slowness)
    }

    fn add(&mut self, name: &str, value: String, unknown_for: u32) -> &Key {
        let key = Key {
            id: format!("key_{}", self.keys.len() + 1),
            name: name.to_owned(),
            value,
            created_at: now(),
            last_used_at: None,
            state: KeyState::Active,
            unknown_for,
        };
        self.keys.push(key);
        self.keys.last().expect("just added")
    }

    /// The key with an id, unless it is gone.
    pub fn find(&mut self, id: &str) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.id == id && key.state != KeyState::Gone)
    }

    /// The keys that are not gone.
    pub fn there(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| key.state != KeyState::Gone)
    }

    /// The keys that there are or were.
    pub fn ever(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether a value is let in; notes its use.
    pub(super) fn present(&mut self, value: &str) -> Verdict {
        let Some(key) = self.keys.iter_mut().rev().find(|key| key.value == value) else {
            return Verdict::Unknown;
        };
        if key.state != KeyState::Active {
            return Verdict::Revoked;
        }
        if key.unknown_for > 0 {
            key.unknown_for -= 1;
            return Verdict::Unknown;
        }
        key.last_used_at = Some(now());
        Verdict::Good
    }
}

/// A value that no other key of this process has.
#[must_use]
pub fn fresh(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    // The first and the last characters are what is shown of a key: they differ from key to key.
    let spread = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{prefix}{spread:016x}{:016x}", spread.rotate_left(29))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "an upstream tells the time of day")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
