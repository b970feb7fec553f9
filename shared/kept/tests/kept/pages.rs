//! The configurations of LiteLLM's pages on AWS Secrets Manager and Vault, at work: names are read where they say, and
//! created keys are written there.

use std::sync::Arc;

use keyturn_ambient::{Clock, Env, SystemClock};
use keyturn_config::Config;
use keyturn_kept::Surroundings;
use keyturn_keys::KeyHash;
use keyturn_secrets::stores::schemes;
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};
use keyturn_tests::moto::Moto;
use keyturn_tests::openbao::{OpenBao, ROOT};
use secrecy::SecretString;
use serde_json::json;

use crate::bench::environment;

const KEY: &str = "sk-made-by-the-gateway";

/// A configuration, and what its stores are built from.
struct Page {
    config: Config,
    found: Surroundings,
}

impl Page {
    fn open(settings: &str, variables: &[(&str, &str)]) -> Self {
        let env: Arc<dyn Env> = Arc::new(environment(variables));
        let models = "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n";
        let config = Config::parse(&format!("{models}{settings}"), &*env).unwrap();
        config.check_stores(&schemes()).unwrap();
        let (http, clock) = (keyturn_http::client().unwrap(), Arc::new(SystemClock));
        let found = Surroundings { env: config.general.stores_env(&env), http, clock };
        Self { config, found }
    }

    /// What `os.environ/NAME` is.
    async fn read(&self, name: &str) -> String {
        let Surroundings { env, http, clock } = &self.found;
        let clock: Arc<dyn Clock> = Arc::clone(clock);
        let stores = Stores::new(Arc::clone(env), http, Arc::clone(&clock));
        let cache = CredentialCache::new(stores, clock, CacheSettings::default());
        let value = self.config.general.lookup.secret(name, &**env).unwrap();
        cache.get(value.reference().unwrap()).await.unwrap().value.expose().to_owned()
    }

    /// Writes a created key; the name of its secret.
    async fn write(&self) -> String {
        let stored = self.config.general.stored_keys.as_ref().unwrap();
        let kept = keyturn_kept::open(stored, "dynamodb:keys", &self.found).unwrap();
        let value = SecretString::from(KEY);
        let name = kept.name(&KeyHash::of(&value), Some("web"));
        kept.write(&name, &value).await.unwrap();
        name.name
    }

    fn writes(&self) -> bool {
        self.config.general.stored_keys.is_some()
    }
}

macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("../../../config/tests/files/managers/", $name))
    };
}

#[tokio::test]
async fn of_aws_secrets_manager() {
    let moto = Moto::start().await;
    moto.create_secret("litellm_master_key", "sk-of-the-manager").await;
    moto.create_secret(
        "litellm_secrets",
        r#"{"OPENAI_API_KEY_MODEL_1": "one", "OPENAI_API_KEY_MODEL_2": "two"}"#,
    )
    .await;
    let url = moto.url();
    let variables =
        [("AWS_ENDPOINT_URL_SECRETS_MANAGER", url.as_str()), ("litellm_master_key", "sk-of-the-environment")];
    let master_key = "litellm_master_key";

    let page = Page::open(page!("aws_read.yaml"), &variables);
    assert_eq!(page.read(master_key).await, "sk-of-the-manager");
    assert!(!page.writes());

    let page = Page::open(page!("aws_primary.yaml"), &variables);
    assert_eq!(page.read("OPENAI_API_KEY_MODEL_1").await, "one");
    assert_eq!(page.read("OPENAI_API_KEY_MODEL_2").await, "two");
    assert_eq!(page.read(master_key).await, "sk-of-the-environment", "the manager does not host it");
    assert!(!page.writes());

    let page = Page::open(page!("aws_read_write.yaml"), &variables);
    assert_eq!(page.read(master_key).await, "sk-of-the-manager");
    let name = page.write().await;
    assert!(name.starts_with("litellm/web/"), "{name}");
    assert_eq!(moto.read_secret(&name).await, KEY);
    moto.reset().await;

    let page = Page::open(page!("aws_write.yaml"), &variables);
    assert_eq!(page.read(master_key).await, "sk-of-the-environment", "it is written only");
    let name = page.write().await;
    assert_eq!(moto.read_secret(&name).await, KEY);
    let known = moto.describe(&name).await;
    assert_eq!(known["Description"], "litellm virtual key");
    let tags = known["Tags"].as_array().unwrap();
    for tag in
        [json!({"Key": "Environment", "Value": "Prod"}), json!({"Key": "Owner", "Value": "AI Platform team"})]
    {
        assert!(tags.contains(&tag), "{tags:?}");
    }
}

#[tokio::test]
async fn of_vault() {
    let server = OpenBao::shared();
    let prefix = server.fresh("page");
    let variables = [
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("HCP_VAULT_PATH_PREFIX", prefix.as_str()),
        ("AZURE_API_KEY", "of-the-environment"),
    ];
    server.write(&format!("secret/data/{prefix}/AZURE_API_KEY"), &json!({"data": {"key": "sk-1234"}})).await;
    let page = Page::open(page!("vault.yaml"), &variables);
    assert_eq!(page.read("AZURE_API_KEY").await, "sk-1234");
    let name = page.write().await;
    assert!(name.starts_with(&format!("secret/{prefix}/litellm/web/")), "{name}");
    let path = name.replacen("secret/", "secret/data/", 1);
    assert_eq!(server.read(&path).await["data"]["data"]["key"], KEY);
}
