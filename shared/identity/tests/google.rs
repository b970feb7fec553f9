//! Who we are to Google, by services that hold us to their documentation.
#![cfg(test)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jiff::Timestamp;
use keyturn_ambient::{Clock, Env, ManualClock};
use keyturn_identity::IdentityError;
use keyturn_identity::google::Google;
use keyturn_tests::fake::{Answer, Fake, Mishap};
use keyturn_tests::google;
use keyturn_tests::google::tokens::{ACCOUNT, CLIENT_SECRET, PROVIDER, REFRESH_TOKEN, key_file};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What must be shown nowhere.
const CANARY: &str = "canary-4f1d9b";
const NOW: i64 = 1_796_000_000;
const AWS4_REQUEST: &str = "urn:ietf:params:aws:token-type:aws4_request";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

struct Rig {
    services: google::Google,
    clock: Arc<ManualClock>,
    variables: HashMap<String, String>,
    directory: TempDir,
}

impl Rig {
    async fn start() -> Self {
        let services = google::Google::start().await;
        services.tokens().now = Some(NOW);
        services.tokens().expire_time = Timestamp::from_second(NOW + 1800).unwrap().to_string();
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(NOW).unwrap()));
        let variables = services.variables().into_iter().collect();
        Self { services, clock, variables, directory: tempfile::tempdir().unwrap() }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        let mut tokens = self.services.tokens();
        tokens.now = tokens.now.map(|now| now + i64::try_from(seconds).unwrap());
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn parts(&self) -> (Arc<dyn Env>, reqwest::Client, Arc<dyn Clock>) {
        let env = Arc::new(self.variables.clone());
        (env, keyturn_http::client().unwrap(), Arc::clone(&self.clock) as Arc<dyn Clock>)
    }

    /// The environment's identity.
    fn google(&self) -> Google {
        let (env, http, clock) = self.parts();
        Google::from_env(&env, &http, &clock)
    }

    /// The identity of a JSON text.
    fn given(&self, credentials: &Value) -> Google {
        let (env, http, clock) = self.parts();
        Google::given(&SecretString::from(credentials.to_string()), "vertex_credentials", &env, &http, &clock)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.services.url().trim_end_matches('/'))
    }

    /// A federation's configuration.
    fn federation(&self, kind: &str, source: &Value) -> Value {
        json!({
            "type": "external_account",
            "audience": PROVIDER,
            "subject_token_type": kind,
            "token_url": self.url("/v1/token"),
            "credential_source": source,
        })
    }

    async fn good(&self, google: &Google) -> String {
        let token = google.token().await.unwrap().expose_secret().to_owned();
        assert!(self.services.tokens().is_live(&token));
        token
    }
}

fn words(error: &IdentityError) -> String {
    format!("{error} {error:?} {error:#?}")
}

#[tokio::test]
async fn the_key_of_a_service_account_is_exchanged_and_its_token_kept() {
    let mut rig = Rig::start().await;
    let path = rig.write("key.json", &key_file(&rig.services.url()).to_string());
    rig.variables.insert("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), path.clone());
    let google = rig.google();
    assert_eq!(google.project().await.unwrap().as_deref(), Some("project-1"));
    let first = rig.good(&google).await;
    assert_eq!(rig.good(&google).await, first);
    rig.pass(3280);
    let second = rig.good(&google).await;
    assert_ne!(first, second, "it is replaced before it ends");
    assert_eq!(rig.services.tokens().given(), 2);
    // One that was refused is not given again; and what is not kept any more need not be forgotten.
    google.refused(&first.into());
    assert_eq!(rig.good(&google).await, second);
    google.refused(&second.clone().into());
    assert_ne!(rig.good(&google).await, second);
    // The file is read anew.
    std::fs::write(&path, "{}").unwrap();
    rig.pass(4000);
    let error = google.token().await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Setting { setting, .. } if setting == "GOOGLE_APPLICATION_CREDENTIALS")
    );
    std::fs::write(&path, key_file(&rig.services.url()).to_string()).unwrap();
    rig.good(&google).await;
}

#[tokio::test]
async fn a_crowd_asks_for_one_token() {
    let rig = Rig::start().await;
    let google = rig.given(&key_file(&rig.services.url()));
    let asks: Vec<_> = (0..200)
        .map(|_| {
            let google = google.clone();
            tokio::spawn(async move { google.token().await.unwrap().expose_secret().to_owned() })
        })
        .collect();
    let mut tokens = Vec::new();
    for ask in asks {
        tokens.push(ask.await.unwrap());
    }
    tokens.dedup();
    assert_eq!((tokens.len(), rig.services.tokens().given()), (1, 1));
}

