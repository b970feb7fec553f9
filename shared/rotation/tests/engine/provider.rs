//! A provider in memory: several keys at a time, revocation that takes effect at once, and the rotator for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::Clock;
use keyturn_rotation::{Ask, Created, Credential, Issued, RotationError, Rotator};
use secrecy::ExposeSecret;

use crate::cuts::Cuts;
use crate::store::Store;
use crate::world::TestClock;

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) created: Timestamp,
    pub(crate) used: Option<Timestamp>,
    pub(crate) disabled: bool,
}

pub(crate) struct Provider {
    pub(crate) keys: Mutex<Vec<Key>>,
    /// Keys at most; beyond it, `create` is refused.
    pub(crate) most: usize,
    /// How many calls of `test` are still refused, as if the key were not known everywhere.
    pub(crate) slow: Mutex<u32>,
    /// Whether it has two slots, which take turns: then nothing is listed or taken back.
    pub(crate) two_slots: AtomicBool,
    /// What `create` and `delete` fail with, once.
    pub(crate) fault: Mutex<Option<RotationError>>,
    count: Mutex<u32>,
    clock: Arc<TestClock>,
    cuts: Arc<Cuts>,
    store: Arc<Store>,
    overlap: SignedDuration,
}

impl Provider {
    pub(crate) fn new(
        clock: Arc<TestClock>,
        cuts: Arc<Cuts>,
        store: Arc<Store>,
        most: usize,
        overlap: SignedDuration,
    ) -> Self {
        Self {
            keys: Mutex::default(),
            most,
            slow: Mutex::new(0),
            two_slots: AtomicBool::new(false),
            fault: Mutex::new(None),
            count: Mutex::new(0),
            clock,
            cuts,
            store,
            overlap,
        }
    }

    /// Makes a key by hand.
    pub(crate) fn issue(&self, name: &str) -> String {
        let mut count = self.count.lock().unwrap();
        *count += 1;
        let value = format!("sk-{count}");
        self.keys.lock().unwrap().push(Key {
            name: name.to_owned(),
            value: value.clone(),
            created: self.clock.now(),
            used: None,
            disabled: false,
        });
        value
    }

    pub(crate) fn accepts(&self, value: &str) -> bool {
        self.keys.lock().unwrap().iter().any(|key| key.value == value && !key.disabled)
    }

    pub(crate) fn values(&self) -> Vec<String> {
        self.keys.lock().unwrap().iter().map(|key| key.value.clone()).collect()
    }

    pub(crate) fn used(&self, value: &str, at: Timestamp) {
        for key in self.keys.lock().unwrap().iter_mut().filter(|key| key.value == value) {
            key.used = Some(at);
        }
    }

    /// Nobody may hold what is taken away: no environment that read the secret within the overlap, and no version.
    fn must_be_free(&self, value: &str) {
        let since = self.clock.now() - self.overlap;
        let held = self.store.current_since(since);
        assert!(
            !held.iter().any(|held| field(held) == value),
            "{value} is taken back while it may be in use"
        );
        for stage in [
            keyturn_secrets::Stage::Current,
            keyturn_secrets::Stage::Pending,
            keyturn_secrets::Stage::Previous,
        ] {
            let named = self.store.at(&stage);
            assert!(
                named.is_none_or(|named| field(&named) != value),
                "{value} is {} and is taken back",
                stage.label()
            );
        }
    }
}

/// The credential in a secret: the field `KEY` of a JSON secret, or the whole.
pub(crate) fn field(secret: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(secret) {
        Ok(document) => document["KEY"].as_str().unwrap_or_default().to_owned(),
        Err(_) => secret.to_owned(),
    }
}

/// The rotator of [`Provider`]'s keys.
pub(crate) struct Keys(pub(crate) Arc<Provider>);

impl Keys {
    fn fault(&self) -> Result<(), RotationError> {
        self.0.fault.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Rotator for Keys {
    fn overwrites(&self) -> bool {
        self.0.two_slots.load(Ordering::Relaxed)
    }

    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        self.0.cuts.gate().await;
        self.fault()?;
        if self.overwrites() {
            ask.unchanged.confirm().await?;
            let current = ask.current.value()?.expose_secret();
            let spare: Vec<String> = self.0.values().into_iter().filter(|value| value != current).collect();
            spare.iter().for_each(|value| self.0.must_be_free(value));
            self.0.keys.lock().unwrap().retain(|key| key.value == current);
        }
        if self.0.keys.lock().unwrap().len() >= self.0.most {
            return Err(RotationError::Full("two keys at most".to_owned()));
        }
        let value = self.0.issue(&ask.name);
        self.0.cuts.gate().await;
        Ok(Credential::of(value.into()).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        self.0.cuts.gate().await;
        {
            let mut slow = self.0.slow.lock().unwrap();
            if *slow > 0 {
                *slow -= 1;
                return Err(RotationError::Refused("HTTP 401".to_owned()));
            }
        }
        if self.0.accepts(credential.value()?.expose_secret()) {
            Ok(())
        } else {
            Err(RotationError::Refused("HTTP 401".to_owned()))
        }
    }

    async fn is_lost(&self, pending: &Credential) -> Result<bool, RotationError> {
        self.0.cuts.gate().await;
        let value = pending.value()?.expose_secret();
        Ok(!self.0.keys.lock().unwrap().iter().any(|key| key.value == value))
    }

    async fn issued(&self, prefix: &str, _: &Credential) -> Result<Vec<Issued>, RotationError> {
        self.0.cuts.gate().await;
        if self.overwrites() {
            return Ok(Vec::new());
        }
        let keys = self.0.keys.lock().unwrap();
        Ok(keys
            .iter()
            .filter(|key| key.name.starts_with(prefix))
            .map(|key| Issued {
                id: key.value.clone(),
                created_at: Some(key.created),
                last_used_at: key.used,
                disabled: key.disabled,
                hint: None,
            })
            .collect())
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_some_and(|value| value.expose_secret() == issued.id)
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        self.0.cuts.gate().await;
        self.0.must_be_free(&issued.id);
        for key in self.0.keys.lock().unwrap().iter_mut().filter(|key| key.value == issued.id) {
            key.disabled = true;
        }
        self.0.cuts.gate().await;
        Ok(true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        self.0.cuts.gate().await;
        self.fault()?;
        self.0.must_be_free(&issued.id);
        self.0.keys.lock().unwrap().retain(|key| key.value != issued.id);
        self.0.cuts.gate().await;
        Ok(())
    }
}
