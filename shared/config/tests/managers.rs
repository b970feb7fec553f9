//! Managers of secrets: where `os.environ/NAME` is read, where created keys are written to, and what stores are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use keyturn_ambient::Env;
use keyturn_config::{Config, StoredKeys, Value};
use secrecy::ExposeSecret;

fn env(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[expect(clippy::panic, reason = "a test's own helper")]
fn parse_in(yaml: &str, variables: &[(&str, &str)]) -> Config {
    Config::parse(yaml, &env(variables)).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn parse(yaml: &str) -> Config {
    parse_in(yaml, &[])
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

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    env(pairs).into_iter().collect()
}

#[test]
fn the_key_manager_decides_what_a_name_refers_to() {
    for (settings, expected) in [
        ("", "env:NAME"),
        ("key_management_system: local", "env:NAME"),
        ("key_management_system: aws_secret_manager", "aws-secretsmanager:NAME"),
        (
            "key_management_system: aws_secret_manager, \
             key_management_settings: {primary_secret_name: prod/all, access_mode: read_and_write}",
            "aws-secretsmanager:prod/all#NAME",
        ),
        (
            "key_management_system: aws_secret_manager, key_management_settings: {hosted_keys: [NAME, OTHER]}",
            "aws-secretsmanager:NAME",
        ),
        (
            "key_management_system: aws_secret_manager, key_management_settings: {hosted_keys: [OTHER]}",
            "env:NAME",
        ),
        ("key_management_system: aws_secret_manager, key_management_settings: {hosted_keys: []}", "env:NAME"),
        (
            "key_management_system: aws_secret_manager, key_management_settings: {access_mode: write_only}",
            "env:NAME",
        ),
        (
            "key_management_system: aws_secret_manager, key_management_settings: {aws_region_name: us-east-1}",
            "aws-secretsmanager:NAME",
        ),
        ("key_management_system: azure_key_vault", "azure-keyvault:NAME"),
        ("use_azure_key_vault: true", "azure-keyvault:NAME"),
        ("use_azure_key_vault: false", "env:NAME"),
        ("use_azure_key_vault: true, key_management_system: azure_key_vault", "azure-keyvault:NAME"),
        ("key_management_system: google_secret_manager", "google-secretmanager:NAME"),
        ("key_management_system: cyberark", "cyberark:NAME"),
        ("key_management_system: custom", "custom:NAME"),
        ("key_management_system: aws_kms", "aws-kms:env/NAME"),
        ("key_management_system: aws_kms, key_management_settings: {hosted_keys: [OTHER]}", "env:NAME"),
        ("key_management_system: google_kms", "google-kms:env/NAME"),
        ("use_google_kms: true", "google-kms:env/NAME"),
        ("key_management_system: hashicorp_vault", "vault:secret/NAME#key"),
        (
            "key_management_system: hashicorp_vault, key_management_settings: {hosted_keys: [OTHER]}",
            "env:NAME",
        ),
    ] {
        let file = params("api_key: os.environ/NAME") + &format!("general_settings: {{{settings}}}");
        let config = Config::parse(&file, &env(&[("AWS_REGION", "eu-west-1")])).unwrap();
        assert_eq!(api_key(&config), expected, "{settings}");
        assert_eq!(shown(&config.general.lookup.secret("NAME", &env(&[])).unwrap()), expected, "{settings}");
    }
}

#[test]
fn vault_is_read_where_litellm_reads_it() {
    let file =
        params("api_key: os.environ/NAME") + "general_settings: {key_management_system: hashicorp_vault}";
    let place = [("HCP_VAULT_MOUNT_NAME", "/kv/"), ("HCP_VAULT_PATH_PREFIX", "team/llm")];
    assert_eq!(api_key(&Config::parse(&file, &env(&place)).unwrap()), "vault:kv/team/llm/NAME#key");
    for variable in ["HCP_VAULT_MOUNT_NAME", "HCP_VAULT_PATH_PREFIX"] {
        let error = Config::parse(&file, &env(&[(variable, "a/../canary")])).unwrap_err().to_string();
        let expected = "must be a path of letters, digits and _+=.@-";
        assert_eq!(error, format!("the environment variable {variable} {expected}"));
    }
}

#[test]
fn created_keys_are_stored_where_the_file_says() {
    let file = |settings: &str| with(&format!("general_settings: {{{settings}}}"));
    let stored = |settings: &str| parse(&file(settings)).general.stored_keys;
    assert_eq!(stored("key_management_system: aws_secret_manager"), None);
    let aws = stored(
        "key_management_system: aws_secret_manager, key_management_settings: {store_virtual_keys: true, \
         description: d, tags: {Team: llm, Cost: 7}, kms_key_id: alias/k, replica_regions: [us-west-2, eu-west-1]}",
    );
    let tags = BTreeMap::from([("Cost".to_owned(), "7".to_owned()), ("Team".to_owned(), "llm".to_owned())]);
    let expected = StoredKeys {
        scheme: "aws-secretsmanager",
        prefix: "litellm/".to_owned(),
        description: Some("d".to_owned()),
        tags,
        kms_key_id: Some("alias/k".to_owned()),
        replica_regions: vec!["us-west-2".to_owned(), "eu-west-1".to_owned()],
    };
    assert_eq!(aws, Some(expected));
    for prefix in ["keys", "keys/"] {
        let vault = stored(&format!(
            "key_management_system: hashicorp_vault, key_management_settings: {{store_virtual_keys: true, \
             access_mode: write_only, prefix_for_stored_virtual_keys: {prefix}}}"
        ));
        let vault = vault.unwrap();
        assert_eq!((vault.scheme, vault.prefix.as_str()), ("vault", "secret/keys/"));
    }
    // Off: what would say how is told.
    let off = "key_management_system: aws_secret_manager, \
               key_management_settings: {store_virtual_keys: false, prefix_for_stored_virtual_keys: a, tags: {b: c}}";
    let config = parse(&file(off));
    assert_eq!(config.general.stored_keys, None);
    let warned: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let warning = |field: &str| {
        format!("general_settings.key_management_settings.{field} is ignored: store_virtual_keys is off")
    };
    assert_eq!(warned, [warning("prefix_for_stored_virtual_keys"), warning("tags")]);
}

#[test]
fn a_manager_that_is_only_written_is_not_read() {
    let secret = [("KEYTURN_PROVIDER_SECRET", "aws-secretsmanager:prod/providers")];
    let file = params("api_key: os.environ/NAME")
        + "general_settings: {key_management_system: aws_secret_manager, \
           key_management_settings: {store_virtual_keys: true, access_mode: write_only}}";
    assert_eq!(
        api_key(&Config::parse(&file, &env(&secret)).unwrap()),
        "aws-secretsmanager:prod/providers#NAME"
    );
    assert_eq!(api_key(&parse(&file)), "env:NAME");
}

#[test]
fn what_aws_kms_encrypted_may_stand_in_the_environment() {
    for (variables, expected) in [
        (&[("NAME", "sk-1")][..], "env:NAME"),
        (&[("NAME", "aws_kms/AQIC+/=")], "aws-kms:env/NAME"),
        (&[("LITELLM_SECRET_AWS_KMS_NAME", "AQIC"), ("NAME", "sk-1")], "env:NAME"),
        (
            &[("LITELLM_SECRET_AWS_KMS_NAME", "AQIC"), ("USE_AWS_KMS", "True"), ("NAME", "sk-1")],
            "aws-kms:env/LITELLM_SECRET_AWS_KMS_NAME",
        ),
        (&[("USE_AWS_KMS", "True"), ("NAME", "sk-1")], "env:NAME"),
    ] {
        let config = parse_in(&params("api_key: os.environ/NAME"), variables);
        assert_eq!(api_key(&config), expected, "{variables:?}");
    }
    // A manager that hosts the name, and the file's own variables, count before them.
    let encrypted = [("NAME", "aws_kms/AQIC")];
    for (more, expected) in [
        ("general_settings: {key_management_system: hashicorp_vault}", "vault:secret/NAME#key"),
        ("environment_variables: {NAME: sk-1}", "literal sk-1"),
        ("environment_variables: {NAME: aws_kms/AQID}", "aws-kms:data/AQID"),
    ] {
        let file = params("api_key: os.environ/NAME") + more;
        assert_eq!(api_key(&parse_in(&file, &encrypted)), expected);
    }
}

#[test]
fn stores_are_told_what_the_file_says_of_them() {
    let file = |system: &str, settings: &str| {
        with(&format!(
            "general_settings: {{key_management_system: {system}, key_management_settings: {{{settings}}}}}"
        ))
    };
    let told = |system: &str, settings: &str| {
        parse_in(&file(system, settings), &[("TOKEN_FILE", "/var/run/token")]).general.store_env
    };
    let identity = "aws_region_name: us-east-1, aws_role_name: 'arn:aws:iam::1:role/r', aws_session_name: s, \
                    aws_external_id: e, aws_web_identity_token: os.environ/TOKEN_FILE, aws_sts_endpoint: 'https://sts'";
    for system in ["aws_secret_manager", "aws_kms"] {
        let expected = variables(&[
            ("KEYTURN_AWS_REGION_NAME", "us-east-1"),
            ("KEYTURN_AWS_ROLE_NAME", "arn:aws:iam::1:role/r"),
            ("KEYTURN_AWS_SESSION_NAME", "s"),
            ("KEYTURN_AWS_EXTERNAL_ID", "e"),
            ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", "/var/run/token"),
            ("KEYTURN_AWS_STS_ENDPOINT", "https://sts"),
        ]);
        assert_eq!(told(system, identity), expected);
    }
    for (token, expected) in [
        ("sk-literal", "sk-literal"),
        ("os.environ/TOKEN", "env:TOKEN"),
        ("'aws-secretsmanager:a#b'", "aws-secretsmanager:a#b"),
    ] {
        let settings = format!(
            "custom_secret_manager: 'https://secrets.example.com/v1/', custom_secret_manager_token: {token}"
        );
        let expected = variables(&[
            ("KEYTURN_CUSTOM_SECRETS_URL", "https://secrets.example.com/v1"),
            ("KEYTURN_CUSTOM_SECRETS_TOKEN", expected),
        ]);
        assert_eq!(told("custom", &settings), expected);
    }
    assert_eq!(told("local", identity), BTreeMap::new());
}

#[test]
fn variables_of_the_file_are_the_environment_of_stores_too() {
    let file = with(
        "environment_variables: {HCP_VAULT_ADDR: https://vault, HCP_VAULT_TOKEN: os.environ/REAL, \
         AZURE_CLIENT_SECRET: 'aws-secretsmanager:azure#secret', PORT: 1, PROXY: 'otel-collector:4317', KEYTURN_AWS_REGION_NAME: a}\n\
         general_settings: {key_management_system: aws_kms, key_management_settings: {aws_region_name: b}}",
    );
    let process = env(&[("REAL", "t"), ("AZURE_CLIENT_SECRET", "of another account"), ("OTHER", "o")]);
    let config = Config::parse(&file, &process).unwrap();
    config.check_stores(&["env", "aws-kms", "aws-secretsmanager"]).unwrap();
    let process: Arc<dyn Env> = Arc::new(process);
    let seen = config.general.stores_env(&process);
    for (name, expected) in [
        ("HCP_VAULT_ADDR", Some("https://vault")),
        ("HCP_VAULT_TOKEN", Some("t")),
        // It cannot be read before there are stores, and no other value may stand in for it.
        ("AZURE_CLIENT_SECRET", None),
        ("PORT", Some("1")),
        ("PROXY", Some("otel-collector:4317")),
        ("KEYTURN_AWS_REGION_NAME", Some("b")),
        ("OTHER", Some("o")),
        ("ABSENT", None),
    ] {
        assert_eq!(seen.var(name).as_deref(), expected, "{name}");
    }
    let plain = parse(&with("")).general.stores_env(&process);
    assert!(Arc::ptr_eq(&plain, &process), "nothing is laid over it");
}

#[test]
fn settings_without_a_manager_are_told() {
    let file = with("general_settings: {key_management_settings: {hosted_keys: [A]}}");
    let warned: Vec<String> = parse(&file).warnings.iter().map(ToString::to_string).collect();
    let expected =
        "general_settings.key_management_settings is ignored: no manager is named by key_management_system";
    assert_eq!(warned, [expected]);
}

/// The models of these files may be kept elsewhere there; here they stand in front.
fn page(name: &str, settings: &str) -> Config {
    let config = parse_in(&with(settings), &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")]);
    assert_eq!(config.warnings, [], "{name}");
    config
}

#[test]
fn the_configurations_of_litellms_pages() {
    let arn = "arn:aws:iam::123456789012:role";
    for (name, text, name_in_use, reads, prefix, told) in [
        (
            "read",
            include_str!("files/managers/aws_read.yaml"),
            "litellm_master_key",
            "aws-secretsmanager:litellm_master_key",
            None,
            variables(&[]),
        ),
        (
            "write",
            include_str!("files/managers/aws_write.yaml"),
            "NAME",
            "env:NAME",
            Some("litellm/"),
            variables(&[]),
        ),
        (
            "read and write",
            include_str!("files/managers/aws_read_write.yaml"),
            "litellm_master_key",
            "aws-secretsmanager:litellm_master_key",
            Some("litellm/"),
            variables(&[]),
        ),
        (
            "one secret",
            include_str!("files/managers/aws_primary.yaml"),
            "OPENAI_API_KEY_MODEL_2",
            "aws-secretsmanager:litellm_secrets#OPENAI_API_KEY_MODEL_2",
            None,
            variables(&[]),
        ),
        (
            "role",
            include_str!("files/managers/aws_role.yaml"),
            "NAME",
            "aws-secretsmanager:NAME",
            Some("litellm/"),
            variables(&[
                ("KEYTURN_AWS_REGION_NAME", "us-east-1"),
                ("KEYTURN_AWS_ROLE_NAME", &format!("{arn}/LiteLLMSecretManagerRole")),
                ("KEYTURN_AWS_SESSION_NAME", "litellm-session"),
            ]),
        ),
        (
            "other account",
            include_str!("files/managers/aws_cross_account.yaml"),
            "NAME",
            "aws-secretsmanager:NAME",
            Some("litellm/"),
            variables(&[
                ("KEYTURN_AWS_REGION_NAME", "us-east-1"),
                ("KEYTURN_AWS_ROLE_NAME", "arn:aws:iam::999999999999:role/CrossAccountRole"),
                ("KEYTURN_AWS_EXTERNAL_ID", "unique-external-id"),
            ]),
        ),
        (
            "service account",
            include_str!("files/managers/aws_irsa.yaml"),
            "NAME",
            "aws-secretsmanager:NAME",
            Some("litellm/"),
            variables(&[
                ("KEYTURN_AWS_REGION_NAME", "us-east-1"),
                ("KEYTURN_AWS_ROLE_NAME", &format!("{arn}/LiteLLMServiceAccountRole")),
                ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", "/var/run/token"),
            ]),
        ),
        (
            "vault",
            include_str!("files/managers/vault.yaml"),
            "NAME",
            "vault:secret/NAME#key",
            Some("secret/litellm/"),
            variables(&[]),
        ),
        (
            "kms",
            include_str!("files/managers/aws_kms.yaml"),
            "LITELLM_MASTER_KEY",
            "aws-kms:env/LITELLM_MASTER_KEY",
            None,
            variables(&[]),
        ),
    ] {
        let general = page(name, text).general;
        assert_eq!(shown(&general.lookup.secret(name_in_use, &env(&[])).unwrap()), reads, "{name}");
        let stored = general.stored_keys.as_ref().map(|stored| stored.prefix.as_str());
        assert_eq!(stored, prefix, "{name}");
        assert_eq!(general.store_env, told, "{name}");
    }
}

#[test]
fn a_file_with_anchors() {
    let config = parse(include_str!("files/managers/aws_anchors.yaml"));
    assert_eq!(config.deployments.len(), 2);
    assert_eq!(api_key(&config), "aws-secretsmanager:litellm/providers#OPENAI_API_KEY");
    assert_eq!(shown(config.general.master_key.as_ref().unwrap()), "env:LITELLM_MASTER_KEY");
}
