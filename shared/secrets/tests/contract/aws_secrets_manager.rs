//! AWS Secrets Manager, by the moto server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyturn_ambient::{Env, SystemClock};
use keyturn_config::SecretRef;
use keyturn_secrets::stores::{AwsSecretsManager, Surroundings};
use keyturn_secrets::{About, SecretError, SecretStore, Stage, StagedStore};
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};
use keyturn_tests::fake::{Answer, Fake, Mishap};
use keyturn_tests::moto::{Moto, REGION};
use serde_json::json;

use crate::faults::{Fault, Faulty, survives_faults};
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

/// What a fault is at an AWS service that speaks JSON.
pub(crate) fn mishap(fault: Fault) -> Mishap {
    let status =
        |status, code| Mishap::Status(status, json!({"__type": code, "message": "in its own words"}));
    match fault {
        Fault::Denied => status(400, "AccessDeniedException"),
        Fault::Throttled => status(400, "ThrottlingException"),
        Fault::Down => status(503, "ServiceUnavailable"),
        Fault::Broken => Mishap::Broken,
        Fault::Garbage => Mishap::Garbage,
        Fault::Silent => Mishap::Silent,
    }
}

impl Faulty for Server {
    fn fail(&self, fault: Option<Fault>) {
        self.0.fail(fault.map(mishap));
    }

    fn reads(&self) -> u64 {
        self.0.reads()
    }

    /// The SDK's.
    fn attempts(&self) -> u64 {
        3
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_secrets_manager_survives_faults() {
    let server = Server::start().await;
    survives_faults(|| Arc::clone(server.stores().find("aws-secretsmanager").unwrap()), &server).await;
}

/// The store with all of AWS at an address.
fn store(url: &str, more: &[(&str, &str)]) -> AwsSecretsManager {
    let own = [
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL", url),
    ];
    let env: HashMap<String, String> =
        own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    AwsSecretsManager::new(&Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

fn at(moto: &Moto, more: &[(&str, &str)]) -> AwsSecretsManager {
    store(&moto.url(), more)
}

async fn value(store: &AwsSecretsManager, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

/// Roles of another account; moto has secrets by account, as AWS has.
const ROLE: &str = "arn:aws:iam::210987654321:role/reader";

#[tokio::test]
async fn a_role_of_another_account_reads_and_writes_there() {
    let moto = Moto::start().await;
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    // moto looks into the token.
    std::fs::write(&token, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln").unwrap();
    let token = token.to_string_lossy().into_owned();
    let assumed = at(&moto, &[("KEYTURN_AWS_ROLE_NAME", ROLE), ("KEYTURN_AWS_EXTERNAL_ID", "outside")]);
    let opened = at(
        &moto,
        &[
            ("KEYTURN_AWS_ROLE_NAME", ROLE),
            ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", &token),
            ("AWS_ACCESS_KEY_ID", ""),
        ],
    );
    let own = at(&moto, &[]);
    own.write("shared", &"ours".into(), &About::default()).await.unwrap();
    assumed.write("shared", &"theirs".into(), &About::default()).await.unwrap();
    for (store, expected) in [(&own, "ours"), (&assumed, "theirs"), (&opened, "theirs")] {
        assert_eq!(value(store, "shared").await.unwrap(), expected);
        let both = store.get_many(&["shared", "shared"]).await;
        assert!(both.iter().all(|secret| secret.as_ref().unwrap().value.expose() == expected));
    }
    // In a region of its own, by its ARN.
    let afar = at(&moto, &[("KEYTURN_AWS_ROLE_NAME", ROLE), ("KEYTURN_AWS_REGION_NAME", "eu-west-1")]);
    afar.write("afar", &"far".into(), &About::default()).await.unwrap();
    assert!(matches!(value(&assumed, "afar").await, Err(SecretError::NotFound { .. })));
    let page = afar.list("afar", None).await.unwrap();
    assert_eq!(page.secrets.len(), 1);
    let arn = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:afar";
    assert_eq!(value(&assumed, arn).await.unwrap(), "far");
}

#[tokio::test]
async fn a_role_that_may_not_be_had_is_told_apart_from_one_that_cannot_be_had_now() {
    for (status, code, denied) in
        [(403, "AccessDenied", true), (400, "Throttling", false), (500, "InternalFailure", false)]
    {
        let body = format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        let sts = Fake::start(move |_| Answer::text(status, body.clone())).await;
        let store = store(&sts.url(), &[("KEYTURN_AWS_ROLE_NAME", ROLE)]);
        let error = value(&store, "a").await.unwrap_err();
        assert_eq!(matches!(error, SecretError::Denied { .. }), denied, "{code}: {error:?}");
        assert_eq!(matches!(error, SecretError::Unavailable { .. }), !denied, "{code}: {error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("AWS STS") && cause.contains(code), "{cause}");
        // Nothing else was asked.
        assert!(sts.asked().iter().all(|asked| asked.text().starts_with("Action=AssumeRole&")));
    }
}

#[tokio::test]
async fn a_secret_is_made_with_replicas_which_do_not_hinder_its_deletion() {
    let moto = Moto::start().await;
    let (store, afar) = (at(&moto, &[]), at(&moto, &[("AWS_REGION_NAME", "eu-west-1")]));
    let about = About { replica_regions: vec!["eu-west-1".to_owned()], ..About::default() };
    store.write("copied", &"one".into(), &about).await.unwrap();
    assert_eq!(value(&afar, "copied").await.unwrap(), "one");
    // One that is there keeps its copies.
    store.write("copied", &"two".into(), &about).await.unwrap();
    assert_eq!(moto.describe("copied").await["ReplicationStatus"].as_array().unwrap().len(), 1);
    store.remove("copied").await.unwrap();
    for store in [&store, &afar] {
        assert!(matches!(value(store, "copied").await, Err(SecretError::NotFound { .. })));
    }
    // What waits for its deletion has no copies any more; restored, it is as if made.
    store.write("copied", &"three".into(), &About::default()).await.unwrap();
    moto.schedule_deletion("copied").await;
    for _ in 0..2 {
        store.write("copied", &"four".into(), &about).await.unwrap();
        for store in [&store, &afar] {
            assert_eq!(value(store, "copied").await.unwrap(), "four");
        }
    }
}
