use std::collections::HashMap;
use std::error::Error;

use jiff::SignedDuration;
use keyturn_ambient::ManualClock;
use keyturn_tests::fake::{Answer, Asked, Fake, Mishap};
use serde_json::{Value, json};

use super::*;

const SCOPE: &str = "https://vault.azure.net/.default";

/// The fields of a form, or the parameters of a query.
fn fields(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://localhost/?{text}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The token endpoints of Entra, App Service and the metadata service, and STS of AWS. Tokens have numbers.
async fn azure() -> Fake {
    let tokens = std::sync::atomic::AtomicU32::new(0);
    Fake::start(move |asked: &Asked| {
        let token = || format!("token-{}", tokens.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let sent = fields(&asked.text());
        let is = |name: &str, value: &str| sent.get(name).is_some_and(|sent| sent == value);
        let query = fields(&asked.query);
        let queried = |name: &str, value: &str| query.get(name).is_some_and(|sent| sent == value);
        match asked.path.as_str() {
            "/contoso/oauth2/v2.0/token" => {
                let secret = is("client_secret", "the secret") && !sent.contains_key("client_assertion");
                let assertion = is("client_assertion_type", ASSERTION)
                    && (is("client_assertion", "of the file") || is("client_assertion", "of AWS"));
                if !(is("grant_type", "client_credentials") && is("scope", SCOPE) && is("client_id", "app")) {
                    return refusal(400, "invalid_request", 900_144);
                }
                if !(secret || assertion) {
                    return refusal(401, "invalid_client", 7_000_215);
                }
                let body = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token()});
                Answer::json(200, &body)
            }
            "/msi/token"
                if asked.header("x-identity-header") == "the header"
                    && queried("api-version", "2019-08-01")
                    && queried("resource", "https://vault.azure.net") =>
            {
                let body = json!({
                    "access_token": token(), "expires_on": "1003600", "token_type": "Bearer",
                    "resource": "https://vault.azure.net", "client_id": query.get("client_id"),
                });
                Answer::json(200, &body)
            }
            "/metadata/identity/oauth2/token"
                if asked.header("metadata") == "true"
                    && queried("api-version", "2018-02-01")
                    && queried("resource", "https://vault.azure.net") =>
            {
                if queried("client_id", "unknown") {
                    return Answer::json(
                        400,
                        &json!({"error": "invalid_request", "error_description": "no"}),
                    );
                }
                let body = json!({"access_token": token(), "expires_in": "3600", "expires_on": "1003600"});
                Answer::json(200, &body)
            }
            "/sts" if is("Action", "GetWebIdentityToken") && is("Audience.member.1", EXCHANGE) => {
                let text = "<R><GetWebIdentityTokenResult><WebIdentityToken>of AWS</WebIdentityToken>\
                            </GetWebIdentityTokenResult></R>";
                Answer::text(200, text)
            }
            _ => Answer::json(404, &json!({"error": "nothing_here"})),
        }
    })
    .await
}

fn refusal(status: u16, error: &str, code: u64) -> Answer {
    Answer::json(status, &refusal_body(error, code))
}

fn refusal_body(error: &str, code: u64) -> Value {
    let description = format!("AADSTS{code}: what was sent, in the open: the secret");
    json!({"error": error, "error_description": description, "error_codes": [code]})
}

struct Rig {
    entra: Entra,
    clock: Arc<ManualClock>,
}

/// The identity of an environment; `{fake}` in it is the fake's address.
fn rig(fake: &Fake, variables: &[(&str, &str)]) -> Rig {
    let variables =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.replace("{fake}", &fake.url())));
    let env: Arc<dyn Env> = Arc::new(variables.collect::<HashMap<_, _>>());
    let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_000_000).unwrap()));
    let injected: Arc<dyn Clock> = clock.clone();
    Rig { entra: Entra::from_env(&env, &keyturn_http::client().unwrap(), &injected), clock }
}

const APPLICATION: [(&str, &str); 3] =
    [("AZURE_TENANT_ID", "contoso"), ("AZURE_CLIENT_ID", "app"), ("AZURE_AUTHORITY_HOST", "{fake}")];
const BY_SECRET: [(&str, &str); 4] =
    [APPLICATION[0], APPLICATION[1], APPLICATION[2], ("AZURE_CLIENT_SECRET", "the secret")];
