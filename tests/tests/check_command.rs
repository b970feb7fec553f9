//! `keyturn check`, as a script and a person run it.

use keyturn_tests::fake;
use keyturn_tests::moto::{self, Moto};
use keyturn_tests::upstream::Upstream;
use serde_json::{Value, json};

use crate::commands::{ANTHROPIC, Bench, NEXT, OPENAI};

/// A configuration with a bit of everything.
async fn bench(upstream: &Upstream) -> Bench {
    let (openai, anthropic) = (upstream.openai_base(), upstream.url());
    let bench = Bench::new(&format!(
        "
model_list:
  - {{model_name: gpt, litellm_params: {{model: openai/gpt-5, api_base: '{openai}', api_key: os.environ/OPENAI_KEY}}}}
  - {{model_name: claude, litellm_params: {{model: anthropic/claude-haiku-4-5, api_base: '{anthropic}', api_key: 'file:key'}}}}
  - {{model_name: demo, litellm_params: {{model: openai/demo, mock_response: Hello!}}}}
general_settings: {{master_key: os.environ/MASTER, alerting: [slack]}}
"
    ));
    bench.write("key", &format!("{ANTHROPIC}\n"));
    bench.with("OPENAI_KEY", OPENAI).with("MASTER", NEXT)
}

#[tokio::test]
async fn all_that_can_be_used_is_zero_and_a_table_without_values() {
    let upstream = Upstream::start(&[OPENAI, ANTHROPIC]).await;
    let bench = bench(&upstream).await;
    let told = bench.run(&["check"]).await;
    told.says(0, &["config.yaml: 4 of 4 usable", "warning general_settings.alerting is ignored"]);
    assert!(told.line(&["gpt", "openai/gpt-5", "api_key", "env", "OPENAI_KEY"]).ends_with("ok"), "{told:?}");
    assert!(told.line(&["claude", "anthropic/claude-haiku-4-5", "file", "key", " s "]).ends_with("ok"));
    assert!(told.line(&["demo", "openai/demo"]).ends_with("skipped"));
    assert!(told.line(&["master_key", "env", "MASTER"]).ends_with("ok"));
    assert_eq!(told.stderr, "");
    assert_eq!(upstream.count(), 2, "each provider was asked once");

    let told = bench.run(&["check", "--no-verify", "--metrics"]).await;
    told.says(0, &["4 of 4 usable"]);
    assert_eq!(upstream.count(), 2, "no provider was asked");
    let figures = |store: &str| {
        let mut rows = told.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.rfind(|row| row.first() == Some(&store)).unwrap_or_else(|| panic!("{told:?}"))
    };
    assert_eq!(figures("env"), ["env", "2", "0", "0", "0", "0", "0"]);
    assert_eq!(figures("file"), ["file", "1", "0", "0", "0", "0", "0"]);
    assert_eq!(figures("all"), ["all", "3", "0", "0", "0", "0", "0"]);
}

#[tokio::test]
async fn what_cannot_be_used_is_one_and_says_why() {
    let upstream = Upstream::start(&[ANTHROPIC]).await;
    let mut bench = bench(&upstream).await;
    let told = bench.run(&["check"]).await;
    told.says(1, &["refused model_list[0].litellm_params.api_key: the provider refuses it (HTTP 401)"]);
    told.says(1, &["3 of 4 usable"]);

    std::fs::remove_file(bench.path("key")).unwrap();
    bench.environment.retain(|(name, _)| name != "MASTER");
    let told = bench.run(&["check", "--json", "--metrics"]).await;
    assert_eq!(told.code, 1, "{told:?}");
    let answer: Value = serde_json::from_str(&told.stdout).unwrap();
    let verdicts: Vec<_> = answer["secrets"].as_array().unwrap().iter().map(|row| &row["verdict"]).collect();
    assert_eq!(verdicts, ["refused", "missing", "skipped", "missing"]);
    assert_eq!((&answer["usable"], &answer["configuration"]), (&json!(false), &json!("config.yaml")));
    let row = &answer["secrets"][0];
    assert_eq!(
        (&row["model"], &row["name"], &row["reference"], &row["store"], &row["path"]),
        (
            &json!("gpt"),
            &json!("OPENAI_KEY"),
            &json!("env:OPENAI_KEY"),
            &json!("env"),
            &json!("model_list[0].litellm_params.api_key"),
        )
    );
    assert_eq!(answer["warnings"][0]["path"], "general_settings.alerting");
    assert_eq!(answer["metrics"]["file"]["failures"], 1);
}

/// A provider that answers as it is told.
async fn answering(status: u16, body: Value) -> fake::Fake {
    fake::Fake::start(move |_| fake::Answer::json(status, &body)).await
}

