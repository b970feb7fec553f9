//! One credential: its secret, the rotation function's environments for it, and what goes wrong there.
//!
//! Secrets Manager calls the steps; between it and the function stands this. Before a step is done as it should be, it
//! is done wrong: with a fault at one of its calls, twice at once, beside a retirement, out of turn. Then it is called
//! until it succeeds, as Secrets Manager does, and now and then once more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyturn_tests::environment::Environment;
use keyturn_tests::faults::{Fault, Faults};
use keyturn_tests::moto::Moto;
use keyturn_tests::response::FunctionError;
use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use crate::options::Options;
use crate::tally::{Phase, Tally};

/// How long a provider's credential is served from the gateway's cache (`KEYTURN_CREDENTIAL_HARD_TTL_SECONDS`).
pub(crate) const HARD_TTL: Duration = Duration::from_secs(2);
/// The longest request, and the longest step: one that takes longer is ended, as the Lambda service does
/// (`KEYTURN_LONGEST_CALL_SECONDS`).
pub(crate) const LONGEST_CALL: Duration = Duration::from_secs(2);
/// How long a former credential goes on working.
pub(crate) const OVERLAP: Duration = HARD_TTL.saturating_add(LONGEST_CALL);

/// Between two tries of what failed: a service that calls again does not do so at once.
const PAUSE: Duration = Duration::from_millis(300);
/// Tries of one step, which fails at most for an overlap.
const TRIES: u32 = 30;

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// Where a secret is, and so who leads its rotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// In Secrets Manager, which leads: its name.
    Led(String),
    /// Elsewhere; a schedule leads: its reference.
    Scheduled(String),
}

/// Which faults an event of one kind has had: each at each of its calls has its turn.
#[derive(Debug)]
struct Plan {
    /// How many calls the function makes when nothing goes wrong.
    calls: u32,
    next: u32,
}

/// Faults that an event of one kind can have.
const KINDS: u32 = Fault::ALL.len() as u32;

impl Plan {
    fn take(&mut self) -> (u32, Fault) {
        let (call, round) = (self.next % self.calls, self.next / self.calls);
        self.next += 1;
        (call, Fault::ALL[((round + call) % KINDS) as usize])
    }
}

/// What kind of event it is.
fn kind_of(event: &Value) -> String {
    event.get("Step").or(event.get("action")).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The field that somebody writes.
const WRITTEN: &str = "WRITTEN_MEANWHILE";

/// One of two environments of the rotation function.
#[derive(Debug, Default)]
struct Slot(Option<Environment>);

pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) secret: Secret,
    pub(crate) tally: Tally,
    binary: PathBuf,
    variables: Vec<(String, String)>,
    faults: Faults,
    slots: [AsyncMutex<Slot>; 2],
    rng: Mutex<fastrand::Rng>,
    plans: Mutex<BTreeMap<String, Plan>>,
    phase: AtomicU8,
    /// Whether every call is printed.
    trace: bool,
    /// How often somebody wrote another field of the secret meanwhile.
    written: AtomicU32,
    /// What the environments that ended wrote.
    output: Mutex<String>,
}

