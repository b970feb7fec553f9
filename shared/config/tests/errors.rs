//! What is refused, with the exact words.

use std::collections::HashMap;

use keyturn_config::{Config, ConfigError};

/// The stores that there are.
const STORES: &[&str] = &["aws-secretsmanager", "env", "file", "vault"];

#[expect(clippy::panic, reason = "a test's own helper")]
fn error_with_line(yaml: &str) -> ConfigError {
    match Config::parse(yaml, &HashMap::new()).and_then(|config| config.check_stores(STORES)) {
        Ok(()) => panic!("no error in\n{yaml}"),
        Err(error) => error.in_file(yaml),
    }
}

/// The files are short, so the line says little.
fn error(yaml: &str) -> String {
    match error_with_line(yaml) {
        ConfigError::At { error, .. } => error.to_string(),
        error => error.to_string(),
    }
}

fn with(rest: &str) -> String {
    format!("model_list: [{{model_name: gpt, litellm_params: {{model: openai/gpt}}}}]\n{rest}")
}

/// The files are written in YAML's flow form, to have one on each line.
fn check(cases: &[(&str, &str)], file: impl Fn(&str) -> String) {
    for (text, expected) in cases {
        assert_eq!(error(&file(text)), *expected, "{text}");
    }
}

#[test]
fn of_the_whole_file() {
    let cases = [
        ("", "the file must be a mapping with a model_list"),
        ("hello", "the file must be a mapping with a model_list"),
        ("{}", "model_list is missing"),
        ("model_list: []", "model_list must have an entry"),
        ("model_list: {}", "model_list must be a list"),
        ("model_list: [gpt]", "model_list[0] must be a mapping"),
        ("model_lst: []", "model_lst is not a known setting; did you mean model_list?"),
        ("zebra: []", "zebra is not a known setting"),
        ("include: [other.yaml]", "include is not supported: files that include others; write one file"),
        ("guardrails: [{guardrail_name: a}]", "guardrails is not supported: guardrails and policies"),
        (
            "credential_list: [{credential_name: a}]",
            "credential_list is not supported: \
             named credentials; write the credential or a reference to it in model_list",
        ),
        ("model_list: [\nmodel_list", "line 1, column 13: unclosed bracket '['"),
    ];
    check(&cases, str::to_owned);
}

#[test]
fn of_an_entry() {
    let cases = [
        ("litellm_params: {model: a}", "model_list[0].model_name is missing"),
        ("model_name: a", "model_list[0] has no litellm_params"),
        ("model_name: a, litellm_params: {}", "model_list[0].litellm_params.model is missing"),
        (
            "model_name: a, litellm_params: {model: ''}",
            "model_list[0].litellm_params.model must not be empty",
        ),
        (
            "model_name: 4, litellm_params: {model: a}",
            "model_list[0].model_name must be a text: put it in quotes",
        ),
        ("model_name: '*/*', litellm_params: {model: a}", "model_list[0].model_name may hold one * only"),
        (
            "model_name: 'a/*', litellm_params: {model: 'a/*/*'}",
            "model_list[0].litellm_params.model may hold one * only",
        ),
        (
            "model_name: a, litellm_params: {model: 'a/*'}",
            "model_list[0].litellm_params.model holds a *, but model_name does not",
        ),
        (
            "model_name: a, litellm_param: {model: a}",
            "model_list[0].litellm_param is not a known setting; did you mean litellm_params?",
        ),
        (
            "model_name: a, litellm_params: {model: a}, model_info: {input_cost_per_tokn: 1}",
            "model_list[0].model_info.input_cost_per_tokn is not supported: \
             prices other than input_cost_per_token and output_cost_per_token",
        ),
        (
            "model_name: a, litellm_params: {model: a}, model_info: {base_modl: b}",
            "model_list[0].model_info.base_modl is not a known setting; did you mean base_model?",
        ),
        (
            "model_name: a, litellm_params: {model: a}, model_info: {access_groups: [b]}",
            "model_list[0].model_info.access_groups is not supported: access groups of models",
        ),
        (
            "model_name: a, litellm_params: {model: a}, model_info: {discoverable: false}",
            "model_list[0].model_info.discoverable is not supported: hiding a model from the list of models",
        ),
        (
            "model_name: a, litellm_params: {model: a}, model_info: {id: ''}",
            "model_list[0].model_info.id must not be empty",
        ),
    ];
    check(&cases, |entry| format!("model_list: [{{{entry}}}]"));
    let twice = "model_list: [{model_name: a, litellm_params: {model: a}, model_info: {id: x}}, \
                 {model_name: b, litellm_params: {model: b}, model_info: {id: x}}]";
    assert_eq!(error(twice), "model_list[1].model_info.id is the same as model_list[0]'s");
}

