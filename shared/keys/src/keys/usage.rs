//! Lines of reports, gathered for a while: a write for every request would cost more than all else that the gateway
//! does for it.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::store::{Usage, UsageLine};

/// Lines that are gathered at most; more are written.
const MOST: usize = 200;

/// What was used since the last write.
pub(super) struct Gathered {
    every: SignedDuration,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// Usage by a line without any, and the key's shares.
    sums: HashMap<(UsageLine, u16), Usage>,
    written_at: Option<Timestamp>,
}

impl Gathered {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every: SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX),
            lines: Mutex::default(),
        }
    }

    /// Adds a line; returns what is to be written now.
    pub(super) fn add(&self, mut line: UsageLine, shares: u16, now: Timestamp) -> Vec<(UsageLine, u16)> {
        let mut lines = self.lock();
        let usage = mem::take(&mut line.usage);
        lines.sums.entry((line, shares)).or_default().add(&usage);
        let waits = lines.written_at.is_some_and(|at| {
            let age = now.duration_since(at);
            !age.is_negative() && age < self.every
        });
        if waits && lines.sums.len() < MOST { Vec::new() } else { lines.take(now) }
    }

    /// All that is gathered.
    pub(super) fn take(&self, now: Timestamp) -> Vec<(UsageLine, u16)> {
        self.lock().take(now)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn take(&mut self, now: Timestamp) -> Vec<(UsageLine, u16)> {
        self.written_at = Some(now);
        let sums = mem::take(&mut self.sums).into_iter();
        sums.map(|((line, shares), usage)| (UsageLine { usage, ..line }, shares)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(model: &str, cost: i64) -> UsageLine {
        UsageLine {
            day: jiff::civil::date(2026, 11, 20),
            key: None,
            team_id: None,
            user_id: None,
            model: model.to_owned(),
            tags: Vec::new(),
            usage: Usage { requests: 1, prompt_tokens: 2, completion_tokens: 3, cost },
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_is_written_at_once_and_those_after_it_together() {
        let gathered = Gathered::new(Duration::from_secs(10));
        assert_eq!(gathered.add(line("a", 1), 0, at(100)), [(line("a", 1), 0)]);
        assert_eq!(gathered.add(line("a", 2), 0, at(101)), []);
        assert_eq!(gathered.add(line("a", 3), 0, at(109)), []);
        let usage = Usage { requests: 3, prompt_tokens: 6, completion_tokens: 9, cost: 9 };
        assert_eq!(gathered.add(line("a", 4), 0, at(110)), [(UsageLine { usage, ..line("a", 0) }, 0)]);
        assert_eq!(gathered.add(line("b", 5), 0, at(111)), []);
        assert_eq!(gathered.take(at(112)), [(line("b", 5), 0)]);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let gathered = Gathered::new(Duration::from_secs(10));
        gathered.add(line("a", 1), 0, at(100));
        assert_eq!(gathered.add(line("a", 2), 0, at(50)).len(), 1);
    }

    #[test]
    fn many_lines_are_written_early() {
        let gathered = Gathered::new(Duration::from_secs(10));
        gathered.take(at(100));
        let written: usize =
            (0..MOST).map(|number| gathered.add(line(&number.to_string(), 1), 0, at(101)).len()).sum();
        assert_eq!(written, MOST);
    }
}