const AWS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AKIA"),
    ("AWS_SECRET_ACCESS_KEY", "aws secret"),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ENDPOINT_URL_STS", "{fake}/sts"),
];
const APP_SERVICE: [(&str, &str); 2] =
    [("IDENTITY_ENDPOINT", "{fake}/msi/token"), ("IDENTITY_HEADER", "the header")];
const IMDS: (&str, &str) = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "{fake}");

impl Rig {
    async fn token(&self) -> Result<String, IdentityError> {
        Ok(self.entra.token(SCOPE).await?.value.expose_secret().to_owned())
    }
}

/// The paths of the calls so far.
fn paths(fake: &Fake) -> Vec<String> {
    fake.asked().into_iter().map(|asked| asked.path).collect()
}

#[tokio::test]
async fn a_token_is_kept_renewed_and_forgotten() {
    let fake = azure().await;
    let rig = rig(&fake, &BY_SECRET);
    for _ in 0..3 {
        assert_eq!(rig.token().await.unwrap(), "token-0");
    }
    rig.clock.advance(std::time::Duration::from_secs(3300));
    assert_eq!(rig.token().await.unwrap(), "token-1");
    rig.entra.forget(SCOPE, &"token-0".into());
    assert_eq!(rig.token().await.unwrap(), "token-1");
    rig.entra.forget(SCOPE, &"token-1".into());
    assert_eq!(rig.token().await.unwrap(), "token-2");
    // Each scope has its own.
    let error = rig.entra.token("https://management.azure.com/.default").await.unwrap_err();
    assert!(matches!(error, IdentityError::Denied { .. }), "{error:?}");
    assert_eq!(rig.token().await.unwrap(), "token-2");
}

#[tokio::test]
async fn the_first_source_that_there_is_counts() {
    let fake = azure().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "of the file\n").unwrap();
    let by_file = ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap());
    let everything: Vec<_> =
        BY_SECRET.into_iter().chain([by_file]).chain(AWS).chain(APP_SERVICE).chain([IMDS]).collect();
    let login = "/contoso/oauth2/v2.0/token";
    for (left_out, expected) in [
        (vec![], vec![login]),
        (vec!["AZURE_CLIENT_SECRET"], vec![login]),
        (vec!["AZURE_CLIENT_SECRET", by_file.0], vec!["/sts", login]),
        (vec!["AZURE_CLIENT_SECRET", by_file.0, "AWS_ACCESS_KEY_ID"], vec!["/msi/token"]),
        (vec!["AZURE_CLIENT_SECRET", by_file.0, "AZURE_TENANT_ID"], vec!["/msi/token"]),
        (
            vec!["AZURE_CLIENT_SECRET", by_file.0, "AZURE_TENANT_ID", "IDENTITY_HEADER"],
            vec!["/metadata/identity/oauth2/token"],
        ),
    ] {
        let before = fake.asked().len();
        let set: Vec<_> = everything.iter().filter(|(name, _)| !left_out.contains(name)).copied().collect();
        let rig = rig(&fake, &set);
        rig.token().await.unwrap_or_else(|error| panic!("without {left_out:?}: {error:?}"));
        assert_eq!(paths(&fake)[before..], expected, "without {left_out:?}");
        let last = fake.asked().pop().unwrap();
        if last.path != login {
            assert_eq!(fields(&last.query)["client_id"], "app", "the user-assigned identity");
        }
        // Lives are counted from the clock, in whichever way they are told.
        let life = rig.entra.token(SCOPE).await.unwrap().life;
        let lasts = life.ends_at.duration_since(rig.clock.now());
        assert!(SignedDuration::from_secs(3569) <= lasts && lasts <= SignedDuration::from_secs(3570));
    }
}

#[tokio::test]
async fn a_system_assigned_identity_has_no_id() {
    let fake = azure().await;
    for variables in [&APP_SERVICE[..], &[IMDS]] {
        rig(&fake, variables).token().await.unwrap();
        assert!(!fields(&fake.asked().pop().unwrap().query).contains_key("client_id"));
    }
}

