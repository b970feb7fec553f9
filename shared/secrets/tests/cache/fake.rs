//! A store in memory that counts its reads, fails on demand and can be held up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use keyturn_ambient::Life;
use keyturn_secrets::{Secret, SecretError, SecretStore, Stage, VersionId};
use tokio::sync::watch;

/// The store. A read sees what is there when it begins, and answers when the gate is open.
pub(crate) struct Fake {
    always_fresh: bool,
    /// Its own soft TTL.
    soft_ttl: Option<Duration>,
    state: Mutex<State>,
    open: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    secrets: HashMap<(String, String), Secret>,
    failing: Option<fn(String) -> SecretError>,
    panicking: bool,
    reads: Vec<String>,
    batches: Vec<Vec<String>>,
}

impl Fake {
    pub(crate) fn new(always_fresh: bool) -> Self {
        Self { always_fresh, soft_ttl: None, state: Mutex::default(), open: watch::channel(true).0 }
    }

    /// One with a soft TTL of its own.
    pub(crate) fn with_soft_ttl(soft_ttl: Duration) -> Self {
        Self { soft_ttl: Some(soft_ttl), ..Self::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Gives the secret a new current version; the one before becomes the previous.
    pub(crate) fn rotate(&self, name: &str, value: &str, version: &str) {
        let mut state = self.state();
        let secret = Secret::new(value.to_owned(), VersionId::new(version));
        let key = |stage: Stage| (name.to_owned(), stage.label().to_owned());
        if let Some(before) = state.secrets.insert(key(Stage::Current), secret) {
            state.secrets.insert(key(Stage::Previous), before);
        }
    }

    /// Gives the secret a value that ends by itself.
    pub(crate) fn grant(&self, name: &str, value: &str, version: &str, life: Life) {
        let secret = Secret { life: Some(life), ..Secret::new(value.to_owned(), VersionId::new(version)) };
        self.state().secrets.insert((name.to_owned(), Stage::Current.label().to_owned()), secret);
    }

    /// Makes every read that begins from now on fail.
    pub(crate) fn fail(&self, failing: Option<fn(String) -> SecretError>) {
        self.state().failing = failing;
    }

    pub(crate) fn panic(&self, panicking: bool) {
        self.state().panicking = panicking;
    }

    /// Holds reads up, or lets them go.
    pub(crate) fn gate(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// How many secrets were read.
    pub(crate) fn reads(&self) -> usize {
        self.state().reads.len()
    }

    /// The names of each batch.
    pub(crate) fn batches(&self) -> Vec<Vec<String>> {
        self.state().batches.clone()
    }

    /// The answer as of now.
    fn begin(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let mut state = self.state();
        state.reads.push(name.to_owned());
        if let Some(failing) = state.failing {
            return Err(failing(format!("fake:{name}")));
        }
        let key = (name.to_owned(), stage.label().to_owned());
        let secret = state.secrets.get(&key).cloned();
        secret.ok_or_else(|| SecretError::not_found(format!("fake:{name}"), "no such secret"))
    }

    async fn end(&self) {
        let panicking = self.state().panicking;
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        assert!(!panicking, "the fake store panics");
    }
}

#[async_trait]
impl SecretStore for Fake {
    fn scheme(&self) -> &'static str {
        "fake"
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let answer = self.begin(name, stage);
        self.end().await;
        answer
    }

    fn has_batches(&self) -> bool {
        true
    }

    async fn get_many(&self, names: &[&str]) -> Vec<Result<Secret, SecretError>> {
        self.state().batches.push(names.iter().map(|&name| name.to_owned()).collect());
        let answers = names.iter().map(|name| self.begin(name, &Stage::Current)).collect();
        self.end().await;
        answers
    }

    fn always_fresh(&self) -> bool {
        self.always_fresh
    }

    fn soft_ttl(&self) -> Option<Duration> {
        self.soft_ttl
    }
}
