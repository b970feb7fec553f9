use std::collections::BTreeMap;

use keyturn_tests::openbao::{OpenBao, ROOT};
use keyturn_vault::{Trace, VaultError};
use serde_json::{Value, json};

use crate::rig::vault;

#[tokio::test]
async fn documents_are_written_read_listed_and_deleted() {
    let server = OpenBao::shared();
    let prefix = server.fresh("documents");
    let vault = vault(&[
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_PATH_PREFIX", &format!("/{prefix}/")),
    ]);
    assert_eq!(vault.get("a").await, Err(VaultError::NotFound));
    assert_eq!(vault.list("all").await, Ok(Vec::new()));
    assert_eq!(vault.put("a", &json!({"n": 1}), 0).await, Ok(1));
    assert_eq!(vault.put("a", &json!({"n": 2}), 1).await, Ok(2));
    assert_eq!(vault.set("a", &json!({"n": 3})).await, Ok(3));
    let newest = vault.get("a").await.unwrap();
    assert_eq!((newest.data, newest.version), (json!({"n": 3}), 3));
    assert_eq!(vault.get_version("a", 1).await.unwrap().data, json!({"n": 1}));
    let there = server.read(&format!("secret/data/{prefix}/a")).await;
    assert_eq!(there["data"]["data"], json!({"n": 3}));

    for name in ["all/x y", "all/ü%2f?#", "all/deep/z"] {
        vault.set(name, &json!({"name": name})).await.unwrap();
        assert_eq!(vault.get(name).await.unwrap().data, json!({"name": name}));
    }
    let mut names = vault.list("all").await.unwrap();
    names.sort_unstable();
    assert_eq!(names, ["deep/", "x y", "ü%2f?#"]);

    vault.destroy("a", &[3]).await.unwrap();
    assert_eq!(vault.get("a").await, Err(VaultError::NotFound));
    assert_eq!(vault.put("a", &json!({}), 2).await, Err(VaultError::CasMismatch));
    assert_eq!(vault.get_version("a", 2).await.unwrap().data, json!({"n": 2}));
    vault.delete("a").await.unwrap();
    vault.delete("a").await.unwrap();
    assert_eq!(vault.put("a", &json!({}), 0).await, Ok(1));
}

#[tokio::test]
async fn a_write_after_another_version_changes_nothing() {
    let server = OpenBao::shared();
    let prefix = server.fresh("cas");
    let vault = vault(&[
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_PATH_PREFIX", &prefix),
    ]);
    assert_eq!(vault.put("a", &json!({"n": 1}), 1).await, Err(VaultError::CasMismatch));
    vault.put("a", &json!({"n": 1}), 0).await.unwrap();
    for after in [0, 2, u64::MAX] {
        assert_eq!(vault.put("a", &json!({"n": 2}), after).await, Err(VaultError::CasMismatch));
    }
    assert_eq!(vault.get("a").await.unwrap().data, json!({"n": 1}));
}

#[tokio::test]
async fn a_path_that_a_url_would_shorten_is_refused() {
    let server = OpenBao::shared();
    let vault = vault(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", ROOT)]);
    for path in ["", "/a", "a/", "a//b", ".", "a/../b", "a/./b", "a\tb", "a\nb"] {
        assert_eq!(vault.get(path).await, Err(VaultError::BadPath), "{path:?}");
        assert_eq!(vault.set(path, &json!({})).await, Err(VaultError::BadPath), "{path:?}");
    }
}

#[tokio::test]
async fn namespace_and_mount_are_where_documents_are() {
    let server = OpenBao::shared();
    let (namespace, mount) = (server.fresh("namespace"), server.fresh("mount"));
    server.write(&format!("sys/namespaces/{namespace}"), &json!({})).await;
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    server.write(&format!("{namespace}/sys/mounts/{mount}"), &kv).await;
    // Root's token is the root namespace's, so it is looked up there.
    let vault = vault(&[
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_SECRET_NAMESPACE", &namespace),
        ("HCP_VAULT_MOUNT_NAME", &mount),
    ]);
    vault.put("a", &json!({"n": 1}), 0).await.unwrap();
    let there = server.read(&format!("{namespace}/{mount}/data/a")).await;
    assert_eq!(there["data"]["data"], json!({"n": 1}));
}

#[tokio::test]
async fn what_is_noted_beside_a_document_comes_with_it() {
    let server = OpenBao::shared();
    let prefix = server.fresh("notes");
    let vault = vault(&[
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_PATH_PREFIX", &prefix),
    ]);
    assert_eq!(vault.trace("a").await, Err(VaultError::NotFound));
    let written = vault.put_timed("a", &json!({"n": 1}), 0).await.unwrap();
    let notes = |text: &str| BTreeMap::from([("team".to_owned(), text.to_owned())]);
    let read = vault.get("a").await.unwrap();
    assert_eq!((read.version, read.created, read.notes), (1, written.created, BTreeMap::new()));
    for text in ["a", "ü"] {
        vault.note("a", &notes(text)).await.unwrap();
        let read = vault.get("a").await.unwrap();
        assert_eq!((read.version, read.notes), (1, notes(text)), "no new version");
    }
    // Deleted, but not for good.
    server.ask(http::Method::DELETE, &format!("secret/data/{prefix}/a"), &Value::Null).await;
    assert_eq!(vault.get("a").await, Err(VaultError::NotFound));
    assert_eq!(vault.trace("a").await, Ok(Trace { version: 1, notes: notes("ü") }));
    // A note may come before the document.
    vault.note("b", &notes("b")).await.unwrap();
    assert_eq!(vault.trace("b").await, Ok(Trace { version: 0, notes: notes("b") }));
}

#[tokio::test]
async fn another_mount_is_reached_with_the_same_login_and_without_the_prefix() {
    let server = OpenBao::shared();
    let (prefix, mount) = (server.fresh("elsewhere"), server.fresh("mount"));
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    server.write(&format!("sys/mounts/{mount}"), &kv).await;
    let vault = vault(&[
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_PATH_PREFIX", &prefix),
    ]);
    assert_eq!(vault.mount(), "secret");
    vault.set("a", &json!({})).await.unwrap();
    assert_eq!(vault.list("").await, Ok(vec!["a".to_owned()]));
    let other = vault.at(&mount).unwrap();
    assert_eq!(other.mount(), mount);
    assert_eq!(other.list("").await, Ok(Vec::new()));
    other.set("b/c", &json!({"n": 1})).await.unwrap();
    assert_eq!(other.list("").await, Ok(vec!["b/".to_owned()]));
    assert_eq!(server.read(&format!("{mount}/data/b/c")).await["data"]["data"], json!({"n": 1}));
    for bad in ["", "a/../b", "/a"] {
        assert!(matches!(vault.at(bad), Err(VaultError::BadPath)), "{bad:?}");
    }
}
