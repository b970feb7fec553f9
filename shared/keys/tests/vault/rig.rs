//! A store on a path of its own, seen through a tap.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keyturn_ambient::{Clock, ManualClock};
use keyturn_keys::{KeyStore, VaultKeyStore};
use keyturn_tests::openbao::{OpenBao, ROOT, Tap};
use keyturn_vault::Vault;
use serde_json::Value;

pub(crate) struct Rig {
    pub(crate) server: &'static OpenBao,
    pub(crate) tap: Tap,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) prefix: String,
}

/// The path of the store below the prefix.
pub(crate) const PATH: &str = "keys";

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_at("2026-03-01T12:00:00Z").await
    }

    /// Starts with the clock at a time; root's token has no end.
    pub(crate) async fn start_at(time: &str) -> Self {
        let server = OpenBao::shared();
        Self {
            server,
            tap: Tap::start(server.url()).await,
            clock: Arc::new(ManualClock::at(time.parse().unwrap())),
            prefix: server.fresh("keys"),
        }
    }

    /// A client, as another process would have it.
    pub(crate) fn vault(&self) -> Vault {
        self.vault_with(ROOT)
    }

    fn vault_with(&self, token: &str) -> Vault {
        let variables = [
            ("HCP_VAULT_ADDR", self.tap.url()),
            ("HCP_VAULT_TOKEN", token.to_owned()),
            ("HCP_VAULT_PATH_PREFIX", self.prefix.clone()),
        ];
        let variables: HashMap<_, _> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let http = keyturn_http::client().unwrap();
        Vault::from_env(&variables, &http, Arc::clone(&self.clock) as Arc<dyn Clock>).unwrap()
    }

    /// A store, as another process would have it.
    pub(crate) fn store(&self) -> Arc<dyn KeyStore> {
        Arc::new(VaultKeyStore::new(self.vault(), PATH, Arc::clone(&self.clock) as Arc<dyn Clock>))
    }

    /// A store whose login has this token.
    pub(crate) fn store_with(&self, token: &str) -> Arc<dyn KeyStore> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Arc::new(VaultKeyStore::new(self.vault_with(token), PATH, clock))
    }

    /// Whatever was under way is over.
    pub(crate) fn settle(&self) {
        self.clock.advance(Duration::from_secs(15 * 60 + 1));
    }

    /// The calls to documents so far: reads, writes, lists.
    pub(crate) fn calls(&self) -> [usize; 3] {
        [
            self.tap.calls("GET", "/data/"),
            self.tap.calls("POST", "/data/"),
            self.tap.calls("LIST", "/metadata/"),
        ]
    }

    /// The paths of all documents under a path.
    pub(crate) async fn paths(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = vec![path.to_owned()];
        while let Some(path) = rest.pop() {
            let whole = format!("secret/metadata/{}/{PATH}/{path}", self.prefix);
            let method = http::Method::from_bytes(b"LIST").unwrap();
            let answer = self.server.ask(method, &whole, &Value::Null).await;
            if answer.status == 404 {
                continue;
            }
            for name in answer.json()["data"]["keys"].as_array().unwrap() {
                let name = format!("{path}{}", name.as_str().unwrap());
                if name.ends_with('/') { rest.push(name) } else { found.push(name) }
            }
        }
        found.sort_unstable();
        found
    }
}
