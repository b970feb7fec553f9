use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::ManualClock;
use keyturn_secrets::{CacheSettings, Secret, SecretStore, Stage, Stores};
use secrecy::SecretString;

use super::*;

/// A store in memory.
#[derive(Default)]
struct Fake {
    secrets: Mutex<HashMap<String, (String, String)>>,
    down: Mutex<bool>,
}

#[async_trait]
impl SecretStore for Fake {
    fn scheme(&self) -> &'static str {
        "vault"
    }

    async fn get(&self, name: &str, _: &Stage) -> Result<Secret, SecretError> {
        let reference = format!("vault:{name}");
        if *self.down.lock().unwrap() {
            return Err(SecretError::unavailable(reference, "down"));
        }
        let secrets = self.secrets.lock().unwrap();
        let (value, version) =
            secrets.get(name).ok_or_else(|| SecretError::not_found(reference, "no such secret"))?;
        Ok(Secret::new(value.clone(), VersionId::new(version)))
    }
}

struct Rig {
    store: Arc<Fake>,
    clock: Arc<ManualClock>,
    cache: CredentialCache,
}

impl Rig {
    fn new() -> Self {
        let (store, clock) = (Arc::new(Fake::default()), Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        let settings = CacheSettings { jitter: 0.0, ..CacheSettings::default() };
        let stores = Stores::none().with(Arc::clone(&store) as _);
        let cache = CredentialCache::new(stores, Arc::clone(&clock) as _, settings);
        Self { store, clock, cache }
    }

    fn put(&self, name: &str, value: &str, version: &str) {
        let secret = (value.to_owned(), version.to_owned());
        self.store.secrets.lock().unwrap().insert(name.to_owned(), secret);
    }

    fn reader(&self, variables: &[(&str, &str, bool)]) -> Reader {
        let variable = |(name, text, is_needed): &(&str, &str, bool)| Variable {
            name: (*name).to_owned(),
            path: "here".to_owned(),
            value: match text.parse() {
                Ok(reference) => Value::Reference(reference),
                Err(_) => Value::Literal(SecretString::from(*text)),
            },
            is_needed: *is_needed,
        };
        Reader::new(variables.iter().map(variable).collect(), self.cache.clone())
    }
}

fn shown(values: &Values) -> Vec<(&str, Option<&str>)> {
    values.all().map(|(name, value)| (name, value.map(SecretValue::expose))).collect()
}

#[tokio::test]
async fn each_variable_has_its_value_and_an_empty_text_takes_it_out() {
    let rig = Rig::new();
    rig.put("doc", r#"{"A": "one", "B": "two"}"#, "v7");
    let reader = rig.reader(&[
        ("A", "vault:doc#A", true),
        ("B", "vault:doc#B", true),
        ("C", "plain", true),
        ("D", "", true),
        ("E", "vault:gone", false),
    ]);
    let values = reader.read_first().await.unwrap();
    assert_eq!(shown(&values), [("A", Some("one")), ("B", Some("two")), ("C", Some("plain")), ("D", None)]);
    assert_eq!(values.version("B").unwrap().as_str(), "v7");
    assert_eq!(format!("{values:?}"), r#"{"A", "B", "C", "D"}"#);
}

#[tokio::test]
async fn all_that_cannot_be_had_is_named() {
    let rig = Rig::new();
    rig.put("empty", "", "v1");
    rig.put("nul", "CANARY\0", "v1");
    rig.put("good", "CANARY", "v1");
    let reader = rig.reader(&[
        ("A", "vault:gone", true),
        ("B", "vault:empty", true),
        ("C", "vault:nul", true),
        ("D", "vault:good", true),
        ("E=F", "vault:good", true),
    ]);
    let missing = reader.read_first().await.unwrap_err();
    let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "A (here): secret `vault:gone` not found: no such secret",
            "B (here): the value is empty",
            "C (here): the value has a character that no environment can carry",
            "E=F (here): no variable can have this name",
        ]
    );
}

#[tokio::test]
async fn a_store_that_fails_is_trouble_although_old_values_still_serve() {
    let rig = Rig::new();
    rig.put("a", "one", "v1");
    let reader = rig.reader(&[("A", "vault:a", true)]);
    let first = reader.read_first().await.unwrap();
    rig.put("a", "two", "v2");
    *rig.store.down.lock().unwrap() = true;
    rig.clock.advance(Duration::from_secs(300));
    let look = async || {
        let _ = reader.look().await;
        tokio::task::yield_now().await;
        rig.clock.advance(Duration::from_secs(1));
        reader.look().await
    };
    assert!(matches!(look().await, Look::Trouble(_)));
    *rig.store.down.lock().unwrap() = false;
    rig.clock.advance(Duration::from_secs(1));
    match look().await {
        Look::Values(values) => assert_eq!(values.changed(&first), ["A"]),
        Look::Trouble(why) => panic!("{why}"),
    }
}

#[test]
fn a_new_version_of_the_same_value_is_no_change() {
    let before = made(&[("A", "one", "v1"), ("B", "two", "v1")]);
    let after = made(&[("A", "one", "v2"), ("B", "three", "v2")]);
    assert_eq!(after.changed(&before), ["B"]);
}
