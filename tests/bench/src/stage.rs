//! What stands around a function that is measured: the fake upstream, the key table, a Secrets Manager that answers at
//! once, the configuration, and the events.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use keyturn_ambient::SystemClock;
use keyturn_keys::manage::{Caller, KeyFields, LimitFields, ManagerOptions, NewKey, Patch};
use keyturn_keys::{DynamoKeyStore, Manager};
use keyturn_tests::dynamo::Dynamo;
use keyturn_tests::server::{Server, json as json_answer};
use keyturn_tests::upstream::Upstream;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The master key.
pub const MASTER_KEY: &str = "sk-1234";
/// The key that the upstream knows.
pub const UPSTREAM_KEY: &str = "sk-bench-upstream-key";
/// The model group of the OpenAI deployment.
pub const OPENAI: &str = "gpt";
/// The model group of the Anthropic deployment.
pub const ANTHROPIC: &str = "claude";

const TABLE: &str = "keyturn-bench";
const CREDENTIALS: &[(&str, &str)] =
    &[("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// The servers, and the configuration that names them.
pub struct Stage {
    /// OpenAI's and Anthropic's endpoints.
    pub upstream: Upstream,
    /// DynamoDB.
    pub dynamo: Dynamo,
    secrets: Server,
    files: TempDir,
    keys: Manager,
}

/// Where a function gets the upstream's key, and whether it has virtual keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// The environment, and none.
    None,
    /// The environment, and the key table.
    Keys,
    /// Secrets Manager, and the key table.
    KeysAndSecrets,
}

impl Stage {
    /// Starts all of it.
    ///
    /// # Panics
    ///
    /// When something cannot be started.
    pub async fn start() -> Self {
        let upstream = Upstream::start(&[UPSTREAM_KEY]).await;
        let dynamo = Dynamo::start().await;
        let secrets = Server::start(|_, _| async {
            json_answer(
                http::StatusCode::OK,
                &json!({
                    "ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:providers-AbCdEf",
                    "Name": "providers",
                    "SecretString": json!({"OPENAI_API_KEY": UPSTREAM_KEY, "ANTHROPIC_API_KEY": UPSTREAM_KEY}).to_string(),
                    "VersionId": "d5b1f0a1-6b3f-4b9e-8f4c-3c1a6f0f2a11",
                    "VersionStages": ["AWSCURRENT"],
                    "CreatedDate": 1_795_176_000.5,
                }),
            )
        })
        .await;
        let keys = keys_on(&dynamo).await;
        let files = tempfile::tempdir().expect("a temporary directory");
        let yaml = format!(
            "model_list:\n{}{}",
            deployment(OPENAI, "openai/gpt-4o-mini", &upstream.openai_base(), "OPENAI_API_KEY"),
            deployment(ANTHROPIC, "anthropic/claude-sonnet-4-5", &upstream.url(), "ANTHROPIC_API_KEY"),
        );
        std::fs::write(files.path().join("config.yaml"), yaml).expect("the configuration");
        Self { upstream, dynamo, secrets, files, keys }
    }

    /// The request function's environment. A virtual key without limits stays in memory once it was read.
    #[must_use]
    pub fn environment(&self, stores: Stores) -> Vec<(&'static str, String)> {
        let config = self.files.path().join("config.yaml").to_string_lossy().into_owned();
        let mut all = vec![("KEYTURN_CONFIG", config), ("KEYTURN_MASTER_KEY", MASTER_KEY.to_owned())];
        if stores == Stores::KeysAndSecrets {
            all.push(("KEYTURN_PROVIDER_SECRET", "aws-secretsmanager:providers".to_owned()));
            all.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.secrets.url()));
        } else {
            all.push(("OPENAI_API_KEY", UPSTREAM_KEY.to_owned()));
            all.push(("ANTHROPIC_API_KEY", UPSTREAM_KEY.to_owned()));
        }
        if stores != Stores::None {
            all.push(("KEYTURN_TABLE", TABLE.to_owned()));
            all.push(("KEYTURN_KEY_CACHE_SECONDS", "86400".to_owned()));
            all.push(("AWS_ENDPOINT_URL_DYNAMODB", self.dynamo.url()));
        }
        all
    }

    /// A configuration with this many deployments of the upstream, for `KEYTURN_CONFIG`.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    #[must_use]
    pub fn deployments(&self, count: usize) -> String {
        let path = self.files.path().join(format!("deployments-{count}.yaml"));
        let base = self.upstream.openai_base();
        let entry =
            |index| deployment(&format!("model-{index}"), "openai/gpt-4o-mini", &base, "OPENAI_API_KEY");
        let yaml: String = std::iter::once("model_list:\n".to_owned()).chain((0..count).map(entry)).collect();
        std::fs::write(&path, yaml).expect("the configuration");
        path.to_string_lossy().into_owned()
    }

    /// Makes a virtual key.
    ///
    /// # Panics
    ///
    /// When the table refuses.
    pub async fn virtual_key(&self, fields: KeyFields) -> String {
        let new = NewKey { key: None, fields };
        let made = self.keys.generate(&Caller::admin(None), new).await.expect("a virtual key");
        made.value.expose_secret().to_owned()
    }
}

