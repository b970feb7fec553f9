//! What scenarios work with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::{Clock, ManualClock};
use keyturn_keys::manage::{
    Caller, Created, KeptKeys, KeptName, KeptPage, KeyFields, KeyRef, ManagerOptions, NewKey,
};
use keyturn_keys::store::StoreFailure;
use keyturn_keys::{Ask, KeyError, KeyHash, KeyStore, Keys, KeysOptions, ManageError, Manager, Spent};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use crate::crossing::Crossing;

/// A store, and a clock that stands still.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Bench {
    pub(crate) fn on(store: Arc<dyn KeyStore>) -> Self {
        let clock = Arc::new(ManualClock::at("2026-11-20T12:00:00Z".parse().unwrap()));
        Self { store, clock }
    }

    pub(crate) fn manager(&self) -> Manager {
        self.manager_with(ManagerOptions::default())
    }

    pub(crate) fn manager_with(&self, options: ManagerOptions) -> Manager {
        Manager::new(self.store.clone(), self.clock.clone(), options)
    }

    /// A manager whose first edits and first charges meet: none is made before so many are about to be.
    pub(crate) fn crossing(&self, edits: usize, charges: usize, options: ManagerOptions) -> Manager {
        Manager::new(Crossing::of(&self.store, edits, charges), self.clock.clone(), options)
    }

    /// A manager that keeps values too.
    pub(crate) fn keeping(&self, drawer: &Arc<Drawer>) -> Manager {
        let kept: Arc<dyn KeptKeys> = drawer.clone();
        let derivation = Some(SecretString::from("sk-master"));
        self.manager_with(ManagerOptions { kept: Some(kept), derivation, ..ManagerOptions::default() })
    }

    /// The request path, which asks the store every time.
    fn keys(&self) -> Keys {
        let options =
            KeysOptions { cache_life: Duration::ZERO, usage_every: Some(Duration::ZERO), seed: None };
        Keys::new(self.store.clone(), self.clock.clone(), options)
    }

    /// Whether a value opens a key that may be used.
    pub(crate) async fn opens(&self, value: &SecretString) -> bool {
        match self.keys().authenticate(&KeyHash::of(value)).await {
            Ok(_) => true,
            Err(KeyError::NotFound | KeyError::Expired { .. } | KeyError::Blocked) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// A request that costs so many US dollars.
    pub(crate) async fn request(&self, value: &SecretString, cost: f64) -> Result<(), KeyError> {
        let keys = self.keys();
        let ask = Ask { route: "/v1/chat/completions", model: "gpt", tokens: 1, cost };
        let admission = keys.admit(&KeyHash::of(value), &ask).await?;
        let spent = Spent { cost, model: "gpt".to_owned(), ..Spent::default() };
        keys.settle(admission, &spent).await.unwrap();
        Ok(())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// May do everything.
pub(crate) fn admin() -> Caller {
    Caller::admin(Some("admin".to_owned()))
}

pub(crate) async fn generate(manager: &Manager, fields: KeyFields) -> Created {
    manager.generate(&admin(), NewKey { key: None, fields }).await.unwrap()
}

pub(crate) fn by_value(value: &SecretString) -> KeyRef {
    KeyRef::Value(value.clone())
}

pub(crate) fn alias(name: &str) -> KeyRef {
    KeyRef::Alias(name.to_owned())
}

pub(crate) fn named(name: &str) -> KeyFields {
    KeyFields { key_alias: name.to_owned().into(), ..KeyFields::default() }
}

/// The error in short: its kind, and the field or thing it names.
pub(crate) fn refusal<T>(result: Result<T, ManageError>) -> (&'static str, &'static str) {
    match result.map(drop) {
        Ok(()) => ("no error", ""),
        Err(ManageError::Invalid { field, .. }) => ("invalid", field),
        Err(ManageError::Duplicate { field }) => ("duplicate", field),
        Err(ManageError::NotFound { what }) => ("not found", what),
        Err(ManageError::Denied { field }) => ("denied", field),
        Err(ManageError::Conflict) => ("conflict", ""),
        Err(ManageError::Unavailable(failure)) => panic!("{failure}"),
        Err(ManageError::KeptUnavailable(_)) => ("kept", ""),
    }
}

/// A secret store in memory that fails or stops when it is told to.
pub(crate) struct Drawer {
    inside: Mutex<Vec<(KeptName, String, Timestamp)>>,
    /// The next write fails, without having been made.
    pub(crate) fails: Mutex<bool>,
    /// The next write is made, says so here and never ends.
    pub(crate) stops: Mutex<Option<Arc<Notify>>>,
    /// What the next reader is told, whatever is there.
    pub(crate) reads: Mutex<Option<Option<SecretString>>>,
    /// Whether it tells when values were written.
    pub(crate) knows_when: Mutex<bool>,
}

impl Default for Drawer {
    fn default() -> Self {
        Self {
            inside: Mutex::default(),
            fails: Mutex::default(),
            stops: Mutex::default(),
            reads: Mutex::default(),
            knows_when: Mutex::new(true),
        }
    }
}

impl Drawer {
    /// The values under names.
    pub(crate) fn inside(&self) -> Vec<(KeptName, String)> {
        self.inside.lock().unwrap().iter().map(|(name, value, _)| (name.clone(), value.clone())).collect()
    }

    /// The one value in it.
    pub(crate) fn value(&self) -> SecretString {
        match self.inside().as_slice() {
            [(_, value)] => SecretString::from(value.as_str()),
            other => panic!("{} values", other.len()),
        }
    }

    fn put(&self, name: &KeptName, value: &str) {
        let mut inside = self.inside.lock().unwrap();
        inside.retain(|(other, ..)| other != name);
        inside.push((name.clone(), value.to_owned(), "2026-11-20T12:00:00Z".parse().unwrap()));
    }
}

/// The name that a value has in the drawer, which knows no capitals.
pub(crate) fn label(id: &KeyHash, alias: Option<&str>) -> KeptName {
    KeptName { id: *id, name: format!("{}/{id}", alias.unwrap_or("-").to_lowercase()) }
}

#[async_trait]
impl KeptKeys for Drawer {
    fn name(&self, id: &KeyHash, alias: Option<&str>) -> KeptName {
        label(id, alias)
    }

    async fn write(&self, name: &KeptName, value: &SecretString) -> Result<(), StoreFailure> {
        if std::mem::take(&mut *self.fails.lock().unwrap()) {
            return Err(StoreFailure::new("the drawer is stuck"));
        }
        self.put(name, value.expose_secret());
        let stops = self.stops.lock().unwrap().take();
        if let Some(stopped) = stops {
            stopped.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn read(&self, name: &KeptName) -> Result<Option<SecretString>, StoreFailure> {
        if let Some(stale) = self.reads.lock().unwrap().take() {
            return Ok(stale);
        }
        let found = self.inside().into_iter().find(|(other, _)| other == name);
        Ok(found.map(|(_, value)| SecretString::from(value)))
    }

    async fn remove(&self, name: &KeptName) -> Result<(), StoreFailure> {
        self.inside.lock().unwrap().retain(|(other, ..)| other != name);
        Ok(())
    }

    async fn list(&self, _: Option<&str>) -> Result<KeptPage, StoreFailure> {
        let (inside, knows_when) = (self.inside.lock().unwrap(), *self.knows_when.lock().unwrap());
        let names =
            inside.iter().map(|(name, _, written)| (name.clone(), knows_when.then_some(*written))).collect();
        Ok(KeptPage { names, next: None })
    }
}
