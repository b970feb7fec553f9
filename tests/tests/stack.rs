//! What most tests start with: an upstream, a key table, a configuration.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyturn_ambient::{Clock, ManualClock, SystemClock};
use keyturn_keys::manage::{Caller, KeyFields, KeyRef, LimitFields, ManagerOptions, NewKey, Patch};
use keyturn_keys::{DynamoKeyStore, Manager};
use keyturn_tests::dynamo::Dynamo;
use keyturn_tests::environment::Environment;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::upstream::Upstream;
use keyturn_tests::{binaries, moto};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The master key; `tests/events` hold it too.
pub(crate) const MASTER: &str = "sk-1234";
/// The gateway's key at the fake OpenAI.
pub(crate) const OPENAI_KEY: &str = "sk-proj-0123456789-openai";
/// The gateway's key at the fake Anthropic.
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-0123456789-anthropic";
/// What the model `demo` answers.
pub(crate) const DEMO: &str = "The demo model answers without an upstream.";

/// The key table.
pub(crate) const TABLE: &str = "keyturn-test";
const CREDENTIALS: &[(&str, &str)] =
    &[("AWS_REGION", moto::REGION), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// The servers around a gateway, and the directory it runs in.
pub(crate) struct Stack {
    pub(crate) upstream: Upstream,
    pub(crate) dynamo: Dynamo,
    pub(crate) directory: TempDir,
    /// Manages the virtual keys.
    pub(crate) keys: Manager,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let upstream = Upstream::start(&[OPENAI_KEY, ANTHROPIC_KEY]).await;
        let dynamo = Dynamo::start().await;
        let keys = key_manager(&dynamo, TABLE, Arc::new(SystemClock)).await;
        Self { upstream, dynamo, directory: tempfile::tempdir().unwrap(), keys }
    }

    /// Makes a virtual key; `value` is the caller's own, if given.
    pub(crate) async fn virtual_key(&self, value: Option<&str>, fields: KeyFields) -> String {
        make(&self.keys, value, fields).await
    }

    /// Makes a virtual key as if it were `ago`.
    pub(crate) async fn old_virtual_key(&self, ago: Duration, fields: KeyFields) -> String {
        make(&key_manager(&self.dynamo, TABLE, past(ago)).await, None, fields).await
    }

    /// Makes a virtual key in the file that `keyturn` is going to open; it must not be running.
    pub(crate) async fn virtual_key_of_keyturn(&self, fields: KeyFields) -> String {
        self.old_virtual_key_of_keyturn(Duration::ZERO, fields).await
    }

    /// The same as if it were `ago`.
    pub(crate) async fn old_virtual_key_of_keyturn(&self, ago: Duration, fields: KeyFields) -> String {
        let directory = self.path().join(".keyturn");
        std::fs::create_dir_all(&directory).unwrap();
        let dynamo = Dynamo::open(&directory.join("keys.db")).await;
        // The table's name in that file: functions/local/src/table.rs.
        make(&key_manager(&dynamo, "keyturn", past(ago)).await, None, fields).await
    }

    /// What a virtual key has spent so far, in US dollars.
    pub(crate) async fn spend(&self, key: &str) -> f64 {
        let key = KeyRef::Value(SecretString::from(key));
        self.keys.info(&Caller::admin(None), &key).await.expect("the key").spend.total
    }

    /// Writes a configuration: the entries of `model_list`, then `more`.
    pub(crate) fn config(&self, models: &[Model], more: &str) -> String {
        let mut yaml = "model_list:\n".to_owned();
        for Model { name, model, extra } in models {
            let base = match model.split_once('/') {
                Some(("anthropic", _)) => self.upstream.url(),
                _ => self.upstream.openai_base(),
            };
            let _ = write!(yaml, "- model_name: {name}\n  litellm_params:\n    model: {model}\n");
            // A mock has no upstream, and so no endpoint.
            if !extra.contains("mock_response") {
                let _ = writeln!(yaml, "    api_base: {base}");
            }
            for line in extra.lines().map(str::trim) {
                let indent = if line.starts_with("model_info:") { "  " } else { "    " };
                let _ = writeln!(yaml, "{indent}{line}");
            }
        }
        yaml.push_str(more);
        let path = self.directory.path().join("config.yaml");
        std::fs::write(&path, yaml).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// The usual configuration: `demo`, `gpt` and `claude`, no retries and no cooldowns.
    pub(crate) fn usual_config(&self) -> String {
        self.config(&[demo(), gpt(), claude()], NO_RETRIES)
    }

    /// Starts the request function with `config`, the key table and `more` in its environment.
    pub(crate) async fn environment(&self, config: &str, more: &[(&str, &str)]) -> Environment {
        let dynamo = self.dynamo.url();
        let variables = variables(config, &dynamo, more);
        Environment::start(&binaries::request(), &variables).await
    }

    /// Starts `keyturn` with `config` and `more` in its environment.
    pub(crate) async fn gateway(&self, config: &str, more: &[(&str, &str)]) -> Gateway {
        let mut variables = vec![
            ("KEYTURN_MASTER_KEY", MASTER),
            ("OPENAI_API_KEY", OPENAI_KEY),
            ("ANTHROPIC_API_KEY", ANTHROPIC_KEY),
        ];
        variables.extend_from_slice(CREDENTIALS);
        variables.extend_from_slice(more);
        Gateway::start(&binaries::keyturn(), self.path(), &["--config", config], &variables).await
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

async fn make(keys: &Manager, value: Option<&str>, fields: KeyFields) -> String {
    let new = NewKey { key: value.map(SecretString::from), fields };
    let made = keys.generate(&Caller::admin(None), new).await.expect("a virtual key");
    made.value.expose_secret().to_owned()
}

/// A key's fields: its limits alone.
pub(crate) fn limited(limits: LimitFields) -> KeyFields {
    KeyFields { limits, ..KeyFields::default() }
}

/// A key's fields: its budget alone, in US dollars.
pub(crate) fn with_budget_of(usd: f64) -> KeyFields {
    limited(LimitFields { max_budget: Patch::Set(usd), ..LimitFields::default() })
}

/// A clock that stands still at a time gone by.
fn past(ago: Duration) -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(SystemClock.now() - ago))
}

/// Manages the keys of the production key store on `dynamo`, with its table.
async fn key_manager(dynamo: &Dynamo, table: &str, clock: Arc<dyn Clock>) -> Manager {
    let env: HashMap<String, String> = CREDENTIALS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .chain([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamo.url())])
        .collect();
    let sdk = keyturn_http::aws::sdk_config(&env, &keyturn_http::client().unwrap(), "DYNAMODB");
    let client = aws_sdk_dynamodb::Client::new(&sdk);
    let store = DynamoKeyStore::new(client, table.to_owned());
    store.create_table().await.expect("the key table");
    Manager::new(Arc::new(store), clock, ManagerOptions::default())
}

