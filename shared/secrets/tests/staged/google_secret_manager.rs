//! Google Secret Manager, by a server that holds callers to its documentation.

mod interrupted;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::{Clock, ManualClock};
use keyturn_secrets::stores::{GoogleSecretManager, Surroundings};
use keyturn_secrets::{About, Lease, SecretError, SecretStore, Stage, StagedStore, VersionId};
use keyturn_tests::fake::Asked;
use keyturn_tests::google::secrets::Mismatch;
use keyturn_tests::google::{Fate, Google};
use serde_json::{Value, json};

use crate::promises::{Subject, id, is_absent, is_conflict, keeps_its_promises, lease};

struct Server {
    google: Google,
    store: GoogleSecretManager,
    clock: Arc<ManualClock>,
}

impl Server {
    async fn start() -> Self {
        let google = Google::start().await;
        let env: HashMap<String, String> = google.variables().into_iter().collect();
        // The server has no other time than the machine's.
        let clock = Arc::new(ManualClock::at(Timestamp::now()));
        let store = GoogleSecretManager::new(&Surroundings {
            env: Arc::new(env),
            http: keyturn_http::client().unwrap(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        });
        Self { google, store, clock }
    }

    async fn stage(&self, name: &str, version: &VersionId, value: &str) -> Result<(), SecretError> {
        self.store.stage(name, version, &value.into(), &Stage::Pending, None).await
    }

    /// What everybody else reads.
    fn latest(&self, name: &str) -> String {
        let mut secrets = self.google.secrets();
        let newest = secrets.secret(&whole(name)).versions.last().unwrap();
        String::from_utf8(newest.data.clone()).unwrap()
    }

    /// What is noted beside the secret.
    fn noted(&self, name: &str) -> Value {
        let mut secrets = self.google.secrets();
        let noted = secrets
            .secret(&whole(name))
            .fields
            .get("annotations")
            .and_then(|all| all.get("keyturn"))
            .cloned();
        noted.map_or(Value::Null, |noted| serde_json::from_str(noted.as_str().unwrap()).unwrap())
    }

    fn states(&self, name: &str) -> Vec<&'static str> {
        self.google.secrets().secret(&whole(name)).versions.iter().map(|version| version.state).collect()
    }

    /// The first write from now on ends like this.
    fn once(&self, fate: Fate) {
        self.at(0, fate);
    }

    /// One write from now on ends like this: the first, the second…
    fn at(&self, number: u32, fate: Fate) {
        let writes = AtomicU32::new(0);
        self.google.judge(move |asked| {
            let hit = is_write(asked) && writes.fetch_add(1, Ordering::SeqCst) == number;
            if hit { fate } else { Fate::Through }
        });
    }
}

fn is_write(asked: &Asked) -> bool {
    asked.method != http::Method::GET
}

fn whole(name: &str) -> String {
    format!("projects/project-1/secrets/{name}")
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
        name.replace('/', "_")
    }

    async fn delete_for_now(&self, name: &str) {
        self.google.secrets().secret(&whole(name)).versions.last_mut().unwrap().state = "DISABLED";
    }

    fn is_exact(&self) -> bool {
        true
    }

    /// A reader is told the server's number, and what tells values apart.
    fn is_version(&self, name: &str, read: &VersionId, version: &VersionId) -> bool {
        if read == version {
            return true;
        }
        let noted = self.noted(name);
        let named = ["current", "previous"].map(|stage| noted[stage].clone());
        let number =
            named.iter().find(|kept| kept["id"] == version.as_str()).map(|kept| kept["number"].to_string());
        let of = |id: &VersionId| id.as_str().split_once('-').unwrap().0.to_owned();
        of(read) == number.unwrap_or_else(|| of(version))
    }
}

#[tokio::test]
async fn google_secret_manager_keeps_its_promises() {
    for mismatch in [Mismatch::Aborted, Mismatch::FailedPrecondition, Mismatch::PreconditionFailed] {
        let server = Server::start().await;
        server.google.secrets().mismatch = mismatch;
        keeps_its_promises(&server).await;
    }
}

#[tokio::test]
async fn a_lease_keeps_others_off_until_it_is_over() {
    let server = Server::start().await;
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
    assert!(is_conflict(server.stage(&name, &two, "a's").await));
    store.promote(&name, &two, &first).await.unwrap();
    // With the rotation the lease is over.
    assert_eq!(store.begin(&name, &one, "a", minute(31)).await.unwrap(), one);
    store.unstage(&name, &one, &Stage::Pending).await.unwrap();
    assert_eq!(store.begin(&name, &id("three"), "b", minute(32)).await.unwrap(), id("three"));
}