impl Lane {
    pub(crate) fn new(
        name: &'static str,
        secret: Secret,
        binary: PathBuf,
        variables: Vec<(String, String)>,
        faults: Faults,
        options: &Options,
        number: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            secret,
            tally: Tally::default(),
            binary,
            variables,
            faults,
            slots: Default::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(options.seed.wrapping_mul(31).wrapping_add(number))),
            plans: Mutex::default(),
            phase: AtomicU8::new(0),
            trace: options.trace,
            written: AtomicU32::new(0),
            output: Mutex::default(),
        })
    }

    /// The phase that a request falls into now.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Before,
            1 => Phase::During,
            _ => Phase::After,
        }
    }

    fn random(&self, range: std::ops::Range<u32>) -> u32 {
        self.rng.lock().unwrap().u32(range)
    }

    /// The next fault for an event.
    fn next_fault(&self, event: &Value) -> (u32, Fault) {
        let first = self.random(0..1000);
        let mut plans = self.plans.lock().unwrap();
        plans.entry(kind_of(event)).or_insert(Plan { calls: 5, next: first }).take()
    }

    /// Notes how many calls an event makes.
    fn learn(&self, event: &Value, calls: u32) {
        if let Some(plan) = self.plans.lock().unwrap().get_mut(&kind_of(event)) {
            plan.calls = plan.calls.max(calls);
        }
    }

    /// Calls the function in one of its environments. One that is ended by a fault, or by its time, is gone.
    async fn call(&self, slot: usize, event: &Value) -> Result<Value, FunctionError> {
        let mut slot = self.slots[slot].lock().await;
        if slot.0.is_none() {
            let variables: Vec<(&str, &str)> =
                self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            slot.0 = Some(Environment::start(&self.binary, &variables).await);
        }
        let Some(environment) = &slot.0 else { unreachable!("just started") };
        let fatal = self.faults.fatal();
        let gone =
            |kind: &str, message: &str| FunctionError { kind: kind.to_owned(), message: message.to_owned() };
        let result = tokio::select! {
            answer = environment.run(event) => answer,
            () = fatal => Err(gone("Runtime.ExitError", "the process has ended")),
            () = tokio::time::sleep(LONGEST_CALL) => Err(gone("Sandbox.Timedout", "the time is over")),
        };
        if self.trace {
            println!("{} {event}: {result:?}", self.name);
        }
        if let Err(error) = &result {
            let text = format!("{event}: {error}");
            let told = error.to_string().split(": ").nth(3).unwrap_or("ended").to_owned();
            self.tally.note(|counts| *counts.refusals.entry(told).or_default() += 1);
            let ended = matches!(error.kind.as_str(), "Runtime.ExitError" | "Sandbox.Timedout");
            let gone = if ended { slot.0.take() } else { None };
            let mut output = self.output.lock().unwrap();
            output.push_str(&text);
            output.push('\n');
            if let Some(environment) = gone {
                output.push_str(&environment.process().output());
            }
        }
        result
    }

    /// The same with a fault at one of the calls that the function makes.
    async fn call_badly(&self, event: &Value, work: impl Future<Output = Result<Value, FunctionError>>) {
        let (at, fault) = self.next_fault(event);
        self.faults.arm(at, fault);
        // What becomes of it is seen when the step is called again.
        let _ = work.await;
        if let Some(place) = self.faults.disarm() {
            self.tally.note(|counts| {
                *counts.faults.entry(fault).or_default() += 1;
                counts.places.insert((place, fault));
            });
        }
    }

    /// Calls until it succeeds.
    async fn insist(&self, event: &Value) -> Result<Value, FunctionError> {
        self.faults.count();
        let mut result = self.call(0, event).await;
        if result.is_ok() {
            self.learn(event, self.faults.count());
        }
        for _ in 0..TRIES {
            if result.is_ok() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            result = self.call(0, event).await;
        }
        result
    }

    /// What takes back former credentials.
    pub(crate) fn retirement(&self) -> Value {
        let secret = match &self.secret {
            Secret::Led(name) => format!("aws-secretsmanager:{name}"),
            Secret::Scheduled(reference) => reference.split('#').next().unwrap_or_default().to_owned(),
        };
        json!({"action": "retire", "secret": secret})
    }

    /// What goes wrong with an event before it is done.
    async fn disturb(&self, event: &Value) {
        let most = if event.get("Step").is_some() { 3 } else { 8 };
        for _ in 0..self.random(0..most) {
            match self.random(0..10) {
                0..=5 => self.call_badly(event, self.call(0, event)).await,
                6 => {
                    self.tally.note(|counts| counts.doubled += 1);
                    let both = async { tokio::join!(self.call(0, event), self.call(1, event)).0 };
                    self.call_badly(event, both).await;
                }
                7 => {
                    // Without a fault: both go through to their ends.
                    self.tally.note(|counts| counts.doubled += 1);
                    let _ = tokio::join!(self.call(0, event), self.call(1, event));
                }
                8 => {
                    self.tally.note(|counts| counts.doubled += 1);
                    let retirement = self.retirement();
                    let both = async { tokio::join!(self.call(0, event), self.call(1, &retirement)).0 };
                    self.call_badly(event, both).await;
                }
                _ => {
                    // A step that came late, from an earlier try, or too early.
                    self.tally.note(|counts| counts.doubled += 1);
                    let mut other = event.clone();
                    if event.get("Step").is_some() {
                        other["Step"] = STEPS[self.random(0..4) as usize].into();
                    }
                    let _ = tokio::join!(self.call(0, event), self.call(1, &other));
                }
            }
        }
    }

    /// Somebody writes another field of the secret: what a rotation that is under way must not undo.
    async fn write_beside(&self, moto: &Moto) {
        let Secret::Led(name) = &self.secret else { return };
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&moto.read_secret(name).await) else {
            return;
        };
        let number = self.written.fetch_add(1, Ordering::Relaxed) + 1;
        fields.insert(WRITTEN.to_owned(), number.into());
        moto.put_secret(name, &Value::Object(fields).to_string(), &["AWSCURRENT"]).await;
    }

    /// Asserts that what was written meanwhile is there.
    pub(crate) async fn must_have_what_was_written(&self, moto: &Moto) {
        let written = self.written.load(Ordering::Relaxed);
        if let Secret::Led(name) = &self.secret
            && written > 0
        {
            let secret: Value = serde_json::from_str(&moto.read_secret(name).await).unwrap();
            assert_eq!(secret[WRITTEN], written, "{name}: a rotation undid what somebody wrote");
        }
    }

    /// A step that Secrets Manager calls.
    pub(crate) async fn lead(&self, event: Value, moto: &Moto) -> Result<Value, FunctionError> {
        self.disturb(&event).await;
        if event["Step"] == "finishSecret" && self.random(0..3) == 0 {
            self.write_beside(moto).await;
            self.disturb(&event).await;
        }
        let answer = self.insist(&event).await?;
        if self.random(0..4) == 0 {
            self.tally.note(|counts| counts.doubled += 1);
            self.insist(&event).await?;
        }
        Ok(answer)
    }

    /// One rotation, however often it has to be begun.
    pub(crate) async fn rotate(&self, moto: &Moto) {
        self.phase.store(1, Ordering::Relaxed);
        for tries in 1.. {
            let told = match &self.secret {
                Secret::Led(name) => {
                    let answer = moto.rotate(name, true).await;
                    (answer.status != 200).then(|| answer.text())
                }
                Secret::Scheduled(reference) => {
                    let event = json!({"action": "rotate", "secret": reference});
                    self.disturb(&event).await;
                    self.insist(&event).await.err().map(|error| error.to_string())
                }
            };
            let Some(told) = told else { break };
            // What Secrets Manager says when it goes on with a rotation that broke off: that one is over now.
            if told.contains("A previous rotation isn't complete") {
                break;
            }
            self.tally.note(|counts| counts.broken_off += 1);
            assert!(tries < 8, "{}: no rotation comes to its end: {told}\n{}", self.name, self.told());
        }
        self.tally.note(|counts| counts.rotations += 1);
        self.phase.store(2, Ordering::Relaxed);
    }

    /// Lets an overlap pass, with retirements in it that go wrong.
    pub(crate) async fn rest(&self) {
        let retirement = self.retirement();
        let pause = OVERLAP / 5;
        for _ in 0..5 {
            if self.random(0..2) == 0 {
                self.call_badly(&retirement, self.call(0, &retirement)).await;
            } else {
                let _ = self.call(0, &retirement).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes back what is left, without faults.
    pub(crate) async fn settle(&self) {
        let retirement = self.retirement();
        for _ in 0..2 {
            let answer = self.insist(&retirement).await;
            assert!(answer.is_ok(), "{}: {answer:?}\n{}", self.name, self.told());
        }
    }

    /// What the environments wrote, the last of it.
    pub(crate) fn told(&self) -> String {
        let output = self.output.lock().unwrap();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}
