//! What was counted, and the table of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use keyturn_tests::faults::Fault;

/// When a request was made, as its credential's rotations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before the first rotation.
    Before,
    /// While the steps of one run.
    During,
    /// After one.
    After,
}

/// What was counted of one credential.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) rotations: u32,
    /// Rotations that broke off and were begun or gone on with again.
    pub(crate) broken_off: u32,
    /// Faults that came, by kind.
    pub(crate) faults: BTreeMap<Fault, u32>,
    /// Where they came.
    pub(crate) places: BTreeSet<(String, Fault)>,
    /// Steps that were called twice at once, again, beside a retirement, or out of turn.
    pub(crate) doubled: u32,
    /// Calls that broke off or failed, and that were made again: what was said last.
    pub(crate) refusals: BTreeMap<String, u32>,
    /// Seconds of the requests that succeeded.
    pub(crate) times: BTreeMap<Phase, Vec<Duration>>,
    /// What the others said.
    pub(crate) failed: Vec<String>,
}

/// [`Counts`] behind a lock.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

impl Tally {
    pub(crate) fn note<T>(&self, note: impl FnOnce(&mut Counts) -> T) -> T {
        note(&mut self.0.lock().unwrap())
    }
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// Requests with a credential that was good once.
    pub(crate) revoked: u64,
    /// Requests whose credential was refused, and which the client knows nothing of.
    pub(crate) healed: u64,
}

fn percentile(times: &mut [Duration], of: f64) -> String {
    if times.is_empty() {
        return "–".to_owned();
    }
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((times.len() - 1) as f64 * of).round() as usize;
    format!("{:.0}", times[at].as_secs_f64() * 1000.0)
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<18} {:>9} {:>6} {:>6} {:>6} {:>7} {:>8} {:>6} {:>7} {:>6}   {:>11} {:>11} {:>11}\n",
        "credential",
        "rotations",
        "again",
        "faults",
        "places",
        "doubled",
        "requests",
        "failed",
        "revoked",
        "healed",
        "before",
        "during",
        "after"
    )
}

/// A line of the table.
pub(crate) fn line(line: &Line, tally: &Tally) -> String {
    tally.note(|counts| {
        let requests: usize = counts.times.values().map(Vec::len).sum::<usize>() + counts.failed.len();
        let faults: u32 = counts.faults.values().sum();
        let mut times = |phase| {
            let times = counts.times.entry(phase).or_default();
            format!("{}/{}", percentile(times, 0.5), percentile(times, 0.99))
        };
        let (before, during, after) = (times(Phase::Before), times(Phase::During), times(Phase::After));
        format!(
            "{:<18} {:>9} {:>6} {:>6} {:>6} {:>7} {:>8} {:>6} {:>7} {:>6}   {before:>11} {during:>11} {after:>11}\n",
            line.name,
            counts.rotations,
            counts.broken_off,
            faults,
            counts.places.len(),
            counts.doubled,
            requests,
            counts.failed.len(),
            line.revoked,
            line.healed,
        )
    })
}
