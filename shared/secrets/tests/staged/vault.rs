//! Vault, by the OpenBao server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::{Clock, ManualClock};
use keyturn_secrets::stores::{HashiCorpVault, Surroundings};
use keyturn_secrets::{About, Lease, SecretError, SecretStore, Stage, StagedStore, VersionId};
use keyturn_tests::openbao::{Fate, OpenBao, ROOT, Tap};
use serde_json::{Value, json};

use crate::promises::{Subject, id, is_absent, is_conflict, keeps_its_promises, lease};

struct Server {
    store: HashiCorpVault,
    clock: Arc<ManualClock>,
    prefix: String,
}

impl Server {
    fn new() -> Self {
        // The server has no other time than the machine's.
        Self::at(OpenBao::shared().url(), Timestamp::now())
    }

    fn at(url: &str, now: Timestamp) -> Self {
        let env = [("HCP_VAULT_ADDR", url), ("HCP_VAULT_TOKEN", ROOT)];
        let env: HashMap<String, String> =
            env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let clock = Arc::new(ManualClock::at(now));
        let store = HashiCorpVault::new(&Surroundings {
            env: Arc::new(env),
            http: keyturn_http::client().unwrap(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        });
        Self { store, clock, prefix: OpenBao::shared().fresh("staged") }
    }

    fn path(&self, name: &str) -> String {
        name.replacen("secret/", "secret/data/", 1)
    }

    /// Writes a document by hand.
    async fn write(&self, name: &str, fields: Value) {
        OpenBao::shared().write(&self.path(name), &json!({"data": fields})).await;
    }

    /// The whole document.
    async fn document(&self, name: &str) -> Value {
        OpenBao::shared().read(&self.path(name)).await["data"]["data"].clone()
    }

    /// What readers other than ours make of it.
    async fn fields(&self, name: &str) -> Value {
        let mut document = self.document(name).await;
        document.as_object_mut().unwrap().remove("keyturn");
        document
    }

    async fn current(&self, name: &str) -> (Value, VersionId) {
        let secret = self.store.get(name, &Stage::Current).await.unwrap();
        (serde_json::from_str(secret.value.expose()).unwrap(), secret.version)
    }

    async fn stage(&self, name: &str, version: &VersionId, value: &str) -> Result<(), SecretError> {
        self.store.stage(name, version, &value.into(), &Stage::Pending, None).await
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
        format!("secret/{}/{name}", self.prefix)
    }

    async fn delete_for_now(&self, name: &str) {
        OpenBao::shared().ask(Method::DELETE, &self.path(name), &Value::Null).await;
    }

    fn is_exact(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn vault_keeps_its_promises() {
    keeps_its_promises(&Server::new()).await;
}

#[tokio::test]
async fn a_lease_keeps_others_off_until_it_is_over() {
    let server = Server::new();
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("lease", "one").await;
    let minute = |minute: i64| {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        Lease { now, until: now + SignedDuration::from_mins(15) }
    };
    let (one, two) = (id("one"), id("two"));
    assert_eq!(store.begin(&name, &one, "a", minute(0)).await.unwrap(), one);
    assert!(is_conflict(store.begin(&name, &two, "b", minute(14)).await));
    // The holder goes on, and has more time from then on.
    assert_eq!(store.begin(&name, &two, "a", minute(14)).await.unwrap(), one);
    assert!(is_conflict(store.begin(&name, &two, "b", minute(28)).await));
    // Another takes over what the holder left.
    assert_eq!(store.begin(&name, &two, "b", minute(29)).await.unwrap(), one);
    assert!(is_conflict(store.begin(&name, &two, "a", minute(30)).await));
    // Who gives up gives only the own turn away.
    store.release(&name, "a").await.unwrap();
    assert!(is_conflict(store.begin(&name, &two, "a", minute(30)).await));
    for _ in 0..2 {
        store.release(&name, "b").await.unwrap();
    }
    // A version without a value is nothing to go on with; one with a value is.
    assert_eq!(store.begin(&name, &two, "b", minute(30)).await.unwrap(), two);
    server.stage(&name, &two, "b's").await.unwrap();
    store.release(&name, "b").await.unwrap();
    assert_eq!(store.begin(&name, &one, "b", minute(30)).await.unwrap(), two);
    // What the former holder still does meets the same version.
    assert!(is_conflict(server.stage(&name, &two, "a's").await));
    store.promote(&name, &two, &first).await.unwrap();
    // With the rotation the lease is over.
    assert_eq!(store.begin(&name, &one, "a", minute(31)).await.unwrap(), one);
    store.unstage(&name, &one, &Stage::Pending).await.unwrap();
    assert_eq!(store.begin(&name, &id("three"), "b", minute(32)).await.unwrap(), id("three"));
}

#[tokio::test]
async fn one_of_two_that_begin_at_once_holds_the_lease() {
    let server = Server::new();
    let subject: &dyn Subject = &server;
    let (name, _) = subject.made("race", "one").await;
    let begin = |holder: &'static str| {
        let name = &name;
        async move { subject.store().begin(name, &id(holder), holder, lease()).await }
    };
    let outcomes = futures_util::future::join_all(["a", "b", "c"].map(begin)).await;
    let begun: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(begun.len(), 1, "{outcomes:?}");
    assert_eq!(subject.describe(&name).await.at(&Stage::Pending), Some(begun[0]));
    assert!(outcomes.iter().all(|outcome| outcome.is_ok() || is_conflict(outcome.clone())));
}

#[tokio::test]
async fn other_readers_see_the_fields_they_know() {
    let server = Server::new();
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    // What is made is a plain document, as LiteLLM makes it.
    let (name, first) = subject.made("plain", "sk-1").await;
    assert_eq!(server.document(&name).await, json!({"key": "sk-1"}));
    store.begin(&name, &id("next"), "me", lease()).await.unwrap();
    server.stage(&name, &id("next"), "sk-2").await.unwrap();
    assert_eq!(server.fields(&name).await, json!({"key": "sk-1"}));
    store.promote(&name, &id("next"), &first).await.unwrap();
    assert_eq!(server.fields(&name).await, json!({"key": "sk-2"}));

    let name = subject.name("several");
    server.write(&name, json!({"A": "one", "N": 7})).await;
    let (fields, first) = server.current(&name).await;
    assert_eq!(fields, json!({"A": "one", "N": 7}));
    store.begin(&name, &id("next"), "me", lease()).await.unwrap();
    assert_eq!(server.current(&name).await, (fields, first.clone()), "the same version in another document");
    let next = r#"{"N": 7, "A": "two", "B": null}"#;
    server.stage(&name, &id("next"), next).await.unwrap();
    server.stage(&name, &id("next"), r#"{"A":"two","B":null,"N":7}"#).await.unwrap();
    assert!(is_conflict(server.stage(&name, &id("next"), r#"{"A": "three"}"#).await));
    assert_eq!(server.fields(&name).await, json!({"A": "one", "N": 7}));
    let pending = store.version(&name, &id("next")).await.unwrap();
    let pending: Value = serde_json::from_str(pending.value.expose()).unwrap();
    assert_eq!(pending, json!({"A": "two", "B": null, "N": 7}));
    store.promote(&name, &id("next"), &first).await.unwrap();
    assert_eq!(server.fields(&name).await, json!({"A": "two", "B": null, "N": 7}));
    let previous = store.version(&name, &first).await.unwrap();
    let previous: Value = serde_json::from_str(previous.value.expose()).unwrap();
    assert_eq!(previous, json!({"A": "one", "N": 7}));

    for unfit in ["sk-3", "[1]", "{}", r#"{"keyturn": {}}"#] {
        let error = server.stage(&name, &id("third"), unfit).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{unfit}: {error:?}");
        store.write(&name, &unfit.into(), &About::default()).await.unwrap_err();
    }
    store.write(&name, &r#"{"A": "four"}"#.into(), &About::default()).await.unwrap();
    assert_eq!(server.fields(&name).await, json!({"A": "four"}));
}

#[tokio::test]
async fn what_somebody_else_writes_is_a_version_of_its_own_and_ends_a_rotation() {
    let server = Server::new();
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let name = subject.name("by-hand");
    server.write(&name, json!({"A": "one", "B": "b"})).await;
    let (_, first) = server.current(&name).await;
    let next = id("next");
    store.begin(&name, &next, "me", lease()).await.unwrap();
    server.stage(&name, &next, r#"{"A": "two", "B": "b"}"#).await.unwrap();
    store.promote(&name, &next, &first).await.unwrap();
    let promoted = server.document(&name).await;
    let third = id("third");
    store.begin(&name, &third, "me", lease()).await.unwrap();
    server.stage(&name, &third, r#"{"A": "three", "B": "b"}"#).await.unwrap();

    // As `vault kv patch` does: what it does not name stays.
    let mut patched = server.document(&name).await;
    patched["B"] = json!("new");
    server.write(&name, patched).await;
    let (fields, by_hand) = server.current(&name).await;
    assert_eq!(fields, json!({"A": "two", "B": "new"}));
    assert!(by_hand.as_str().starts_with("kv-") && by_hand != first, "{by_hand}");
    let described = subject.describe(&name).await;
    assert_eq!(described.at(&Stage::Pending), None, "to promote it would undo what was written");
    assert_eq!(described.at(&Stage::Previous), Some(&first));
    assert!(is_conflict(store.promote(&name, &third, &next).await));
    assert!(is_absent(store.promote(&name, &third, &by_hand).await));
    assert!(is_conflict(store.begin(&name, &id("other"), "another", lease()).await), "it is still my turn");
    let fourth = id("fourth");
    assert_eq!(store.begin(&name, &fourth, "me", lease()).await.unwrap(), fourth);
    assert_eq!(server.current(&name).await.1, by_hand);
    server.stage(&name, &fourth, r#"{"A": "four", "B": "new"}"#).await.unwrap();
    store.promote(&name, &fourth, &by_hand).await.unwrap();
    assert_eq!(subject.read(&name, &Stage::Previous).await.unwrap().version, by_hand);

    // As `vault kv rollback` does: an old document is written again, with what stood in it.
    server.write(&name, promoted).await;
    let (fields, back) = server.current(&name).await;
    assert_eq!(fields, json!({"A": "two", "B": "b"}));
    assert!(back != next && back != by_hand);
    // As `vault kv put` does: nothing is left.
    server.write(&name, json!({"A": "put"})).await;
    assert!(is_absent(subject.read(&name, &Stage::Previous).await));
    assert_eq!(server.current(&name).await.0, json!({"A": "put"}));
}

#[tokio::test]
async fn a_version_is_current_since_it_was_promoted() {
    let server = Server::new();
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("since", "one").await;
    assert_eq!(subject.describe(&name).await.last_rotated, None);
    server.stage(&name, &id("next"), "two").await.unwrap();
    server.clock.advance(Duration::from_secs(3600));
    let promoted = server.clock.now();
    store.promote(&name, &id("next"), &first).await.unwrap();
    server.clock.advance(Duration::from_secs(3600));
    store.begin(&name, &id("third"), "me", lease()).await.unwrap();
    let described = subject.describe(&name).await;
    assert_eq!((described.current_since, described.last_rotated), (Some(promoted), Some(promoted)));

    // A clock that is behind makes nobody believe that it was earlier.
    let server = Server::at(OpenBao::shared().url(), Timestamp::UNIX_EPOCH);
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let before = Timestamp::now();
    let (name, first) = subject.made("since", "one").await;
    server.stage(&name, &id("next"), "two").await.unwrap();
    store.promote(&name, &id("next"), &first).await.unwrap();
    let since = subject.describe(&name).await.current_since.unwrap();
    assert!(since >= before, "{since} {before}");
    store.begin(&name, &id("third"), "me", lease()).await.unwrap();
    assert_eq!(subject.describe(&name).await.current_since, Some(since));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_may_be_repeated() {
    let tap = Tap::start(OpenBao::shared().url()).await;
    let server = Server::at(&tap.url(), Timestamp::now());
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("lost", "one").await;
    let next = id("next");
    for lost in [Fate::AnswerLost, Fate::Broken, Fate::Status(500)] {
        let once = || {
            let done = AtomicBool::new(false);
            tap.judge(move |method: &Method, _: &str| {
                let write = *method != Method::GET;
                if write && !done.swap(true, Ordering::SeqCst) { lost } else { Fate::Through }
            });
        };
        let is_outage =
            |answer: Result<(), SecretError>| matches!(answer, Err(SecretError::Unavailable { .. }));
        once();
        let begin = || async { store.begin(&name, &next, "me", lease()).await.map(drop) };
        assert!(is_outage(begin().await), "{lost:?}");
        begin().await.unwrap();
        once();
        assert!(is_outage(server.stage(&name, &next, "two").await), "{lost:?}");
        server.stage(&name, &next, "two").await.unwrap();
        once();
        assert!(is_outage(store.promote(&name, &next, &first).await), "{lost:?}");
        store.promote(&name, &next, &first).await.unwrap();
        assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
        // Back, for the next one.
        store.promote(&name, &first, &next).await.unwrap();
        store.unstage(&name, &next, &Stage::Previous).await.unwrap();
        once();
        assert!(is_outage(store.remove(&subject.name("none")).await), "{lost:?}");
    }
}

#[tokio::test]
async fn a_secret_that_is_made_has_its_tags_before_its_value() {
    let tap = Tap::start(OpenBao::shared().url()).await;
    let server = Server::at(&tap.url(), Timestamp::now());
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let name = subject.name("made");
    tap.judge(
        |method, path| {
            if *method != Method::GET && path.contains("/data/") { Fate::Broken } else { Fate::Through }
        },
    );
    let about = About { tags: [("whose".to_owned(), "mine".to_owned())].into(), ..About::default() };
    assert!(store.write(&name, &"one".into(), &about).await.is_err());
    let metadata = name.replacen("secret/", "secret/metadata/", 1);
    let there = OpenBao::shared().read(&metadata).await["data"].clone();
    assert_eq!(
        (&there["custom_metadata"], &there["current_version"]),
        (&json!({"whose": "mine"}), &json!(0))
    );
    tap.judge(|_, _| Fate::Through);
    store.write(&name, &"one".into(), &about).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
    assert_eq!(subject.describe(&name).await.tags["whose"], "mine");
}

#[tokio::test]
async fn tags_may_be_set_by_hand_and_settings_beside_them_stay() {
    let server = Server::new();
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, _) = subject.made("noted", "one").await;
    let metadata = name.replacen("secret/", "secret/metadata/", 1);
    let settings =
        json!({"max_versions": 5, "cas_required": true, "custom_metadata": {"keyturn:rotator": "openai"}});
    OpenBao::shared().write(&metadata, &settings).await;
    assert_eq!(subject.describe(&name).await.tags["keyturn:rotator"], "openai");
    let about = About { tags: [("team".to_owned(), "a".to_owned())].into(), ..About::default() };
    store.write(&name, &"two".into(), &about).await.unwrap();
    let there = OpenBao::shared().read(&metadata).await["data"].clone();
    assert_eq!(there["custom_metadata"], json!({"keyturn:rotator": "openai", "team": "a"}));
    assert_eq!((&there["max_versions"], &there["cas_required"]), (&json!(5), &json!(true)));
    // A document that is deleted is written again even where check-and-set is a must.
    subject.delete_for_now(&name).await;
    let about = About { tags: [("team".to_owned(), "b".to_owned())].into(), ..About::default() };
    store.write(&name, &"three".into(), &about).await.unwrap();
    let tags = subject.describe(&name).await.tags;
    assert_eq!((tags["team"].as_str(), tags["keyturn:rotator"].as_str()), ("b", "openai"));
}

#[tokio::test]
async fn a_list_needs_a_mount() {
    let server = Server::new();
    for prefix in ["", "secret"] {
        assert!(is_absent(server.store.list(prefix, None).await));
    }
    let listed = server.store.list("secret/", None).await.unwrap();
    assert!(listed.secrets.iter().all(|secret| secret.name.starts_with("secret/")));
}
