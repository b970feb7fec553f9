//! A secret's value is shown by nothing but `expose`.
#![cfg(test)]

mod answers;

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::stores::{Surroundings, open_staged};
use keyturn_secrets::{About, CacheSettings, CredentialCache, SecretError, Stage, Stores, VersionId};
use keyturn_tests::azure::Azure;
use keyturn_tests::fake::{Answer, Fake, Mishap};
use keyturn_tests::federation::Federation;
use keyturn_tests::google::Google;
use keyturn_tests::google::keys::KEY;
use keyturn_tests::moto::{Moto, REGION};
use keyturn_tests::openbao::{OpenBao, ROOT};
use secrecy::SecretString;
use serde_json::json;

const CANARY: &str = "canary-4f1d9b";

fn cache() -> (CredentialCache, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
    write("whole", CANARY.to_owned());
    write("good.env", format!("KEY={CANARY}\n"));
    write("bad.env", format!("{CANARY}\n"));
    write("open.env", format!("KEY='{CANARY}\n"));
    write("bad.json", format!(r#"{{"KEY": "{CANARY}""#));
    write("deep.json", format!(r#"{{"KEY": {{"{CANARY}": "{CANARY}"}}}}"#));
    let env = HashMap::from([("KEY".to_owned(), CANARY.to_owned())]);
    let stores = Stores::new(Arc::new(env), &keyturn_http::client().unwrap(), Arc::new(SystemClock));
    let cache = CredentialCache::new(stores, Arc::new(SystemClock), CacheSettings::default());
    (cache, directory)
}

#[tokio::test]
async fn no_debug_display_error_or_count_shows_a_value() {
    let (cache, directory) = cache();
    let at = |name: &str| format!("file:{}", directory.path().join(name).display());
    let good = ["env:KEY".to_owned(), at("whole"), at("good.env") + "#KEY"];
    let bad =
        ["env:KEY#X".to_owned(), at("good.env") + "#X", at("bad.env") + "#KEY", at("open.env") + "#KEY"];
    let worse = [at("bad.json") + "#KEY", at("deep.json") + "#KEY", at("deep.json") + "#X"];
    let mut shown = String::new();
    for text in &good {
        let reference: SecretRef = text.parse().unwrap();
        let secret = cache.get(&reference).await.unwrap();
        assert_eq!(secret.value.expose(), CANARY);
        write!(shown, "{secret:?} {secret:#?} {:?} {}", secret.value, secret.version).unwrap();
        write!(shown, "{:?}", cache.refused(&reference, &secret.version).await).unwrap();
        write!(shown, "{:?}", cache.previous(&reference).await).unwrap();
    }
    for text in bad.iter().chain(&worse) {
        let error = cache.get(&text.parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        write!(shown, "{error} {error:?} {error:#?} {}", error.source().unwrap()).unwrap();
    }
    write!(shown, "{cache:?} {cache:#?} {:?}", cache.stats()).unwrap();
    shows_nothing(&shown);
}

fn shows_nothing(shown: &str) {
    assert!(shown.contains("[redacted]"));
    assert!(!shown.contains(CANARY), "{shown}");
    // Nor encoded or in part.
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", CANARY.as_bytes());
    assert!(!shown.contains(&hex) && !shown.contains(decimal.trim_matches(['[', ']'])));
    assert!(!shown.contains("4f1d9b"));
}

#[tokio::test]
async fn no_failure_to_open_a_sealed_value_shows_it_or_a_salt_key() {
    use keyturn_sealed::{SaltKey, Sealed, Version};
    let key = |number: u32, text: &str| SaltKey::new(Version::new(number).unwrap(), text.into()).unwrap();
    let salt = format!("sk-salt-{CANARY}");
    let sealed = Sealed::seal(&SecretString::from(CANARY), &key(1, &salt)).unwrap().to_string();
    let other = format!("sk-another-{CANARY}");
    let settings: [&[(&str, &str)]; 7] = [
        &[("KEYTURN_SALT_KEY", &other)],
        &[("KEYTURN_SALT_KEY", CANARY)],
        &[("KEYTURN_SALT_KEYS", &salt)],
        &[("KEYTURN_SALT_KEYS", &format!("2:{salt}"))],
        &[("KEYTURN_SALT_KEYS", &format!("1:{salt} 1:{salt}"))],
        &[("KEYTURN_SALT_KEYS", &format!("1:env:{salt}"))],
        &[("KEYTURN_SALT_KEYS", "1:env:SALT"), ("SALT", CANARY)],
    ];
    let mut shown = String::new();
    for variables in settings {
        for (name, reference) in [("sealed", sealed.as_str()), ("env", "env:VALUE")] {
            let found = surroundings(&[variables, &[("VALUE", &sealed)]].concat());
            let stores = Stores::new(Arc::clone(&found.env), &found.http, Arc::clone(&found.clock));
            let store = stores.find(name).unwrap();
            let error = store.get(&reference[name.len() + 1..], &Stage::Current).await.unwrap_err();
            shown.push_str(&words(&error));
        }
    }
    let found = surroundings(&[("KEYTURN_SALT_KEY", &salt)]);
    let stores = Stores::new(Arc::clone(&found.env), &found.http, Arc::clone(&found.clock));
    let secret =
        stores.find("sealed").unwrap().get(&sealed["sealed:".len()..], &Stage::Current).await.unwrap();
    assert_eq!(secret.value.expose(), CANARY);
    write!(shown, "{secret:?} {:?}", key(1, &salt)).unwrap();
    shows_nothing(&shown);
}

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let env: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Surroundings { env: Arc::new(env), http: keyturn_http::client().unwrap(), clock: Arc::new(SystemClock) }
}

/// Everything that a failed call shows.
fn words(error: &SecretError) -> String {
    format!("{error} {error:?} {error:#?} {:?}", error.source().map(ToString::to_string))
}

/// Calls a store that writes in every way that fails, and some that do not.
async fn shown_by(scheme: &str, found: &Surroundings, prefix: &str) -> String {
    let store = open_staged(scheme, found).unwrap();
    let (name, absent) = (format!("{prefix}one"), format!("{prefix}none"));
    let id = |name: &str| VersionId::new(&format!("{name:-<36}"));
    let canary = SecretString::from(CANARY);
    let other = SecretString::from(format!("{CANARY} "));
    let first = store.write(&name, &canary, &About::default()).await.unwrap();
    store.stage(&name, &id("next"), &canary, &Stage::Pending, None).await.unwrap();
    let mut shown = format!("{:?} {:?}", store.version(&name, &first).await, store.describe(&name).await);
    write!(shown, "{:?}", store.list(prefix, None).await).unwrap();
    let too_long = SecretString::from(CANARY.repeat(200_000));
    let failures = [
        store.stage(&name, &first, &other, &Stage::Pending, None).await,
        store.stage(&absent, &first, &other, &Stage::Pending, Some(&canary)).await,
        store.stage(&name, &id("long"), &too_long, &Stage::Pending, None).await,
        store.stage(&name, &VersionId::new("short"), &SecretString::from(""), &Stage::Pending, None).await,
        store.write(&format!("{prefix}\u{7}"), &canary, &About::default()).await.map(drop),
        store.promote(&name, &id("next"), &id("another")).await,
        store.promote(&name, &id("another"), &first).await,
        store.unstage(&name, &first, &Stage::Current).await,
    ];
    let failures: Vec<String> =
        failures.iter().filter_map(|outcome| outcome.as_ref().err()).map(words).collect();
    assert!(failures.len() >= 6, "{failures:#?}");
    shown.extend(failures);
    shown
}

#[tokio::test]
async fn no_failure_to_write_to_secrets_manager_shows_a_value() {
    let moto = Moto::start().await;
    let found = surroundings(&[
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &moto.url()),
    ]);
    shows_nothing(&shown_by("aws-secretsmanager", &found, "").await);
}

#[tokio::test]
async fn no_failure_to_read_or_write_in_vault_shows_a_value() {
    let server = OpenBao::shared();
    let prefix = format!("secret/{}/", server.fresh("canary"));
    let found = surroundings(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", ROOT)]);
    let mut shown = shown_by("vault", &found, &prefix).await;
    let stores = Stores::new(Arc::clone(&found.env), &found.http, Arc::clone(&found.clock));
    let store = stores.find("vault").unwrap();
    let documents = [
        json!({"key": CANARY, "keyturn": CANARY}),
        json!({"keyturn": {"written": 1, "version": [CANARY]}}),
        json!({"key": CANARY, "keyturn": {"written": 1, "previous": {"fields": {"key": CANARY}}}}),
    ];
    for (number, fields) in documents.iter().enumerate() {
        let name = format!("{prefix}bad-{number}");
        server.write(&name.replacen("secret/", "secret/data/", 1), &json!({"data": fields})).await;
        shown.push_str(&words(&store.get(&name, &Stage::Current).await.unwrap_err()));
    }
    let refused = surroundings(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", CANARY)]);
    let refused = open_staged("vault", &refused).unwrap();
    shown.push_str(&words(&refused.describe(&format!("{prefix}one")).await.unwrap_err()));
    let address = format!("http://user:{CANARY}@localhost");
    let unset = open_staged("vault", &surroundings(&[("HCP_VAULT_ADDR", &address)])).unwrap();
    shown.push_str(&words(&unset.describe(&format!("{prefix}one")).await.unwrap_err()));
    shows_nothing(&shown);
}

/// What a store says when it reads.
async fn read(scheme: &str, found: &Surroundings, name: &str) -> String {
    let stores = Stores::new(Arc::clone(&found.env), &found.http, Arc::clone(&found.clock));
    match stores.find(scheme).unwrap().get(name, &Stage::Current).await {
        Ok(secret) => format!("{secret:?} {secret:#?}"),
        Err(error) => words(&error),
    }
}

#[tokio::test]
async fn no_failure_to_decrypt_with_aws_kms_shows_a_value() {
    let moto = Moto::start().await;
    let ciphertext = moto.encrypt(CANARY, &json!({})).await;
    let found = surroundings(&[
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("AWS_ENDPOINT_URL_KMS", &moto.url()),
        ("KEY", &ciphertext),
        ("PLAIN", CANARY),
        ("PLAIN_BASE64", &STANDARD.encode(CANARY)),
    ]);
    let mut shown = read("aws-kms", &found, "env/KEY").await;
    assert!(shown.contains("[redacted]"), "{shown}");
    for name in ["env/PLAIN", "env/PLAIN_BASE64", "env/UNSET"] {
        shown.push_str(&read("aws-kms", &found, name).await);
    }
    let binary = STANDARD.encode([CANARY.as_bytes(), &[0xff]].concat());
    for (status, body) in [
        (400, json!({"__type": CANARY, "message": CANARY})),
        (400, json!({"__type": "AccessDeniedException", "message": CANARY})),
        (500, json!({"error": CANARY})),
        (200, json!({"Plaintext": CANARY})),
        (200, json!({"Plaintext": [STANDARD.encode(CANARY)]})),
        (200, json!({"Plaintext": binary})),
        (200, json!({"Plaintext": "", "KeyId": CANARY})),
    ] {
        moto.fail(Some(Mishap::Status(status, body)));
        let said = read("aws-kms", &found, "env/KEY").await;
        assert!(!said.contains("[redacted]"), "{said}");
        shown.push_str(&said);
    }
    shows_nothing(&shown);
    assert!(!shown.contains(&STANDARD.encode(CANARY)), "{shown}");
}

#[tokio::test]
async fn no_failure_to_become_a_role_of_aws_shows_a_token_or_a_key() {
    let role = "<RoleArn>r</RoleArn>";
    let credentials = |secret: &str, ends: &str| {
        format!(
            "<R><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>{secret}</SessionToken><Expiration>{ends}</Expiration></Credentials></AssumeRoleResult></R>"
        )
    };
    let refusal =
        |code: &str| format!("<E>{role}<Error><Code>{code}</Code><Message>{CANARY}</Message></Error></E>");
    let mut shown = String::from("[redacted]");
    for (status, body) in [
        (403, refusal("AccessDenied")),
        (400, refusal(CANARY)),
        (400, CANARY.to_owned()),
        (200, CANARY.to_owned()),
        (200, credentials(CANARY, CANARY)),
        (200, credentials(CANARY, "2001-01-01T00:00:00Z")),
        // A session that is none for the store's service, and one that cannot stand in a header.
        (200, credentials(CANARY, "2099-01-01T00:00:00Z")),
        (200, credentials(&format!("{CANARY}\n{CANARY}"), "2099-01-01T00:00:00Z")),
    ] {
        let fake = Fake::start(move |asked| match asked.header("x-amz-target") {
            "" => Answer::text(status, body.clone()),
            _ => Answer::json(400, &json!({"__type": "UnrecognizedClientException"})),
        })
        .await;
        let url = fake.url();
        let own = [("AWS_REGION", REGION), ("AWS_ENDPOINT_URL", &*url), ("KEY", "AQICAHh0"), ("JWT", CANARY)];
        let key =
            [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", CANARY), ("AWS_SESSION_TOKEN", CANARY)];
        let role = ("KEYTURN_AWS_ROLE_NAME", "arn:aws:iam::210987654321:role/r");
        let token = ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", "oidc/env/JWT");
        let agent = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url);
        let bearer = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY);
        for more in [&[&key[..], &[role]].concat()[..], &[role, token], &[agent, bearer]] {
            let found = surroundings(&[&own[..], more].concat());
            for (scheme, name) in [("aws-kms", "env/KEY"), ("aws-secretsmanager", "a")] {
                let said = read(scheme, &found, name).await;
                assert!(!said.contains("[redacted]"), "{said}");
                shown.push_str(&said);
            }
        }
    }
    shows_nothing(&shown);
}

#[tokio::test]
async fn no_failure_of_federation_shows_who_we_are_or_a_token() {
    let services = Federation::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token").to_string_lossy().into_owned();
    std::fs::write(&file, format!("eyJ.{CANARY}.sig")).unwrap();
    let own = services.environment();
    let mut own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    own.push(("KEYTURN_FEDERATION_OPENAI_TOKEN_FILE", &file));
    let openai = "openai/identity_provider_id=a,service_account_id=b";
    let openrouter = "openrouter/federation_policy_id=a";
    let read = async |more: &[(&str, &str)], name: &str| {
        let found = surroundings(&[own.as_slice(), more].concat());
        let stores = Stores::new(found.env, &found.http, found.clock);
        stores.find("federation").unwrap().get(name, &Stage::Current).await
    };
    services.put("a", CANARY);
    let secret = read(&[], openrouter).await.unwrap();
    assert_eq!(secret.value.expose(), CANARY);
    let mut shown = format!("{secret:?} {secret:#?} {}", secret.version);
    // The endpoint repeats in its refusal what it was sent.
    shown.push_str(&words(&read(&[], openai).await.unwrap_err()));
    let address = format!("https://user:{CANARY}@localhost");
    shown.push_str(&words(
        &read(&[("KEYTURN_FEDERATION_OPENROUTER_URL", &address)], openrouter).await.unwrap_err(),
    ));
    shown
        .push_str(&words(&read(&[("KEYTURN_FEDERATION_TOKEN_FILE", CANARY)], openrouter).await.unwrap_err()));
    for (status, answer) in [
        (200, json!({"access_token": CANARY})),
        (200, json!({"access_token": [CANARY], "expires_in": CANARY})),
        (400, json!({"error": CANARY, "error_description": CANARY})),
        (500, json!({"error": {"code": format!("eyJ.{CANARY}.sig")}})),
        (302, json!({"location": CANARY})),
    ] {
        services.fail(Some(Mishap::Status(status, answer)));
        // The file's token was sent, so that no name of an error is repeated that has anything of it.
        shown.push_str(&words(&read(&[], openai).await.unwrap_err()));
    }
    let bedrock = read(&[("AWS_SECRET_ACCESS_KEY", CANARY), ("AWS_SESSION_TOKEN", CANARY)], "bedrock").await;
    write!(shown, "{bedrock:?} {:?}", read(&[("AWS_REGION", "")], "bedrock").await).unwrap();
    shows_nothing(&shown);
}

#[tokio::test]
async fn no_failure_to_read_or_write_in_azure_shows_a_value() {
    let azure = Azure::start().await;
    let variables = azure.variables();
    let with = |more: &[(&'static str, &'static str)]| {
        let own = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: HashMap<&str, &str> = own.chain(more.iter().copied()).collect();
        surroundings(&all.into_iter().collect::<Vec<_>>())
    };
    let found = with(&[]);
    let mut shown = shown_by("azure-keyvault", &found, "canary-").await;
    let store = open_staged("azure-keyvault", &found).unwrap();
    // Services that repeat what they were sent.
    for body in [
        json!({"error": {"code": "Forbidden", "message": CANARY, "innererror": {"code": "X", "message": CANARY}}}),
        json!({"error": {"code": ["x", CANARY], "innererror": {"code": format!("it is {CANARY}")}}}),
        json!({"id": CANARY, "value": [CANARY]}),
    ] {
        for status in [200, 400, 403, 404, 409, 500] {
            azure.vault.fail(Some(Mishap::Status(status, body.clone())));
            let written = store.write("canary-one", &CANARY.into(), &About::default()).await;
            shown.push_str(&words(&written.unwrap_err()));
        }
    }
    azure.vault.fail(None);
    // Who we are: the login repeats the wrong secret in its description.
    let refused = open_staged("azure-keyvault", &with(&[("AZURE_CLIENT_SECRET", CANARY)])).unwrap();
    shown.push_str(&words(&refused.describe("canary-one").await.unwrap_err()));
    let address = "https://user:canary-4f1d9b@localhost";
    for variable in ["AZURE_KEY_VAULT_URI", "AZURE_AUTHORITY_HOST"] {
        let unset = open_staged("azure-keyvault", &with(&[(variable, address)])).unwrap();
        shown.push_str(&words(&unset.describe("canary-one").await.unwrap_err()));
    }
    shows_nothing(&shown);
}

/// What the server answers repeats what it was sent, and its access tokens hold the canary too.
#[tokio::test]
async fn no_failure_at_google_shows_a_value() {
    let google = Google::start().await;
    let ciphertext = google.keys().encrypt(&[CANARY.as_bytes(), b"\xFF"].concat(), b"");
    let literal: String = ciphertext.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let literal = format!("b'{literal}'");
    let mut variables: Vec<(String, String)> = google.variables();
    for (name, value) in [("GOOGLE_KMS_RESOURCE_NAME", KEY), ("BAD", CANARY), ("NO_TEXT", &literal)] {
        variables.push((name.to_owned(), value.to_owned()));
    }
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let found = surroundings(&variables);
    let mut shown = shown_by("google-secretmanager", &found, "").await;
    let stores = Stores::new(Arc::clone(&found.env), &found.http, Arc::clone(&found.clock));
    let (secrets, keys) = (stores.find("google-secretmanager").unwrap(), stores.find("google-kms").unwrap());
    for name in ["env/BAD", "env/NO_TEXT", "env/NONE"] {
        shown.push_str(&words(&keys.get(name, &Stage::Current).await.unwrap_err()));
    }
    google.secrets().add("projects/project-1/secrets/bad", &[CANARY.as_bytes(), b"\xFF"].concat());
    shown.push_str(&words(&secrets.get("bad", &Stage::Current).await.unwrap_err()));
    let annotations = json!({"keyturn": format!("{{\"current\": \"{CANARY}\"}}")});
    google
        .secrets()
        .secret("projects/project-1/secrets/one")
        .fields
        .insert("annotations".to_owned(), annotations);
    let staged = open_staged("google-secretmanager", &found).unwrap();
    shown.push_str(&words(&staged.describe("one").await.unwrap_err()));
    for (status, body) in [
        (200, json!({"name": CANARY, "payload": {"data": CANARY}})),
        (200, json!({"name": "a/versions/1", "payload": {"data": format!("{CANARY}%")}})),
        (200, json!({"plaintext": format!("{CANARY}%"), "plaintextCrc32c": CANARY})),
        (400, json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": CANARY}})),
        (401, json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": CANARY}})),
        (403, json!({"error": {"code": 403, "message": CANARY, "details": [CANARY]}})),
    ] {
        google.fail(Some(Mishap::Status(status, body)));
        shown.push_str(&words(&secrets.get("one", &Stage::Current).await.unwrap_err()));
        shown.push_str(&words(&keys.get("env/NO_TEXT", &Stage::Current).await.unwrap_err()));
    }
    google.fail(None);
    let key =
        json!({"type": "service_account", "private_key": CANARY, "client_email": "x", "token_uri": CANARY});
    let mut variables = variables;
    let key = key.to_string();
    for credentials in [key.as_str(), "{\"type\": \"canary-4f1d9b\"}", "/nonexistent/canary-4f1d9b"] {
        variables.push(("GCS_PATH_SERVICE_ACCOUNT", credentials));
        let store = open_staged("google-secretmanager", &surroundings(&variables)).unwrap();
        shown.push_str(&words(&store.describe("project-1/one").await.unwrap_err()));
    }
    shows_nothing(&shown);
}