#[tokio::test]
async fn a_person_is_known_by_a_refresh_token() {
    let rig = Rig::start().await;
    let file = json!({
        "type": "authorized_user",
        "client_id": "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
        "client_secret": CLIENT_SECRET,
        "refresh_token": REFRESH_TOKEN,
        "quota_project_id": "mine",
        "token_uri": rig.url("/token"),
    });
    let google = rig.given(&file);
    rig.good(&google).await;
    assert_eq!(google.project().await.unwrap().as_deref(), Some("mine"));
    let mut revoked = file;
    revoked["refresh_token"] = json!(format!("1//{CANARY}"));
    let error = rig.given(&revoked).token().await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Denied { told, .. } if told == "HTTP 400 invalid_grant"),
        "{error}"
    );
    assert!(!words(&error).contains("4f1d9b"));
}

#[tokio::test]
async fn a_machine_at_google_has_a_service_account() {
    let rig = Rig::start().await;
    let google = rig.google();
    rig.good(&google).await;
    assert_eq!(google.project().await.unwrap().as_deref(), Some("project-1"));
    rig.services.fail(Some(Mishap::Status(404, json!("no service account"))));
    assert!(matches!(rig.google().token().await.unwrap_err(), IdentityError::Denied { .. }));
    for mishap in [Mishap::Status(503, json!(CANARY)), Mishap::Broken, Mishap::Garbage] {
        rig.services.fail(Some(mishap));
        let error = rig.google().token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS is not set"), "{error}");
        assert!(!words(&error).contains("4f1d9b"));
    }
    rig.services.fail(None);
    let mut elsewhere = Rig::start().await;
    for host in ["a/b", "http://x", "user@host"] {
        elsewhere.variables.insert("GCE_METADATA_HOST".to_owned(), host.to_owned());
        let error = elsewhere.google().token().await.unwrap_err();
        let is_setting =
            matches!(&error, IdentityError::Setting { setting, .. } if setting == "GCE_METADATA_HOST");
        assert!(is_setting, "{host}: {error:?}");
    }
}

/// Takes a subject token apart: a request that AWS would take.
fn signed_request(token: &str) -> (Value, HashMap<String, String>) {
    let json = percent_encoding::percent_decode_str(token).decode_utf8().unwrap().into_owned();
    let request: Value = serde_json::from_str(&json).unwrap();
    let headers = request["headers"].as_array().unwrap().iter();
    let headers = headers.map(|header| {
        (header["key"].as_str().unwrap().to_owned(), header["value"].as_str().unwrap().to_owned())
    });
    (request.clone(), headers.collect())
}

/// Signs the request as AWS does to check it.
fn signature(request: &Value, headers: &HashMap<String, String>, secret: &str) -> String {
    let session = headers["x-amz-security-token"].clone();
    let identity = Credentials::new("AKIDEXAMPLE", secret, Some(session), None, "test").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("sts")
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW).unwrap()))
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let own = ["Authorization", "x-amz-date", "x-amz-security-token"];
    let given = headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
    let url = request["url"].as_str().unwrap();
    let request = SignableRequest::new("POST", url, given, SignableBody::Bytes(b"")).unwrap();
    let (signed, _) = sign(request, &parameters).unwrap().into_parts();
    let header = signed.headers().find(|(name, _)| *name == "authorization");
    header.unwrap().1.to_owned()
}

