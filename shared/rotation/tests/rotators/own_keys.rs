//! `keyturn_virtual_key` and `keyturn_master_key`, on a key table in an embedded DynamoDB.

use std::sync::Arc;
use std::time::Duration;

use keyturn_ambient::ManualClock;
use keyturn_keys::manage::{Caller, KeyFields, KeyRef, Manager, ManagerOptions, NewKey, Patch, Regenerate};
use keyturn_keys::{DynamoKeyStore, KeyError, KeyHash, KeyStore, Keys, KeysOptions};
use keyturn_rotation::{Credential, RotationError, Rotator};
use keyturn_tests::dynamo::Dynamo;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::rig::{Asking, PREFIX, Rig, credential, tells_nothing, value};

const KEY: &str = "keyturn_virtual_key";
const MASTER: &str = "keyturn_master_key";

/// A key table, and rotators that have it.
struct Table {
    dynamo: Dynamo,
    store: Arc<dyn KeyStore>,
    manager: Manager,
    clock: Arc<ManualClock>,
    rig: Rig,
}

impl Table {
    async fn start() -> Self {
        let dynamo = Dynamo::start().await;
        let url = dynamo.url();
        let mut rig = Rig::new(&[
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &url),
        ]);
        let clock = Arc::new(ManualClock::at(rig.tools.now()));
        rig.tools.clock = clock.clone();
        let config = keyturn_http::aws::sdk_config(&*rig.tools.env, &rig.tools.http, "DYNAMODB");
        let store = DynamoKeyStore::new(aws_sdk_dynamodb::Client::new(&config), "keys".to_owned());
        store.create_table().await.unwrap();
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let manager = Manager::new(store.clone(), rig.tools.clock.clone(), ManagerOptions::default());
        rig.tools.keys = Some(manager.clone());
        Self { dynamo, store, manager, clock, rig }
    }

    async fn key(&self, alias: &str) -> SecretString {
        let fields = KeyFields { key_alias: Patch::Set(alias.to_owned()), ..KeyFields::default() };
        self.manager.generate(&admin(), NewKey { key: None, fields }).await.unwrap().value
    }

    /// Whether a value opens a key now.
    async fn opens(&self, value: &str) -> bool {
        let options = KeysOptions { cache_life: Duration::ZERO, usage_every: None, seed: Some(1) };
        let keys = Keys::new(self.store.clone(), self.rig.tools.clock.clone(), options);
        match keys.authenticate(&KeyHash::of(&SecretString::from(value))).await {
            Ok(_) => true,
            Err(KeyError::NotFound) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn asking(&self, current: &str) -> Asking {
        Asking::of(&self.rig, current)
    }
}

fn admin() -> Caller {
    Caller::admin(None)
}

async fn names(rotator: &dyn Rotator, current: &str, prefix: &str) -> usize {
    rotator.issued(prefix, &credential(current)).await.unwrap().len()
}

#[tokio::test]
async fn settings_must_fit() {
    let table = Table::start().await;
    for name in [KEY, MASTER] {
        table.rig.hold_to_settings(name, &json!({}), &[]);
        let told = Rig::new(&[]).wrong(name, json!({}));
        assert_eq!(told, "keyturn:rotator needs the gateway's key table, and none is configured");
    }
}

#[tokio::test]
async fn a_virtual_key_has_both_values_until_the_former_is_taken_back() {
    let table = Table::start().await;
    let rotator = table.rig.rotator(KEY, json!({}));
    let first = table.key("team-a").await.expose_secret().to_owned();
    let other = table.key("team-b").await.expose_secret().to_owned();
    let current = credential(&first);
    rotator.test(&current).await.unwrap();
    assert_eq!(
        names(&*rotator, &first, PREFIX).await,
        0,
        "before the first rotation nothing is this secret's"
    );
    let asking = table.asking(&first);
    // Made twice, as after a crash: both open the key, and each is recognised.
    let lost = rotator.create(&asking.ask()).await.unwrap().credential;
    let made = rotator.create(&asking.ask()).await.unwrap().credential;
    rotator.set(&made, &current).await.unwrap();
    for credential in [&current, &lost, &made] {
        rotator.test(credential).await.unwrap();
        assert!(table.opens(&value(credential)).await);
    }
    table.clock.advance(Duration::from_secs(365 * 86_400));
    assert!(table.opens(&first).await, "nothing was given an end");
    let issued = rotator.issued(PREFIX, &made).await.unwrap();
    assert_eq!(issued.len(), 3);
    for credential in [&current, &lost, &made] {
        assert_eq!(issued.iter().filter(|issued| rotator.may_be(issued, credential)).count(), 1);
    }
    assert!(issued.iter().all(|issued| issued.created_at == Some(asking.now) && !issued.disabled));
    // Whoever asks finds the same, by any value of the key, and another secret finds nothing.
    assert_eq!(names(&*rotator, &first, PREFIX).await, 3);
    assert_eq!(names(&*rotator, &first, "keyturn-ffffffff-").await, 0);
    assert_eq!(names(&*rotator, &other, PREFIX).await, 0);
    assert!(issued.iter().all(|issued| rotator.may_be(issued, &Credential::default())));

    for gone in [&lost, &current] {
        let issued = issued.iter().find(|issued| rotator.may_be(issued, gone)).unwrap();
        assert!(!rotator.disable(issued).await.unwrap());
        for _ in 0..2 {
            rotator.delete(issued).await.unwrap();
        }
        assert!(!table.opens(&value(gone)).await);
        let error = rotator.test(gone).await.unwrap_err();
        assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
        tells_nothing(&error, &[&value(gone)]);
    }
    rotator.test(&made).await.unwrap();
    // It is still the same key, with its name; and the last value is never taken.
    let info = table.manager.info(&admin(), &KeyRef::Value(value(&made).into())).await.unwrap();
    assert_eq!(info.value.key_alias.as_deref(), Some("team-a"));
    let last = issued.iter().find(|issued| rotator.may_be(issued, &made)).unwrap();
    let error = rotator.delete(last).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("without a value")), "{error:?}");
    assert!(table.opens(&value(&made)).await && table.opens(&other).await);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let table = Table::start().await;
    let (keys, masters) = (table.rig.rotator(KEY, json!({})), table.rig.rotator(MASTER, json!({})));
    let unknown = credential("sk-unknown-canary-0001");
    let refused = keys.test(&unknown).await.unwrap_err();
    assert!(matches!(refused, RotationError::Refused(_)), "{refused:?}");
    for error in [
        keys.create(&table.asking("sk-unknown-canary-0001").ask()).await.unwrap_err(),
        keys.issued(PREFIX, &unknown).await.unwrap_err(),
        keys.issued(PREFIX, &Credential::default()).await.unwrap_err(),
        keys.create(&Asking { current: Credential::default(), ..table.asking("") }.ask()).await.unwrap_err(),
    ] {
        assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
        tells_nothing(&error, &["sk-unknown-canary-0001"]);
    }
    // One kind is not the other.
    let key = table.key("a").await.expose_secret().to_owned();
    for error in [
        masters.test(&credential(&key)).await.unwrap_err(),
        masters.create(&table.asking(&key).ask()).await.unwrap_err(),
    ] {
        assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
    }
    // Eight values are the most.
    let rotator = &keys;
    for _ in 0..7 {
        rotator.create(&table.asking(&key).ask()).await.unwrap();
    }
    let error = rotator.create(&table.asking(&key).ask()).await.unwrap_err();
    assert!(matches!(&error, RotationError::Full(why) if why.contains("eight")), "{error:?}");
    // The table is down.
    table.dynamo.outage(true);
    let issued = keyturn_rotation::Issued { id: "a".repeat(64), ..Default::default() };
    for error in [
        rotator.test(&credential(&key)).await.unwrap_err(),
        rotator.issued(PREFIX, &credential(&key)).await.unwrap_err(),
        rotator.create(&table.asking(&key).ask()).await.unwrap_err(),
        rotator.delete(&issued).await.unwrap_err(),
    ] {
        assert!(matches!(error, RotationError::Keys(_)), "{error:?}");
        tells_nothing(&error, &[&key]);
    }
}