#[test]
fn of_litellm_params() {
    let cases = [
        ("rpm: many", "rpm must be a whole number, zero or more"),
        ("rpm: -1", "rpm must be a whole number, zero or more"),
        ("rpm: 1.5", "rpm must be a whole number, zero or more"),
        ("num_retries: 4294967296", "num_retries must be a whole number, zero or more"),
        ("weight: -1", "weight must be a number, zero or more"),
        ("weight: [1]", "weight must be a number, zero or more"),
        ("timeout: 0", "timeout must be more than zero seconds"),
        ("timeout: 5000000000", "timeout must be a number of seconds"),
        ("timeout: 1e300", "timeout must be a number of seconds"),
        ("timeout: 'nan'", "timeout must be a number, zero or more"),
        ("drop_params: maybe", "drop_params must be true or false"),
        ("mock_response: {a: b}", "mock_response must be a text"),
        ("api_key: ''", "api_key must not be empty"),
        ("api_key: 12345", "api_key must be a text: put it in quotes"),
        ("api_key: [a]", "api_key must be a text"),
        ("api_key: os.environ/not-a-name", "api_key is not the name of an environment variable"),
        ("api_key: 'file:'", "api_key names no secret after the scheme"),
        ("api_base: example.com", "api_base must be an http:// or https:// URL"),
        ("api_base: 'https://'", "api_base must be an http:// or https:// URL"),
        ("api_base: 'https://a b'", "api_base must be an http:// or https:// URL"),
        (
            "api_base: 'https://user:password@example.com'",
            "api_base must not hold a user or password: put the credential in a field of its own",
        ),
        ("api_base: 'https://example.com?key=1'", "api_base must not hold a query or a fragment"),
        ("api_version: os.environ/not-a-name", "api_version is not the name of an environment variable"),
        ("region: [a]", "region must be a single value, not a list or a mapping"),
        ("max_budget: 0", "max_budget is not supported: budgets of deployments"),
        ("tags: [free]", "tags is not supported: routing by tag"),
        (
            "litellm_credential_name: a",
            "litellm_credential_name is not supported: \
             named credentials; write the credential or a reference to it in this entry",
        ),
        (
            "temperature: 0.2",
            "temperature is not supported: additions to every request; the client's own bytes are passed on",
        ),
        (
            "cache_read_input_token_cost: 1",
            "cache_read_input_token_cost is not supported: \
             prices other than input_cost_per_token and output_cost_per_token",
        ),
        ("sk-1234: a", "(a name that is not shown) is not a known setting"),
        ("auto_router_config: a", "auto_router_config is not supported: routers that choose a model"),
    ];
    for (field, expected) in cases {
        let file = format!("model_list: [{{model_name: a, litellm_params: {{model: openai/a, {field}}}}}]");
        assert_eq!(error(&file), format!("model_list[0].litellm_params.{expected}"), "{field}");
    }
}

