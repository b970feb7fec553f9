//! AWS Secrets Manager, by the moto server as it is and by the one that is closer to AWS. What neither can be made to
//! answer is asked in the store's own tests.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::{AwsSecretsManager, Surroundings};
use keyturn_secrets::{SecretError, SecretStore, Stage, StagedStore};
use keyturn_tests::moto::{Moto, REGION};

use crate::promises::{Subject, id, is_absent, keeps_its_promises, lease};

struct Server {
    moto: Moto,
    store: AwsSecretsManager,
    exact: bool,
}

impl Server {
    async fn start() -> Self {
        Self::new(Moto::start().await, false)
    }

    async fn start_closer_to_aws() -> Self {
        // It calls no function here.
        Self::new(Moto::start_leading("http://127.0.0.1:0", &[]).await, true)
    }

    fn new(moto: Moto, exact: bool) -> Self {
        let env: HashMap<String, String> = HashMap::from(
            [
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &moto.url()),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let store = AwsSecretsManager::new(&Surroundings {
            env: Arc::new(env),
            http: keyturn_http::client().unwrap(),
            clock: Arc::new(SystemClock),
        });
        Self { moto, store, exact }
    }
}

#[async_trait]
impl Subject for Server {
    fn store(&self) -> &dyn StagedStore {
        &self.store
    }

    fn reader(&self) -> &dyn SecretStore {
        &self.store
    }

    fn name(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn delete_for_now(&self, name: &str) {
        self.moto.schedule_deletion(name).await;
    }

    fn is_exact(&self) -> bool {
        self.exact
    }
}

#[tokio::test]
async fn aws_secrets_manager_keeps_its_promises() {
    keeps_its_promises(&Server::start().await).await;
    keeps_its_promises(&Server::start_closer_to_aws().await).await;
}

#[tokio::test]
async fn a_version_that_the_service_registered_has_no_value_until_it_is_given_one() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("registered", "one").await;
    assert_eq!(subject.describe(&name).await.rotation_enabled, Some(false));
    let pending = id("pending");
    server.moto.register_pending(&name, pending.as_str()).await;
    let described = subject.describe(&name).await;
    assert_eq!(described.rotation_enabled, Some(true));
    assert!(described.next_rotation.is_some());
    assert_eq!(described.at(&Stage::Pending), Some(&pending));
    assert!(is_absent(store.version(&name, &pending).await));
    assert!(is_absent(subject.read(&name, &Stage::Pending).await));
    assert_eq!(store.begin(&name, &id("another"), "me", lease()).await.unwrap(), pending);
    assert!(is_absent(store.promote(&name, &pending, &first).await));
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
    store.stage(&name, &pending, &"two".into(), &Stage::Pending, None).await.unwrap();
    store.promote(&name, &pending, &first).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
}

#[tokio::test]
async fn a_secret_is_known_by_its_arn_too() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("by/arn", "one").await;
    let arn = server.moto.arn(&name).await;
    assert_eq!(subject.describe(&arn).await.name, name);
    store.stage(&arn, &id("next"), &"two".into(), &Stage::Pending, None).await.unwrap();
    store.promote(&arn, &id("next"), &first).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
    let (name, _) = subject.made("by/arn-too", "one").await;
    let arn = server.moto.arn(&name).await;
    store.write(&arn, &"two".into(), &keyturn_secrets::About::default()).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
    store.remove(&arn).await.unwrap();
    assert!(is_absent(subject.read(&name, &Stage::Current).await));
}

#[tokio::test]
async fn without_permission_nothing_is_written() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, _) = subject.made("forbidden", "one").await;
    server.moto.deny(&name);
    let error = store.stage(&name, &id("next"), &"two".into(), &Stage::Pending, None).await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("PutSecretValue"), "{cause}");
    assert_eq!(server.moto.read_secret(&name).await, "one");
}
