//! No value of a secret, and no key that stands where a setting belongs, is in what the program or the function says.

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use keyturn_tests::binaries;
use keyturn_tests::environment::Environment;
use keyturn_tests::http::Client;
use keyturn_tests::openbao::{OpenBao, ROOT};
use keyturn_tests::server::{self, Server};
use serde_json::{Value, json};

use super::rig::{ADMIN, CURRENT, MISPLACED, PENDING, Rig, assert_clean};

const TOKEN: &str = "5b1d7a52-0c0a-4a8e-b1f0-7d8f0a2f6c11";

/// Every command for a secret.
fn commands(secret: &str) -> [Vec<&str>; 6] {
    [
        vec!["rotate", secret, "--dry-run"],
        vec!["rotate", secret],
        vec!["rotation", "status", secret],
        vec!["rotation", "status", "--json", secret],
        vec!["rotation", "retire", secret],
        vec!["rotation", "abandon", secret],
    ]
}

/// What was shown to a service, whole and masked as people do it.
fn shown(headers: &HeaderMap) -> (String, String) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let all = text("authorization").or_else(|| text("x-vault-token")).unwrap_or_default();
    let key = all.strip_prefix("Bearer ").unwrap_or(all);
    let masked = format!("{}...{}", &key[..key.len().min(14)], &key[key.len().saturating_sub(4)..]);
    (key.to_owned(), masked)
}

/// A service that answers with what it was shown, in every place that a client could repeat. The first segment of the
/// path is the status.
async fn echo() -> Server {
    Server::start(|request, _| async move {
        let status = request.uri().path().split('/').nth(1).and_then(|status| status.parse().ok());
        let (key, masked) = shown(request.headers());
        let told = format!("Incorrect API key provided: {key} ({masked})");
        let body = json!({
            "error": {"message": told, "code": key, "type": masked, "status": told},
            "errors": [told], "__type": key, "code": masked, "type": told, "message": told,
            // And what a success would have, with something else in its place.
            "id": [key], "value": {key.as_str(): told}, "data": told, "has_more": key,
        });
        server::json(status.unwrap_or(StatusCode::FORBIDDEN), &body)
    })
    .await
}

/// Secrets whose rotator calls such a service: their names.
async fn echoing(rig: &Rig, echo: &Server) -> Vec<String> {
    let mut names = Vec::new();
    for status in [200, 201, 400, 401, 403, 404, 409, 429, 500, 503] {
        let name = format!("prod/echo-{status}");
        let api_base = format!("{}/{status}", echo.url());
        rig.openai(&name, CURRENT, &[("keyturn:api_base", &api_base), ("keyturn:overlap", "0s")]).await;
        names.push(name);
    }
    names
}

