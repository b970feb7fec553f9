//! A secret in any field shows up nowhere.

use std::collections::HashMap;

use keyturn_config::Config;

const CANARY: &str = "sk-canary-c4n4ry";

/// Everything that parsing says in words, or that `Debug` shows.
fn words(yaml: &str) -> String {
    match Config::parse(yaml, &HashMap::new()) {
        Ok(config) => {
            let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            let stores = config.check_stores(&["env", "file"]).map_err(|error| error.in_file(yaml));
            let problem = stores.as_ref().map_err(ToString::to_string);
            format!("{config:?} {config:#?} {warnings:?} {stores:?} {problem:?}")
        }
        Err(error) => format!("{error} {error:?}"),
    }
}

fn silent(yaml: &str) {
    let words = words(yaml);
    assert!(!words.contains("c4n4ry"), "{words}\n\nfrom\n\n{yaml}");
}

/// Each way a value can be written.
fn forms() -> [String; 12] {
    [
        CANARY.to_owned(),
        format!("'{CANARY}'"),
        format!("|\n        {CANARY}\n"),
        format!("[{CANARY}]"),
        format!("{{{CANARY}: {CANARY}}}"),
        format!("{{key: {CANARY}}}"),
        format!("os.environ/{CANARY}"),
        format!("'env:{CANARY}'"),
        format!("'user:{CANARY}'"),
        "'cn-canary-c4n4ry:password'".to_owned(),
        format!("'aws_kms/{CANARY}'"),
        format!("'https://user:{CANARY}@example.com/?key={CANARY}'"),
    ]
}

#[test]
fn in_every_field_that_bears_a_secret() {
    for name in [
        "api_key",
        "azure_ad_token",
        "client_secret",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_web_identity_token",
        "vertex_credentials",
        "another_token",
        "fallback_api_key",
    ] {
        for form in forms() {
            silent(&format!(
                "model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/a\n      {name}: {form}\n"
            ));
        }
    }
    for form in forms() {
        let models = "model_list: [{model_name: a, litellm_params: {model: a}}]";
        silent(&format!("{models}\ngeneral_settings:\n    master_key: {form}\n"));
        silent(&format!("{models}\nenvironment_variables:\n    KEY: {form}\n"));
    }
}

#[test]
fn in_what_is_said_of_managers() {
    let models = "model_list: [{model_name: a, litellm_params: {model: a, api_key: os.environ/A}}]";
    for (system, name) in [
        ("custom", "custom_secret_manager_token"),
        ("custom", "custom_secret_manager"),
        ("aws_secret_manager", "aws_web_identity_token"),
        ("aws_secret_manager", "aws_external_id"),
        ("aws_secret_manager", "aws_profile_name"),
        ("aws_kms", "aws_sts_endpoint"),
        ("hashicorp_vault", "custom_secret_manager_token"),
        ("local", "custom_secret_manager_token"),
    ] {
        for form in forms() {
            silent(&format!(
                "{models}\ngeneral_settings:\n  key_management_system: {system}\n  key_management_settings:\n    {name}: {form}\n"
            ));
        }
    }
}

#[test]
fn in_a_field_that_is_not_for_secrets() {
    for name in [
        "api_base",
        "organization",
        "api_version",
        "unheard_of",
        "mock_response",
        "timeout",
        "num_retries",
        "weight",
        "rpm",
        "drop_params",
        "max_budget",
        "azure_password",
        "extra_headers",
        "litellm_credential_name",
        CANARY,
    ] {
        for form in forms() {
            silent(&format!(
                "model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/a\n      {name}: {form}\n"
            ));
        }
    }
    let models = "model_list: [{model_name: a, litellm_params: {model: a}}]";
    for field in [
        "general_settings.database_url",
        "general_settings.alert_to_webhook_url",
        "general_settings.key_management_system",
        "general_settings.custom_auth",
        "general_settings.litellm_license",
        "litellm_settings.openai_key",
        "litellm_settings.cache_params",
        "litellm_settings.callbacks",
        "litellm_settings.request_timeout",
        "litellm_settings.unheard_of",
        "router_settings.redis_password",
        "router_settings.routing_strategy",
        "router_settings.fallbacks",
        "callback_settings.otel",
        "credential_list.a",
        &format!("general_settings.{CANARY}"),
    ] {
        let (section, name) = field.split_once('.').unwrap();
        for form in forms() {
            silent(&format!("{models}\n{section}:\n    {name}: {form}\n"));
        }
        silent(&format!("{models}\n{section}: {CANARY}\n"));
    }
}

#[test]
fn beside_a_mistake_in_the_yaml() {
    for mistake in [
        format!("api_key: \"{CANARY}"),
        format!("api_key: '{CANARY}"),
        format!("api_key: [{CANARY}"),
        format!("api_key: {{{CANARY}"),
        format!("api_key {CANARY}: : x"),
        format!("api_key: {CANARY}: x"),
        CANARY.to_owned(),
        format!("api_key: *{CANARY}"),
        format!("api_key: &{CANARY}"),
        format!("api_key: !{CANARY} x"),
        format!("api_key: !!{CANARY} x"),
        format!("api_key: !!int {CANARY}"),
        format!("api_key: !!binary {CANARY}"),
        format!("api_key: \"\\x{CANARY}\""),
        format!("api_key: \"\\q{CANARY}\""),
        format!("api_key: @{CANARY}"),
        format!("api_key: %{CANARY}"),
        format!("api_key: {CANARY}\n      api_key: {CANARY}"),
        format!("{CANARY}: a\n      {CANARY}: b"),
        format!("? {CANARY}\n      : [a"),
        format!("<<: {CANARY}"),
        format!("api_key: {CANARY}\n    \tx: y"),
        format!("api_key: {CANARY}\n   x: y"),
        format!("api_key: |{CANARY}\n x"),
        format!("api_key: {CANARY}\n---\nx: {CANARY}"),
        format!("api_key: {CANARY}\n%YAML {CANARY}\n---\n"),
        format!("api_key: {CANARY}\u{0}"),
        format!("api_key: {CANARY}\u{feff}{CANARY}"),
    ] {
        silent(&format!(
            "model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/a\n      {mistake}\n"
        ));
    }
}

#[test]
fn the_canary_would_be_seen() {
    let file = format!("model_list: [{{model_name: {CANARY}, litellm_params: {{model: a}}}}]");
    assert!(words(&file).contains(CANARY));
}
