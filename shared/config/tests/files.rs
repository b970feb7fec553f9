//! Small files, and what they become.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use keyturn_config::{Config, ConfigError, Fallback, ModelInfo, Router, Value};
use secrecy::ExposeSecret;

fn env(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[expect(clippy::panic, reason = "a test's own helper")]
fn parse(yaml: &str) -> Config {
    Config::parse(yaml, &env(&[])).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// A file with one model and whatever else.
fn with(rest: &str) -> String {
    format!("model_list: [{{model_name: gpt, litellm_params: {{model: openai/gpt}}}}]\n{rest}")
}

/// A file whose one model has these further `litellm_params`.
fn params(params: &str) -> String {
    format!("model_list: [{{model_name: gpt, litellm_params: {{model: openai/gpt, {params}}}}}]\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Reference(reference) => reference.to_string(),
        Value::Literal(literal) => format!("literal {}", literal.expose_secret()),
    }
}

fn api_key(config: &Config) -> String {
    shown(&config.deployments[0].secrets["api_key"])
}

#[test]
fn the_least_file() {
    let config = parse(&with(""));
    assert_eq!(config.deployments.len(), 1);
    let deployment = &config.deployments[0];
    assert_eq!((deployment.model_name.as_str(), deployment.model.as_str()), ("gpt", "openai/gpt"));
    assert!(deployment.secrets.is_empty() && deployment.params.is_empty());
    assert_eq!(config.router, Router::default());
    assert!(config.general.master_key.is_none());
    assert_eq!(config.warnings, []);
    assert_eq!(config.references(), []);
}

#[test]
fn every_field_of_a_deployment() {
    let file = "
model_list:
  - model_name: smart
    litellm_params:
      model: gpt-4o
      custom_llm_provider: azure
      api_base: https://example.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY
      azure_ad_token: file:/run/azure#token
      client_secret: aws-secretsmanager:prod/azure#CLIENT_SECRET
      vertex_credentials: {type: service_account}
      zen_token: os.environ/ZEN
      api_version: 2024-10-21
      organization: 12345
      store: false
      timeout: '30'
      stream_timeout: 2.5
      num_retries: 0
      max_retries: 9
      weight: '2'
      rpm: '100'
      tpm: 20000
      drop_params: 'True'
      mock_response: hello
      input_cost_per_token: 0.5
    model_info:
      id: 7
      base_model: azure/gpt-4o
      mode: chat
      input_cost_per_token: 1e-6
      output_cost_per_token: '2e-6'
      max_tokens: 10
      max_input_tokens: 20
      max_output_tokens: 30
";
    let config = parse(file);
    let deployment = &config.deployments[0];
    assert_eq!(deployment.id, "7");
    assert_eq!(deployment.custom_llm_provider.as_deref(), Some("azure"));
    assert_eq!(deployment.api_base.as_deref(), Some("https://example.openai.azure.com"));
    let secrets: Vec<_> =
        deployment.secrets.iter().map(|(name, value)| (name.as_str(), shown(value))).collect();
    let expected = [
        ("api_key", "env:AZURE_API_KEY"),
        ("azure_ad_token", "file:/run/azure#token"),
        ("client_secret", "aws-secretsmanager:prod/azure#CLIENT_SECRET"),
        ("vertex_credentials", "literal {\"type\":\"service_account\"}"),
        ("zen_token", "env:ZEN"),
    ];
    assert_eq!(secrets, expected.map(|(name, value)| (name, value.to_owned())));
    let expected = [("api_version", "2024-10-21"), ("organization", "12345"), ("store", "false")];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(deployment.params, expected);
    assert_eq!(deployment.timeout, Some(Duration::from_secs(30)));
    assert_eq!(deployment.stream_timeout, Some(Duration::from_millis(2500)));
    assert_eq!(deployment.num_retries, Some(0));
    assert_eq!((deployment.weight, deployment.rpm, deployment.tpm), (Some(2.0), Some(100), Some(20_000)));
    assert_eq!(deployment.drop_params, Some(true));
    assert_eq!(deployment.mock_response.as_deref(), Some("hello"));
    let info = ModelInfo {
        base_model: Some("azure/gpt-4o".to_owned()),
        mode: Some("chat".to_owned()),
        input_cost_per_token: Some(0.5),
        output_cost_per_token: Some(2e-6),
        max_tokens: Some(10),
        max_input_tokens: Some(20),
        max_output_tokens: Some(30),
    };
    assert_eq!(deployment.info, info);
    let references: Vec<String> = config.references().iter().map(ToString::to_string).collect();
    let expected = [
        "env:AZURE_API_KEY",
        "file:/run/azure#token",
        "aws-secretsmanager:prod/azure#CLIENT_SECRET",
        "env:ZEN",
    ];
    assert_eq!(references, expected);
}

#[test]
fn max_retries_stands_in_for_num_retries() {
    assert_eq!(parse(&params("max_retries: '4'")).deployments[0].num_retries, Some(4));
}

#[test]
fn names_that_are_read_now_come_from_the_environment() {
    let file = params("api_base: os.environ/BASE, rpm: os.environ/RPM, api_version: os.environ/VERSION");
    let variables = [("BASE", "http://127.0.0.1:1/v1/"), ("RPM", "5"), ("VERSION", "v9")];
    let config = Config::parse(&file, &env(&variables)).unwrap();
    let deployment = &config.deployments[0];
    assert_eq!(deployment.api_base.as_deref(), Some("http://127.0.0.1:1/v1"));
    assert_eq!(deployment.rpm, Some(5));
    assert_eq!(deployment.params["api_version"], "v9");
    let error = Config::parse(&file, &env(&variables[1..])).unwrap_err();
    let path = "model_list[0].litellm_params.api_base".to_owned();
    let unset = ConfigError::Unset { path, variable: "BASE".to_owned() };
    assert_eq!(error, ConfigError::At { line: 1, error: Box::new(unset) });
}

#[test]
fn variables_of_the_file_count_as_environment() {
    let file = with(
        "environment_variables: {BASE: http://a, KEY: sk-of-the-file, OTHER: os.environ/REAL, PORT: 8080, NONE: }\n\
         general_settings: {master_key: os.environ/KEY}",
    );
    let config = parse(&file);
    assert_eq!(shown(config.general.master_key.as_ref().unwrap()), "literal sk-of-the-file");
    assert_eq!(shown(&config.general.lookup.secret("OTHER", &env(&[])).unwrap()), "env:REAL");
    assert_eq!(shown(&config.general.lookup.secret("PORT", &env(&[])).unwrap()), "literal 8080");
    assert_eq!(shown(&config.general.lookup.secret("NONE", &env(&[])).unwrap()), "env:NONE");

    let file = params("api_base: os.environ/BASE, api_version: os.environ/OTHER")
        + "environment_variables: {BASE: http://a, OTHER: os.environ/REAL}";
    let config = Config::parse(&file, &env(&[("BASE", "http://b"), ("REAL", "v1")])).unwrap();
    assert_eq!(config.deployments[0].api_base.as_deref(), Some("http://a"));
    assert_eq!(config.deployments[0].params["api_version"], "v1");
}

#[test]
fn one_secret_can_hold_every_name() {
    let secret =
        [("KEYTURN_PROVIDER_SECRET", "aws-secretsmanager:prod/providers"), ("AWS_REGION", "eu-west-1")];
    for (settings, expected) in [
        ("", "aws-secretsmanager:prod/providers#NAME"),
        ("general_settings: {key_management_system: local}", "env:NAME"),
        ("general_settings: {key_management_system: aws_secret_manager}", "aws-secretsmanager:NAME"),
    ] {
        let config = Config::parse(&(params("api_key: os.environ/NAME") + settings), &env(&secret)).unwrap();
        assert_eq!(api_key(&config), expected);
    }
    let file = params("api_key: os.environ/NAME");
    let error = Config::parse(&file, &env(&[("KEYTURN_PROVIDER_SECRET", "sk-1234")])).unwrap_err();
    assert!(matches!(error, ConfigError::Variable { variable: "KEYTURN_PROVIDER_SECRET", .. }), "{error}");
}

#[test]
fn a_key_is_a_literal_unless_it_begins_like_a_reference() {
    for (key, expected) in [
        ("sk-1234", "literal sk-1234"),
        ("Bearer:password", "literal Bearer:password"),
        ("9f86d081:password", "literal 9f86d081:password"),
        // Config::check_stores refuses these.
        ("user:password", "user:password"),
        ("https://example.com", "https://example.com"),
        ("aws_kms/AQICAHh+/=", "aws-kms:data/AQICAHh+/="),
        ("env:KEY", "env:KEY"),
        ("file:/run/key", "file:/run/key"),
        ("aws-secretsmanager:a#B?stage=AWSPREVIOUS", "aws-secretsmanager:a#B?stage=AWSPREVIOUS"),
    ] {
        assert_eq!(api_key(&parse(&params(&format!("api_key: '{key}'")))), expected);
    }
}

#[test]
fn ids_are_stable_and_know_no_secret() {
    let file = |key: &str, first: &str| {
        let entry = format!("{{model_name: a, litellm_params: {{model: openai/a, api_key: {key}}}}}");
        parse(&format!("model_list: [{first}{entry}, {entry}]"))
    };
    let ids = |config: &Config| config.deployments.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>();
    let before = ids(&file("sk-one", ""));
    assert!(before.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    assert_ne!(before[0], before[1]);
    assert_eq!(before, ids(&file("sk-two", "")));
    let other = "{model_name: b, litellm_params: {model: openai/b}}, ";
    assert_eq!(before, ids(&file("sk-one", other))[1..]);
}

#[test]
fn the_router_has_the_last_word() {
    let models = "
model_list:
  - {model_name: a, litellm_params: {model: openai/a}}
  - {model_name: b, litellm_params: {model: openai/b}}
  - {model_name: 'anthropic/*', litellm_params: {model: 'anthropic/*'}}
";
    let fallback = |model: &str, to: &[&str]| Fallback {
        model: model.to_owned(),
        to: to.iter().map(|name| (*name).to_owned()).collect(),
    };
    let litellm = "
litellm_settings:
  drop_params: true
  request_timeout: 600
  num_retries: 7
  allowed_fails: 8
  cooldown_time: 9
  max_fallbacks: 1
  fallbacks: [{a: [b]}, {'*': [alias]}]
  context_window_fallbacks: [{a: [anthropic/claude]}]
  content_policy_fallbacks: [{b: [a]}]
  default_fallbacks: [a]
router_settings:
  model_group_alias: {alias: a, other: {model: b, hidden: false}}
";
    let config = parse(&format!("{models}{litellm}"));
    assert!(config.litellm.drop_params);
    let aliases = BTreeMap::from([("alias", "a"), ("other", "b")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let expected = Router {
        num_retries: 7,
        allowed_fails: 8,
        cooldown_time: Duration::from_secs(9),
        timeout: Some(Duration::from_secs(600)),
        max_fallbacks: 1,
        fallbacks: vec![fallback("a", &["b"]), fallback("*", &["alias"])],
        context_window_fallbacks: vec![fallback("a", &["anthropic/claude"])],
        content_policy_fallbacks: vec![fallback("b", &["a"])],
        default_fallbacks: vec!["a".to_owned()],
        model_group_alias: aliases,
        ..Router::default()
    };
    assert_eq!(config.router, expected);

    let router = "
  routing_strategy: simple-shuffle
  num_retries: '3'
  allowed_fails: 4
  cooldown_time: 0.5
  timeout: 60
  stream_timeout: 30
  max_fallbacks: 2
  fallbacks: []
  context_window_fallbacks: [{b: [a]}]
  default_fallbacks: [b]
";
    let config = parse(&format!("{models}{litellm}{router}"));
    let expected = Router {
        num_retries: 3,
        allowed_fails: 4,
        cooldown_time: Duration::from_millis(500),
        timeout: Some(Duration::from_secs(60)),
        stream_timeout: Some(Duration::from_secs(30)),
        max_fallbacks: 2,
        fallbacks: vec![],
        context_window_fallbacks: vec![fallback("b", &["a"])],
        default_fallbacks: vec!["b".to_owned()],
        ..expected
    };
    assert_eq!(config.router, expected);
    assert_eq!(config.litellm.fallbacks, Some(vec![fallback("a", &["b"]), fallback("*", &["alias"])]));

    let config = parse(&with("router_settings: {disable_cooldowns: true, cooldown_time: 60}"));
    assert_eq!(config.router.cooldown_time, Duration::ZERO);
}

#[test]
fn warns_of_what_is_harmless() {
    let file = with(
        "litellm_settings: {success_callback: [langfuse], callbacks: [prometheus, otel], cache: true, set_verbose: false}
general_settings: {alerting: [slack], database_url: os.environ/UNSET, store_model_in_db: false, custom_auth: }
router_settings: {redis_host: h, enable_tag_filtering: false, fallbacks: [{gone: [gpt]}]}
mcp_servers: {}
callback_settings: {otel: {message_logging: true}}",
    );
    let warnings: Vec<String> = parse(&file).warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "callback_settings is ignored: Keyturn logs one line a request and calls nobody back",
        "general_settings.alerting is ignored: Keyturn sends no alerts",
        "general_settings.database_url is ignored: Keyturn keeps its data in DynamoDB",
        "litellm_settings.cache is ignored: Keyturn caches no answers",
        "litellm_settings.success_callback is ignored: Keyturn logs one line a request and calls nobody back",
        "litellm_settings.callbacks is ignored: Keyturn logs one line a request and calls nobody back",
        "router_settings.redis_host is ignored: Keyturn keeps its counters in DynamoDB",
        "router_settings.fallbacks is ignored: model_list does not have gone, which has fallbacks here",
    ];
    assert_eq!(warnings, expected);

    let file = "model_list: [{model_name: a, litellm_params: {model: openai/a}, \
                model_info: {owner: me, supports_vision: true, db_model: false}}]";
    let warnings: Vec<String> = parse(file).warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "model_list[0].model_info.owner is ignored: Keyturn does not use it",
        "model_list[0].model_info.supports_vision is ignored: \
         abilities come from the provider and the price table",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn files_as_litellms_users_write_them() {
    for (name, file) in [
        ("quick start", include_str!("files/quick_start.yaml")),
        ("load balancing", include_str!("files/load_balancing.yaml")),
    ] {
        let config = Config::parse(file, &env(&[])).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(config.deployments.len() > 1, "{name}");
    }
    let config = parse(include_str!("files/load_balancing.yaml"));
    let weights: Vec<_> =
        config.deployments.iter().map(|entry| (entry.model_name.as_str(), entry.rpm)).collect();
    assert_eq!(weights[..2], [("gpt-4o", Some(900)), ("gpt-4o", Some(10))]);
}

#[test]
fn the_sample_needs_no_account() {
    let file = include_str!("../../../config.yaml");
    let config = Config::parse(file, &env(&[])).unwrap();
    assert_eq!(config.warnings, []);
    let demo = config.deployments.iter().find(|entry| entry.model_name == "demo").unwrap();
    assert!(demo.mock_response.is_some() && demo.secrets.is_empty());
    let references: Vec<String> = config.references().iter().map(ToString::to_string).collect();
    assert_eq!(references, ["env:OPENAI_API_KEY", "env:ANTHROPIC_API_KEY"]);
}

#[test]
fn federation_stands_for_a_reference_where_the_provider_reads_it() {
    let ids = "federation_rule_id: fdrl_1, organization_id: org-1";
    for (model, fields, field, reference) in [
        (
            "openai/a",
            "api_key: federation, identity_provider_id: a, service_account_id: b",
            "api_key",
            "federation:openai/identity_provider_id=a,service_account_id=b",
        ),
        (
            "anthropic/a",
            &format!("api_key: federation, {ids}"),
            "auth_token",
            "federation:anthropic/federation_rule_id=fdrl_1,organization_id=org-1",
        ),
        (
            "a, custom_llm_provider: anthropic",
            &format!("auth_token: federation, {ids}, workspace_id: default"),
            "auth_token",
            "federation:anthropic/federation_rule_id=fdrl_1,organization_id=org-1,workspace_id=default",
        ),
        (
            "openrouter/a/b",
            "api_key: federation, federation_policy_id: 4b2f",
            "api_key",
            "federation:openrouter/federation_policy_id=4b2f",
        ),
        ("bedrock/a", "api_key: federation", "api_key", "federation:bedrock"),
        (
            "bedrock/a",
            "api_key: federation, aws_region_name: eu-west-1",
            "api_key",
            "federation:bedrock/aws_region_name=eu-west-1",
        ),
        // In another provider's format.
        (
            "openai/a",
            "api_key: 'federation:openrouter/federation_policy_id=4b2f', api_base: 'https://openrouter.ai/api/v1'",
            "api_key",
            "federation:openrouter/federation_policy_id=4b2f",
        ),
    ] {
        let config = parse(&format!(
            "model_list: [{{model_name: a, litellm_params: {{model: {model}, {fields}, fallback_api_key: 'env:KEY'}}}}]"
        ));
        let deployment = &config.deployments[0];
        let secrets: Vec<_> =
            deployment.secrets.iter().map(|(name, value)| (name.as_str(), shown(value))).collect();
        assert_eq!(secrets, [(field, reference.to_owned())], "{fields}");
        assert_eq!(deployment.fallback_api_key.as_ref().map(shown).unwrap(), "env:KEY");
        // Where a Bedrock deployment is, is not the credential's alone.
        let region = fields.contains("aws_region_name").then_some("aws_region_name");
        let params: Vec<_> = deployment.params.keys().map(String::as_str).collect();
        assert_eq!(params, region.into_iter().collect::<Vec<_>>(), "{fields}");
        assert_eq!(config.references().len(), 2);
    }
}
