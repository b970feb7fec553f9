//! Rows as the management API makes them, and gateway processes that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyturn_ambient::{Clock, ManualClock};
use keyturn_keys::ledger::spent;
use keyturn_keys::store::{Definition, Edit, Index, Kind, Row, RowId};
use keyturn_keys::{
    Admission, Ask, KeyError, KeyHash, KeyStore, Keys, KeysOptions, Limits, Spent, VirtualKey,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Fixture;
use super::watched::Watched;

/// How long the processes trust their memory.
pub(crate) const CACHE_LIFE: Duration = Duration::from_secs(10);

/// The rows of one store.
pub(crate) struct World<'a> {
    fixture: &'a dyn Fixture,
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) clock: Arc<ManualClock>,
    names: AtomicU64,
}

/// A gateway process.
pub(crate) struct Process {
    pub(crate) keys: Keys,
    pub(crate) store: Arc<Watched>,
}

/// A request for `gpt-4o`.
pub(crate) fn ask(tokens: u64, cost: f64) -> Ask<'static> {
    Ask { route: "/v1/chat/completions", model: "gpt-4o", tokens, cost }
}

pub(crate) fn spending(tokens: u64, cost: f64) -> Spent {
    let model = "gpt-4o".to_owned();
    Spent { completion_tokens: tokens, cost, model, ..Spent::default() }
}

pub(crate) fn hash(value: &str) -> KeyHash {
    KeyHash::of(&SecretString::from(value))
}

impl<'a> World<'a> {
    pub(crate) fn new(fixture: &'a dyn Fixture) -> Self {
        Self { fixture, store: fixture.open(), clock: fixture.clock(), names: AtomicU64::new(0) }
    }

    /// A process with nothing in memory.
    pub(crate) fn process(&self) -> Process {
        self.process_with(CACHE_LIFE)
    }

    pub(crate) fn process_with(&self, cache_life: Duration) -> Process {
        let store = Arc::new(Watched::new(self.fixture.open()));
        let options = KeysOptions { cache_life, usage_every: Some(Duration::ZERO), seed: Some(7) };
        Process { keys: Keys::new(Arc::clone(&store) as _, Arc::clone(&self.clock) as _, options), store }
    }

    /// A name that nothing has yet.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    /// Makes a key with these fields; the hash that opens it.
    pub(crate) async fn key(&self, fields: Value) -> KeyHash {
        self.busy_key(fields, 0).await
    }

    /// The same with shares.
    pub(crate) async fn busy_key(&self, fields: Value, shares: u16) -> KeyHash {
        let id = hash(&self.name("sk-key-of-the-suite"));
        self.key_of(id, fields, shares).await;
        id
    }

    pub(crate) async fn key_of(&self, id: KeyHash, fields: Value, shares: u16) {
        let mut key = json!({ "id": id, "key_name": "sk-...test", "hashes": { id.to_string(): null } });
        merge(&mut key, fields);
        self.create(RowId::key(&id), key, shares).await;
    }

    /// Makes a team, a user or a budget with these fields; its id.
    pub(crate) async fn owner(&self, kind: Kind, fields: Value) -> String {
        let id = self.name("owner");
        self.owner_of(kind, &id, fields).await;
        id
    }

    pub(crate) async fn owner_of(&self, kind: Kind, id: &str, fields: Value) {
        let field = match kind {
            Kind::Team => "team_id",
            Kind::User => "user_id",
            Kind::Budget => "budget_id",
            Kind::Key => panic!("a key is no owner"),
        };
        let mut owner = json!({ field: id });
        merge(&mut owner, fields);
        self.create(RowId::named(kind, id), owner, 0).await;
    }

    async fn create(&self, id: RowId, mut definition: Value, shares: u16) {
        let now = self.clock.now();
        merge(&mut definition, json!({ "created_at": now, "updated_at": now }));
        let text = |name: &str| definition[name].as_str().map(str::to_owned);
        let is_key = id.kind == Kind::Key;
        let index = Index {
            created_at: now,
            alias: None,
            team_id: text("team_id").filter(|_| is_key),
            user_id: text("user_id").filter(|_| is_key),
        };
        let text = definition.to_string();
        let definition = Definition { id, rev: now.as_microsecond(), text, index, shares };
        self.store.edit(&[Edit::Create(definition)]).await.unwrap();
    }

    pub(crate) async fn row(&self, id: &RowId) -> Row {
        self.store.read(std::slice::from_ref(id)).await.unwrap().pop().unwrap().unwrap()
    }

    /// Changes a definition as the management API does.
    pub(crate) async fn change(&self, id: &RowId, fields: Value) {
        let row = self.row(id).await;
        let mut definition: Value = serde_json::from_str(&row.definition).unwrap();
        merge(&mut definition, fields);
        let created_at = definition["created_at"].as_str().unwrap().parse().unwrap();
        let text = |name: &str| definition[name].as_str().map(str::to_owned);
        let is_key = id.kind == Kind::Key;
        let index = Index {
            created_at,
            alias: None,
            team_id: text("team_id").filter(|_| is_key),
            user_id: text("user_id").filter(|_| is_key),
        };
        let rev = self.clock.now().as_microsecond().max(row.rev + 1);
        let to = Definition { id: id.clone(), rev, text: definition.to_string(), index, shares: row.shares };
        self.store.edit(&[Edit::Replace { from: row.rev, to }]).await.unwrap();
    }

    pub(crate) async fn delete(&self, id: &RowId) {
        let Row { rev, shares, .. } = self.row(id).await;
        self.store.edit(&[Edit::Delete { id: id.clone(), rev, shares }]).await.unwrap();
    }

    /// What an account has spent, in nano-dollars, as another process reads it.
    pub(crate) async fn spent(&self, id: &RowId) -> i64 {
        let row = self.row(id).await;
        let limits: Limits = serde_json::from_str(&row.definition).unwrap();
        let created: Value = serde_json::from_str(&row.definition).unwrap();
        let created = created["created_at"].as_str().unwrap().parse().unwrap();
        let mut parts = vec![row.counters];
        if row.shares > 0 {
            parts.extend(self.store.read_shares(id, row.shares).await.unwrap());
        }
        spent(&limits, created, self.clock.now(), &parts)
    }

    /// Moves the clock to the start of the next span of so many seconds.
    pub(crate) fn next(&self, seconds: i64) {
        let into = self.clock.now().as_millisecond().rem_euclid(seconds * 1_000);
        self.clock.advance(Duration::from_millis(u64::try_from(seconds * 1_000 - into).unwrap()));
    }
}

impl Process {
    pub(crate) async fn admit(&self, hash: &KeyHash, ask: &Ask<'_>) -> Admission {
        self.keys.admit(hash, ask).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    pub(crate) async fn refuse(&self, hash: &KeyHash, ask: &Ask<'_>) -> KeyError {
        match self.keys.admit(hash, ask).await {
            Err(error @ KeyError::Unavailable(_)) => panic!("{error:?}"),
            Err(error) => error,
            Ok(_) => panic!("it was admitted"),
        }
    }

    pub(crate) async fn settle(&self, admission: Admission, tokens: u64, cost: f64) {
        self.keys.settle(admission, &spending(tokens, cost)).await.unwrap();
    }

    /// A request that uses what it asked for.
    pub(crate) async fn request(&self, hash: &KeyHash, ask: &Ask<'_>) -> Arc<VirtualKey> {
        let admission = self.admit(hash, ask).await;
        let key = Arc::clone(&admission.key);
        self.settle(admission, ask.tokens, ask.cost).await;
        key
    }
}

fn merge(into: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    into.as_object_mut().unwrap().extend(fields);
}