#[test]
fn of_general_settings() {
    let cases = [
        ("master_key: [a]", "master_key must be a text"),
        ("litellm_key_header_name: 'a b'", "litellm_key_header_name is not the name of a header"),
        (
            "custom_auth: a.b",
            "custom_auth is not supported: authentication by another means than virtual keys",
        ),
        (
            "store_model_in_db: true",
            "store_model_in_db is not supported: \
             models kept in a database; this file is the only place for models",
        ),
        (
            "allow_requests_on_db_unavailable: true",
            "allow_requests_on_db_unavailable is not supported: \
             serving requests while keys cannot be checked; Keyturn fails closed",
        ),
        ("mastr_key: a", "mastr_key is not a known setting; did you mean master_key?"),
        (
            "key_management_system: infisical",
            "key_management_system must be aws_secret_manager, aws_kms, hashicorp_vault, azure_key_vault, \
             google_secret_manager, google_kms, cyberark, custom or local",
        ),
        // Its store is not in this list.
        (
            "key_management_system: azure_key_vault, master_key: os.environ/A",
            "key_management_system is azure_key_vault, which is not supported here",
        ),
        ("use_google_kms: true", "key_management_system is google_kms, which is not supported here"),
        ("use_azure_key_vault: maybe", "use_azure_key_vault must be true or false"),
        (
            "use_azure_key_vault: true, key_management_system: hashicorp_vault",
            "use_azure_key_vault is the older form of key_management_system: azure_key_vault, and another one is named",
        ),
        (
            "use_azure_key_vault: true, use_google_kms: true",
            "use_google_kms is the older form of key_management_system: google_kms, and another one is named",
        ),
        (
            "key_management_system: google_secret_manager, key_management_settings: {store_virtual_keys: true}",
            "key_management_settings.store_virtual_keys cannot be used with google_secret_manager: \
             it is for aws_secret_manager or hashicorp_vault",
        ),
        (
            "key_management_system: aws_secret_manager, key_management_settings: {aws_profile_name: a}",
            "key_management_settings.aws_profile_name is not supported: profiles of AWS's configuration files; \
             give the function's role the permission, or name an aws_role_name",
        ),
        (
            "key_management_system: custom, key_management_settings: {custom_secret_manager: my_manager.Manager}",
            "key_management_settings.custom_secret_manager is not supported: \
             secret managers written in Python; give the URL of a service that returns JSON",
        ),
        (
            "key_management_system: custom, key_management_settings: {custom_secret_manager: 'https://u:p@h'}",
            "key_management_settings.custom_secret_manager \
             must not hold a user or password: put the credential in a field of its own",
        ),
        (
            "key_management_system: google_kms, key_management_settings: {aws_role_name: a}",
            "key_management_settings.aws_role_name is a setting of aws_secret_manager; \
             key_management_system is google_kms",
        ),
        (
            "key_management_system: aws_kms, master_key: os.environ/A-B",
            "master_key names no secret after the scheme",
        ),
        (
            "key_management_settings: {store_virtual_keys: true}",
            "key_management_settings.store_virtual_keys \
             needs key_management_system: aws_secret_manager or hashicorp_vault",
        ),
        (
            "key_management_system: local, key_management_settings: {store_virtual_keys: 'True'}",
            "key_management_settings.store_virtual_keys \
             needs key_management_system: aws_secret_manager or hashicorp_vault",
        ),
        (
            "key_management_settings: {store_virtual_keys: maybe}",
            "key_management_settings.store_virtual_keys must be true or false",
        ),
        (
            "key_management_settings: {hosted_key: []}",
            "key_management_settings.hosted_key is not a known setting; did you mean hosted_keys?",
        ),
        (
            "key_management_system: aws_secret_manager, key_management_settings: {access_mode: all}",
            "key_management_settings.access_mode must be read_only, read_and_write or write_only",
        ),
        (
            "key_management_system: hashicorp_vault, key_management_settings: {primary_secret_name: a}",
            "key_management_settings.primary_secret_name is a setting of aws_secret_manager; \
             key_management_system is hashicorp_vault",
        ),
        (
            "key_management_system: hashicorp_vault, master_key: os.environ/../a",
            "master_key names no secret after the scheme",
        ),
        (
            "key_management_system: aws_secret_manager, master_key: os.environ/a#b",
            "master_key names no secret after the scheme",
        ),
    ];
    for (field, expected) in cases {
        let file = with(&format!("general_settings: {{{field}}}"));
        assert_eq!(error(&file), format!("general_settings.{expected}"), "{field}");
    }
    let tags: Vec<String> = (0..41).map(|tag| format!("t{tag}: v")).collect();
    for (field, expected) in [
        (
            "access_mode: read_only",
            "access_mode must be read_and_write or write_only with store_virtual_keys, which writes",
        ),
        ("prefix_for_stored_virtual_keys: ''", "prefix_for_stored_virtual_keys must not be empty"),
        (
            "prefix_for_stored_virtual_keys: a/../b",
            "prefix_for_stored_virtual_keys must be a path of letters, digits and _+=.@-, at most 200 characters",
        ),
        (
            &format!("prefix_for_stored_virtual_keys: {}", "a".repeat(200)),
            "prefix_for_stored_virtual_keys must be a path of letters, digits and _+=.@-, at most 200 characters",
        ),
        ("replica_regions: a", "replica_regions must be a list"),
        ("tags: [a]", "tags must be a mapping"),
        ("tags: {a: [b]}", "tags.a must be a single value, not a list or a mapping"),
        (
            "tags: {keyturn:gateway: b}",
            "tags.(a name that is not shown) cannot be a tag: names have 1 to 128 characters and do not begin with \
             aws: or keyturn:, values have at most 256",
        ),
        (&format!("tags: {{{}}}", tags.join(", ")), "tags must be at most 40"),
        ("kms_key_id: 1", "kms_key_id must be a text: put it in quotes"),
        (
            "custom_secret_manager: a.B",
            "custom_secret_manager is a setting of custom; key_management_system is aws_secret_manager",
        ),
    ] {
        let file = with(&format!(
            "general_settings: {{key_management_system: aws_secret_manager, \
             key_management_settings: {{store_virtual_keys: true, {field}}}}}"
        ));
        let path = "general_settings.key_management_settings";
        assert_eq!(error(&file), format!("{path}.{expected}"), "{field}");
    }
    check(
        &[
            ("general_settings: []", "general_settings must be a mapping"),
            (
                "general_settings: {key_management_settings: 1}",
                "general_settings.key_management_settings must be a mapping",
            ),
            ("environment_variables: [A]", "environment_variables must be a mapping"),
            (
                "environment_variables: {A: [b]}",
                "environment_variables.A must be a single value, not a list or a mapping",
            ),
            (
                "environment_variables: {A-B: c}",
                "environment_variables.(a name that is not shown) is not the name of an environment variable",
            ),
        ],
        with,
    );
}

