//! Secret ids of AppRoles.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use keyturn_tests::openbao::OpenBao;
use keyturn_vault::{AppRole, Outage, Vault, VaultError};
use secrecy::SecretString;
use serde_json::json;

use crate::rig::{mount, text, vault};

/// A method with the role `r`, and a client that may do no more than what the module's table says.
async fn role(server: &OpenBao) -> (String, AppRole, Vault) {
    let name = server.fresh("secret-ids");
    mount(server, "approle", &name).await;
    server.write(&format!("auth/{name}/role/r"), &json!({"token_policies": ["default"]})).await;
    let rules = format!(
        "path \"auth/{name}/role/r/custom-secret-id\" {{ capabilities = [\"update\"] }}
         path \"auth/{name}/role/r/secret-id\" {{ capabilities = [\"list\"] }}
         path \"auth/{name}/role/r/secret-id/lookup\" {{ capabilities = [\"update\"] }}
         path \"auth/{name}/role/r/secret-id-accessor/lookup\" {{ capabilities = [\"update\"] }}
         path \"auth/{name}/role/r/secret-id-accessor/destroy\" {{ capabilities = [\"update\"] }}"
    );
    server.write(&format!("sys/policies/acl/{name}"), &json!({"policy": rules})).await;
    let token = server.write("auth/token/create", &json!({"policies": [name]})).await;
    let token = text(&token, "/auth/client_token");
    let client = vault(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", &token)]);
    (name.clone(), AppRole::new(&name, "r").unwrap(), client)
}

#[tokio::test]
async fn a_secret_id_is_made_found_and_ended() {
    let server = OpenBao::shared();
    let (mount, role, client) = role(server).await;
    assert!(client.secret_ids(&role).await.unwrap().is_empty());
    let (one, two) = (SecretString::from("canary-one"), SecretString::from("canary-two"));
    let noted = BTreeMap::from([("name".to_owned(), "a \"b\" ü".to_owned())]);
    client.add_secret_id(&role, &one, &noted, None).await.unwrap();
    client.add_secret_id(&role, &two, &BTreeMap::new(), Some(Duration::from_secs(3_600))).await.unwrap();
    let found = client.find_secret_id(&role, &one).await.unwrap().unwrap();
    assert_eq!((&found.metadata, found.expires), (&noted, None));
    let other = client.find_secret_id(&role, &two).await.unwrap().unwrap();
    let life = other.expires.unwrap().duration_since(other.created);
    assert_eq!((life, other.metadata.len()), (SignedDuration::from_hours(1), 0));
    let mut accessors = client.secret_ids(&role).await.unwrap();
    accessors.sort();
    let mut expected = [found.accessor.clone(), other.accessor.clone()];
    expected.sort();
    assert_eq!(accessors, expected);
    assert_eq!(client.secret_id(&role, &found.accessor).await.unwrap(), Some(found.clone()));
    // It is a secret id like any other.
    let role_id = text(&server.read(&format!("auth/{mount}/role/r/role-id")).await, "/data/role_id");
    let login = json!({"role_id": role_id, "secret_id": "canary-one"});
    let login = server.write(&format!("auth/{mount}/login"), &login).await;
    assert!(!text(&login, "/auth/client_token").is_empty());

    for _ in 0..2 {
        client.destroy_secret_id(&role, &found.accessor).await.unwrap();
    }
    assert_eq!(client.secret_id(&role, &found.accessor).await.unwrap(), None);
    assert_eq!(client.find_secret_id(&role, &one).await.unwrap(), None);
    assert_eq!(client.secret_ids(&role).await.unwrap(), [other.accessor]);
}

#[tokio::test]
async fn what_vault_refuses_is_told_without_a_value() {
    let server = OpenBao::shared();
    let (mount, role, client) = role(server).await;
    let value = SecretString::from("canary-one");
    let add = |role: AppRole| {
        let (client, value) = (client.clone(), value.clone());
        async move { client.add_secret_id(&role, &value, &BTreeMap::new(), None).await }
    };
    add(role.clone()).await.unwrap();
    // A value can be had once.
    let twice = add(role.clone()).await.unwrap_err();
    assert_eq!(twice, VaultError::Unavailable(Outage::Status(500)));
    let other = AppRole::new(&mount, "other").unwrap();
    assert_eq!(add(other.clone()).await.unwrap_err(), VaultError::Denied("secret id"));
    assert_eq!(client.secret_ids(&other).await.unwrap_err(), VaultError::Denied("secret ids"));
    let root = vault(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", "root")]);
    let missing = root.add_secret_id(&other, &value, &BTreeMap::new(), None).await.unwrap_err();
    assert_eq!(missing, VaultError::NotFound);
    for (mount, name) in [("", "r"), ("a/../b", "r"), ("a", "b/c"), ("a", ".."), ("a", "")] {
        assert_eq!(AppRole::new(mount, name), Err(VaultError::BadPath), "{mount} {name}");
    }
}