#[tokio::test]
async fn one_of_two_that_begin_at_once_holds_the_lease() {
    let server = Server::start().await;
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
async fn nobody_else_ever_reads_a_pending_value() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("plain", "sk-1").await;
    let next = id("next");
    store.begin(&name, &next, "me", lease()).await.unwrap();
    server.stage(&name, &next, "sk-2").await.unwrap();
    assert_eq!((&*server.latest(&name), server.states(&name).len()), ("sk-1", 1));
    assert_eq!(server.latest(&format!("{name}--keyturn-pending")), "sk-2");
    store.promote(&name, &next, &first).await.unwrap();
    assert_eq!(server.latest(&name), "sk-2");
    assert_eq!(server.noted(&name)["promotion"], Value::Null, "others may promote at once");
    // Back: for everybody.
    store.promote(&name, &first, &next).await.unwrap();
    assert_eq!(server.latest(&name), "sk-1");
    let described = subject.describe(&name).await;
    assert_eq!((described.at(&Stage::Current), described.at(&Stage::Previous)), (Some(&first), Some(&next)));
}

#[tokio::test]
async fn a_pending_value_is_kept_where_the_secret_is() {
    let server = Server::start().await;
    let store: &dyn StagedStore = &server.store;
    let replicas = json!({"userManaged": {"replicas": [{"location": "europe-west3"}]}});
    for (name, field, value) in [
        ("project-1/placed", "replication", replicas),
        (
            "projects/project-1/locations/europe-west3/secrets/placed",
            "customerManagedEncryption",
            json!({"kmsKeyName": "k"}),
        ),
    ] {
        let full = name.replace("project-1/placed", "projects/project-1/secrets/placed");
        server.google.secrets().add(&full, b"one");
        server.google.secrets().secret(&full).fields.insert(field.to_owned(), value.clone());
        let current = store.describe(name).await.unwrap().at(&Stage::Current).unwrap().clone();
        server.stage(name, &id("next"), "two").await.unwrap();
        let kept = server.google.secrets().secret(&format!("{full}--keyturn-pending")).fields[field].clone();
        assert_eq!(kept, value);
        store.promote(name, &id("next"), &current).await.unwrap();
    }
    // What is made anew is kept as it is asked for.
    let about = About { kms_key: Some("projects/p/k".to_owned()), ..About::default() };
    store.write("encrypted", &"one".into(), &about).await.unwrap();
    let key = json!({"kmsKeyName": "projects/p/k"});
    let expected = json!({"automatic": {"customerManagedEncryption": key}});
    assert_eq!(server.google.secrets().secret(&whole("encrypted")).fields["replication"], expected);
    let regional = "projects/project-1/locations/europe-west3/secrets/encrypted";
    store.write(regional, &"one".into(), &about).await.unwrap();
    assert_eq!(server.google.secrets().secret(regional).fields["customerManagedEncryption"], key);
    for name in ["encrypted", regional] {
        assert_eq!(store.list(name, None).await.unwrap().secrets[0].name, name);
    }
}

#[tokio::test]
async fn what_somebody_else_adds_is_current_and_ends_a_rotation() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("by-hand", "one").await;
    let next = id("next");
    store.begin(&name, &next, "me", lease()).await.unwrap();
    server.stage(&name, &next, "two").await.unwrap();
    server.google.secrets().add(&whole(&name), b"by hand");
    let described = subject.describe(&name).await;
    let by_hand = described.at(&Stage::Current).unwrap().clone();
    assert!(by_hand != first && by_hand.as_str().starts_with("2-"), "{by_hand}");
    assert_eq!(described.at(&Stage::Pending), None, "to promote it would undo what was written");
    assert_eq!(described.at(&Stage::Previous), Some(&first));
    assert!(is_conflict(store.promote(&name, &next, &first).await));
    assert!(is_absent(store.promote(&name, &next, &by_hand).await));
    assert!(is_conflict(store.begin(&name, &id("other"), "another", lease()).await), "it is still my turn");
    let third = id("third");
    assert_eq!(store.begin(&name, &third, "me", lease()).await.unwrap(), third);
    server.stage(&name, &third, "three").await.unwrap();
    store.promote(&name, &third, &by_hand).await.unwrap();
    assert_eq!(server.latest(&name), "three");
    assert!(subject.reads(&name, &Stage::Previous, &by_hand).await);
    // The same value once more is the same version.
    server.google.secrets().add(&whole(&name), b"three");
    let described = subject.describe(&name).await;
    assert_eq!(
        (described.at(&Stage::Current), described.at(&Stage::Previous)),
        (Some(&third), Some(&by_hand))
    );
}

