//! Azure Key Vault, by the fake.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::{AzureKeyVault, Surroundings};
use keyturn_secrets::{About, Lease, SecretError, SecretStore, Stage, StagedStore, VersionId};
use keyturn_tests::azure::{Azure, Loss};
use serde_json::json;

use crate::promises::{Subject, id, is_absent, is_conflict, keeps_its_promises, lease};

struct Server {
    azure: Azure,
    store: AzureKeyVault,
}

impl Server {
    async fn start() -> Self {
        let azure = Azure::start().await;
        Self { store: store(&azure), azure }
    }

    async fn stage(&self, name: &str, version: &VersionId, value: &str) -> Result<(), SecretError> {
        self.store.stage(name, version, &value.into(), &Stage::Pending, None).await
    }
}

/// A process of its own.
fn store(azure: &Azure) -> AzureKeyVault {
    let env: HashMap<String, String> = azure.variables().into_iter().collect();
    AzureKeyVault::new(&Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
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
        name.replace('/', "--")
    }

    async fn delete_for_now(&self, name: &str) {
        self.azure.delete(name);
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn longest(&self) -> usize {
        // One more byte is added to it.
        25_598
    }
}

#[tokio::test]
async fn azure_key_vault_keeps_its_promises() {
    keeps_its_promises(&Server::start().await).await;
}

#[tokio::test]
async fn other_readers_see_the_current_version_all_the_time() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("plain", "sk-1").await;
    let next = id("next");
    let newest = || server.azure.newest("plain").unwrap();
    store.begin(&name, &next, "me", lease()).await.unwrap();
    assert_eq!(newest(), "sk-1");
    server.stage(&name, &next, "sk-2").await.unwrap();
    assert_eq!(newest(), "sk-1");
    store.promote(&name, &next, &first).await.unwrap();
    assert_eq!(newest(), "sk-2");
    store.unstage(&name, &first, &Stage::Previous).await.unwrap();
    assert_eq!((newest(), server.azure.values("plain").len()), ("sk-2".to_owned(), 2));
    // What is given up cannot be read any more.
    let third = id("third");
    server.stage(&name, &third, "sk-3").await.unwrap();
    assert!(server.azure.values("plain--keyturn-pending").contains(&"sk-3".to_owned()));
    store.unstage(&name, &third, &Stage::Pending).await.unwrap();
    assert!(!server.azure.values("plain--keyturn-pending").contains(&"sk-3".to_owned()));
    assert_eq!(newest(), "sk-2");
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
    assert_eq!(store.begin(&name, &two, "a", minute(14)).await.unwrap(), one);
    assert!(is_conflict(store.begin(&name, &two, "b", minute(28)).await));
    // Another takes over what the holder left.
    assert_eq!(store.begin(&name, &two, "b", minute(29)).await.unwrap(), one);
    assert!(is_conflict(store.begin(&name, &two, "a", minute(30)).await));
    store.release(&name, "a").await.unwrap();
    assert!(is_conflict(store.begin(&name, &two, "a", minute(30)).await));
    for _ in 0..2 {
        store.release(&name, "b").await.unwrap();
    }
    // A version without a value is nothing to go on with; one with a value is.
    assert_eq!(store.begin(&name, &two, "b", minute(30)).await.unwrap(), two);
    server.stage(&name, &two, "b's").await.unwrap();
    assert!(is_conflict(store.begin(&name, &one, "a", minute(31)).await), "the value keeps the lease");
    store.release(&name, "b").await.unwrap();
    assert_eq!(store.begin(&name, &one, "b", minute(31)).await.unwrap(), two);
    assert!(is_conflict(server.stage(&name, &two, "a's").await));
    store.promote(&name, &two, &first).await.unwrap();
    // With the rotation the lease is over.
    assert_eq!(store.begin(&name, &one, "a", minute(32)).await.unwrap(), one);
    store.unstage(&name, &one, &Stage::Pending).await.unwrap();
    assert_eq!(store.begin(&name, &id("three"), "b", minute(33)).await.unwrap(), id("three"));
}

#[tokio::test]
async fn one_of_several_that_begin_at_once_in_a_process_holds_the_lease() {
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
async fn who_is_overtaken_while_beginning_does_not_hold_the_lease() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("overtaken", "one").await;
    // Another process looked at the same time, and its claim is written right after ours.
    let pending = "overtaken--keyturn-pending";
    let theirs = json!({
        "keyturn-version": id("theirs").as_str(), "keyturn-after": first.as_str(), "keyturn-state": "begun",
        "keyturn-holder": "they", "keyturn-until": lease().until.to_string(),
    });
    server.azure.after(Method::PUT, move |state| state.write(pending, "-", &theirs));
    assert!(is_conflict(store.begin(&name, &id("ours"), "we", lease()).await));
    assert_eq!(store.begin(&name, &id("x"), "they", lease()).await.unwrap(), id("theirs"));
}

/// What two processes can do to each other that promote within the time of a call: the one that writes last is current,
/// and the other one's version is readable by the service's id, and nothing else is lost.
#[tokio::test]
async fn the_last_of_two_promotions_at_once_counts_and_names_what_it_came_from() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("both", "one").await;
    server.stage(&name, &id("ours"), "ours").await.unwrap();
    let theirs = json!({"keyturn-version": id("theirs").as_str(), "keyturn-previous": first.as_str()});
    server.azure.before(Method::PUT, move |state| state.write("both", "theirs", &theirs));
    store.promote(&name, &id("ours"), &first).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "ours");
    assert_eq!(subject.read(&name, &Stage::Previous).await.unwrap().version, first);
    assert_eq!(server.azure.values("both"), ["one", "theirs", "ours"]);
    // Whoever comes after that is told.
    server.stage(&name, &id("late"), "late").await.unwrap();
    assert!(is_conflict(store.promote(&name, &id("late"), &first).await));
}