#[tokio::test]
async fn the_program_keeps_what_a_provider_repeats() {
    let (rig, echo) = (Rig::start().await, echo().await);
    for name in echoing(&rig, &echo).await {
        let secret = format!("aws-secretsmanager:{name}");
        rig.run(&["rotate", &secret], &[]).await.fails(1, &["createSecret"]);
        rig.run(&["rotate", &secret, "--dry-run"], &[]).await;
        let told = rig.run(&["rotation", "retire", &secret], &[]).await;
        assert!(told.stdout.contains("not taken back"), "{told:?}");
    }
    // The same of a Vault that repeats its token.
    let environment = [("HCP_VAULT_ADDR", echo.url()), ("HCP_VAULT_TOKEN", ADMIN.to_owned())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    for command in commands("vault:secret/providers") {
        let told = rig.run(&command, &environment).await;
        assert_eq!(told.code, 1, "{told:?}");
    }
}

#[tokio::test]
async fn the_program_keeps_what_stands_in_the_wrong_place() {
    let rig = Rig::start().await;
    let own = |setting: &'static str, value: &'static str| vec![(setting, value)];
    let random = |setting, value| vec![("keyturn:rotator", "random"), (setting, value)];
    let admin_key = format!("env:{MISPLACED}");
    let in_address = format!("http://user:{MISPLACED}@127.0.0.1:1");
    let in_query = format!("http://127.0.0.1:1/?key={MISPLACED}");
    let mut wrong = vec![
        own("keyturn:rotator", MISPLACED),
        own("keyturn:admin_key", MISPLACED),
        own("keyturn:service_account", MISPLACED),
        own("keyturn:overlap", MISPLACED),
        own("keyturn:expires_in", MISPLACED),
        own("keyturn:api_base", MISPLACED),
        random("keyturn:length", MISPLACED),
        random("keyturn:exclude_numbers", MISPLACED),
        random("keyturn:test_url", MISPLACED),
        random("keyturn:test_header", MISPLACED),
        random("keyturn:whatever", MISPLACED),
    ];
    wrong.push(vec![("keyturn:admin_key", &admin_key)]);
    wrong.push(vec![("keyturn:api_base", &in_address)]);
    wrong.push(vec![("keyturn:api_base", &in_query)]);
    for (number, settings) in wrong.iter().enumerate() {
        let name = format!("prod/tags-{number}");
        if settings.contains(&("keyturn:rotator", "random")) {
            rig.secret(&name, CURRENT, settings).await;
        } else {
            rig.openai(&name, CURRENT, settings).await;
        }
        for command in commands(&format!("aws-secretsmanager:{name}")) {
            rig.run(&command, &[]).await;
        }
        assert_eq!(rig.moto.read_secret(&name).await, CURRENT, "rotated with {settings:?}");
    }
    let many = |settings: Value| json!({"A": CURRENT, "keyturn:rotator": settings}).to_string();
    let values = [
        format!("{{\"A\": \"{CURRENT}\""),
        json!({"A": {"nested": MISPLACED}, "keyturn:rotator": {"A": {"rotator": "openai"}}}).to_string(),
        many(json!(MISPLACED)),
        many(json!([MISPLACED])),
        many(json!({"A": MISPLACED})),
        many(json!({"A": {"rotator": MISPLACED}})),
        many(json!({"A": {"rotator": [MISPLACED]}})),
        many(json!({"A": {"rotator": "openai", "project": {"id": MISPLACED}}})),
        many(json!({"A": {"rotator": "random", "length": MISPLACED}})),
        many(json!({"A": {"rotator": "random", "overlap": [MISPLACED]}})),
        many(json!({"A": {"rotator": "http", "create": MISPLACED}})),
        many(json!({"A": {"rotator": "http", "create": {"method": MISPLACED, "url": MISPLACED}}})),
    ];
    for (number, value) in values.iter().enumerate() {
        let name = format!("prod/fields-{number}");
        rig.secret(&name, value, &[("keyturn:rotator", "in-secret")]).await;
        let secret = format!("aws-secretsmanager:{name}");
        for command in commands(&secret) {
            rig.run(&command, &[]).await;
        }
        assert_eq!(rig.run(&["rotation", "status", &secret], &[]).await.code, 1, "{value}");
        assert_eq!(rig.moto.read_secret(&name).await, *value);
    }
    // A key that no header can hold.
    rig.openai("prod/line", &format!("{CURRENT}\n"), &[]).await;
    for command in commands("aws-secretsmanager:prod/line") {
        rig.run(&command, &[("OPENAI_ADMIN_KEY", &format!("{ADMIN}\u{7f}"))]).await;
    }
    // The command line and the environment.
    let as_scheme = format!("{MISPLACED}:secret").to_lowercase();
    for text in [MISPLACED, &as_scheme, &format!("env:{MISPLACED}"), &format!("vault:a?stage={MISPLACED}")] {
        for command in commands(text) {
            rig.run(&command, &[]).await.fails(2, &["error: "]);
        }
    }
    for (variable, value) in misplaced_variables() {
        rig.run(&["rotation", "status"], &[(variable, &value)]).await.fails(1, &[]);
    }
}

/// Variables of the rotation function and of the program that hold a key by mistake.
fn misplaced_variables() -> Vec<(&'static str, String)> {
    vec![
        ("KEYTURN_ROTATED_SECRETS", MISPLACED.to_owned()),
        ("KEYTURN_ROTATED_SECRETS", format!("vault:a {MISPLACED}:b")),
        ("KEYTURN_LONGEST_CALL_SECONDS", MISPLACED.to_owned()),
        ("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", MISPLACED.to_owned()),
        ("KEYTURN_KEY_STORE", MISPLACED.to_owned()),
        ("KEYTURN_KEY_STORE", format!("{MISPLACED}:keys")),
        ("HTTPS_PROXY", format!("http://user:{MISPLACED}@[")),
    ]
}

/// A Secrets Manager that repeats a value that it does not take.
async fn repeating(rig: &Rig) -> Server {
    let direct = rig.moto.direct_url().to_owned();
    Server::start(move |request, _| {
        let direct = direct.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let header = |name: &'static str| (name, head.headers[name].to_str().unwrap());
            let (_, target) = header("x-amz-target");
            if target.ends_with("PutSecretValue") {
                assert!(body.contains("lark"), "{body}");
                let told = json!({"__type": "InvalidParameterException", "message": body});
                return server::json(StatusCode::BAD_REQUEST, &told);
            }
            let headers = [header("authorization"), header("content-type"), header("x-amz-target")];
            let answer = Client::default().send(Method::POST, &direct, &headers, body).await;
            server::json(StatusCode::from_u16(answer.status).unwrap(), &answer.json())
        }
    })
    .await
}

#[tokio::test]
async fn the_program_keeps_what_a_store_repeats() {
    let rig = Rig::start().await;
    // The new value begins like a canary.
    let settings = [("keyturn:rotator", "random"), ("keyturn:prefix", "lark-Rt5Y-")];
    rig.secret("prod/hook", CURRENT, &settings).await;
    let store = repeating(&rig).await;
    let environment = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", store.url())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let told = rig.run(&["rotate", "aws-secretsmanager:prod/hook"], &environment).await;
    told.fails(1, &["createSecret", "InvalidParameterException"]);
    // Denied, and out of order.
    rig.secret("prod/denied", CURRENT, &settings).await;
    rig.moto.deny("prod/denied");
    for command in commands("aws-secretsmanager:prod/denied") {
        let told = rig.run(&command, &[]).await;
        assert!(told.code == 1 && told.all().contains("access denied"), "{told:?}");
    }
    rig.moto.outage(true);
    let told = rig.run(&["rotation", "status"], &[]).await;
    told.fails(1, &["the store is unavailable"]);
}

