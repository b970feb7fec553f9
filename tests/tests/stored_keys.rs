//! `store_virtual_keys`: what the management API makes is in the secret manager too.

use http::Method;
use keyturn_tests::binaries;
use keyturn_tests::environment::Environment;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::Client;
use keyturn_tests::moto::Moto;
use keyturn_tests::openbao::{OpenBao, ROOT};
use serde_json::{Value, json};

use crate::stack::{MASTER, Model, NO_RETRIES, OPENAI_KEY, Stack, chat, demo, event, variables};

/// A key that its owner brings along, and what of it a log might show. Its id is its SHA-256.
const OWN: &str = "sk-brought-along-Wq7vTn2RmPx4";
const PART: &str = "Wq7vTn2RmPx4";

/// A secret manager.
enum Safe {
    Aws(Box<Moto>),
    /// With the prefix of this test.
    Vault(&'static OpenBao, String),
}

impl Safe {
    async fn aws() -> Self {
        Self::Aws(Box::new(Moto::start().await))
    }

    fn vault() -> Self {
        let server = OpenBao::shared();
        Self::Vault(server, server.fresh("team"))
    }

    /// `key_management_system`.
    fn system(&self) -> &'static str {
        match self {
            Self::Aws(_) => "aws_secret_manager",
            Self::Vault(..) => "hashicorp_vault",
        }
    }