#[tokio::test]
async fn what_somebody_else_writes_is_a_version_of_its_own_and_ends_a_rotation() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("foreign", "one").await;
    store.begin(&name, &id("next"), "me", lease()).await.unwrap();
    server.stage(&name, &id("next"), "two").await.unwrap();
    server.azure.write(&name, "by hand", &json!({"keyturn:rotator": "openai"}));
    let described = subject.describe(&name).await;
    assert_eq!((described.at(&Stage::Pending), described.at(&Stage::Previous)), (None, None));
    assert_eq!(described.tags["keyturn:rotator"], "openai");
    let current = described.at(&Stage::Current).unwrap().clone();
    assert_ne!(current, first);
    assert!(is_conflict(store.promote(&name, &id("next"), &first).await));
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "by hand");
    // What was there before is read by the service's id.
    assert_eq!(store.version(&name, &first).await.unwrap().value.expose(), "one");
    // Tags that people give go with the secret from version to version.
    assert_eq!(store.begin(&name, &id("third"), "you", lease()).await.unwrap(), id("third"));
    server.stage(&name, &id("third"), "three").await.unwrap();
    store.promote(&name, &id("third"), &current).await.unwrap();
    let described = subject.describe(&name).await;
    assert_eq!(described.tags, [("keyturn:rotator".to_owned(), "openai".to_owned())].into());
    assert!(described.last_rotated.is_some());
}

/// A rotation whose process dies at each of its effects, before or after it: repeated, it comes to the same end.
#[tokio::test]
async fn a_rotation_that_is_cut_off_anywhere_comes_to_its_end() {
    let server = Server::start().await;
    let subject: &dyn Subject = &server;
    let mut cuts = 0;
    for loss in [Loss::Call, Loss::Answer] {
        for after in 0.. {
            let name = format!("cut-{after}-{}", loss == Loss::Call);
            let (name, first) = subject.made(&name, "one").await;
            let next = id("next");
            let rotate = async |store: &AzureKeyVault| {
                let version = store.begin(&name, &next, "me", lease()).await?;
                store.stage(&name, &version, &"two".into(), &Stage::Pending, None).await?;
                store.promote(&name, &version, &first).await?;
                match store.unstage(&name, &first, &Stage::Previous).await {
                    Err(SecretError::Conflict { .. }) => Ok(()),
                    other => other,
                }
            };
            server.azure.lose(after, loss);
            let outcome = rotate(&store(&server.azure)).await;
            assert!(["one", "two"].contains(&&*server.azure.newest(&name).unwrap()));
            if server.azure.spare() {
                outcome.unwrap();
                break;
            }
            cuts += 1;
            assert!(matches!(outcome, Err(SecretError::Unavailable { .. })), "{outcome:?}");
            rotate(&store(&server.azure)).await.unwrap();
            assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
            assert_eq!(subject.value(&name, &Stage::Previous).await, None);
            assert_eq!(subject.value(&name, &Stage::Pending).await, None);
            assert_eq!(server.azure.values(&name), ["one", "two"], "one version for one promotion");
        }
    }
    assert_eq!(cuts, 8, "begun, staged, promoted, unstaged");
}

#[tokio::test]
async fn a_vault_with_purge_protection_frees_the_name_as_far_as_it_can() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    server.azure.protect();
    let (name, first) = subject.made("protected", "one").await;
    for _ in 0..2 {
        store.remove(&name).await.unwrap();
        assert!(is_absent(subject.read(&name, &Stage::Current).await));
    }
    assert!(server.azure.is_recoverable(&name));
    let second = store.write(&name, &"two".into(), &About::default()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
    assert_eq!(subject.value(&name, &Stage::Previous).await, None);
}

#[tokio::test]
async fn what_the_service_would_not_take_is_refused_in_plain_words() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, _) = subject.made("limits", "one").await;
    let long = "é".repeat(12_801);
    let errors = [
        server.stage(&name, &id("next"), &long).await.unwrap_err(),
        store.write(&name, &long.as_str().into(), &About::default()).await.unwrap_err(),
    ];
    for error in errors {
        let SecretError::Malformed { cause, .. } = error else { panic!("{error:?}") };
        assert_eq!(cause.to_string(), "longer than the 25,600 bytes that Azure Key Vault keeps");
    }
    let error = store.write(&"n".repeat(120), &"x".into(), &About::default()).await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(server.azure.values(&name), ["one"]);
}

#[tokio::test]
async fn a_list_goes_on_in_its_vault_only() {
    let server = Server::start().await;
    let store: &dyn StagedStore = &server.store;
    for from in ["https://evil.example/secrets?x", "x", "http://127.0.0.1:1/secrets"] {
        let error = store.list("", Some(from)).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    }
    assert!(server.azure.vault.asked().is_empty());
    let host = server.azure.vault.url().replace("http://", "");
    server.azure.write("a-name", "x", &json!({"team": "a"}));
    server.stage("a-name", &id("next"), "y").await.unwrap();
    for before in [String::new(), format!("{host}/"), format!("https://{host}/secrets/")] {
        let page = store.list(&format!("{before}a_n"), None).await.unwrap();
        let [listed] = &page.secrets[..] else { panic!("{page:?}") };
        assert_eq!((&listed.name, listed.tags["team"].as_str()), (&format!("{before}a-name"), "a"));
        assert!(listed.changed.is_some());
        assert_eq!(store.describe(&listed.name).await.unwrap().name, "a-name");
    }
}