/// An entry of `model_list`.
fn deployment(group: &str, model: &str, base: &str, variable: &str) -> String {
    format!(
        "- model_name: {group}\n  litellm_params:\n    model: {model}\n    api_base: {base}\n    api_key: os.environ/{variable}\n"
    )
}

/// A key that is checked for its budget, its requests and its tokens, none of which it reaches. It promises no more
/// requests than one item carries, since more would be spread over several.
#[must_use]
pub fn all_limits() -> KeyFields {
    KeyFields {
        limits: LimitFields {
            max_budget: Patch::Set(1e6),
            max_parallel_requests: Patch::Set(1_000_000),
            tpm_limit: Patch::Set(1_000_000_000_000),
            ..LimitFields::default()
        },
        ..KeyFields::default()
    }
}

/// Manages the keys of the production key store on `dynamo`, with its table.
async fn keys_on(dynamo: &Dynamo) -> Manager {
    let env: HashMap<String, String> = CREDENTIALS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .chain([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamo.url())])
        .collect();
    manager(&env, TABLE).await
}

/// Manages the keys of a table, which is made when it is not there.
pub(crate) async fn manager(env: &HashMap<String, String>, table: &str) -> Manager {
    let http = keyturn_http::client().expect("an HTTP client");
    let client = Client::new(&keyturn_http::aws::sdk_config(env, &http, "DYNAMODB"));
    let store = DynamoKeyStore::new(client, table.to_owned());
    store.create_table().await.expect("the key table");
    Manager::new(Arc::new(store), Arc::new(SystemClock), ManagerOptions::default())
}

/// A chat completion request with a prompt of about this many bytes.
#[must_use]
pub fn chat(model: &str, prompt: usize) -> Value {
    const WORDS: &str = "Some words of a prompt. ";
    let content = WORDS.repeat(prompt.div_ceil(WORDS.len()).max(1));
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}

/// `body` with this many tools.
#[must_use]
pub fn with_tools(mut body: Value, count: usize) -> Value {
    let tool = |index| {
        let properties = json!({
            "city": {"type": "string", "description": "The city, as it is written in its own country."},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        });
        let parameters = json!({"type": "object", "properties": properties, "required": ["city"]});
        let description = "Looks up the weather of the next days in a city.";
        let function =
            json!({"name": format!("weather_{index}"), "description": description, "parameters": parameters});
        json!({"type": "function", "function": function})
    };
    body["tools"] = (0..count).map(tool).collect();
    body
}

/// A function URL's event with a JSON body.
#[must_use]
pub fn event(path: &str, key: &str, body: &Value) -> Value {
    let host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws";
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "accept": "application/json",
            "accept-encoding": "gzip, deflate",
            "anthropic-version": "2023-06-01",
            "authorization": format!("Bearer {key}"),
            "content-type": "application/json",
            "host": host,
            "user-agent": "OpenAI/Python 2.8.0",
            "x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "domainName": host,
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "OpenAI/Python 2.8.0",
            },
            "requestId": "5e0f5d6c-8a5c-4b41-9a1b-0d6c8c1f9b11",
            "routeKey": "$default",
            "stage": "$default",
            "time": "20/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_176_000_000_u64,
        },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}