#[tokio::test]
async fn versions_that_a_rotation_made_go_and_those_of_people_stay() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("swept", "zero").await;
    let ids = ["one", "two", "three", "four"].map(id);
    let mut from = first;
    for version in &ids {
        server.stage(&name, version, version.as_str()).await.unwrap();
        store.promote(&name, version, &from).await.unwrap();
        from = version.clone();
    }
    // One change later: a reader may still be about to read them.
    assert_eq!(server.states(&name), ["ENABLED", "DESTROYED", "ENABLED", "ENABLED", "ENABLED"]);
    store.begin(&name, &id("five"), "me", lease()).await.unwrap();
    assert_eq!(server.states(&name), ["ENABLED", "DESTROYED", "DESTROYED", "ENABLED", "ENABLED"]);
    assert_eq!(server.states(&format!("{name}--keyturn-pending")), ["DESTROYED"; 4]);
    assert_eq!(server.noted(&name)["discarded"], Value::Null);
    store.unstage(&name, &ids[2], &Stage::Previous).await.unwrap();
    store.release(&name, "me").await.unwrap();
    assert_eq!(server.states(&name), ["ENABLED", "DESTROYED", "DESTROYED", "DESTROYED", "ENABLED"]);
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), ids[3].as_str());
    store.remove(&name).await.unwrap();
    assert!(!server.google.secrets().has(&whole(&name)));
    assert!(!server.google.secrets().has(&whole(&format!("{name}--keyturn-pending"))));
}

#[tokio::test]
async fn tags_are_annotations_and_labels() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let name = subject.name("tagged-by-hand");
    server.google.secrets().add(&whole(&name), b"one");
    let fields = [
        ("labels", json!({"team": "a"})),
        ("annotations", json!({"keyturn.rotator": "openai", "owner": "me"})),
        ("versionAliases", json!({"blue": "1"})),
    ];
    for (field, value) in fields {
        server.google.secrets().secret(&whole(&name)).fields.insert(field.to_owned(), value);
    }
    let tags = subject.describe(&name).await.tags;
    let expected = [("keyturn:rotator", "openai"), ("owner", "me"), ("team", "a")];
    assert_eq!(tags, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let tags =
        [("keyturn:rotator", "anthropic"), ("keyturn:of key", "x"), ("keyturn.x", "y"), ("keyturn", "z")];
    let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let about = About { tags, ..About::default() };
    store.write(&name, &"two".into(), &about).await.unwrap();
    let mut expected = about.tags.clone();
    expected
        .extend([("owner", "me"), ("team", "a")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(subject.describe(&name).await.tags, expected);
    let fields = server.google.secrets().secret(&whole(&name)).fields.clone();
    assert_eq!(
        (&fields["labels"], &fields["annotations"]["keyturn.rotator"]),
        (&json!({"team": "a"}), &json!("anthropic"))
    );
    assert_eq!(fields["versionAliases"], json!({"blue": "1", "keyturn-previous": "1"}));
}

#[tokio::test]
async fn a_value_is_as_long_as_the_service_allows() {
    let server = Server::start().await;
    let subject: &dyn Subject = &server;
    let longest = "x".repeat(65_536);
    let (name, _) = subject.made("longest", &longest).await;
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), longest);
    server.stage(&name, &id("next"), &format!("y{}", &longest[1..])).await.unwrap();
    let longer = format!("{longest}x");
    let error = server.stage(&name, &id("third"), &longer).await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    let error = subject.store().write(&name, &longer.into(), &About::default()).await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn an_annotation_that_is_not_ours_is_left_alone() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let name = subject.name("foreign");
    server.google.secrets().add(&whole(&name), b"one");
    let annotations = json!({"keyturn": "mine"});
    server
        .google
        .secrets()
        .secret(&whole(&name))
        .fields
        .insert("annotations".to_owned(), annotations.clone());
    let error = store.begin(&name, &id("next"), "me", lease()).await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one", "readers do not look at it");
    assert_eq!(server.google.secrets().secret(&whole(&name)).fields["annotations"], annotations);
}
