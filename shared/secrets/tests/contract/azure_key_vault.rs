//! Azure Key Vault, by the fake.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::{AzureKeyVault, Surroundings};
use keyturn_secrets::{About, SecretError, SecretStore, Stage, StagedStore};
use keyturn_tests::azure::Azure;
use keyturn_tests::fake::Mishap;
use serde_json::json;

use crate::faults::{Fault, Faulty, survives_faults};
use crate::promises::{Seed, keeps_its_promises};

fn store(azure: &Azure, more: &[(&str, &str)]) -> AzureKeyVault {
    let mut env: HashMap<String, String> = azure.variables().into_iter().collect();
    env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    AzureKeyVault::new(&Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

/// The most bytes of a value.
const LONGEST: usize = 25_600;

/// Writes secrets as people do.
struct ByHand(Azure);

#[async_trait]
impl Seed for ByHand {
    async fn put(&self, name: &str, value: &str) -> String {
        self.0.write(name, value, &json!({}));
        name.to_owned()
    }

    fn has_stages(&self) -> bool {
        false
    }

    fn longest(&self) -> usize {
        LONGEST
    }
}

impl Faulty for ByHand {
    fn fail(&self, fault: Option<Fault>) {
        let error = |code: &str| json!({"error": {"code": code, "message": "sk-canary-7d3e1f"}});
        self.0.vault.fail(fault.map(|fault| match fault {
            Fault::Denied => Mishap::Status(403, error("Forbidden")),
            Fault::Throttled => Mishap::Status(429, error("Throttled")),
            Fault::Down => Mishap::Status(503, error("ServiceUnavailable")),
            Fault::Broken => Mishap::Broken,
            Fault::Garbage => Mishap::Garbage,
            Fault::Silent => Mishap::Silent,
        }));
    }

    fn reads(&self) -> u64 {
        self.0.vault.asked().len().try_into().unwrap()
    }

    fn attempts(&self) -> u64 {
        1
    }
}

/// Writes secrets by the store itself.
struct ByStore(AzureKeyVault);

#[async_trait]
impl Seed for ByStore {
    async fn put(&self, name: &str, value: &str) -> String {
        self.0.write(name, &value.into(), &About::default()).await.unwrap();
        name.to_owned()
    }

    fn has_stages(&self) -> bool {
        true
    }

    fn longest(&self) -> usize {
        LONGEST
    }
}

#[tokio::test]
async fn azure_key_vault_keeps_its_promises() {
    let by_hand = ByHand(Azure::start().await);
    keeps_its_promises(Arc::new(store(&by_hand.0, &[])), &by_hand).await;
    let azure = Azure::start().await;
    let by_store = ByStore(store(&azure, &[]));
    keeps_its_promises(Arc::new(store(&azure, &[])), &by_store).await;
}

#[tokio::test]
async fn azure_key_vault_survives_faults() {
    let by_hand = ByHand(Azure::start().await);
    survives_faults(|| Arc::new(store(&by_hand.0, &[])), &by_hand).await;
}

async fn get(store: &AzureKeyVault, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

fn cause(error: &SecretError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn a_secret_has_several_names() {
    let azure = Azure::start().await;
    azure.write("OPENAI-API-KEY", "sk-1", &json!({}));
    let host = azure.vault.url().replace("http://", "");
    let store = store(&azure, &[]);
    let names = [
        "OPENAI-API-KEY".to_owned(),
        "OPENAI_API_KEY".to_owned(),
        format!("{host}/OPENAI_API_KEY"),
        format!("https://{host}/secrets/OPENAI-API-KEY"),
    ];
    for name in &names {
        assert_eq!(get(&store, name).await.unwrap(), "sk-1", "{name}");
        assert_eq!(store.describe(name).await.unwrap().name, "OPENAI-API-KEY");
    }
    // An identifier with a version is that version.
    let version = store.get(&names[0], &Stage::Current).await.unwrap().version;
    azure.write("OPENAI-API-KEY", "sk-2", &json!({}));
    let name = format!("{}/{version}", names[3]);
    assert_eq!(get(&store, &name).await.unwrap(), "sk-1");
    assert_eq!(get(&store, &names[3]).await.unwrap(), "sk-2");
    store.write(&name, &"sk-3".into(), &About::default()).await.unwrap_err();
    assert_eq!(azure.newest("OPENAI-API-KEY").unwrap(), "sk-2");
}

#[tokio::test]
async fn names_that_cannot_be_are_told() {
    let azure = Azure::start().await;
    let store = store(&azure, &[]);
    let host = azure.vault.url().replace("http://", "");
    let long = "n".repeat(128);
    for name in ["", "a.b", "a/b/c", "ä", "../keys", "x--keyturn-pending", &long, &format!("{host}/")] {
        let error = get(&store, name).await.unwrap_err();
        assert!(
            matches!(error, SecretError::NotFound { .. } | SecretError::Denied { .. }),
            "{name}: {error:?}"
        );
        assert!(error.to_string().contains(&format!("`azure-keyvault:{name}`")), "{error}");
    }
    assert!(azure.vault.asked().is_empty());
}

#[tokio::test]
async fn a_token_goes_to_vaults_only() {
    let azure = Azure::start().await;
    let store = store(&azure, &[]);
    let port = azure.vault.url().rsplit_once(':').unwrap().1.to_owned();
    for host in [
        "evil.example",
        "vault.azure.net",
        ".vault.azure.net",
        "a.b.vault.azure.net",
        "evil.example/x.vault.azure.net",
        "vault.azure.net.evil.example",
        "user@x.vault.azure.net",
        "x.vault.azure.net:8443",
        &format!("localhost:{port}"),
    ] {
        for name in [format!("{host}/name"), format!("https://{host}/secrets/name")] {
            let error = get(&store, &name).await.unwrap_err();
            let told = matches!(error, SecretError::NotFound { .. } | SecretError::Denied { .. });
            assert!(told, "{name}: {error:?}");
        }
    }
    for address in ["http://my.vault.azure.net", "http://evil.example", "my-vault", "https://a/?b=c"] {
        let error = get(&self::store(&azure, &[("AZURE_KEY_VAULT_URI", address)]), "name").await.unwrap_err();
        assert!(cause(&error).contains("AZURE_KEY_VAULT_URI"), "{error:?}");
    }
    let error = get(&self::store(&azure, &[("AZURE_KEY_VAULT_URI", "")]), "name").await.unwrap_err();
    assert_eq!(cause(&error), "AZURE_KEY_VAULT_URI is not set");
    assert!(azure.login.asked().is_empty());
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let azure = Azure::start().await;
    azure.write("name", "sk-1", &json!({}));
    let store = store(&azure, &[]);
    assert_eq!(get(&store, "name").await.unwrap(), "sk-1");
    assert_eq!(azure.login.asked().len(), 1);
    azure.revoke_tokens();
    assert_eq!(get(&store, "name").await.unwrap(), "sk-1");
    assert_eq!((azure.login.asked().len(), azure.vault.asked().len()), (2, 3));
    let refusal = json!({"error": {"code": "Unauthorized", "message": "AKV10032: Invalid issuer."}});
    azure.vault.fail(Some(Mishap::Status(401, refusal)));
    let error = get(&store, "name").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(cause(&error), "HTTP 401 Unauthorized");
    assert_eq!((azure.login.asked().len(), azure.vault.asked().len()), (3, 5));
}

#[tokio::test]
async fn an_identity_that_is_refused_and_one_that_cannot_be_had_now_are_told_apart() {
    let azure = Azure::start().await;
    azure.write("name", "sk-1", &json!({}));
    let wrong = store(&azure, &[("AZURE_CLIENT_SECRET", "wrong~secret")]);
    let error = get(&wrong, "name").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(cause(&error), "Microsoft Entra refuses us: HTTP 401 invalid_client AADSTS7000215");
    let store = store(&azure, &[]);
    azure.login.fail(Some(Mishap::Broken));
    let error = get(&store, "name").await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    azure.login.fail(None);
    assert_eq!(get(&store, "name").await.unwrap(), "sk-1");
}

#[tokio::test]
async fn a_disabled_secret_is_told_to_be() {
    let azure = Azure::start().await;
    azure.write("name", "sk-1", &json!({}));
    azure.write("name", "sk-2", &json!({}));
    azure.disable("name");
    let store = store(&azure, &[]);
    let error = get(&store, "name").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(cause(&error), "HTTP 403 SecretDisabled");
    store.write("name", &"sk-3".into(), &About::default()).await.unwrap();
    assert_eq!(get(&store, "name").await.unwrap(), "sk-3");
}
