//! The request function as `template.yaml` deploys it: the configuration, the master key and the providers'
//! credentials come from AWS Secrets Manager, and the environment holds references only.

use keyturn_tests::binaries;
use keyturn_tests::environment::{Environment, InitFailure};
use keyturn_tests::moto::Moto;
use serde_json::json;

use crate::stack::{MASTER, Model, NO_RETRIES, Stack, chat, claude, demo, event, gpt, variables};

const CONFIG: &str = "prod/keyturn/config";
const PROVIDERS: &str = "prod/keyturn/providers";
const MASTER_KEY: &str = "prod/keyturn/master-key";

/// Neither is in the environment of the function: it holds others.
const OPENAI: &str = "sk-proj-from-the-provider-secret";
const ANTHROPIC: &str = "sk-ant-from-the-provider-secret";
const MASTER_VALUE: &str = "sk-master-from-its-secret";

struct Deployed {
    stack: Stack,
    moto: Moto,
    /// `aws-secretsmanager:` and a name or an ARN, for the variables of the function.
    config: String,
    providers: String,
    master_key: String,
}

impl Deployed {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let moto = Moto::start().await;
        let path = stack.config(&[demo(), gpt(), claude()], NO_RETRIES);
        moto.create_secret(CONFIG, &std::fs::read_to_string(&path).unwrap()).await;
        std::fs::remove_file(&path).unwrap();
        let values = json!({"OPENAI_API_KEY": OPENAI, "ANTHROPIC_API_KEY": ANTHROPIC});
        moto.create_secret(PROVIDERS, &values.to_string()).await;
        moto.create_secret(MASTER_KEY, MASTER_VALUE).await;
        stack.upstream.allow(OPENAI);
        stack.upstream.allow(ANTHROPIC);
        // The template refers to its own secrets by their ARNs, which is what a `Ref` gives.
        let (providers, master_key) = (moto.arn(PROVIDERS).await, moto.arn(MASTER_KEY).await);
        Self {
            stack,
            moto,
            config: format!("aws-secretsmanager:{CONFIG}"),
            providers: format!("aws-secretsmanager:{providers}"),
            master_key: format!("aws-secretsmanager:{master_key}"),
        }
    }

    async fn try_start(&self) -> Result<Environment, InitFailure> {
        let (dynamo, endpoint) = (self.stack.dynamo.url(), self.moto.url());
        let more = [
            ("KEYTURN_MASTER_KEY", self.master_key.as_str()),
            ("KEYTURN_PROVIDER_SECRET", self.providers.as_str()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str()),
        ];
        Environment::try_start(&binaries::request(), &variables(&self.config, &dynamo, &more)).await
    }

    async fn function(&self) -> Environment {
        self.try_start().await.unwrap_or_else(|failure| panic!("{}\n{}", failure.error, failure.output))
    }

    /// Expects the function to refuse to start for the secret with this name, and to say so to the service and
    /// in its log, without any secret's value.
    async fn assert_refused(&self, name: &str, why: &str) {
        let Err(failure) = self.try_start().await else { panic!("started without {name}") };
        let InitFailure { error, output, status } = failure;
        assert!(!status.success(), "{status}");
        assert_ne!(error.kind, "Runtime.ExitError", "the error went to the log only: {output}");
        for told in [&error.message, &output] {
            assert!(told.contains(&format!("aws-secretsmanager:{name}")), "{name} is not named: {told}");
            assert!(told.contains(why), "{why:?} is not in: {told}");
            for value in [OPENAI, ANTHROPIC, MASTER_VALUE] {
                assert!(!told.contains(value), "{value} is in: {told}");
            }
        }
        assert_eq!(self.stack.upstream.count(), 0);
    }

    /// Expects the function to start, to refuse what needs a provider's credential, and to serve the rest.
    async fn assert_serves_without_providers(&self, why: &str) {
        let function = self.function().await;
        for model in ["gpt", "claude"] {
            let answer = function.call(&event(CHAT, MASTER_VALUE, &chat(model, false))).await;
            assert_eq!(answer.status, 503, "{model}: {}", answer.text());
            assert_eq!(answer.json()["error"]["type"], "service_unavailable");
            assert!(!answer.text().contains("prod/keyturn"), "for the operator only: {}", answer.text());
        }
        let answer = function.call(&event(CHAT, MASTER_VALUE, &chat("demo", false))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(self.stack.upstream.count(), 0, "another credential was used");
        let output = function.shut_down().await;
        assert!(output.contains("prod/keyturn/providers"), "the log does not name the secret:\n{output}");
        assert!(output.contains(why), "{why:?} is not in:\n{output}");
        for value in [OPENAI, ANTHROPIC, MASTER_VALUE] {
            assert!(!output.contains(value), "{value} is in the log:\n{output}");
        }
    }
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn everything_secret_is_a_reference() {
    let deployed = Deployed::start().await;
    let function = deployed.function().await;
    assert_eq!(deployed.moto.reads(), 3, "each secret is read once, in the init phase");
    for stream in [false, true] {
        for (model, header, sent) in [
            ("gpt", "authorization", format!("Bearer {OPENAI}")),
            ("claude", "x-api-key", ANTHROPIC.to_owned()),
        ] {
            let answer = function.call(&event(CHAT, MASTER_VALUE, &chat(model, stream))).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            assert_eq!(deployed.stack.upstream.requests().pop().unwrap().headers[header], sent);
        }
    }
    // The sample's key, and the reference itself, open nothing.
    for key in [MASTER, &deployed.master_key] {
        assert_eq!(function.call(&event(CHAT, key, &chat("gpt", false))).await.status, 401, "{key}");
    }
    assert_eq!(deployed.moto.reads(), 3, "a warm function reads no secret");
}

#[tokio::test]
async fn names_do_as_well_as_arns_and_a_field_of_its_own_as_the_provider_secret() {
    let mut deployed = Deployed::start().await;
    let extra = format!("api_key: aws-secretsmanager:{PROVIDERS}#ANTHROPIC_API_KEY");
    let claude = Model { name: "claude", model: "anthropic/claude-sonnet-4-5", extra };
    let path = deployed.stack.config(&[gpt(), claude], NO_RETRIES);
    let value = std::fs::read_to_string(path).unwrap();
    deployed.moto.put_secret(CONFIG, &value, &["AWSCURRENT"]).await;
    deployed.config = format!("aws-secretsmanager:{}", deployed.moto.arn(CONFIG).await);
    deployed.providers = format!("aws-secretsmanager:{PROVIDERS}");
    deployed.master_key = format!("aws-secretsmanager:{MASTER_KEY}");
    let function = deployed.function().await;
    for model in ["gpt", "claude"] {
        let answer = function.call(&event(CHAT, MASTER_VALUE, &chat(model, false))).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
    }
    assert_eq!(deployed.moto.reads(), 3, "one secret for both models");
}

#[tokio::test]
async fn a_master_key_that_is_not_there_stops_the_function() {
    let mut deployed = Deployed::start().await;
    deployed.master_key = "aws-secretsmanager:prod/keyturn/nowhere".to_owned();
    deployed.assert_refused("prod/keyturn/nowhere", "not found").await;
}

#[tokio::test]
async fn a_master_key_that_is_denied_stops_the_function() {
    let mut deployed = Deployed::start().await;
    deployed.master_key = format!("aws-secretsmanager:{MASTER_KEY}");
    deployed.moto.deny(MASTER_KEY);
    deployed.assert_refused(MASTER_KEY, "access denied").await;
}

#[tokio::test]
async fn a_configuration_that_is_not_there_stops_the_function() {
    let mut deployed = Deployed::start().await;
    deployed.config = "aws-secretsmanager:prod/keyturn/nowhere".to_owned();
    deployed.assert_refused("prod/keyturn/nowhere", "not found").await;
}

#[tokio::test]
async fn a_configuration_that_is_denied_stops_the_function() {
    let deployed = Deployed::start().await;
    deployed.moto.deny(CONFIG);
    deployed.assert_refused(CONFIG, "access denied").await;
}

#[tokio::test]
async fn a_provider_secret_that_is_not_there_stops_the_models_that_need_it() {
    let mut deployed = Deployed::start().await;
    deployed.providers = "aws-secretsmanager:prod/keyturn/providers-elsewhere".to_owned();
    deployed.assert_serves_without_providers("not found").await;
}

#[tokio::test]
async fn a_provider_secret_that_is_denied_stops_the_models_that_need_it() {
    let deployed = Deployed::start().await;
    deployed.moto.deny(PROVIDERS);
    deployed.assert_serves_without_providers("access denied").await;
}

#[tokio::test]
async fn a_name_that_the_provider_secret_does_not_have_stops_the_model_that_needs_it() {
    let deployed = Deployed::start().await;
    let value = json!({"ANTHROPIC_API_KEY": ANTHROPIC}).to_string();
    deployed.moto.put_secret(PROVIDERS, &value, &["AWSCURRENT"]).await;
    let function = deployed.function().await;
    // OPENAI_API_KEY is in the environment, and must not stand in.
    let answer = function.call(&event(CHAT, MASTER_VALUE, &chat("gpt", false))).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(deployed.stack.upstream.count(), 0, "another credential was used");
    let answer = function.call(&event(CHAT, MASTER_VALUE, &chat("claude", false))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let output = function.shut_down().await;
    assert!(output.contains("OPENAI_API_KEY"), "the log does not name the field:\n{output}");
    assert!(!output.contains(ANTHROPIC), "{output}");
}