    /// What a function must have in its environment to reach it.
    fn environment(&self) -> Vec<(String, String)> {
        let variables = match self {
            Self::Aws(moto) => vec![("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto.url())],
            Self::Vault(server, prefix) => vec![
                ("HCP_VAULT_ADDR", server.url().to_owned()),
                ("HCP_VAULT_TOKEN", ROOT.to_owned()),
                ("HCP_VAULT_PATH_PREFIX", prefix.clone()),
            ],
        };
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Reads a virtual key as an application does; `None` when it is not there.
    async fn value(&self, name: &str) -> Option<String> {
        match self {
            Self::Aws(moto) => match moto.secrets().await.iter().any(|known| known == name) {
                true => Some(moto.read_secret(name).await),
                false => None,
            },
            Self::Vault(server, prefix) => {
                let path = format!("secret/data/{prefix}/{name}");
                let answer = server.ask(Method::GET, &path, &Value::Null).await;
                match answer.status {
                    404 => None,
                    _ => Some(answer.json()["data"]["data"]["key"].as_str().unwrap().to_owned()),
                }
            }
        }
    }
}

/// The configuration with these settings of the key manager.
fn config(stack: &Stack, system: &str, settings: &str) -> String {
    let more = format!(
        "{NO_RETRIES}general_settings:\n  key_management_system: {system}\n  \
         key_management_settings: {{store_virtual_keys: true, {settings}}}\n"
    );
    stack.config(&[demo()], &more)
}

struct Keys(Environment);

impl Keys {
    async fn start(stack: &Stack, safe: &Safe) -> Self {
        let config =
            config(stack, safe.system(), "access_mode: write_only, prefix_for_stored_virtual_keys: llm");
        let (dynamo, more) = (stack.dynamo.url(), safe.environment());
        let more: Vec<_> = more.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self(Environment::start(&binaries::keys(), &variables(&config, &dynamo, &more)).await)
    }

    async fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.0.call(&event(path, MASTER, body)).await;
        (answer.status, answer.json())
    }

    async fn done(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(path, body).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}

/// From its making to its end, in the built function.
async fn a_key_is_followed(safe: Safe) {
    let stack = Stack::start().await;
    let keys = Keys::start(&stack, &safe).await;
    let mut seen = Vec::new();
    for (fields, alias) in [(json!({"key_alias": "prod/web"}), "prod/web"), (json!({}), "virtual-key")] {
        let made = keys.done("/key/generate", &fields).await;
        let (id, value) = (text(&made, "token"), text(&made, "key"));
        let name = format!("llm/{alias}/{id}");
        assert_eq!(safe.value(&name).await, Some(value.clone()));
        seen.push(value);
        for _ in 0..2 {
            let new = text(&keys.done("/key/regenerate", &json!({"key": id})).await, "key");
            assert_eq!(safe.value(&name).await, Some(new.clone()));
            seen.push(new);
        }
        let present = seen.last().cloned();
        keys.done("/key/update", &json!({"key": id, "key_alias": "other"})).await;
        let renamed = format!("llm/other/{id}");
        assert_eq!((safe.value(&name).await, safe.value(&renamed).await), (None, present));
        keys.done("/key/delete", &json!({"keys": [id]})).await;
        assert_eq!(safe.value(&renamed).await, None);
    }

    // The secret is written before the row: without the row it is there, and a repeat ends what was begun.
    let own = json!({"key": OWN, "key_alias": "own"});
    stack.dynamo.deny("TransactItems");
    let (status, refused) = keys.ask("/key/generate", &own).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("503")), "{refused}");
    assert_eq!(keys.ask("/key/block", &json!({"key": OWN})).await.0, 404);
    let id = keyturn_keys::KeyHash::of(&secrecy::SecretString::from(OWN));
    let name = format!("llm/own/{id}");
    assert_eq!(safe.value(&name).await.as_deref(), Some(OWN));
    stack.dynamo.deny("nothing of the kind");
    keys.done("/key/generate", &own).await;
    assert_eq!(safe.value(&name).await.as_deref(), Some(OWN));
    // Somebody learns the new values, so they may come by themselves.
    let fields = json!({"key": OWN, "auto_rotate": true, "rotation_interval": "30d"});
    keys.done("/key/update", &fields).await;

    let output = keys.0.shut_down().await;
    assert!(output.contains("/key/regenerate"), "there is no log to look into:\n{output}");
    for value in seen.iter().map(|value| &value[3..value.len() - 4]).chain([PART]) {
        assert!(!output.contains(value), "a key is in the log:\n{output}");
    }
}

#[tokio::test]
async fn aws_secrets_manager_has_what_the_function_makes() {
    a_key_is_followed(Safe::aws().await).await;
}

#[tokio::test]
async fn vault_has_what_the_function_makes() {
    a_key_is_followed(Safe::vault()).await;
}

#[tokio::test]
async fn without_the_manager_no_key_is_made() {
    let stack = Stack::start().await;
    let moto = Moto::start().await;
    moto.outage(true);
    let keys = Keys::start(&stack, &Safe::Aws(Box::new(moto))).await;
    let (status, refused) = keys.ask("/key/generate", &json!({"key": OWN})).await;
    assert_eq!(status, 503, "{refused}");
    assert!(!refused.to_string().contains("llm/"), "for the operator only: {refused}");
    assert_eq!(keys.ask("/key/block", &json!({"key": OWN})).await.0, 404);
    let output = keys.0.shut_down().await;
    assert!(output.contains("aws-secretsmanager:llm/virtual-key/"), "the log does not name it:\n{output}");
    assert!(!output.contains(PART), "the key is in the log:\n{output}");
}

#[tokio::test]
async fn beside_the_gateway_keys_are_stored_too() {
    let stack = Stack::start().await;
    let safe = Safe::vault();
    let config = config(&stack, safe.system(), "access_mode: read_and_write");
    let more = safe.environment();
    let more: Vec<_> = more.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let gateway = stack.gateway(&config, &more).await;
    let client = Client::default();
    let made =
        client.post_json(&format!("{}/key/generate", gateway.url()), Some(MASTER), &json!({})).await.json();
    let name = format!("litellm/virtual-key/{}", text(&made, "token"));
    assert_eq!(safe.value(&name).await, Some(text(&made, "key")));
    let url = format!("{}/v1/chat/completions", gateway.url());
    let key = safe.value(&name).await;
    assert_eq!(client.post_json(&url, key.as_deref(), &chat("demo", false)).await.status, 200);
}

#[tokio::test]
async fn names_are_read_from_vault() {
    let stack = Stack::start().await;
    let Safe::Vault(server, prefix) = &Safe::vault() else { panic!("no Vault") };
    server
        .write(&format!("secret/data/{prefix}/OPENAI_API_KEY"), &json!({"data": {"key": OPENAI_KEY}}))
        .await;
    let extra = "api_key: os.environ/OPENAI_API_KEY".to_owned();
    let model = Model { name: "gpt", model: "openai/gpt-4o-mini", extra };
    let more = format!("{NO_RETRIES}general_settings: {{key_management_system: hashicorp_vault}}\n");
    let config = stack.config(&[model], &more);
    let environment = [
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_PATH_PREFIX", prefix.as_str()),
        // Not this one.
        ("OPENAI_API_KEY", "sk-proj-of-the-environment"),
    ];
    let gateway = stack.gateway(&config, &environment).await;
    assert_eq!(gateway.post("/v1/chat/completions", &chat("gpt", false)).await.status, 200);
    let sent = stack.upstream.requests().pop().unwrap();
    assert_eq!(sent.headers["authorization"], format!("Bearer {OPENAI_KEY}"));
}

#[tokio::test]
async fn what_may_only_be_read_is_not_written() {
    let stack = Stack::start().await;
    let dynamo = stack.dynamo.url();
    for system in ["aws_secret_manager", "hashicorp_vault"] {
        let config = config(&stack, system, "access_mode: read_only");
        let refuses = |told: &str| told.contains("access_mode") && told.contains("store_virtual_keys");
        for program in [binaries::keys(), binaries::request()] {
            let started = Environment::try_start(&program, &variables(&config, &dynamo, &[])).await;
            let Err(failure) = started else { panic!("{} started", program.display()) };
            assert!(!failure.status.success() && refuses(&failure.output), "{}", failure.output);
        }
        let mut gateway = Gateway::spawn(&binaries::keyturn(), stack.path(), &["--config", &config], &[]);
        let (status, output) = gateway.exit().await;
        assert!(!status.success() && refuses(&output), "{output}");
    }
}