#[tokio::test]
async fn aws_says_who_we_are_by_a_request_that_is_signed_and_not_sent() {
    let mut rig = Rig::start().await;
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("AWS_SESSION_TOKEN", "session/+="),
        ("AWS_REGION", "eu-west-1"),
    ] {
        rig.variables.insert(name.to_owned(), value.to_owned());
    }
    // As gcloud writes it.
    let source = json!({
        "environment_id": "aws1",
        "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
        "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
        "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    });
    let google = rig.given(&rig.federation(AWS4_REQUEST, &source));
    rig.good(&google).await;
    assert_eq!(google.project().await.unwrap(), None);
    let (token, kind) = rig.services.tokens().subject.clone().unwrap();
    assert_eq!(kind, AWS4_REQUEST);
    assert!(!token.contains(['{', '"', '=', '&', ' ']), "{token}");
    let (request, headers) = signed_request(&token);
    assert_eq!(
        request["url"],
        "https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    );
    assert_eq!(request["method"], "POST");
    assert_eq!(headers["host"], "sts.eu-west-1.amazonaws.com");
    assert_eq!(headers["x-goog-cloud-target-resource"], PROVIDER);
    assert_eq!(headers["x-amz-security-token"], "session/+=");
    assert!(headers["Authorization"].contains("x-goog-cloud-target-resource"), "{headers:?}");
    assert_eq!(headers["Authorization"], signature(&request, &headers, CANARY));
    assert_ne!(headers["Authorization"], signature(&request, &headers, "another"));

    // With a service account in between, whose token ends earlier.
    let mut account = rig.federation(AWS4_REQUEST, &json!({"environment_id": "aws1"}));
    let path = format!("/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken");
    account["service_account_impersonation_url"] = json!(rig.url(&path));
    account["service_account_impersonation"] = json!({"token_lifetime_seconds": 1800});
    let google = rig.given(&account);
    let first = rig.good(&google).await;
    assert_eq!(rig.services.tokens().lifetime.as_deref(), Some("1800s"));
    rig.pass(1480);
    rig.services.tokens().expire_time = Timestamp::from_second(NOW + 5000).unwrap().to_string();
    assert_ne!(rig.good(&google).await, first);
    let path = "/v1/projects/-/serviceAccounts/other@project-1.iam.gserviceaccount.com:generateAccessToken";
    account["service_account_impersonation_url"] = json!(rig.url(path));
    let error = rig.given(&account).token().await.unwrap_err();
    let told = "HTTP 403 PERMISSION_DENIED";
    assert!(matches!(&error, IdentityError::Denied { told: found, .. } if found == told), "{error}");
}

#[tokio::test]
async fn aws_says_who_we_are_by_a_token_that_it_signs() {
    let mut rig = Rig::start().await;
    let sts = Fake::start(|asked| {
        let form: HashMap<String, String> = form_urlencoded::parse(&asked.body).into_owned().collect();
        if form["Action"] != "GetWebIdentityToken" || !asked.header("authorization").contains("/sts/") {
            return Answer::text(400, "no");
        }
        let token = format!("jwt-for-{}", form["Audience.member.1"]);
        let xml = format!(
            "<GetWebIdentityTokenResponse><GetWebIdentityTokenResult><WebIdentityToken>{token}</WebIdentityToken>\
             </GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
        );
        Answer(200, "text/xml", xml.into())
    })
    .await;
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_STS", &sts.url()),
    ] {
        rig.variables.insert(name.to_owned(), value.to_owned());
    }
    for (source, audience) in [
        (json!({"aws_web_identity": true}), format!("https:{PROVIDER}")),
        (json!({"aws_web_identity": true, "audience": "keyturn"}), "keyturn".to_owned()),
    ] {
        rig.good(&rig.given(&rig.federation(JWT, &source))).await;
        let subject = rig.services.tokens().subject.clone().unwrap();
        assert_eq!(subject, (format!("jwt-for-{audience}"), JWT.to_owned()));
    }
}

#[tokio::test]
async fn a_token_in_a_file_says_who_we_are() {
    let rig = Rig::start().await;
    let text = rig.write("token", "header.claims.signature\n");
    let object = rig.write("token.json", r#"{"access_token": "in.the.field", "n": 1}"#);
    let json_format = json!({"type": "json", "subject_token_field_name": "access_token"});
    for (source, token) in [
        (json!({"file": text}), "header.claims.signature"),
        (json!({"file": text, "format": {"type": "text"}}), "header.claims.signature"),
        (json!({"file": object, "format": json_format}), "in.the.field"),
    ] {
        rig.good(&rig.given(&rig.federation(JWT, &source))).await;
        assert_eq!(rig.services.tokens().subject.clone().unwrap().0, token);
    }
    let empty = rig.write("empty", "\n");
    for (source, setting) in [
        (json!({"file": "/nonexistent"}), "credential_source.file"),
        (json!({"file": empty}), "credential_source.file"),
        (json!({"file": text, "format": json_format}), "credential_source.file"),
        (json!({"file": text, "format": {"type": "json"}}), "credential_source.format"),
        (json!({"url": "http://169.254.169.254/token"}), "credential_source"),
        (json!({"executable": {"command": "id"}}), "credential_source"),
        (json!({"environment_id": "aws2"}), "credential_source"),
        (json!({"environment_id": "aws1"}), "AWS_REGION"),
    ] {
        let error = rig.given(&rig.federation(JWT, &source)).token().await.unwrap_err();
        let found = matches!(&error, IdentityError::Setting { setting: found, .. } if found == setting);
        assert!(found, "{source}: {error:?}");
    }
}

#[tokio::test]
async fn what_proves_who_we_are_goes_to_google_only() {
    let mut rig = Rig::start().await;
    let thief = Fake::start(|_| Answer::text(200, "{}")).await;
    for (name, value) in
        [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", CANARY), ("AWS_REGION", "eu-west-1")]
    {
        rig.variables.insert(name.to_owned(), value.to_owned());
    }
    let wrong = [
        "https://evil.example/token",
        "https://googleapis.com.evil.example/token",
        "https://evilgoogleapis.com/token",
        "https://user:pass@oauth2.googleapis.com/token",
        "http://oauth2.googleapis.com/token",
        "ftp://localhost/token",
        "oauth2.googleapis.com/token",
        "",
    ];
    let mut shown = String::new();
    for address in wrong {
        let mut key = key_file(&rig.services.url());
        key["token_uri"] = json!(address);
        let mut federation = rig.federation(AWS4_REQUEST, &json!({"environment_id": "aws1"}));
        federation["token_url"] = json!(address);
        let mut account = rig.federation(AWS4_REQUEST, &json!({"environment_id": "aws1"}));
        account["service_account_impersonation_url"] = json!(address);
        for (credentials, setting) in
            [(key, "token_uri"), (federation, "token_url"), (account, "service_account_impersonation_url")]
        {
            let error = rig.given(&credentials).token().await.unwrap_err();
            let found = matches!(&error, IdentityError::Setting { setting: found, .. } if found == setting);
            assert!(found, "{address}: {error:?}");
            write!(shown, "{}", words(&error)).unwrap();
        }
    }
    for verification in [
        format!("{}?Action=GetCallerIdentity", thief.url()),
        "https://sts.evil.example/?a=b".to_owned(),
        "https://evil.amazonaws.com/".to_owned(),
        "http://sts.eu-west-1.amazonaws.com/".to_owned(),
    ] {
        let source = json!({"environment_id": "aws1", "regional_cred_verification_url": verification});
        let error = rig.given(&rig.federation(AWS4_REQUEST, &source)).token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Setting { .. }), "{error:?}");
    }
    assert!(thief.asked().is_empty());
    assert!(!shown.contains("4f1d9b") && !shown.contains("evil"), "{shown}");
}

#[tokio::test]
async fn credentials_that_are_none_are_told_without_what_they_are() {
    let mut rig = Rig::start().await;
    let key = key_file(&rig.services.url());
    let with = |field: &str, value: Value| {
        let mut key = key.clone();
        key[field] = value;
        key.to_string()
    };
    let texts = [
        format!("{{\"{CANARY}"),
        format!("{{\"type\": \"{CANARY}\"}}"),
        format!("{{\"type\": \"service_account\", \"private_key\": \"{CANARY}\"}}"),
        with("private_key", json!(CANARY)),
        with(
            "private_key",
            json!(format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----")),
        ),
        with("universe_domain", json!("apis-tpclp.goog")),
        with("type", json!("impersonated_service_account")),
    ];
    let mut federation = rig.federation(JWT, &json!({"file": "/nonexistent"}));
    federation["client_id"] = json!(CANARY);
    let (env, http, clock) = rig.parts();
    for text in texts.into_iter().chain([federation.to_string()]) {
        let google = Google::given(&text.into(), "vertex_credentials", &env, &http, &clock);
        let error = google.token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Setting { .. }), "{error:?}");
        assert!(!words(&error).contains("4f1d9b"), "{error:?}");
    }
    rig.variables.insert("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), format!("/nonexistent/{CANARY}"));
    let error = rig.google().token().await.unwrap_err();
    assert!(matches!(error, IdentityError::Setting { .. }) && !words(&error).contains("4f1d9b"), "{error:?}");
    assert_eq!(rig.services.asked().len(), 0);
}

#[tokio::test]
async fn a_service_that_fails_is_told_by_what_its_failure_means() {
    let rig = Rig::start().await;
    let google = rig.given(&key_file(&rig.services.url()));
    let brief = json!({"error": "internal_failure", "error_description": CANARY});
    let refused = json!({"error": "invalid_grant", "error_description": CANARY});
    for (mishap, passes) in [
        (Mishap::Status(400, brief), true),
        (Mishap::Status(400, refused), false),
        (Mishap::Status(401, json!({"error": "invalid_client", "error_description": CANARY})), false),
        (Mishap::Status(429, json!(CANARY)), true),
        (Mishap::Status(500, json!(CANARY)), true),
        (Mishap::Status(200, json!({"access_token": "", "expires_in": 3599})), true),
        (Mishap::Status(200, json!({"access_token": CANARY})), true),
        (Mishap::Status(200, json!({"access_token": CANARY, "expires_in": "soon"})), true),
        (Mishap::Broken, true),
        (Mishap::Garbage, true),
    ] {
        rig.services.fail(Some(mishap.clone()));
        let error = google.token().await.unwrap_err();
        assert_eq!(matches!(error, IdentityError::Unavailable { .. }), passes, "{mishap:?}: {error:?}");
        assert_eq!(matches!(error, IdentityError::Denied { .. }), !passes, "{mishap:?}: {error:?}");
        assert!(!words(&error).contains("4f1d9b"), "{error:?}");
    }
    rig.services.fail(None);
    rig.good(&google).await;
    // What is kept serves on while the service fails.
    rig.services.fail(Some(Mishap::Broken));
    rig.pass(3400);
    google.token().await.unwrap();
    rig.pass(200);
    google.token().await.unwrap_err();
}
