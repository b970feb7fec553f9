//! What the tests share.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use keyturn_ambient::{Clock, ManualClock};
use keyturn_tests::openbao::OpenBao;
use keyturn_vault::{SetupError, Vault};
use serde_json::{Value, json};

/// An environment.
pub(crate) fn env(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A clock that stands at the machine's time: the server has no other.
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::now()))
}

/// A client with these variables.
pub(crate) fn client(variables: &[(&str, &str)], clock: &Arc<ManualClock>) -> Result<Vault, SetupError> {
    let http = keyturn_http::client().unwrap();
    Vault::from_env(&env(variables), &http, Arc::clone(clock) as Arc<dyn Clock>)
}

/// A client with these variables and a clock that stands still.
pub(crate) fn vault(variables: &[(&str, &str)]) -> Vault {
    client(variables, &clock()).unwrap()
}

/// Makes a policy that allows everything under `secret/…/{prefix}/`.
pub(crate) async fn policy(server: &OpenBao, prefix: &str) {
    let rules = format!(
        "path \"secret/+/{prefix}/*\" {{ capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\"] }}"
    );
    server.write(&format!("sys/policies/acl/{prefix}"), &json!({"policy": rules})).await;
}

/// Mounts an authentication method at `path`.
pub(crate) async fn mount(server: &OpenBao, kind: &str, path: &str) {
    server.write(&format!("sys/auth/{path}"), &json!({"type": kind})).await;
}

/// Proves that a client is logged in: it writes and reads.
pub(crate) async fn prove(vault: &Vault) {
    let document = json!({"a": "b"});
    assert_eq!(vault.put("proof", &document, 0).await, Ok(1));
    let found = vault.get("proof").await.unwrap();
    assert_eq!((found.data, found.version), (document, 1));
}

/// The text at a path of a JSON answer.
pub(crate) fn text(answer: &Value, pointer: &str) -> String {
    answer.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned()
}
