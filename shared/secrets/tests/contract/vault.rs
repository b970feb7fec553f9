//! Vault, by the OpenBao server.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::stores::{HashiCorpVault, Surroundings};
use keyturn_secrets::{
    About, CacheSettings, CredentialCache, SecretError, SecretStore, Stage, StagedStore, Stores,
};
use keyturn_tests::openbao::{OpenBao, ROOT};
use serde_json::{Value, json};

use crate::promises::{Seed, keeps_its_promises};

fn store(more: &[(&str, &str)]) -> HashiCorpVault {
    let own = [("HCP_VAULT_ADDR", OpenBao::shared().url()), ("HCP_VAULT_TOKEN", ROOT)];
    let env: HashMap<String, String> =
        own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HashiCorpVault::new(&Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

async fn write(path: &str, fields: Value) {
    OpenBao::shared().write(&format!("secret/data/{path}"), &json!({"data": fields})).await;
}

/// Writes documents as LiteLLM and people do.
struct ByHand(String);

#[async_trait]
impl Seed for ByHand {
    async fn put(&self, name: &str, value: &str) -> String {
        let path = format!("{}/{name}", self.0);
        write(&path, json!({"key": value})).await;
        format!("secret/{path}")
    }

    fn has_stages(&self) -> bool {
        false
    }
}

/// Writes documents by the store itself.
struct ByStore(String, HashiCorpVault);

#[async_trait]
impl Seed for ByStore {
    async fn put(&self, name: &str, value: &str) -> String {
        let name = format!("secret/{}/{name}", self.0);
        self.1.write(&name, &value.into(), &About::default()).await.unwrap();
        name
    }

    fn has_stages(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn vault_keeps_its_promises() {
    let by_hand = ByHand(OpenBao::shared().fresh("by-hand"));
    keeps_its_promises(Arc::new(store(&[])), &by_hand).await;
    let by_store = ByStore(OpenBao::shared().fresh("by-store"), store(&[]));
    keeps_its_promises(Arc::new(store(&[])), &by_store).await;
}

async fn get(store: &HashiCorpVault, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

#[tokio::test]
async fn a_document_is_one_text_or_an_object() {
    let path = OpenBao::shared().fresh("shapes");
    let name = format!("secret/{path}");
    let store = store(&[]);
    for (fields, expected) in [
        (json!({"key": "sk-1"}), "sk-1"),
        (json!({"A": "1"}), r#"{"A":"1"}"#),
        (json!({"A": "1", "B": 2.5, "key": "3"}), r#"{"A":"1","B":2.5,"key":"3"}"#),
        (json!({"key": 1}), r#"{"key":1}"#),
    ] {
        write(&path, fields.clone()).await;
        let value = get(&store, &name).await.unwrap();
        let both = (serde_json::from_str::<Value>(&value), serde_json::from_str::<Value>(expected));
        assert!(value == expected || both.0.unwrap() == both.1.unwrap(), "{fields}");
    }
    for fields in [json!({}), json!({"key": ""}), json!({"key": "x", "keyturn": "mine"})] {
        write(&path, fields.clone()).await;
        let error = get(&store, &name).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{fields}: {error:?}");
    }
    for name in ["secret", "nonesuch/a", "secret/a//b", "secret/../a", "/a", "secret/"] {
        let error = get(&store, name).await.unwrap_err();
        assert!(
            matches!(error, SecretError::NotFound { .. } | SecretError::Denied { .. }),
            "{name}: {error:?}"
        );
        assert!(error.to_string().contains(&format!("`vault:{name}`")), "{error}");
    }
}

#[tokio::test]
async fn a_field_is_found_in_either_shape() {
    let path = OpenBao::shared().fresh("fields");
    write(&format!("{path}/one"), json!({"key": r#"{"key": "inner", "B": "2"}"#})).await;
    write(&format!("{path}/two"), json!({"key": "sk-1", "B": "sk-2"})).await;
    let stores = Stores::none().with(Arc::new(store(&[])));
    let cache = CredentialCache::new(stores, Arc::new(SystemClock), CacheSettings::default());
    for (reference, expected) in
        [("one#key", r#"{"key": "inner", "B": "2"}"#), ("one#B", "2"), ("two#key", "sk-1"), ("two#B", "sk-2")]
    {
        let reference: SecretRef = format!("vault:secret/{path}/{reference}").parse().unwrap();
        assert_eq!(cache.get(&reference).await.unwrap().value.expose(), expected, "{reference}");
    }
}

#[tokio::test]
async fn a_reference_is_whole_and_its_mount_may_be_a_path() {
    let server = OpenBao::shared();
    let mount = format!("{}/kv", server.fresh("team"));
    let engine = json!({"type": "kv", "options": {"version": "2"}});
    server.write(&format!("sys/mounts/{mount}"), &engine).await;
    server.write(&format!("{mount}/data/a"), &json!({"data": {"key": "there"}})).await;
    let path = server.fresh("whole");
    write(&path, json!({"key": "here"})).await;
    let store = store(&[("HCP_VAULT_MOUNT_NAME", &mount), ("HCP_VAULT_PATH_PREFIX", "elsewhere")]);
    assert_eq!(get(&store, &format!("{mount}/a")).await.unwrap(), "there");
    assert_eq!(get(&store, &format!("secret/{path}")).await.unwrap(), "here");
}

#[tokio::test]
async fn a_document_that_is_made_anew_has_a_version_of_its_own() {
    let path = OpenBao::shared().fresh("anew");
    let (name, store) = (format!("secret/{path}"), store(&[]));
    let mut versions = Vec::new();
    for value in ["one", "two"] {
        write(&path, json!({"key": value})).await;
        let read = store.get(&name, &Stage::Current).await.unwrap();
        // Another process has the same name for it.
        let again = self::store(&[]).get(&name, &Stage::Current).await.unwrap();
        assert_eq!(read.version, again.version);
        versions.push(read.version);
        store.remove(&name).await.unwrap();
    }
    assert_ne!(versions[0], versions[1]);
}

#[tokio::test]
async fn settings_that_are_wrong_are_told_at_first_use() {
    for (variable, value) in [
        ("HCP_VAULT_ADDR", "localhost:8200"),
        ("HCP_VAULT_TOKEN", ""),
        ("HCP_VAULT_CACERT", "/nonexistent/ca.pem"),
    ] {
        let error = get(&store(&[(variable, value)]), "secret/a").await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(variable), "{cause}");
    }
    let error = get(&store(&[("HCP_VAULT_TOKEN", "wrong")]), "secret/a").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = get(&store(&[("HCP_VAULT_ADDR", &nobody)]), "secret/a").await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
}
