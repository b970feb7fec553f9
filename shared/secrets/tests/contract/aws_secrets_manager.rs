//! AWS Secrets Manager, by the moto server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyturn_ambient::{Env, SystemClock};
use keyturn_config::SecretRef;
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};
use keyturn_tests::moto::{Moto, REGION};

use crate::promises::{Seed, keeps_its_promises};

/// The server, and the version that each secret is at.
struct Server(Moto, Mutex<HashMap<String, String>>);

impl Server {
    async fn start() -> Self {
        Self(Moto::start().await, Mutex::default())
    }

    fn stores(&self) -> Stores {
        let env: HashMap<String, String> = HashMap::from(
            [
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.0.url()),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Stores::new(Arc::new(env) as Arc<dyn Env>, &keyturn_http::client().unwrap(), Arc::new(SystemClock))
    }

    fn cache(&self) -> CredentialCache {
        CredentialCache::new(self.stores(), Arc::new(SystemClock), CacheSettings::default())
    }
}

#[async_trait]
impl Seed for Server {
    /// Creates the secret, or rotates it as a rotation function does.
    async fn put(&self, name: &str, value: &str) -> String {
        let current = self.1.lock().unwrap().get(name).cloned();
        let version = match current {
            None => self.0.create_secret(name, value).await,
            Some(current) => {
                let pending = self.0.put_secret(name, value, &["AWSPENDING"]).await;
                self.0.move_stage(name, "AWSCURRENT", &current, &pending).await;
                pending
            }
        };
        self.1.lock().unwrap().insert(name.to_owned(), version);
        name.to_owned()
    }

    fn has_stages(&self) -> bool {
        true
    }
}

fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

#[tokio::test]
async fn aws_secrets_manager_keeps_its_promises() {
    let server = Server::start().await;
    let stores = server.stores();
    keeps_its_promises(Arc::clone(stores.find("aws-secretsmanager").unwrap()), &server).await;
}

#[tokio::test]
async fn the_cache_prefetches_in_one_call_and_a_rotation_costs_one_more() {
    let server = Server::start().await;
    for (name, value) in [("json", r#"{"A": "one", "B": "two"}"#), ("plain", "three")] {
        server.put(name, value).await;
    }
    let cache = server.cache();
    let references =
        ["aws-secretsmanager:json#A", "aws-secretsmanager:json#B", "aws-secretsmanager:plain"].map(reference);
    assert!(cache.prefetch(&references).await.is_empty());
    assert_eq!(server.0.reads(), 1);
    let before = cache.get(&references[0]).await.unwrap();
    assert_eq!(before.value.expose(), "one");

    server.put("json", r#"{"A": "new", "B": "two"}"#).await;
    let after = cache.refused(&references[0], &before.version).await.unwrap();
    assert_eq!(after.value.expose(), "new");
    assert_ne!(after.version, before.version);
    assert_eq!(cache.refused(&references[1], &before.version).await.unwrap().version, after.version);
    assert_eq!(server.0.reads(), 2);
    let previous = cache.previous(&references[0]).await.unwrap().unwrap();
    assert_eq!((previous.value.expose(), &previous.version), ("one", &before.version));
    assert_eq!(server.0.reads(), 3);
}

#[tokio::test]
async fn an_outage_leaves_what_is_held() {
    let server = Server::start().await;
    server.put("plain", "one").await;
    let (cache, reference) = (server.cache(), reference("aws-secretsmanager:plain"));
    let held = cache.get(&reference).await.unwrap();
    server.0.outage(true);
    cache.refused(&reference, &held.version).await.unwrap_err();
    assert_eq!(cache.get(&reference).await.unwrap().value.expose(), "one");
}