#[tokio::test]
async fn a_provider_that_does_not_say_yes_has_a_verdict_of_its_own() {
    for (status, message, code, verdict) in [
        (403, "You have insufficient permissions. Missing scopes: api.model.read.", 0, "restricted"),
        (403, "Country not supported", 1, "denied"),
        (404, "Not found", 0, "unproved"),
        (503, "Overloaded", 1, "unavailable"),
    ] {
        let body = json!({"error": {"message": format!("{message} {OPENAI}"), "code": OPENAI}});
        let provider = answering(status, body).await;
        let base = provider.url();
        let bench = Bench::new(&format!(
            "model_list: [{{model_name: gpt, litellm_params: {{model: openai/gpt, api_base: '{base}', api_key: 'env:KEY'}}}}]"
        ))
        .with("KEY", OPENAI);
        let told = bench.run(&["check"]).await;
        told.says(code, &[&format!("{verdict} model_list[0]"), &format!("HTTP {status}")]);
    }
    let bench = Bench::new(
        "model_list: [{model_name: gpt, litellm_params: {model: openai/gpt, api_base: 'http://127.0.0.1:1', api_key: 'env:KEY'}}]",
    )
    .with("KEY", OPENAI);
    bench.run(&["check"]).await.says(1, &["unreachable model_list[0]", "0 of 1 usable"]);
    bench.run(&["check", "--no-verify"]).await.says(0, &["1 of 1 usable"]);
}

#[tokio::test]
async fn deployments_with_one_credential_ask_once() {
    let upstream = Upstream::start(&[OPENAI]).await;
    let base = upstream.openai_base();
    let entry = |name: &str| {
        format!(
            "  - {{model_name: {name}, litellm_params: {{model: openai/{name}, api_base: '{base}', api_key: 'env:KEY'}}}}\n"
        )
    };
    let bench =
        Bench::new(&format!("model_list:\n{}{}{}", entry("a"), entry("b"), entry("c"))).with("KEY", OPENAI);
    bench.run(&["check"]).await.says(0, &["3 of 3 usable"]);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_loaded_is_two() {
    let bench = Bench::new("model_list: []");
    bench
        .run(&["check"])
        .await
        .says(2, &["error: cannot use the configuration config.yaml: line 1: model_list must have an entry"]);
    bench.run(&["check", "--config", "nonesuch.yaml"]).await.says(2, &["nonesuch.yaml"]);
    bench.write("config.yaml", &format!("model_list: [{{model_name: a, litellm_params: {{{OPENAI}: 1}}}}]"));
    bench.run(&["check"]).await.says(2, &["cannot use the configuration config.yaml"]);
}

#[tokio::test]
async fn a_secret_in_secrets_manager_has_its_version_and_age() {
    let moto = Moto::start().await;
    let upstream = Upstream::start(&[OPENAI]).await;
    moto.create_secret("prod/providers", &json!({"OPENAI_KEY": OPENAI}).to_string()).await;
    let base = upstream.openai_base();
    let bench = Bench::new(&format!(
        "
model_list:
  - {{model_name: gpt, litellm_params: {{model: openai/gpt, api_base: '{base}', api_key: os.environ/OPENAI_KEY}}}}
  - {{model_name: lost, litellm_params: {{model: openai/gpt, api_base: '{base}', api_key: os.environ/LOST}}}}
general_settings:
  key_management_system: aws_secret_manager
  key_management_settings: {{primary_secret_name: prod/providers}}
"
    ))
    .with("AWS_REGION", moto::REGION)
    .with("AWS_ACCESS_KEY_ID", "test")
    .with("AWS_SECRET_ACCESS_KEY", "test")
    .with("AWS_ENDPOINT_URL_SECRETS_MANAGER", &moto.url());
    let told = bench.run(&["check"]).await;
    told.says(
        1,
        &["missing model_list[1].litellm_params.api_key: secret `aws-secretsmanager:prod/providers#LOST`"],
    );
    let line = told.line(&["gpt", "aws-secretsmanager", "prod/providers#OPENAI_KEY"]);
    assert!(line.ends_with("ok") && line.contains(" s "), "its age is told in seconds: {line}");

    let told = bench.run(&["check", "--explain", "os.environ/OPENAI_KEY"]).await;
    told.says(
        0,
        &[
            "model_list[0].litellm_params.api_key names it",
            "aws_secret_manager: it has every name, without hosted_keys",
            "aws-secretsmanager:prod/providers#OPENAI_KEY",
            "AWS_REGION",
            "ok: version ",
        ],
    );
    assert!(told.line(&["environment "]).ends_with("it is not set"), "{told:?}");
}

#[tokio::test]
async fn a_value_is_explained_by_its_name_field_model_or_reference() {
    let upstream = Upstream::start(&[OPENAI]).await;
    let bench = bench(&upstream).await;
    for asked in
        ["OPENAI_KEY", "gpt", "openai/gpt-5", "model_list[0].litellm_params.api_key", "env:OPENAI_KEY"]
    {
        let told = bench.run(&["check", "--explain", asked]).await;
        told.says(
            0,
            &["model_list[0].litellm_params.api_key names it", "env:OPENAI_KEY", "it is set", "none:"],
        );
    }
    // What the file does not have.
    let told = bench.run(&["check", "--explain", "OTHER_KEY"]).await;
    told.says(
        1,
        &["nothing in the configuration asks for it", "env:OTHER_KEY", "it is not set", "missing: "],
    );
    let told = bench.run(&["check", "--explain", "file:/nonesuch"]).await;
    told.says(1, &["nothing in the configuration asks for it", "missing: "]);
    // What may be a key is not repeated.
    bench.run(&["check", "--explain", OPENAI]).await.says(2, &["error: --explain: "]);
    assert_eq!(upstream.count(), 0, "no provider was asked");
}