/// A regeneration gives every other value an end; the secret's among them. The rotation goes on from there.
#[tokio::test]
async fn a_regeneration_in_between_ends_nothing_of_the_next_rotation() {
    let table = Table::start().await;
    let rotator = table.rig.rotator(KEY, json!({}));
    let first = table.key("a").await.expose_secret().to_owned();
    let made = rotator.create(&table.asking(&first).ask()).await.unwrap().credential;
    let how = Regenerate { grace: Patch::Set("1h".parse().unwrap()), ..Regenerate::default() };
    let by_hand = table.manager.regenerate(&admin(), &KeyRef::Alias("a".to_owned()), &how).await.unwrap();
    let next = rotator.create(&table.asking(&value(&made)).ask()).await.unwrap().credential;
    table.clock.advance(Duration::from_secs(3_600));
    assert!(!table.opens(&first).await && !table.opens(&value(&made)).await);
    assert!(table.opens(&value(&next)).await);
    // The value that a person made has no name of the secret's, and stays.
    let issued = rotator.issued(PREFIX, &next).await.unwrap();
    assert_eq!(issued.len(), 1);
    assert!(table.opens(by_hand.value.unwrap().expose_secret()).await);
}

#[tokio::test]
async fn a_master_key_gets_its_row_with_the_first_rotation() {
    let table = Table::start().await;
    let rotator = table.rig.rotator(MASTER, json!({}));
    let first = credential("sk-1234");
    // `RotateImmediately=false`, and the schedule, before there was a rotation.
    rotator.test(&first).await.unwrap();
    assert_eq!(names(&*rotator, "sk-1234", PREFIX).await, 0);
    let second = rotator.create(&table.asking("sk-1234").ask()).await.unwrap().credential;
    assert!(value(&second).starts_with("sk-master-"));
    for credential in [&first, &second] {
        rotator.test(credential).await.unwrap();
        assert!(table.opens(&value(credential)).await);
    }
    let issued = rotator.issued(PREFIX, &second).await.unwrap();
    assert_eq!(issued.len(), 2);
    let former = issued.iter().find(|issued| rotator.may_be(issued, &first)).unwrap();
    rotator.delete(former).await.unwrap();
    rotator.delete(former).await.unwrap();
    assert!(matches!(rotator.test(&first).await, Err(RotationError::Refused(_))));
    rotator.test(&second).await.unwrap();
    // One that the table has lost is refused; it is not the secret's either.
    let lost = format!("sk-master-{}", "A".repeat(43));
    assert!(matches!(rotator.test(&credential(&lost)).await, Err(RotationError::Refused(_))));
    assert!(matches!(rotator.issued(PREFIX, &credential(&lost)).await, Err(RotationError::Unfit(_))));
    // A key that gateways with the next one would not look up.
    let error = rotator.create(&table.asking("hunter2-canary").ask()).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("sk-")), "{error:?}");
    tells_nothing(&error, &["hunter2-canary"]);
}