#[test]
fn of_litellm_and_router_settings() {
    let fallbacks = "must be a mapping with one entry: {model: [fallback, ...]}";
    let cases = [
        (
            "litellm_settings: {max_budget: 10}",
            "litellm_settings.max_budget is not supported: budgets over all keys",
        ),
        (
            "litellm_settings: {callbacks: [otel, my_hooks.instance]}",
            "litellm_settings.callbacks[1] is not supported: a callback that may do more than log",
        ),
        (
            "litellm_settings: {ssl_verify: false}",
            "litellm_settings.ssl_verify is not supported: connections without a check of the certificate",
        ),
        (
            "litellm_settings: {drop_parms: true}",
            "litellm_settings.drop_parms is not a known setting; did you mean drop_params?",
        ),
        (
            "litellm_settings: {default_key_generate_params: {max_budget: 1}}",
            "litellm_settings.default_key_generate_params is not supported: rules for making keys",
        ),
        (
            "router_settings: {routing_strategy: least-busy}",
            "router_settings.routing_strategy must be simple-shuffle: no other strategy is supported",
        ),
        (
            "router_settings: {enable_tag_filtering: true}",
            "router_settings.enable_tag_filtering is not supported: routing by tag, group or health",
        ),
        (
            "router_settings: {retry_policy: {TimeoutErrorRetries: 3}}",
            "router_settings.retry_policy is not supported: retries and cooldowns by kind of failure",
        ),
        ("router_settings: {fallbacks: {gpt: [gpt]}}", "router_settings.fallbacks must be a list"),
        ("router_settings: {fallbacks: [gpt]}", &format!("router_settings.fallbacks[0] {fallbacks}")),
        ("router_settings: {fallbacks: [{gpt: gpt}]}", &format!("router_settings.fallbacks[0] {fallbacks}")),
        ("router_settings: {fallbacks: [{gpt: [{}]}]}", &format!("router_settings.fallbacks[0] {fallbacks}")),
        (
            "router_settings: {fallbacks: [{gpt: [gpt]}, {a: [gpt], b: [gpt]}]}",
            &format!("router_settings.fallbacks[1] {fallbacks}"),
        ),
        ("router_settings: {fallbacks: [{gpt: []}]}", "router_settings.fallbacks[0] has no targets"),
        (
            "router_settings: {fallbacks: [{gpt: [claude]}]}",
            "router_settings.fallbacks leads to claude, which model_list does not have",
        ),
        (
            "litellm_settings: {fallbacks: [{'*': [gqt]}]}",
            "litellm_settings.fallbacks leads to gqt, which model_list does not have; did you mean gpt?",
        ),
        (
            "litellm_settings: {context_window_fallbacks: [{gpt: [big]}]}",
            "litellm_settings.context_window_fallbacks leads to big, which model_list does not have",
        ),
        (
            "router_settings: {default_fallbacks: [gpt, other]}",
            "router_settings.default_fallbacks leads to other, which model_list does not have",
        ),
        (
            "router_settings: {model_group_alias: {a: other}}",
            "router_settings.model_group_alias leads to other, which model_list does not have",
        ),
        (
            "router_settings: {model_group_alias: {a: b, b: gpt}}",
            "router_settings.model_group_alias leads to b, which model_list does not have",
        ),
        (
            "router_settings: {model_group_alias: {a: {model: gpt, hidden: true}}}",
            "router_settings.model_group_alias hides an alias from the list of models, which is not supported",
        ),
        (
            "router_settings: {model_group_alias: {a: [gpt]}}",
            "router_settings.model_group_alias must be a mapping of an alias to a model",
        ),
    ];
    check(&cases, with);
}

