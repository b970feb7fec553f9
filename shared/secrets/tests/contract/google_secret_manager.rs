//! Google Secret Manager, by a server that holds callers to its documentation.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::{Env, SystemClock};
use keyturn_secrets::stores::{GoogleSecretManager, Surroundings};
use keyturn_secrets::{About, SecretError, SecretStore, Stage, StagedStore};
use keyturn_tests::fake::Mishap;
use keyturn_tests::google::Google;
use keyturn_tests::google::tokens::key_file;
use serde_json::json;

use crate::faults::{Fault, Faulty, survives_faults};
use crate::promises::{Seed, keeps_its_promises};

fn store(google: &Google, more: &[(&str, &str)]) -> GoogleSecretManager {
    let mut env: HashMap<String, String> = google.variables().into_iter().collect();
    env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    GoogleSecretManager::new(&Surroundings {
        env: Arc::new(env) as Arc<dyn Env>,
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

/// Adds versions as people do.
struct ByHand(Google);

#[async_trait]
impl Seed for ByHand {
    async fn put(&self, name: &str, value: &str) -> String {
        self.0.secrets().add(&format!("projects/project-1/secrets/{name}"), value.as_bytes());
        name.to_owned()
    }

    fn has_stages(&self) -> bool {
        false
    }
}

impl Faulty for ByHand {
    fn fail(&self, fault: Option<Fault>) {
        let error = |code: u16, status: &str| {
            let body = json!({"error": {"code": code, "status": status, "message": "sk-canary-7d3e1f"}});
            Mishap::Status(code, body)
        };
        self.0.fail(fault.map(|fault| match fault {
            Fault::Denied => error(403, "PERMISSION_DENIED"),
            Fault::Throttled => error(429, "RESOURCE_EXHAUSTED"),
            Fault::Down => error(503, "UNAVAILABLE"),
            Fault::Broken => Mishap::Broken,
            Fault::Garbage => Mishap::Garbage,
            Fault::Silent => Mishap::Silent,
        }));
    }

    fn reads(&self) -> u64 {
        let reads = self.0.asked().iter().filter(|asked| asked.path.ends_with(":access")).count();
        u64::try_from(reads).unwrap()
    }

    fn attempts(&self) -> u64 {
        1
    }
}

/// Writes by the store itself.
struct ByStore(Google, GoogleSecretManager);

#[async_trait]
impl Seed for ByStore {
    async fn put(&self, name: &str, value: &str) -> String {
        let name = format!("other-project/{name}");
        self.1.write(&name, &value.into(), &About::default()).await.unwrap();
        name
    }

    fn has_stages(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn google_secret_manager_keeps_its_promises() {
    let by_hand = ByHand(Google::start().await);
    keeps_its_promises(Arc::new(store(&by_hand.0, &[])), &by_hand).await;
    let google = Google::start().await;
    let written = store(&google, &[]);
    let by_store = ByStore(google, written);
    keeps_its_promises(Arc::new(store(&by_store.0, &[])), &by_store).await;
}

#[tokio::test]
async fn google_secret_manager_survives_faults() {
    let by_hand = ByHand(Google::start().await);
    survives_faults(|| Arc::new(store(&by_hand.0, &[])), &by_hand).await;
}

async fn get(store: &GoogleSecretManager, name: &str, stage: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::of(Some(stage))).await?.value.expose().to_owned())
}

fn cause(error: &SecretError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn a_name_is_whole_or_of_a_known_project() {
    let google = Google::start().await;
    for project in ["project-1", "cloud", "ours", "example.com:old", "p/locations/europe-west1"] {
        google.secrets().add(&format!("projects/{project}/secrets/the_Secret-1"), project.as_bytes());
    }
    let plain = store(&google, &[]);
    for (name, value) in [
        ("the_Secret-1", "project-1"),
        ("cloud/the_Secret-1", "cloud"),
        ("example.com:old/the_Secret-1", "example.com:old"),
        ("projects/ours/secrets/the_Secret-1", "ours"),
        ("projects/p/locations/europe-west1/secrets/the_Secret-1", "p/locations/europe-west1"),
    ] {
        assert_eq!(get(&plain, name, "AWSCURRENT").await.unwrap(), value, "{name}");
    }
    // A variable wins over the machine's project, and LiteLLM's over Google's own.
    let cloud = ("GOOGLE_CLOUD_PROJECT", "cloud");
    let ours = ("GOOGLE_SECRET_MANAGER_PROJECT_ID", "ours");
    assert_eq!(get(&store(&google, &[cloud]), "the_Secret-1", "AWSCURRENT").await.unwrap(), "cloud");
    assert_eq!(get(&store(&google, &[cloud, ours]), "the_Secret-1", "AWSCURRENT").await.unwrap(), "ours");
    let long = "n".repeat(239);
    for name in [
        "",
        "a.b",
        "a b",
        &long,
        "projects/a",
        "projects/p/secrets/",
        "projects/p/secrets/a/versions/1",
        "projects/p/locations/L/secrets/a",
        "projects/p/locations//secrets/a",
        "/a",
        "P/a",
        "p/../a",
        "../a",
    ] {
        let error = get(&plain, name, "AWSCURRENT").await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(&format!("`google-secretmanager:{name}`")), "{error}");
    }
}

#[tokio::test]
async fn a_stage_may_be_a_number_or_any_alias() {
    let google = Google::start().await;
    let name = "projects/project-1/secrets/staged";
    for value in ["one", "two", "three"] {
        google.secrets().add(name, value.as_bytes());
    }
    let aliases = json!({"keyturn-previous": "2", "blue": "1"});
    google.secrets().secret(name).fields.insert("versionAliases".to_owned(), aliases);
    let store = store(&google, &[]);
    for (stage, value) in [("AWSCURRENT", "three"), ("AWSPREVIOUS", "two"), ("blue", "one"), ("2", "two")] {
        assert_eq!(get(&store, "staged", stage).await.unwrap(), value, "{stage}");
    }
    for stage in ["green", "4", "0", "blue/../3", "3:destroy", "AWSPENDING"] {
        let error = get(&store, "staged", stage).await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{stage}: {error:?}");
    }
    for state in ["DISABLED", "DESTROYED"] {
        google.secrets().secret(name).versions[2].state = state;
        let error = get(&store, "staged", "AWSCURRENT").await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
        assert_eq!(cause(&error), "the version is disabled or destroyed");
    }
}

#[tokio::test]
async fn a_read_is_one_call_and_a_secret_made_anew_has_another_version() {
    let google = Google::start().await;
    let name = "projects/project-1/secrets/anew";
    google.secrets().add(name, b"one");
    let store = store(&google, &[("GOOGLE_CLOUD_PROJECT", "project-1")]);
    let first = store.get("anew", &Stage::Current).await.unwrap();
    assert!(first.version.as_str().starts_with("1-"), "{}", first.version);
    let before = google.asked().len();
    assert_eq!(store.get("anew", &Stage::Current).await.unwrap().version, first.version);
    assert_eq!(google.asked().len() - before, 1);
    store.remove("anew").await.unwrap();
    google.secrets().add(name, b"two");
    let second = store.get("anew", &Stage::Current).await.unwrap();
    assert!(second.version.as_str().starts_with("1-") && second.version != first.version);
}

#[tokio::test]
async fn a_damaged_value_is_read_again_once() {
    let google = Google::start().await;
    google.secrets().add("projects/project-1/secrets/damaged", b"one");
    let store = store(&google, &[]);
    for (damaged, reads) in [(0, 1), (1, 2), (2, 2)] {
        google.secrets().damaged = damaged;
        google.secrets().accesses = 0;
        let read = get(&store, "damaged", "AWSCURRENT").await;
        assert_eq!(google.secrets().accesses, reads);
        match read {
            Ok(value) => assert!(value == "one" && damaged < 2),
            Err(error) => {
                assert!(matches!(error, SecretError::Unavailable { .. }) && damaged == 2, "{error:?}");
            }
        }
    }
    for data in [&b"\xFF\xFE"[..], b""] {
        google.secrets().add("projects/project-1/secrets/damaged", data);
        let error = get(&store, "damaged", "AWSCURRENT").await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_is_replaced_in_the_same_read() {
    let google = Google::start().await;
    google.secrets().add("projects/project-1/secrets/revoked", b"one");
    let store = store(&google, &[]);
    get(&store, "revoked", "AWSCURRENT").await.unwrap();
    google.tokens().revoke();
    assert_eq!(get(&store, "revoked", "AWSCURRENT").await.unwrap(), "one");
    assert_eq!(google.tokens().given(), 2);
    // Once: a token that is never good is no reason to ask for ever.
    let unauthenticated = json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}});
    let (asked, url) = (google.asked().len(), google.url());
    let own_key = store_with_key(&google, &url);
    google.fail(Some(Mishap::Status(401, unauthenticated)));
    let error = get(&store, "revoked", "AWSCURRENT").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert!(google.asked().len() - asked <= 3);
    google.fail(None);
    assert_eq!(get(&own_key, "project-1/revoked", "AWSCURRENT").await.unwrap(), "one");
}

#[tokio::test]
async fn only_the_api_s_own_404_says_that_a_secret_is_not_there() {
    let google = Google::start().await;
    google.secrets().add("projects/project-1/secrets/there", b"one");
    let store = store(&google, &[]);
    assert_eq!(get(&store, "there", "AWSCURRENT").await.unwrap(), "one");
    for (body, is_absent) in [
        (json!({"error": {"code": 404, "status": "NOT_FOUND"}}), true),
        (json!({"error": "no route"}), false),
        (json!({}), false),
    ] {
        google.fail(Some(Mishap::Status(404, body)));
        let error = get(&store, "there", "AWSCURRENT").await.unwrap_err();
        assert_eq!(matches!(error, SecretError::NotFound { .. }), is_absent, "{error:?}");
        assert_eq!(matches!(error, SecretError::Unavailable { .. }), !is_absent, "{error:?}");
    }
}

/// The store with LiteLLM's setting for credentials: a JSON text.
fn store_with_key(google: &Google, url: &str) -> GoogleSecretManager {
    let key = key_file(url).to_string();
    let metadata = ("GCE_METADATA_HOST", "127.0.0.1:9");
    store(google, &[("GCS_PATH_SERVICE_ACCOUNT", &key), metadata])
}

#[tokio::test]
async fn credentials_are_litellm_s_or_google_s() {
    let google = Google::start().await;
    google.secrets().add("projects/project-1/secrets/keyed", b"one");
    let url = google.url();
    // Its project is the key's.
    assert_eq!(get(&store_with_key(&google, &url), "keyed", "AWSCURRENT").await.unwrap(), "one");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    std::fs::write(&path, key_file(&url).to_string()).unwrap();
    let path = path.to_str().unwrap();
    for variable in ["GCS_PATH_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"] {
        let store = store(&google, &[(variable, path), ("GCE_METADATA_HOST", "127.0.0.1:9")]);
        assert_eq!(get(&store, "keyed", "AWSCURRENT").await.unwrap(), "one", "{variable}");
    }
    for (variable, value) in [
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent"),
        ("GOOGLE_SECRET_MANAGER_ENDPOINT", "http://secretmanager.example"),
        ("GOOGLE_SECRET_MANAGER_ENDPOINT", "nonsense"),
    ] {
        let error = get(&store(&google, &[(variable, value)]), "keyed", "AWSCURRENT").await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        assert!(cause(&error).contains(variable), "{error:?}");
    }
}
