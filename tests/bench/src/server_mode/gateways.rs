//! What is measured: `keyturn serve` with three kinds of keys, and the bare reverse proxy.

use std::collections::HashMap;
use std::path::Path;

use keyturn_keys::manage::{Caller, KeyFields, NewKey};
use keyturn_tests::dynamo::Dynamo;
use secrecy::ExposeSecret;

use crate::stage::{all_limits, manager};

use super::subject::{Subject, free_address};
use super::upstream::{self, Upstream};

/// The master key of Keyturn and of LiteLLM, which refuses a weak one.
pub(super) const MASTER_KEY: &str = "sk-5f0c61d0e8a5b4973b1d6e0a7c9385f2417d8b6e";
/// The table's name in the file of `keyturn serve` (functions/local/src/table.rs).
const TABLE: &str = "keyturn";

/// The configuration of Keyturn and of LiteLLM.
pub(super) fn config() -> String {
    super::peers_directory().join("config.yaml").to_string_lossy().into_owned()
}

/// What that configuration names.
pub(super) fn variables(upstream: Upstream) -> Vec<(&'static str, String)> {
    vec![
        ("UPSTREAM_BASE", upstream.base()),
        ("UPSTREAM_KEY", upstream::KEY.to_owned()),
        ("LITELLM_MASTER_KEY", MASTER_KEY.to_owned()),
    ]
}

pub(super) fn bearer(key: &str) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {key}"))]
}

/// The bare reverse proxy. It knows no keys.
pub(super) fn reverse_proxy(binaries: &Path, upstream: Upstream) -> Subject {
    let address = free_address();
    Subject {
        name: "bare proxy".to_owned(),
        program: binaries.join("reverse-proxy"),
        arguments: Vec::new(),
        environment: vec![
            ("LIMIT_LISTEN", address.to_string()),
            ("LIMIT_UPSTREAM", format!("{}/chat/completions", upstream.base())),
            ("LIMIT_KEY", upstream::KEY.to_owned()),
        ],
        address,
        headers: Vec::new(),
        processes: None,
    }
}

/// `keyturn serve`: called with the master key, with a virtual key, with a virtual key that has limits. `data` is its
/// data directory.
pub(super) async fn keyturn(binaries: &Path, data: &Path, upstream: Upstream) -> [Subject; 3] {
    let [plain, limited] = virtual_keys(data).await;
    let calls = [
        ("keyturn, master key", MASTER_KEY.to_owned()),
        ("keyturn, virtual key", plain),
        ("keyturn, key with limits", limited),
    ];
    calls.map(|(name, key)| {
        let address = free_address();
        let arguments = [
            "serve".to_owned(),
            format!("--config={}", config()),
            format!("--port={}", address.port()),
            format!("--data-dir={}", data.display()),
        ];
        Subject {
            name: name.to_owned(),
            program: binaries.join("keyturn"),
            arguments: arguments.into(),
            environment: variables(upstream),
            address,
            headers: bearer(&key),
            processes: None,
        }
    })
}

/// Makes a virtual key without limits and one with all of them in the file that `keyturn serve` opens.
async fn virtual_keys(data: &Path) -> [String; 2] {
    std::fs::create_dir_all(data).expect("a data directory");
    let dynamo = Dynamo::open(&data.join("keys.db")).await;
    let env: HashMap<String, String> = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .map(|name| (name.to_owned(), "local".to_owned()))
        .into_iter()
        .chain([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamo.url())])
        .collect();
    let keys = manager(&env, TABLE).await;
    let make = async |fields| {
        let made = keys.generate(&Caller::admin(None), NewKey { key: None, fields }).await;
        made.expect("a virtual key").value.expose_secret().to_owned()
    };
    [make(KeyFields::default()).await, make(all_limits()).await]
}
