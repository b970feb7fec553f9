//! The policy that is handed out is enough.

use keyturn_tests::openbao::OpenBao;
use serde_json::json;

use crate::port;
use crate::rig::{PATH, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_in_infra_is_enough() {
    let rig = Rig::start().await;
    let text = include_str!("../../../../infra/vault/keys.hcl");
    assert!(text.contains("/keyturn/*"), "it names the path");
    let text = text.replace("/keyturn/*", &format!("/{}/{PATH}/*", rig.prefix));
    let server = OpenBao::shared();
    let name = rig.prefix.replace('/', "-");
    server.write(&format!("sys/policies/acl/{name}"), &json!({"policy": text})).await;
    let login = server.write("auth/token/create", &json!({"policies": [name]})).await;
    let token = login["auth"]["client_token"].as_str().unwrap();
    port::suite(rig.store_with(token)).await;
}
