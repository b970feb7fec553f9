//! The gateway under load: several environments of the request function, each with a client that asks one thing after
//! another, as fast as it is answered. Environments end, and new ones begin.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyturn_tests::environment::Environment;
use keyturn_tests::moto::Moto;
use serde_json::Value;
use tokio::time::Instant;

use crate::lane::{HARD_TTL, Lane};
use crate::stack::{MASTER, chat, event};

/// The least and the most requests that an environment answers before it ends.
const LIFE: std::ops::Range<u32> = 60..200;
/// One of so many requests takes long.
const SLOW: u32 = 15;

/// What clients ask for.
pub(crate) struct Question {
    pub(crate) lane: Arc<Lane>,
    /// The model. `None`: what is rotated is the client's own key, and any model will do.
    pub(crate) model: Option<&'static str>,
}

/// What the clients share.
pub(crate) struct Fleet {
    pub(crate) binary: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) questions: Vec<Question>,
    pub(crate) moto: Arc<Moto>,
    /// A virtual key with limits, whose admissions ask the key table.
    pub(crate) key: String,
    /// The secret that holds another one, which is rotated.
    pub(crate) virtual_key: &'static str,
    pub(crate) stop: AtomicBool,
    pub(crate) cold_starts: AtomicU64,
    /// How long the environments have lived, in milliseconds.
    pub(crate) lived: AtomicU64,
}

/// A secret that a client reads, and keeps for a while as the gateway's cache does.
pub(crate) struct Held {
    name: String,
    value: Option<(Instant, String)>,
}

impl Held {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), value: None }
    }

    /// The value: read anew when half of its life is over.
    pub(crate) async fn value(&mut self, moto: &Moto) -> String {
        if let Some((read, value)) = &self.value
            && read.elapsed() < HARD_TTL / 2
        {
            return value.clone();
        }
        let began = Instant::now();
        let value = moto.read_secret(&self.name).await;
        self.value = Some((began, value.clone()));
        value
    }
}

impl Fleet {
    async fn environment(&self) -> Environment {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.cold_starts.fetch_add(1, Ordering::Relaxed);
        Environment::start(&self.binary, &variables).await
    }

    /// One client.
    pub(crate) async fn ask(&self, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut held = Held::new(self.virtual_key);
        while !self.stop.load(Ordering::Relaxed) {
            let environment = self.environment().await;
            for _ in 0..rng.u32(LIFE) {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let question = &self.questions[rng.usize(0..self.questions.len())];
                let slow = rng.u32(0..SLOW) == 0;
                let stream = rng.bool();
                let (key, model) = match question.model {
                    Some(model) => {
                        let key = if rng.bool() { MASTER } else { &self.key };
                        (key.to_owned(), if slow { format!("{model}-slow") } else { model.to_owned() })
                    }
                    None => (held.value(&self.moto).await, "demo".to_owned()),
                };
                let event = event("/v1/chat/completions", &key, &chat(&model, stream));
                let (phase, began) = (question.lane.phase(), Instant::now());
                let told = answer(&environment, &event).await;
                let time = began.elapsed();
                question.lane.tally.note(|counts| match told {
                    // What takes long by itself says nothing of the gateway.
                    Ok(()) if slow && question.model.is_some() => {
                        counts
                            .times
                            .entry(phase)
                            .or_default()
                            .push(time.saturating_sub(Duration::from_millis(875)));
                    }
                    Ok(()) => counts.times.entry(phase).or_default().push(time),
                    Err(told) => counts.failed.push(told),
                });
            }
            let lived = u64::try_from(environment.age().as_millis()).unwrap_or_default();
            self.lived.fetch_add(lived, Ordering::Relaxed);
            environment.shut_down().await;
        }
    }
}

/// Whether the answer is whole and good; else what it says.
async fn answer(environment: &Environment, event: &Value) -> Result<(), String> {
    let answer = match environment.invoke(event).await {
        Ok(response) => response.collect().await,
        Err(error) => return Err(format!("{error}\n{}", environment.process().output())),
    };
    if answer.status == 200 && answer.error.is_none() {
        return Ok(());
    }
    let output = environment.process().output();
    let lines: Vec<&str> = output.lines().collect();
    let last = lines[lines.len().saturating_sub(6)..].join("\n");
    Err(format!("{} {:?} {}\n{last}", answer.status, answer.error, answer.text()))
}