/// A wrong event, and the kind of the error that it is answered with.
fn wrong_events() -> Vec<Value> {
    let step = |step: Value, token: Value, secret: Value| json!({"Step": step, "ClientRequestToken": token, "SecretId": secret});
    vec![
        json!(MISPLACED),
        json!([MISPLACED]),
        json!({MISPLACED: MISPLACED}),
        step(json!(MISPLACED), json!(TOKEN), json!("prod/hook")),
        step(json!("createSecret"), json!(MISPLACED.repeat(3)), json!("prod/hook")),
        step(json!("createSecret"), json!([MISPLACED]), json!("prod/hook")),
        step(json!("createSecret"), json!(TOKEN), json!({"arn": MISPLACED})),
        step(json!({"is": MISPLACED}), json!(TOKEN), json!("prod/hook")),
        json!({"Step": "createSecret", "ClientRequestToken": TOKEN, "SecretId": "prod/hook",
            "RotationToken": [MISPLACED]}),
        json!({"action": MISPLACED}),
        json!({"action": [MISPLACED]}),
        json!({"action": "rotate", "secret": MISPLACED}),
        json!({"action": "rotate", "secret": format!("{MISPLACED}:a").to_lowercase()}),
        json!({"action": "rotate", "secret": {"name": MISPLACED}}),
        json!({"action": "retire", "secret": format!("vault:a?stage={MISPLACED}")}),
    ]
}

#[tokio::test]
async fn the_function_keeps_what_it_is_told() {
    let (rig, echo) = (Rig::start().await, echo().await);
    let (secrets, vault) = (rig.moto.url(), OpenBao::shared());
    let variables = [
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.as_str()),
        ("OPENAI_ADMIN_KEY", ADMIN),
        ("HCP_VAULT_ADDR", vault.url()),
        ("HCP_VAULT_TOKEN", ROOT),
    ];
    let function = Environment::start(&binaries::rotation(), &variables).await;
    let refused = async |event: &Value, kind: &str| {
        let error = function.run(event).await.unwrap_err();
        assert_eq!(error.kind, kind, "{event}: {error}");
        assert_clean(&format!("{error} {error:?}"), &format!("the answer to {event}"));
    };
    for event in wrong_events() {
        refused(&event, "InvalidEvent").await;
    }
    // The provider.
    let create = |name: &str| json!({"Step": "createSecret", "SecretId": name, "ClientRequestToken": TOKEN, "RotationToken": PENDING});
    for name in echoing(&rig, &echo).await {
        rig.moto.register_pending(&name, TOKEN).await;
        refused(&create(&name), "RotationFailed").await;
        let secret = format!("aws-secretsmanager:{name}");
        refused(&json!({"action": "rotate", "secret": secret}), "RotationFailed").await;
        refused(&json!({"action": "retire", "secret": secret}), "SomeFailed").await;
    }
    // The store.
    let random = [("keyturn:rotator", "random")];
    let broken = format!("{{\"A\": \"{CURRENT}\"");
    for (name, value) in [("prod/broken", broken.as_str()), ("prod/denied", CURRENT)] {
        rig.secret(name, value, &random).await;
        rig.moto.register_pending(name, TOKEN).await;
    }
    rig.moto.deny("prod/denied");
    for name in ["prod/broken", "prod/denied", "prod/nowhere"] {
        refused(&create(name), "RotationFailed").await;
        let secret = format!("aws-secretsmanager:{name}");
        refused(&json!({"action": "retire", "secret": secret}), "RotationFailed").await;
    }
    let name = vault.fresh("canaries");
    let data = json!({"A": CURRENT, "keyturn:rotator": {"A": {"rotator": MISPLACED}}});
    vault.write(&format!("secret/data/{name}"), &json!({"data": data})).await;
    let secret = format!("vault:secret/{name}#A");
    refused(&json!({"action": "rotate", "secret": secret}), "RotationFailed").await;
    refused(&json!({"action": "retire"}), "SomeFailed").await;
    rig.moto.outage(true);
    refused(&json!({"action": "retire"}), "SecretFailed").await;

    let output = function.shut_down().await;
    assert!(output.contains("rotation failed") && output.contains("prod/echo-401"), "{output}");
    assert_clean(&output, "the log");
}

#[tokio::test]
async fn a_function_that_cannot_start_keeps_what_it_is_told() {
    for (variable, value) in misplaced_variables() {
        let started = Environment::try_start(&binaries::rotation(), &[(variable, &value)]).await;
        let Err(failure) = started else { panic!("the function took {variable}={value}") };
        assert!(!failure.status.success() && failure.output.contains(variable), "{failure:?}");
        assert_clean(&format!("{}\n{}", failure.error, failure.output), &format!("{variable}={value}"));
    }
}
