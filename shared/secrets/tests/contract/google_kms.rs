//! Google Cloud KMS, by a server that holds callers to its documentation. What it has decrypted it does not ask for
//! again, so the promises about refreshes and outages of a store do not fit it: here are its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use keyturn_ambient::{Env, SystemClock};
use keyturn_secrets::stores::{GoogleKms, Surroundings};
use keyturn_secrets::{SecretError, SecretStore, Stage};
use keyturn_tests::fake::Mishap;
use keyturn_tests::google::Google;
use keyturn_tests::google::keys::KEY;
use serde_json::json;

use crate::promises::{Seed, keeps_its_promises};

/// An environment with ciphertexts, and the service that made them.
struct Rig {
    google: Google,
    variables: Arc<Variables>,
}

#[derive(Default)]
struct Variables(Mutex<HashMap<String, String>>);

impl Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().var(name)
    }
}

impl Rig {
    async fn start() -> Self {
        let google = Google::start().await;
        let rig = Self { variables: Arc::default(), google };
        for (name, value) in rig.google.variables() {
            rig.set(&name, &value);
        }
        rig.set("GOOGLE_KMS_RESOURCE_NAME", KEY);
        rig
    }

    fn set(&self, name: &str, value: &str) {
        self.variables.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    fn store(&self) -> GoogleKms {
        GoogleKms::new(&Surroundings {
            env: Arc::clone(&self.variables) as Arc<dyn Env>,
            http: keyturn_http::client().unwrap(),
            clock: Arc::new(SystemClock),
        })
    }

    /// A ciphertext in base64.
    fn encrypt(&self, plaintext: &[u8], along: &[u8]) -> String {
        STANDARD.encode(self.google.keys().encrypt(plaintext, along))
    }
}

#[async_trait]
impl Seed for Rig {
    async fn put(&self, name: &str, value: &str) -> String {
        self.set(name, &self.encrypt(value.as_bytes(), b""));
        format!("env/{name}")
    }

    fn has_stages(&self) -> bool {
        false
    }
}

async fn get(store: &GoogleKms, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

#[tokio::test]
async fn google_kms_keeps_its_promises() {
    let rig = Rig::start().await;
    keeps_its_promises(Arc::new(rig.store()), &rig).await;
}

#[tokio::test]
async fn a_ciphertext_is_base64_or_a_bytes_literal() {
    let rig = Rig::start().await;
    let ciphertext = rig.google.keys().encrypt(b"sk-one", b"");
    let encoded = STANDARD.encode(&ciphertext);
    let literal: String = ciphertext.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let store = rig.store();
    assert_eq!(get(&store, &format!("data/{encoded}")).await.unwrap(), "sk-one");
    for (name, value) in
        [("PLAIN", encoded.clone()), ("LINE", format!("{encoded}\n")), ("LITERAL", format!("b'{literal}'"))]
    {
        rig.set(name, &value);
        assert_eq!(get(&store, &format!("env/{name}")).await.unwrap(), "sk-one", "{name}");
    }
    assert_eq!(rig.google.keys().asked, 1, "it is one ciphertext");
    rig.set("WRONG", "sk-in-the-clear");
    for (name, found) in [
        ("env/WRONG", false),
        ("data/%%", false),
        ("data/", true),
        ("env/ABSENT", true),
        ("env/", true),
        ("PLAIN", true),
    ] {
        let error = get(&store, name).await.unwrap_err();
        let fits = match error {
            SecretError::Malformed { .. } => !found || name == "data/",
            SecretError::NotFound { .. } => found,
            _ => false,
        };
        assert!(fits, "{name}: {error:?}");
    }
    let error = store.get("env/PLAIN", &Stage::Previous).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_ciphertext_is_bound_to_must_be_the_same() {
    let rig = Rig::start().await;
    let name = format!("data/{}", rig.encrypt(b"bound", "prod-ü".as_bytes()));
    let error = get(&rig.store(), &name).await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    rig.set("GOOGLE_KMS_ADDITIONAL_AUTHENTICATED_DATA", "prod-ü");
    assert_eq!(get(&rig.store(), &name).await.unwrap(), "bound");
}

#[tokio::test]
async fn each_ciphertext_is_decrypted_once_and_outlives_the_service() {
    let rig = Rig::start().await;
    let (store, name) = (rig.store(), format!("data/{}", rig.encrypt(b"sk-one", b"")));
    let asked = || rig.google.keys().asked;
    let error = |code: u16, status: &str| {
        Mishap::Status(code, json!({"error": {"code": code, "status": status, "message": "sk-one"}}))
    };
    for (mishap, denied) in [
        (error(403, "PERMISSION_DENIED"), true),
        (error(404, "NOT_FOUND"), true),
        (error(400, "FAILED_PRECONDITION"), true),
        (error(429, "RESOURCE_EXHAUSTED"), false),
        (error(503, "UNAVAILABLE"), false),
        (Mishap::Broken, false),
    ] {
        rig.google.fail(Some(mishap.clone()));
        // A new store has no token yet, so that the service of tokens fails too.
        for store in [&store, &rig.store()] {
            let error = get(store, &name).await.unwrap_err();
            let fits = match &error {
                SecretError::Denied { .. } => denied,
                SecretError::Unavailable { .. } => !denied,
                _ => false,
            };
            assert!(fits, "{mishap:?}: {error:?}");
        }
    }
    rig.google.fail(None);
    let crowd = join_all((0..200).map(|_| get(&store, &name))).await;
    assert!(crowd.into_iter().all(|value| value.unwrap() == "sk-one"));
    assert_eq!(asked(), 1);
    rig.google.fail(Some(Mishap::Broken));
    assert_eq!(get(&store, &name).await.unwrap(), "sk-one");
    let first = store.get(&name, &Stage::Current).await.unwrap().version;
    assert_eq!(store.get(&name, &Stage::Current).await.unwrap().version, first);
}

#[tokio::test]
async fn a_damaged_plaintext_is_asked_for_again_once() {
    let rig = Rig::start().await;
    for (damaged, asked) in [(0, 1), (1, 2), (2, 2)] {
        let (store, name) = (rig.store(), format!("data/{}", rig.encrypt(b"sk-one", b"")));
        rig.google.keys().damaged = damaged;
        rig.google.keys().asked = 0;
        let read = get(&store, &name).await;
        assert_eq!(rig.google.keys().asked, asked);
        match read {
            Ok(value) => assert!(value == "sk-one" && damaged < 2),
            Err(error) => {
                assert!(matches!(error, SecretError::Unavailable { .. }) && damaged == 2, "{error:?}");
            }
        }
    }
    for plaintext in [&b"\xFF\xFE"[..], b""] {
        let name = format!("data/{}", rig.encrypt(plaintext, b""));
        let error = get(&rig.store(), &name).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn settings_that_are_wrong_are_told_at_first_use() {
    let rig = Rig::start().await;
    let name = format!("data/{}", rig.encrypt(b"sk-one", b""));
    for (variable, value) in [
        ("GOOGLE_KMS_RESOURCE_NAME", ""),
        ("GOOGLE_KMS_RESOURCE_NAME", "my-key"),
        ("GOOGLE_KMS_RESOURCE_NAME", "projects/project-1/locations/global/keyRings/ring/cryptoKeys/other"),
        ("GOOGLE_KMS_ENDPOINT", "http://cloudkms.example"),
    ] {
        rig.set(variable, value);
        let error = get(&rig.store(), &name).await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(variable), "{cause}");
        rig.set("GOOGLE_KMS_RESOURCE_NAME", KEY);
    }
}