#[test]
fn of_federation() {
    let anthropic = "federation_rule_id: fdrl_1, organization_id: org-1";
    let cases = [
        ("openai/a", "api_key: federation", "identity_provider_id is missing: federation needs it"),
        (
            "openai/a",
            "api_key: federation, identity_provider_id: a, service_account_id: 'b/c'",
            "service_account_id is no id: letters, digits, and . _ - are",
        ),
        (
            "openai/a",
            "api_key: federation, identity_provider_id: a, service_account_id: b, workspace_id: c",
            "workspace_id is no id of openai's federation",
        ),
        ("openai/a", "identity_provider_id: a", "identity_provider_id is for `api_key: federation` only"),
        (
            "openai/a",
            "api_key: sk-1, fallback_api_key: sk-2",
            "fallback_api_key is for `api_key: federation` only",
        ),
        (
            "anthropic/a",
            &format!("api_key: federation, {anthropic}, fallback_api_key: federation"),
            "fallback_api_key must be another credential than the one that it stands in for",
        ),
        (
            "anthropic/a",
            &format!("api_key: federation, {anthropic}, auth_token: sk-1"),
            "auth_token stands beside federation: leave one of them out",
        ),
        (
            "azure/a",
            "api_key: federation",
            "api_key federation is for openai/, anthropic/, openrouter/ and bedrock/ models",
        ),
        (
            "a",
            "api_key: federation",
            "api_key federation is for openai/, anthropic/, openrouter/ and bedrock/ models",
        ),
        (
            "azure/a",
            "azure_ad_token: federation",
            "azure_ad_token cannot be federation: write api_key: federation",
        ),
        ("openai/a", "api_key: 'federation:openrouter'", "api_key lacks federation_policy_id"),
        (
            "openai/a",
            "api_key: 'federation:openrouter/federation_policy_id=a'",
            "api_key is for another provider than the model's",
        ),
        (
            "bedrock/a",
            "api_key: 'federation:bedrock?stage=AWSPREVIOUS'",
            "api_key names a field or a stage, which federation does not have",
        ),
        (
            "openrouter/a",
            "api_key: 'federation:openrouter/federation_policy_id=a', federation_policy_id: a",
            "federation_policy_id has to stand in the reference of api_key, or not at all",
        ),
        (
            "openai/a",
            "api_key: 'federation:nonesuch/a=b'",
            "api_key names no service that has federation: expected openai, anthropic, openrouter or bedrock",
        ),
    ];
    for (model, fields, expected) in cases {
        let file = format!("model_list: [{{model_name: a, litellm_params: {{model: {model}, {fields}}}}}]");
        assert_eq!(error(&file), format!("model_list[0].litellm_params.{expected}"), "{fields}");
    }
}