#[tokio::test]
async fn an_application_may_be_given_by_its_parts() {
    let fake = azure().await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_second(1_000_000).unwrap()));
    let application = Application {
        tenant: "contoso".to_owned(),
        client_id: "app".to_owned(),
        authority: Some(fake.url()),
    };
    let http = keyturn_http::client().unwrap();
    let entra = Entra::application(&http, &clock, application, Proof::Secret("the secret".into()));
    assert_eq!(entra.token(SCOPE).await.unwrap().value.expose_secret(), "token-0");
}

#[tokio::test]
async fn settings_that_are_missing_or_wrong_are_named() {
    let fake = azure().await;
    let secret = BY_SECRET[3];
    for (variables, named) in [
        (vec![secret, APPLICATION[0]], "AZURE_CLIENT_ID"),
        (vec![secret, APPLICATION[1]], "AZURE_TENANT_ID"),
        (vec![("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent"), APPLICATION[0]], "AZURE_CLIENT_ID"),
        (
            vec![("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent"), APPLICATION[0], APPLICATION[1]],
            "AZURE_FEDERATED_TOKEN_FILE",
        ),
        (
            vec![("AZURE_CLIENT_CERTIFICATE_PATH", "/some.pem"), APPLICATION[0], APPLICATION[1]],
            "AZURE_CLIENT_CERTIFICATE_PATH",
        ),
        (
            vec![secret, APPLICATION[0], APPLICATION[1], ("AZURE_AUTHORITY_HOST", "http://login.example")],
            "AZURE_AUTHORITY_HOST",
        ),
        (
            vec![secret, APPLICATION[0], APPLICATION[1], ("AZURE_AUTHORITY_HOST", "https://a/?b")],
            "AZURE_AUTHORITY_HOST",
        ),
        (vec![("IDENTITY_ENDPOINT", "nowhere"), ("IDENTITY_HEADER", "x")], "IDENTITY_ENDPOINT"),
    ] {
        let error = rig(&fake, &variables).token().await.unwrap_err();
        assert!(matches!(&error, IdentityError::Setting { setting, .. } if setting == named), "{error:?}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn refusals_are_told_apart_and_only_their_names_are_told() {
    let fake = azure().await;
    let denied = |told: &str| IdentityError::Denied { who: ENTRA, told: told.to_owned() };
    let unavailable = |told: &str| IdentityError::Unavailable { who: ENTRA, told: told.to_owned() };
    for (status, body, expected) in [
        (401, refusal_body("invalid_client", 7_000_215), denied("HTTP 401 invalid_client AADSTS7000215")),
        (400, refusal_body("invalid_grant", 700_213), denied("HTTP 400 invalid_grant AADSTS700213")),
        (400, refusal_body("invalid_request", 90_055), unavailable("HTTP 400 invalid_request AADSTS90055")),
        (400, json!({"error": "temporarily_unavailable"}), unavailable("HTTP 400 temporarily_unavailable")),
        (429, json!({}), unavailable("HTTP 429")),
        (503, json!("the secret"), unavailable("HTTP 503")),
        (400, json!({"error": "the secret"}), denied("HTTP 400")),
        (
            200,
            json!({"access_token": "x"}),
            unavailable("its answer does not say how long the token is good for"),
        ),
        (200, json!({"expires_in": 1}), unavailable("HTTP 200, its body is not as documented")),
    ] {
        fake.fail(Some(Mishap::Status(status, body)));
        let error = rig(&fake, &BY_SECRET).token().await.unwrap_err();
        assert_eq!(error, expected);
        let shown = format!("{error} {error:?} {:?}", error.source());
        assert!(!shown.contains("the secret") && !shown.contains("in the open"), "{shown}");
    }
    fake.fail(Some(Mishap::Broken));
    let error = rig(&fake, &BY_SECRET).token().await.unwrap_err();
    assert!(matches!(error, IdentityError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_machine_without_an_identity_is_an_operators_work_and_a_busy_one_is_not() {
    let fake = azure().await;
    let error = rig(&fake, &[IMDS, ("AZURE_CLIENT_ID", "unknown")]).token().await.unwrap_err();
    let IdentityError::Denied { told, .. } = error else { panic!("{error:?}") };
    assert_eq!(told, "HTTP 400 invalid_request");
    for status in [404, 410, 429, 500] {
        fake.fail(Some(Mishap::Status(status, Value::Null)));
        let error = rig(&fake, &[IMDS]).token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable { .. }), "{status}: {error:?}");
    }
}
