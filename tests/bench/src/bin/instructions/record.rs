//! The record, `tests/bench/instructions.json`: what was counted when somebody last looked, one line a scenario, for
//! each processor architecture.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// How far a count may stray from the record, as a share of it. Counts of one binary differ by less than a
/// thousandth.
const TOLERANCE: f64 = 0.05;

/// The whole file: architecture → its counts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record(BTreeMap<String, Counts>);

/// What was counted on one architecture.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The compiler and valgrind, in their own words: other versions of them count otherwise.
    pub(crate) with: Vec<String>,
    /// Scenario → instructions, or → how many of what its name says.
    pub(crate) counts: BTreeMap<String, u64>,
}

/// How a count compares with the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// There is no such line.
    New,
    /// Within the tolerance.
    Same,
    /// More than the tolerance above the recorded count.
    Above(u64),
    /// More than the tolerance below it.
    Below(u64),
}

impl Record {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn read(path: &Path) -> Self {
        match std::fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            }
            Err(_) => Self::default(),
        }
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) {
        let text = serde_json::to_string_pretty(self).expect("a map of numbers");
        std::fs::write(path, format!("{text}\n"))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The counts of one architecture.
    pub(crate) fn of(&self, architecture: &str) -> Counts {
        self.0.get(architecture).cloned().unwrap_or_default()
    }

    /// Takes new counts for an architecture. When only some scenarios were counted, the others keep theirs.
    pub(crate) fn set(&mut self, architecture: &str, new: Counts, some: bool) {
        let counts = self.0.entry(architecture.to_owned()).or_default();
        if !some {
            counts.counts.clear();
        }
        counts.with = new.with;
        counts.counts.extend(new.counts);
    }
}

impl Counts {
    /// Compares a count with this record.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn judge(&self, name: &str, count: u64) -> Verdict {
        let Some(&recorded) = self.counts.get(name) else { return Verdict::New };
        let tolerated = recorded as f64 * TOLERANCE;
        match count as f64 - recorded as f64 {
            more if more > tolerated => Verdict::Above(recorded),
            less if less < -tolerated => Verdict::Below(recorded),
            _ => Verdict::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[(&str, u64)]) -> Counts {
        let counts = lines.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Counts { with: vec!["rustc".to_owned()], counts }
    }

    #[test]
    fn what_strays_by_more_than_a_twentieth_is_named() {
        let record = counts(&[("request", 1_000), ("init: threads", 0)]);
        let judged = [950, 949, 1_050, 1_051].map(|count| record.judge("request", count));
        assert_eq!(judged, [Verdict::Same, Verdict::Below(1_000), Verdict::Same, Verdict::Above(1_000)]);
        assert_eq!(record.judge("init: threads", 0), Verdict::Same);
        assert_eq!(record.judge("init: threads", 1), Verdict::Above(0));
        assert_eq!(record.judge("another", 1), Verdict::New);
    }

    #[test]
    fn a_part_leaves_the_rest_and_all_leaves_nothing_old() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("instructions.json");
        let mut record = Record::read(&path);
        record.set("x86_64", counts(&[("init", 1), ("request", 2)]), false);
        record.set("x86_64", counts(&[("init", 3)]), true);
        record.set("aarch64", counts(&[("init", 4)]), false);
        record.write(&path);
        let mut record = Record::read(&path);
        assert_eq!(record.of("x86_64"), counts(&[("init", 3), ("request", 2)]));
        record.set("x86_64", counts(&[("init", 5)]), false);
        assert_eq!(
            (record.of("x86_64"), record.of("aarch64")),
            (counts(&[("init", 5)]), counts(&[("init", 4)]))
        );
        assert_eq!(record.of("riscv64"), Counts::default());
    }
}