/// The environment of the request function.
pub(crate) fn variables<'a>(
    config: &'a str,
    dynamo: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut variables = vec![
        ("KEYTURN_CONFIG", config),
        ("KEYTURN_MASTER_KEY", MASTER),
        ("KEYTURN_TABLE", TABLE),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo),
        ("OPENAI_API_KEY", OPENAI_KEY),
        ("ANTHROPIC_API_KEY", ANTHROPIC_KEY),
    ];
    variables.extend_from_slice(more);
    variables
}

/// Router settings under which every upstream answer is seen as it came.
pub(crate) const NO_RETRIES: &str = "router_settings:\n  num_retries: 0\n  allowed_fails: 1000\n";

/// An entry of `model_list`.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) model: &'static str,
    /// Further lines of `litellm_params`, and at the end perhaps one of `model_info: {…}`.
    pub(crate) extra: String,
}

/// A deployment with the gateway's usual key for its provider.
pub(crate) fn model(name: &'static str, model: &'static str) -> Model {
    let variable = if model.starts_with("anthropic/") { "ANTHROPIC_API_KEY" } else { "OPENAI_API_KEY" };
    Model { name, model, extra: format!("api_key: os.environ/{variable}") }
}

pub(crate) fn demo() -> Model {
    Model { name: "demo", model: "openai/demo", extra: format!("mock_response: {DEMO}") }
}

pub(crate) fn gpt() -> Model {
    model("gpt", "openai/gpt-4o-mini")
}

pub(crate) fn claude() -> Model {
    model("claude", "anthropic/claude-sonnet-4-5")
}

/// A deployment of a group, with its id and its weight. Of a pair of weights 1 and 0 the first is always asked
/// first: a weight of 0 serves when nothing else is left.
pub(crate) fn deployment(group: &'static str, target: &'static str, id: &'static str, weight: u32) -> Model {
    let mut model = model(group, target);
    let _ = write!(model.extra, "\nweight: {weight}\nmodel_info: {{id: {id}}}");
    model
}

/// A chat completion request.
pub(crate) fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]})
}

/// A request of Anthropic's own format.
pub(crate) fn messages(model: &str, stream: bool) -> Value {
    json!({
        "model": model,
        "stream": stream,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello!"}],
    })
}

/// A function URL's event with a JSON body.
pub(crate) fn event(path: &str, key: &str, body: &Value) -> Value {
    let host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws";
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "authorization": format!("Bearer {key}"),
            "content-type": "application/json",
            "anthropic-version": "2023-06-01",
            "host": host,
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "domainName": host,
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "5e0f5d6c-8a5c-4b41-9a1b-0d6c8c1f9b11",
            "stage": "$default",
            "timeEpoch": 1_795_176_000_000_u64,
        },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}

/// A chat event with the master key.
pub(crate) fn chat_event(model: &str, stream: bool) -> Value {
    event("/v1/chat/completions", MASTER, &chat(model, stream))
}

/// The text of a streamed chat completion, from its chunks.
pub(crate) fn streamed_text(sse: &str) -> String {
    let chunks = keyturn_tests::http::sse_data(sse);
    let chunks = chunks.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}
