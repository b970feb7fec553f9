//! AWS KMS, by the moto server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyturn_ambient::{Env, SystemClock};
use keyturn_secrets::stores::{AwsKms, Surroundings};
use keyturn_secrets::{SecretError, SecretStore, Stage};
use keyturn_tests::fake::{Answer, Fake};
use keyturn_tests::moto::{Moto, REGION};
use serde_json::{Value, json};

use crate::aws_secrets_manager::mishap;
use crate::faults::{Fault, Faulty, survives_faults};
use crate::promises::{Seed, keeps_its_promises};

/// An environment that changes.
#[derive(Clone)]
struct Variables(Arc<Mutex<HashMap<String, String>>>);

impl Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().var(name)
    }
}

impl Variables {
    fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }
}

struct Server {
    moto: Moto,
    variables: Variables,
}

impl Server {
    async fn start() -> Self {
        let moto = Moto::start().await;
        let variables = environment(&moto.url());
        Self { moto, variables }
    }

    fn store(&self) -> AwsKms {
        open(&self.variables)
    }
}

fn environment(url: &str) -> Variables {
    let own = [
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL", url),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Variables(Arc::new(Mutex::new(HashMap::from(own))))
}

fn open(variables: &Variables) -> AwsKms {
    AwsKms::new(&Surroundings {
        env: Arc::new(variables.clone()),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

#[async_trait]
impl Seed for Server {
    async fn put(&self, name: &str, value: &str) -> String {
        self.variables.set(name, &self.moto.encrypt(value, &json!({})).await);
        format!("env/{name}")
    }

    fn has_stages(&self) -> bool {
        false
    }

    fn longest(&self) -> usize {
        4096
    }
}

impl Faulty for Server {
    fn fail(&self, fault: Option<Fault>) {
        self.moto.fail(fault.map(mishap));
    }

    fn reads(&self) -> u64 {
        self.moto.requests("Decrypt")
    }

    fn attempts(&self) -> u64 {
        1
    }

    fn remembers(&self) -> bool {
        true
    }
}

async fn value(store: &AwsKms, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

#[tokio::test]
async fn aws_kms_keeps_its_promises() {
    let server = Server::start().await;
    keeps_its_promises(Arc::new(server.store()), &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_kms_survives_faults() {
    let server = Server::start().await;
    survives_faults(|| Arc::new(server.store()), &server).await;
}

#[tokio::test]
async fn a_ciphertext_is_taken_as_litellm_and_people_write_it() {
    let server = Server::start().await;
    let ciphertext = server.moto.encrypt("sk-one\n", &json!({})).await;
    let (start, end) = ciphertext.split_at(20);
    let wrapped = format!(" {start}\n{end}\n");
    for text in [&ciphertext, &format!("aws_kms/{ciphertext}"), &wrapped, &format!("aws_kms/{wrapped}")] {
        server.variables.set("KEY", text);
        assert_eq!(value(&server.store(), "env/KEY").await.unwrap(), "sk-one", "{text}");
    }
    for name in [format!("data/{ciphertext}"), format!("data/aws_kms/{ciphertext}")] {
        assert_eq!(value(&server.store(), &name).await.unwrap(), "sk-one", "{name}");
    }
}

#[tokio::test]
async fn one_ciphertext_is_decrypted_once_whatever_names_it() {
    let server = Server::start().await;
    let ciphertext = server.moto.encrypt("sk-one", &json!({})).await;
    server.variables.set("A", &ciphertext);
    server.variables.set("B", &format!("aws_kms/{ciphertext}"));
    let store = server.store();
    for name in ["env/A", "env/B", &format!("data/{ciphertext}"), "env/A"] {
        assert_eq!(value(&store, name).await.unwrap(), "sk-one");
    }
    assert_eq!(server.reads(), 1);
}

#[tokio::test]
async fn what_names_no_value_is_told_without_the_ciphertext() {
    let server = Server::start().await;
    let good = server.moto.encrypt("x", &json!({})).await;
    // Its last bytes are the value.
    let damaged = format!("{}AAAA", &good[..good.len() - 4]);
    let blank = server.moto.encrypt(" \n", &json!({})).await;
    for (name, text) in
        [("BLANK", &*blank), ("DAMAGED", &damaged), ("NOT_BASE64", "sk-canary!"), ("EMPTY", "")]
    {
        server.variables.set(name, text);
    }
    let store = server.store();
    for (name, said) in [
        ("env/BLANK", "empty"),
        ("env/DAMAGED", "HTTP 400 InvalidCiphertextException"),
        ("env/NOT_BASE64", "not a ciphertext in base64"),
        (&format!("data/{damaged}"), "HTTP 400 InvalidCiphertextException"),
        (&format!("data/{damaged}-canary"), "not a ciphertext in base64"),
    ] {
        let error = value(&store, name).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, SecretError::Malformed { .. }), "{shown}");
        assert!(shown.contains(said) && !shown.contains(&damaged) && !shown.contains("canary"), "{shown}");
        assert!(!name.starts_with("env/") || shown.contains(&format!("`aws-kms:{name}`")), "{shown}");
    }
    for name in ["env/UNSET", "env/EMPTY", "KEY", "env", "other/KEY"] {
        let error = value(&store, name).await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn the_context_and_the_key_are_sent_if_they_are_set() {
    let server = Server::start().await;
    server.variables.set("KEY", &server.moto.encrypt("sk-one", &json!({"app": "gateway"})).await);
    let error = value(&server.store(), "env/KEY").await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    server.variables.set("AWS_KMS_ENCRYPTION_CONTEXT", r#"{"app": "gateway"}"#);
    assert_eq!(value(&server.store(), "env/KEY").await.unwrap(), "sk-one");
    let sent = server.moto.last_call("Decrypt").unwrap();
    assert_eq!((&sent["EncryptionContext"], &sent["KeyId"]), (&json!({"app": "gateway"}), &Value::Null));
    let key = server.moto.kms_key().await.to_owned();
    let arn = format!("arn:aws:kms:{REGION}:123456789012:key/{key}");
    for key in [key, arn] {
        server.variables.set("AWS_KMS_KEY_ID", &key);
        assert_eq!(value(&server.store(), "env/KEY").await.unwrap(), "sk-one");
        assert_eq!(server.moto.last_call("Decrypt").unwrap()["KeyId"], *key);
    }
    // Where the key is, not where we are.
    server.variables.set("AWS_REGION", "eu-west-1");
    assert_eq!(value(&server.store(), "env/KEY").await.unwrap(), "sk-one");
    server.variables.set("AWS_KMS_KEY_ID", "nonesuch");
    let error = value(&server.store(), "env/KEY").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    for wrong in ["gateway", "[]", r#"{"app": 1}"#] {
        server.variables.set("AWS_KMS_ENCRYPTION_CONTEXT", wrong);
        let error = value(&server.store(), "env/KEY").await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("AWS_KMS_ENCRYPTION_CONTEXT"), "{error:?}");
    }
}

/// A KMS and an STS that refuse the first session, as if it had been taken back.
#[tokio::test]
async fn a_session_that_is_refused_is_replaced_once() {
    for (code, patient) in [("ExpiredTokenException", true), ("AccessDeniedException", false)] {
        let sessions = Mutex::new(0);
        let fake = Fake::start(move |asked| {
            if asked.text().starts_with("Action=AssumeRole&") {
                let mut sessions = sessions.lock().unwrap();
                *sessions += 1;
                return Answer::text(
                    200,
                    format!(
                        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{sessions}</AccessKeyId>\
                         <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
                         </AssumeRoleResponse>"
                    ),
                );
            }
            assert_eq!(asked.header("x-amz-target"), "TrentService.Decrypt");
            if asked.header("authorization").contains("Credential=ASIA2/") {
                Answer::json(200, &json!({"Plaintext": "c2stb25l", "KeyId": "k"}))
            } else {
                Answer::json(400, &json!({"__type": code}))
            }
        })
        .await;
        let variables = environment(&fake.url());
        variables.set("KEYTURN_AWS_ROLE_NAME", "arn:aws:iam::210987654321:role/reader");
        variables.set("KEY", "AQICAHh0");
        let read = value(&open(&variables), "env/KEY").await;
        if patient {
            assert_eq!(read.unwrap(), "sk-one");
            assert_eq!(fake.asked().len(), 4);
        } else {
            assert!(matches!(read, Err(SecretError::Denied { .. })), "{read:?}");
            assert_eq!(fake.asked().len(), 2);
        }
        // A key of the environment's has no other one.
        variables.set("KEYTURN_AWS_ROLE_NAME", "");
        let before = fake.asked().len();
        let error = value(&open(&variables), "env/KEY").await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        assert_eq!(fake.asked().len(), before + 1);
    }
}

#[tokio::test]
async fn each_refusal_has_its_class() {
    for (status, code, class) in [
        (400, "AccessDeniedException", "Denied"),
        (400, "NotFoundException", "Denied"),
        (400, "IncorrectKeyException", "Denied"),
        (400, "DisabledException", "Denied"),
        (409, "KMSInvalidStateException", "Denied"),
        (400, "InvalidSignatureException", "Denied"),
        (400, "com.amazonaws.kms#InvalidCiphertextException", "Malformed"),
        (400, "ThrottlingException", "Unavailable"),
        (400, "LimitExceededException", "Unavailable"),
        (500, "KeyUnavailableException", "Unavailable"),
        (500, "KMSInternalException", "Unavailable"),
        (503, "DependencyTimeoutException", "Unavailable"),
    ] {
        let fake =
            Fake::start(move |_| Answer::json(status, &json!({"__type": code, "message": "sk-canary"})))
                .await;
        let variables = environment(&fake.url());
        variables.set("KEY", "AQICAHh0");
        let error = value(&open(&variables), "env/KEY").await.unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(class), "{code}: {shown}");
        let code = code.rsplit('#').next().unwrap();
        assert!(shown.contains(&format!("HTTP {status} {code}")) && !shown.contains("canary"), "{shown}");
    }
}