/// Everywhere that a secret may stand.
#[test]
fn of_stores_that_there_are_not() {
    let expected =
        "names a secret store that there is not: expected aws-secretsmanager:, env:, file: or vault:";
    let literal = "; a literal that begins like this can stand in a variable or a file only";
    for (text, hint) in [
        ("user:password", literal),
        ("hashicorp-vault:secret/openai", literal),
        ("aws_kms/AQICAHh+/=", literal),
        ("aws-secret-manager:prod/openai", "; did you mean aws-secretsmanager:?"),
        ("aws-secrets-manager:prod/openai", "; did you mean aws-secretsmanager:?"),
        ("valut:secret/openai", "; did you mean vault:?"),
    ] {
        for (path, file) in [
            (
                "model_list[1].litellm_params.api_key",
                format!(
                    "model_list: [{{model_name: a, litellm_params: {{model: a}}}}, \
                     {{model_name: b, litellm_params: {{model: b, api_key: '{text}'}}}}]"
                ),
            ),
            ("general_settings.master_key", with(&format!("general_settings: {{master_key: '{text}'}}"))),
            ("environment_variables.A", with(&format!("environment_variables: {{A: '{text}'}}"))),
        ] {
            assert_eq!(error(&file), format!("{path} {expected}{hint}"), "{text}");
        }
    }
    let address = "model_list: [{model_name: a, litellm_params: {model: a, api_key: 'vault://secret/a'}}]";
    let config = Config::parse(address, &HashMap::new()).unwrap();
    let told = config.check_stores(&["env"]).unwrap_err().to_string();
    assert!(told.starts_with("model_list[0].litellm_params.api_key names a secret store"), "{told}");
    let file = with(
        "general_settings: {key_management_system: custom, \
         key_management_settings: {custom_secret_manager: 'https://secrets', custom_secret_manager_token: 'a:b'}}",
    );
    let config = Config::parse(&file, &HashMap::new()).unwrap();
    assert_eq!(
        config.check_stores(&["custom"]).unwrap_err().to_string(),
        "general_settings.key_management_settings.custom_secret_manager_token \
         names a secret store that there is not: expected custom:; \
         a literal that begins like this can stand in a variable or a file only"
    );
    let env = HashMap::from([("KEYTURN_PROVIDER_SECRET".to_owned(), "files:/run/secrets".to_owned())]);
    let config = Config::parse(&with(""), &env).unwrap();
    assert_eq!(
        config.check_stores(STORES).unwrap_err().to_string(),
        format!("the environment variable KEYTURN_PROVIDER_SECRET {expected}; did you mean file:?")
    );
}

#[test]
fn they_have_the_line_of_the_field() {
    let file = "\
general_settings:
  master_key: sk-1234
model_list:
  - model_name: a
    litellm_params:
      model: openai/a
      {MISTAKE}
  - model_name: b
    litellm_params: {model: openai/b}
router_settings:
  fallbacks:
    - a: [c]
";
    for (mistake, expected) in [
        ("rpm: many", "line 7: model_list[0].litellm_params.rpm must be a whole number, zero or more"),
        (
            "max_budget: 0",
            "line 7: model_list[0].litellm_params.max_budget is not supported: budgets of deployments",
        ),
        (
            "sk-1234: a",
            "line 5: model_list[0].litellm_params.(a name that is not shown) is not a known setting",
        ),
        (
            "api_base: os.environ/BASE",
            "line 7: model_list[0].litellm_params.api_base: the environment variable BASE is not set",
        ),
        (
            "rpm: 1",
            "line 11: router_settings.fallbacks leads to c, which model_list does not have; did you mean a?",
        ),
    ] {
        assert_eq!(error_with_line(&file.replace("{MISTAKE}", mistake)).to_string(), expected);
    }
    let missing = error_with_line("# Nothing.\nmodel_list:\n- litellm_params:\n    model: a\n");
    assert_eq!(missing.to_string(), "line 3: model_list[0].model_name is missing");
    assert_eq!(missing.path(), Some("model_list[0].model_name"));
    assert_eq!(error_with_line("general_settings: {}").to_string(), "model_list is missing");
}
