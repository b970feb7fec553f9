//! What scenarios work with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyturn_ambient::{Clock, ManualClock, SystemClock};
use keyturn_config::StoredKeys;
use keyturn_kept::KeptSecrets;
use keyturn_keys::manage::{
    Caller, Created, KeptKeys, KeptName, KeptPage, KeyFields, KeyRef, ManagerOptions, NewKey,
};
use keyturn_keys::store::StoreFailure;
use keyturn_keys::{DynamoKeyStore, KeyHash, KeyStore, ManageError, Manager};
use keyturn_secrets::{SecretError, Stage, StagedStore};
use keyturn_tests::dynamo::Dynamo;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

/// A secret manager under test.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn StagedStore>,
    /// What the names of secrets begin with, with a slash.
    pub(crate) prefix: String,
    /// Turns an outage on and off.
    pub(crate) outage: Box<dyn Fn(bool) + Send + Sync>,
    /// What must stay on.
    pub(crate) _servers: Box<dyn std::any::Any + Send + Sync>,
}

/// A manager of keys that are in an embedded DynamoDB, and whose values are in a secret manager.
pub(crate) struct Bench {
    pub(crate) place: Place,
    pub(crate) kept: Arc<KeptSecrets>,
    pub(crate) manager: Manager,
    pub(crate) clock: Arc<ManualClock>,
    keys: Arc<dyn KeyStore>,
    _dynamo: Dynamo,
}

impl Bench {
    pub(crate) async fn on(place: Place) -> Self {
        let dynamo = Dynamo::start().await;
        let env = environment(&[("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.url())]);
        let sdk = keyturn_http::aws::sdk_config(&env, &keyturn_http::client().unwrap(), "DYNAMODB");
        let keys = DynamoKeyStore::new(aws_sdk_dynamodb::Client::new(&sdk), "keys".to_owned());
        keys.create_table().await.unwrap();
        let keys: Arc<dyn KeyStore> = Arc::new(keys);
        let kept =
            Arc::new(KeptSecrets::new(Arc::clone(&place.store), &settings(&place.prefix), "dynamodb:keys"));
        // The managers have clocks of their own.
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let manager = manager(&keys, &clock, kept.clone());
        Self { place, kept, manager, clock, keys, _dynamo: dynamo }
    }

    /// The same keys, of whose secrets the next one is written and then the process dies.
    pub(crate) fn dying(&self) -> (Manager, Arc<Notify>) {
        let died = Arc::new(Notify::new());
        let kept = Dying { kept: self.kept.clone(), died: Mutex::new(Some(died.clone())) };
        (manager(&self.keys, &self.clock, Arc::new(kept)), died)
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn generate(&self, fields: KeyFields) -> Created {
        self.manager.generate(&admin(), NewKey { key: None, fields }).await.unwrap()
    }

    /// The names of the secrets of this gateway.
    pub(crate) async fn names(&self) -> Vec<String> {
        let (mut names, mut from) = (Vec::new(), None);
        loop {
            let page = self.kept.list(from.as_deref()).await.unwrap();
            names.extend(page.names.into_iter().map(|(name, _)| name.name));
            from = page.next;
            if from.is_none() {
                names.sort();
                return names;
            }
        }
    }

    /// A secret's current value, read past the code under test; `None` when there is no such secret.
    pub(crate) async fn value(&self, name: &str) -> Option<String> {
        let known = match self.place.store.describe(name).await {
            Err(SecretError::NotFound { .. }) => return None,
            other => other.unwrap(),
        };
        let version = known.at(&Stage::Current).unwrap();
        Some(self.place.store.version(name, version).await.unwrap().value.expose().to_owned())
    }

    /// Where the value of a key is.
    pub(crate) fn name(&self, id: &KeyHash, alias: Option<&str>) -> String {
        self.kept.name(id, alias).name
    }

    /// Tidies up all pages; how many secrets were removed.
    pub(crate) async fn tidy(&self) -> usize {
        let (mut removed, mut from) = (0, None);
        loop {
            let (some, next) = self.manager.tidy_kept(from.as_deref()).await.unwrap();
            removed += some;
            from = next;
            if from.is_none() {
                return removed;
            }
        }
    }
}

/// The settings that keys are stored with.
pub(crate) fn settings(prefix: &str) -> StoredKeys {
    StoredKeys {
        scheme: "of no importance here",
        prefix: prefix.to_owned(),
        description: Some("a virtual key".to_owned()),
        tags: BTreeMap::from([("Team".to_owned(), "llm".to_owned())]),
        kms_key_id: None,
        replica_regions: Vec::new(),
    }
}

fn manager(keys: &Arc<dyn KeyStore>, clock: &Arc<ManualClock>, kept: Arc<dyn KeptKeys>) -> Manager {
    let derivation = Some(SecretString::from("sk-master"));
    let options = ManagerOptions { kept: Some(kept), derivation, ..ManagerOptions::default() };
    Manager::new(keys.clone(), clock.clone(), options)
}

pub(crate) fn environment(variables: &[(&str, &str)]) -> HashMap<String, String> {
    let usual =
        [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let all = usual.iter().chain(variables);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// May do everything.
pub(crate) fn admin() -> Caller {
    Caller::admin(None)
}

pub(crate) fn named(alias: &str) -> KeyFields {
    KeyFields { key_alias: alias.to_owned().into(), ..KeyFields::default() }
}

pub(crate) fn by_id(key: &Created) -> KeyRef {
    KeyRef::Hash(key.info.value.id)
}

pub(crate) fn text(value: &SecretString) -> String {
    value.expose_secret().to_owned()
}

/// An error with its causes.
pub(crate) fn told(error: &ManageError) -> String {
    StoreFailure::from_error(error).to_string()
}

/// Writes once, says so and never comes back.
struct Dying {
    kept: Arc<KeptSecrets>,
    died: Mutex<Option<Arc<Notify>>>,
}

#[async_trait]
impl KeptKeys for Dying {
    fn name(&self, id: &KeyHash, alias: Option<&str>) -> KeptName {
        self.kept.name(id, alias)
    }

    async fn write(&self, name: &KeptName, value: &SecretString) -> Result<(), StoreFailure> {
        self.kept.write(name, value).await?;
        let died = self.died.lock().unwrap().take();
        if let Some(died) = died {
            died.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn read(&self, name: &KeptName) -> Result<Option<SecretString>, StoreFailure> {
        self.kept.read(name).await
    }

    async fn remove(&self, name: &KeptName) -> Result<(), StoreFailure> {
        self.kept.remove(name).await
    }

    async fn list(&self, from: Option<&str>) -> Result<KeptPage, StoreFailure> {
        self.kept.list(from).await
    }
}
