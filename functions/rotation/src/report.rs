//! What is logged: a line for every step, every credential that was taken back or not, every failure. Identifiers
//! only, never a value.

use std::sync::Arc;

use keyturn_ambient::{Clock, with_causes};
use keyturn_entry::Metric;
use keyturn_entry::log::{Level, Log};
use keyturn_keys::manage::Rotated;
use keyturn_rotation::engine::Status;
use keyturn_rotation::{Diagnostic, Outcome, Retired, Rotation, Step};
use keyturn_secrets::VersionId;
use serde::Serialize;

const ROTATION_FAILED: Metric = Metric::count("RotationFailed", &["secret"]);
const RETIREMENT_FAILED: Metric = Metric::count("RetirementFailed", &["secret"]);
const RETIREMENT_REFUSED: Metric = Metric::count("RetirementRefused", &["secret"]);
const AGE: Metric = Metric { name: "CredentialAgeDays", unit: "None", by: &["secret"] };

/// Writes the log.
pub(crate) struct Report {
    pub(crate) log: Log,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct StepLine<'a> {
    secret: &'a str,
    step: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    did: &'static str,
}

#[derive(Serialize)]
struct RetiredLine<'a> {
    secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    became: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    error: String,
    next: &'a str,
}

impl Report {
    fn write<F: Serialize>(&self, level: Level, message: &'static str, fields: &F) {
        self.log.write(level, self.clock.now(), message, fields);
    }

    /// A step of Secrets Manager's.
    pub(crate) fn step(&self, step: Step, rotation: &Rotation<'_>, result: &Result<Outcome, Diagnostic>) {
        match result {
            Ok(outcome) => {
                let secret = format!("{}:{}", rotation.store.scheme(), rotation.name);
                self.outcome(step, &secret, Some(&rotation.token), outcome);
            }
            Err(diagnostic) => self.failure(diagnostic),
        }
    }

    /// A step that did its work.
    pub(crate) fn outcome(&self, step: Step, secret: &str, version: Option<&VersionId>, outcome: &Outcome) {
        let line = StepLine {
            secret,
            step: step.to_string(),
            field: outcome.field.as_deref(),
            version: version.map(VersionId::as_str),
            did: outcome.did,
        };
        self.write(Level::Info, "rotation step", &line);
        self.retired(secret, &outcome.retired);
    }

    /// What was taken back, and what was not.
    pub(crate) fn retired(&self, secret: &str, all: &[Retired]) {
        for one in all {
            let message = "former credential";
            let line = |credential, became, error| RetiredLine { secret, credential, became, error };
            match one {
                Retired::Disabled { id } => {
                    self.write(Level::Info, message, &line(Some(id), "disabled", None));
                }
                Retired::Deleted { id } => self.write(Level::Info, message, &line(Some(id), "deleted", None)),
                Retired::StillUsed { id } => {
                    let line = line(Some(id), "still used, and kept", None);
                    self.log.measure(Level::Warn, self.clock.now(), message, &line, RETIREMENT_REFUSED, 1);
                }
                Retired::Failed { id, error } => {
                    let line = line(id.as_deref(), "not taken back", Some(with_causes(error)));
                    self.log.measure(Level::Error, self.clock.now(), message, &line, RETIREMENT_FAILED, 1);
                }
            }
        }
    }

    /// A rotation that failed.
    pub(crate) fn failure(&self, diagnostic: &Diagnostic) {
        let line = FailureLine {
            secret: &diagnostic.secret,
            step: diagnostic.step.map(|step| step.to_string()),
            field: diagnostic.field.as_deref(),
            error: diagnostic.reason(),
            next: &diagnostic.next,
        };
        self.log.measure(Level::Error, self.clock.now(), "rotation failed", &line, ROTATION_FAILED, 1);
    }

    /// How old a secret's oldest credential is. One that was never replaced counts where something replaces it: not in
    /// a secret whose store could rotate it and does not.
    pub(crate) fn age(&self, secret: &str, status: &Status) {
        #[derive(Serialize)]
        struct AgeLine<'a> {
            secret: &'a str,
        }
        let now = self.clock.now();
        let description = &status.description;
        let known = description.last_rotated.or(description.current_since);
        let known = known.filter(|_| description.rotation_enabled != Some(false));
        let oldest = status.targets.iter().filter_map(|target| target.replaced_at.or(known)).min();
        if let Some(oldest) = oldest {
            let days = now.duration_since(oldest).as_secs_f64() / 86_400.0;
            self.log.measure(Level::Info, now, "credential age", &AgeLine { secret }, AGE, days);
        }
    }

    /// A run over the virtual keys.
    pub(crate) fn keys(&self, rotated: &Rotated) {
        #[derive(Serialize)]
        struct KeyLine {
            key: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<String>,
        }
        for key in &rotated.done {
            self.write(Level::Info, "virtual key rotated", &KeyLine { key: key.to_string(), error: None });
        }
        for (key, error) in &rotated.failed {
            let error = Some(with_causes(error));
            self.write(Level::Error, "virtual key not rotated", &KeyLine { key: key.to_string(), error });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;
    use keyturn_ambient::ManualClock;
    use keyturn_rotation::engine::TargetStatus;
    use keyturn_secrets::Description;
    use serde_json::Value;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY).unwrap()
    }

    fn status(rotation_enabled: Option<bool>, replaced: &[Option<i64>]) -> Status {
        let target = |replaced: &Option<i64>| TargetStatus {
            field: None,
            rotator: "random".to_owned(),
            replaced_at: replaced.map(at),
            retires_at: None,
        };
        Status {
            description: Description {
                rotation_enabled,
                current_since: Some(at(10)),
                ..Description::default()
            },
            targets: replaced.iter().map(target).collect(),
        }
    }

    #[test]
    fn the_age_is_that_of_what_is_rotated() {
        static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let sink = |line: &[u8]| LINES.lock().unwrap().extend_from_slice(line);
        let report =
            Report { log: Log { level: Level::Info, sink }, clock: Arc::new(ManualClock::at(at(100))) };
        for (status, expected) in [
            (status(Some(true), &[None]), Some(90.0)),
            (status(Some(true), &[Some(70), Some(60)]), Some(40.0)),
            (status(Some(true), &[]), None),
            // A schedule of its own rotates it, or nothing does: its store does not know.
            (status(None, &[None]), Some(90.0)),
            // Nobody rotates it; or somebody did, by hand or by a schedule of its own.
            (status(Some(false), &[None]), None),
            (status(Some(false), &[None, Some(70)]), Some(30.0)),
        ] {
            report.age("aws-secretsmanager:a", &status);
            let line = std::mem::take(&mut *LINES.lock().unwrap());
            let line: Value = serde_json::from_slice(&line).unwrap_or_default();
            assert_eq!(line["CredentialAgeDays"].as_f64(), expected, "{status:?}");
        }
    }
}
