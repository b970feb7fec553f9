//! The engine with the models around it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::{Clock, Env};
use keyturn_rotation::settings::{Settings, SettingsError};
use keyturn_rotation::{Diagnostic, Engine, EngineOptions, Outcome, Rotation, Rotator, Step, Tools};
use keyturn_secrets::{CacheSettings, CredentialCache, Stores, VersionId};

use crate::cuts::Cuts;
use crate::provider::{Keys, Provider};
use crate::store::{NAME, Store};

pub(crate) const OVERLAP: SignedDuration = SignedDuration::from_mins(75);

/// A clock that stands still until it is moved.
pub(crate) struct TestClock(Mutex<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) cuts: Arc<Cuts>,
    pub(crate) store: Arc<Store>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) engine: Engine,
}

impl World {
    /// A secret with a key that a person made, at a provider that has at most `most` keys.
    pub(crate) fn new(seed: u64, most: usize) -> Self {
        let world = Self::with_tags(seed, most, &[("keyturn:rotator", "keys")]);
        let first = world.provider.issue("by hand");
        world.store.put(&first);
        world.pass(OVERLAP);
        world
    }

    /// The same with a secret that has fields.
    pub(crate) fn with_fields(seed: u64) -> Self {
        let world = Self::with_tags(seed, 9, &[("keyturn:rotator", "keys"), ("keyturn:field", "KEY")]);
        let first = world.provider.issue("by hand");
        world.store.put(&serde_json::json!({"KEY": first, "OTHER": "one"}).to_string());
        world.pass(OVERLAP);
        world
    }

    pub(crate) fn with_tags(seed: u64, most: usize, tags: &[(&str, &str)]) -> Self {
        let clock = Arc::new(TestClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
        let cuts = Arc::new(Cuts::new(seed));
        let store = Arc::new(Store::new(Arc::clone(&clock), Arc::clone(&cuts), tags));
        let provider =
            Arc::new(Provider::new(Arc::clone(&clock), Arc::clone(&cuts), Arc::clone(&store), most, OVERLAP));
        let env: Arc<dyn Env> = Arc::new(HashMap::new());
        let secrets = CredentialCache::new(
            Stores::none(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            CacheSettings::default(),
        );
        let tools = Tools {
            env,
            http: reqwest_client(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            secrets,
            keys: None,
        };
        let issuer = Arc::clone(&provider);
        let rotators = move |name: &str, _: Settings, _: &Tools| -> Result<Box<dyn Rotator>, SettingsError> {
            match name {
                "keys" => Ok(Box::new(Keys(Arc::clone(&issuer)))),
                _ => Err(SettingsError::new("keyturn:rotator", "is unknown")),
            }
        };
        let options = EngineOptions { overlap: OVERLAP, ..EngineOptions::default() };
        let engine = Engine::new(tools, Arc::new(rotators), None, options);
        Self { clock, cuts, store, provider, engine }
    }

    pub(crate) fn pass(&self, span: SignedDuration) {
        *self.clock.0.lock().unwrap() += span;
    }

    pub(crate) fn rotation(&self, token: &VersionId) -> Rotation<'_> {
        let authority = None;
        Rotation { store: &*self.store, name: NAME, field: None, token: token.clone(), authority, led: true }
    }

    pub(crate) async fn step(&self, step: Step, token: &VersionId) -> Result<Outcome, Diagnostic> {
        self.engine.step(step, &self.rotation(token)).await
    }

    /// A whole rotation without a fault.
    pub(crate) async fn rotate(&self) -> VersionId {
        let token = self.store.rotate();
        for step in Step::ALL {
            self.step(step, &token).await.unwrap();
        }
        token
    }

    /// Lets the overlap pass and takes back what is to be taken back, until nothing is left to do.
    pub(crate) async fn settle(&self) {
        for _ in 0..4 {
            self.pass(OVERLAP + SignedDuration::from_mins(16));
            self.engine.retire(&*self.store, NAME).await.unwrap();
        }
    }
}

fn reqwest_client() -> reqwest::Client {
    keyturn_http::client().unwrap()
}
