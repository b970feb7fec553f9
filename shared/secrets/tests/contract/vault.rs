//! Vault, by the OpenBao server.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::stores::{HashiCorpVault, Surroundings};
use keyturn_secrets::{
    About, CacheSettings, CredentialCache, SecretError, SecretStore, Stage, StagedStore, Stores,
};
use keyturn_tests::openbao::{Fate, OpenBao, ROOT, Tap};
use serde_json::{Value, json};

use crate::faults::{Fault, Faulty, survives_faults};
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

/// What a tap does to every call.
pub(crate) fn fate(fault: Fault) -> Fate {
    match fault {
        Fault::Denied => Fate::Status(403),
        Fault::Throttled => Fate::Status(429),
        Fault::Down => Fate::Answer(503, r#"{"errors":["Vault is sealed"]}"#),
        Fault::Broken => Fate::Broken,
        Fault::Garbage => Fate::Garbage,
        Fault::Silent => Fate::Silent,
    }
}

/// Writes documents by hand; the store reads them through a tap.
struct Tapped(ByHand, Tap);

#[async_trait]
impl Seed for Tapped {
    async fn put(&self, name: &str, value: &str) -> String {
        self.0.put(name, value).await
    }

    fn has_stages(&self) -> bool {
        false
    }
}

impl Faulty for Tapped {
    fn fail(&self, fault: Option<Fault>) {
        let fate = fault.map_or(Fate::Through, fate);
        self.1.judge(move |_, _| fate);
    }

    fn reads(&self) -> u64 {
        u64::try_from(self.1.calls("GET", "/data/")).unwrap()
    }

    fn attempts(&self) -> u64 {
        3
    }
}

#[tokio::test]
async fn vault_survives_faults() {
    let server = OpenBao::shared();
    let tapped = Tapped(ByHand(server.fresh("faults")), Tap::start(server.url()).await);
    let url = tapped.1.url();
    survives_faults(|| Arc::new(store(&[("HCP_VAULT_ADDR", &url)])), &tapped).await;
}

/// A login of its own, through a tap, that may read the documents of one prefix.
pub(crate) async fn login(tap: &Tap, name: &str, rules: &str) -> Vec<(&'static str, String)> {
    let server = OpenBao::shared();
    server.write(&format!("sys/policies/acl/{name}"), &json!({"policy": rules})).await;
    server.write(&format!("sys/auth/{name}"), &json!({"type": "approle"})).await;
    let role = json!({"token_policies": [name], "token_ttl": "1h"});
    server.write(&format!("auth/{name}/role/r"), &role).await;
    let id = server.read(&format!("auth/{name}/role/r/role-id")).await;
    let secret = server.write(&format!("auth/{name}/role/r/secret-id"), &json!({})).await;
    let text = |answer: &Value, pointer: &str| answer.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    vec![
        ("HCP_VAULT_ADDR", tap.url()),
        ("HCP_VAULT_APPROLE_MOUNT_PATH", name.to_owned()),
        ("HCP_VAULT_APPROLE_ROLE_ID", text(&id, "/data/role_id")),
        ("HCP_VAULT_APPROLE_SECRET_ID", text(&secret, "/data/secret_id")),
    ]
}

/// Revokes every token that a login has given.
pub(crate) async fn revoke_logins(name: &str) {
    let all = format!("sys/leases/revoke-prefix/auth/{name}/login");
    OpenBao::shared().write(&all, &json!({"sync": true})).await;
}

#[tokio::test]
async fn a_token_that_is_revoked_under_way_costs_one_login_and_no_read() {
    let server = OpenBao::shared();
    let name = server.fresh("revoked");
    let tap = Tap::start(server.url()).await;
    let rules = format!("path \"secret/data/{name}/*\" {{ capabilities = [\"read\"] }}");
    let login = login(&tap, &name, &rules).await;
    let login: Vec<_> = login.iter().map(|(variable, value)| (*variable, value.as_str())).collect();
    let store = store(&login);
    write(&format!("{name}/a"), json!({"key": "sk-1"})).await;
    let place = format!("secret/{name}/a");
    assert_eq!(get(&store, &place).await.unwrap(), "sk-1");
    for logins in 2..4 {
        revoke_logins(&name).await;
        let reads = join_all((0..200).map(|_| get(&store, &place))).await;
        assert!(reads.into_iter().all(|read| read.unwrap() == "sk-1"));
        assert_eq!(tap.calls("POST", "/login"), logins);
    }
}

#[tokio::test]
async fn litellms_refresh_interval_is_the_soft_ttl() {
    assert_eq!(store(&[]).soft_ttl(), None);
    let day = store(&[("HCP_VAULT_REFRESH_INTERVAL", "86400")]);
    assert_eq!(day.soft_ttl(), Some(std::time::Duration::from_secs(86_400)));
    let error = get(&store(&[("HCP_VAULT_REFRESH_INTERVAL", "often")]), "secret/a").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "HCP_VAULT_REFRESH_INTERVAL is no number of seconds, from 1 on");
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
