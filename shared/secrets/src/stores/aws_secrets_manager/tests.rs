//! What no server at hand can be made to answer: refusals, outages, silence. The SDK's own retries, timeouts and
//! parsing are in play; only the bytes are made up. Time is tokio's, paused.

mod staged;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use keyturn_ambient::{Clock, Env, SystemClock};
use tokio::net::TcpListener;

use super::*;

/// What the service answers to one call: a status and a body, or nothing ever.
type Answer = Option<(u16, String)>;
/// The operation and the body of a call.
type Ask = (String, serde_json::Value);

/// The service.
#[derive(Clone)]
struct Service {
    answer: Arc<dyn Fn(&Ask) -> Answer + Send + Sync>,
    /// Every call, with the host it went to.
    calls: Arc<Mutex<Vec<(String, Ask)>>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl HttpClient for Service {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.trim_start_matches("secretsmanager.").to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let host = request.uri().to_owned();
        let ask = (operation, body);
        let answer = (self.answer)(&ask);
        self.calls.lock().unwrap().push((host, ask));
        HttpConnectorFuture::new(async move {
            let Some((status, body)) = answer else { return std::future::pending().await };
            let response = http::Response::builder().status(status).body(SdkBody::from(body)).unwrap();
            Ok(HttpResponse::try_from(response).unwrap())
        })
    }
}

fn environment(more: &[(&str, &str)]) -> Arc<dyn Env> {
    let own = [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")];
    let all = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(all.collect::<HashMap<_, _>>())
}

fn store(answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> (AwsSecretsManager, Service) {
    let service = Service { answer: Arc::new(answer), calls: Arc::default() };
    let http = keyturn_http::client().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let aws = Aws::of_stores(&environment(&[]), &http, &clock);
    let config = Config::from(&aws.sdk_config("SECRETS_MANAGER"));
    let config = config.to_builder().http_client(service.clone()).build();
    (AwsSecretsManager::with_config(aws, config), service)
}

fn refusal(code: &str) -> String {
    serde_json::json!({"__type": code, "message": format!("about {code}")}).to_string()
}

fn operations(service: &Service) -> Vec<String> {
    service.calls.lock().unwrap().iter().map(|(_, (operation, _))| operation.clone()).collect()
}

#[derive(Debug, PartialEq)]
enum Class {
    NotFound,
    Denied,
    Unavailable,
    Malformed,
    Conflict,
}

fn class(error: &SecretError) -> Class {
    match error {
        SecretError::NotFound { .. } => Class::NotFound,
        SecretError::Denied { .. } => Class::Denied,
        SecretError::Unavailable { .. } => Class::Unavailable,
        SecretError::Malformed { .. } => Class::Malformed,
        SecretError::Conflict { .. } => Class::Conflict,
        SecretError::UnknownScheme { .. } => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_class_and_says_what_the_service_said() {
    for (status, code, expected, calls) in [
        (400, "ResourceNotFoundException", Class::NotFound, 1),
        (400, "InvalidRequestException", Class::NotFound, 1),
        (400, "InvalidParameterException", Class::NotFound, 1),
        (400, "AccessDeniedException", Class::Denied, 1),
        (400, "UnrecognizedClientException", Class::Denied, 1),
        (400, "ExpiredTokenException", Class::Denied, 1),
        (400, "InvalidSignatureException", Class::Denied, 1),
        (400, "DecryptionFailure", Class::Denied, 1),
        (403, "SomethingNew", Class::Denied, 1),
        (400, "ThrottlingException", Class::Unavailable, 3),
        (429, "TooManyRequestsException", Class::Unavailable, 3),
        (500, "InternalServiceError", Class::Unavailable, 3),
        (503, "ServiceUnavailable", Class::Unavailable, 3),
    ] {
        let (store, service) = store(move |_| Some((status, refusal(code))));
        let error = store.get("prod/key", &Stage::Current).await.unwrap_err();
        assert_eq!(class(&error), expected, "{code}");
        assert!(error.to_string().contains("aws-secretsmanager:prod/key"), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(&format!("{code}: about {code}")), "{cause}");
        assert_eq!(operations(&service).len(), calls, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_unavailable_within_the_time_of_a_call() {
    let (store, service) = store(|_| None);
    let began = tokio::time::Instant::now();
    let error = store.get("prod/key", &Stage::Current).await.unwrap_err();
    assert_eq!(class(&error), Class::Unavailable);
    assert!(began.elapsed().as_secs() <= 8, "{:?}", began.elapsed());
    assert!(operations(&service).len() > 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_passes_is_not_noticed() {
    let tries = Mutex::new(0);
    let (store, _) = store(move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        let body = r#"{"Name": "a", "VersionId": "v1", "SecretString": "one"}"#.to_owned();
        Some(if *tries < 3 { (503, refusal("ServiceUnavailable")) } else { (200, body) })
    });
    assert_eq!(store.get("a", &Stage::Current).await.unwrap().value.expose(), "one");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_makes_no_sense_is_an_error_without_its_bytes() {
    for (body, expected) in [
        (r#"{"SecretString": "sk-canary""#, Class::Unavailable),
        (r#"<html>sk-canary</html>"#, Class::Unavailable),
        (r#"{"SecretString": ["sk-canary"]}"#, Class::Unavailable),
        (r#"{"SecretString": "sk-canary"}"#, Class::Malformed),
        (r#"{"VersionId": "v1", "SecretString": ""}"#, Class::Malformed),
        (r#"{"VersionId": "v1"}"#, Class::Malformed),
        // The bytes ff fe.
        (r#"{"VersionId": "v1", "SecretBinary": "//4="}"#, Class::Malformed),
    ] {
        let (store, _) = store(move |_| Some((200, body.to_owned())));
        let error = store.get("a", &Stage::Current).await.unwrap_err();
        assert_eq!(class(&error), expected, "{body}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn binary_text_is_text() {
    let (store, _) = store(|_| Some((200, r#"{"VersionId": "v1", "SecretBinary": "w6k="}"#.to_owned())));
    assert_eq!(store.get("a", &Stage::Current).await.unwrap().value.expose(), "é");
}

#[tokio::test]
async fn each_stage_is_asked_for_by_its_label() {
    let (store, service) = store(|(_, ask)| {
        let stage = ask["VersionStage"].as_str().unwrap();
        Some((200, format!(r#"{{"VersionId": "v-{stage}", "SecretString": "x"}}"#)))
    });
    for stage in [Stage::Current, Stage::Previous, Stage::Pending] {
        let secret = store.get("a", &stage).await.unwrap();
        assert_eq!(secret.version.as_str(), format!("v-{}", stage.label()));
    }
    assert_eq!(operations(&service).len(), 3);
}

#[tokio::test]
async fn an_arn_is_read_in_its_own_region() {
    let (store, service) = store(|_| Some((200, r#"{"VersionId": "v", "SecretString": "x"}"#.to_owned())));
    for name in [
        "arn:aws:secretsmanager:us-west-2:123456789012:secret:a-AbCdEf",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf",
        "a",
        "arn:x",
    ] {
        store.get(name, &Stage::Current).await.unwrap();
    }
    let hosts: Vec<String> = service.calls.lock().unwrap().iter().map(|(host, _)| host.clone()).collect();
    let expected = ["us-west-2", "eu-west-1", "eu-west-1", "eu-west-1"];
    assert_eq!(hosts, expected.map(|region| format!("https://secretsmanager.{region}.amazonaws.com/")));
    assert_eq!(store.clients.lock().unwrap().len(), 2);
}

/// The answer to a call of either kind for secrets whose values are `value-<name>`; `absent` is not there, and
/// `stale` comes from a batch at a version that is not current.
fn either((operation, ask): &Ask) -> Answer {
    let entry = |name: &str, stage: &str| {
        serde_json::json!({
            "Name": name, "ARN": format!("arn:aws:secretsmanager:eu-west-1:1:secret:{name}-AbCdEf"),
            "VersionId": "v", "VersionStages": [stage], "SecretString": format!("value-{name}"),
        })
    };
    let absent = |name: &str| name == "absent";
    if operation == "GetSecretValue" {
        let name = ask["SecretId"].as_str().unwrap();
        return Some(match name {
            "absent" => (400, refusal("ResourceNotFoundException")),
            _ => (200, entry(name, "AWSCURRENT").to_string()),
        });
    }
    let names: Vec<&str> =
        ask["SecretIdList"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert!(names.len() <= 20, "the service takes no more than 20");
    let plain = |name: &str| name.rsplit(':').next().unwrap().trim_end_matches("-AbCdEf").to_owned();
    let stage = |name: &str| if name == "stale" { "AWSPREVIOUS" } else { "AWSCURRENT" };
    let error = |name: &str| serde_json::json!({"SecretId": name, "ErrorCode": "ResourceNotFoundException"});
    let (missing, there): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| absent(name));
    // In another order than they were asked for.
    let entries: Vec<_> = there.iter().rev().map(|name| entry(&plain(name), stage(name))).collect();
    let errors: Vec<_> = missing.iter().map(|name| error(name)).collect();
    Some((200, serde_json::json!({"SecretValues": entries, "Errors": errors}).to_string()))
}

#[tokio::test]
async fn many_are_read_twenty_at_a_time_and_answered_in_order() {
    let (store, service) = store(either);
    let names: Vec<String> = (0..45).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = store.get_many(&names).await;
    assert_eq!(answers.len(), 45);
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(answer.unwrap().value.expose(), format!("value-{name}"));
    }
    assert_eq!(operations(&service), ["BatchGetSecretValue"; 3]);
}

#[tokio::test]
async fn what_a_batch_does_not_answer_is_read_by_itself() {
    let (store, service) = store(either);
    let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:b";
    let names = ["a", "absent", arn, "stale"];
    let answers = store.get_many(&names).await;
    assert_eq!(answers[0].as_ref().unwrap().value.expose(), "value-a");
    assert_eq!(class(answers[1].as_ref().unwrap_err()), Class::NotFound);
    assert_eq!(answers[2].as_ref().unwrap().value.expose(), "value-b");
    assert_eq!(answers[3].as_ref().unwrap().value.expose(), "value-stale");
    assert_eq!(operations(&service), ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]);
}

#[tokio::test]
async fn one_secret_needs_no_batch() {
    let (store, service) = store(either);
    assert_eq!(store.get_many(&["a"]).await[0].as_ref().unwrap().value.expose(), "value-a");
    assert_eq!(operations(&service), ["GetSecretValue"]);
    assert!(store.get_many(&[]).await.is_empty());
}

#[tokio::test]
async fn without_permission_for_the_batch_each_is_read_by_itself() {
    for code in ["AccessDeniedException", "InvalidParameterException"] {
        let (store, service) = store(move |ask| match ask.0.as_str() {
            "BatchGetSecretValue" => Some((400, refusal(code))),
            _ => either(ask),
        });
        let answers = store.get_many(&["a", "absent", "b"]).await;
        assert_eq!(answers[0].as_ref().unwrap().value.expose(), "value-a");
        assert_eq!(class(answers[1].as_ref().unwrap_err()), Class::NotFound);
        assert_eq!(answers[2].as_ref().unwrap().value.expose(), "value-b");
        assert_eq!(operations(&service).len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_is_not_asked_for_each() {
    let (store, service) = store(|_| Some((500, refusal("InternalServiceError"))));
    let answers = store.get_many(&["a", "b", "c"]).await;
    assert!(answers.iter().all(|answer| class(answer.as_ref().unwrap_err()) == Class::Unavailable));
    assert_eq!(operations(&service), ["BatchGetSecretValue"; 3], "one call and its retries");
}

/// The store as it is built, over a real socket.
fn real(more: &[(&str, &str)]) -> AwsSecretsManager {
    AwsSecretsManager::new(&Surroundings {
        env: environment(more),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_says_nothing_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let store = real(&[("AWS_ENDPOINT_URL_SECRETS_MANAGER", &url)]);
    let error = store.get("a", &Stage::Current).await.unwrap_err();
    assert_eq!(class(&error), Class::Unavailable);
    drop(listener);
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_accepts_and_says_nothing_is_unavailable_within_the_time_of_a_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let store = real(&[
        ("AWS_ENDPOINT_URL_STS", &url),
        ("KEYTURN_AWS_ROLE_NAME", "arn:aws:iam::210987654321:role/r"),
    ]);
    let began = tokio::time::Instant::now();
    let error = store.get("a", &Stage::Current).await.unwrap_err();
    assert_eq!(class(&error), Class::Unavailable);
    assert!(began.elapsed().as_secs() <= 8, "{:?}", began.elapsed());
    drop(listener);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = real(&[("AWS_ENDPOINT_URL_SECRETS_MANAGER", &url)]);
    let error = store.get("a", &Stage::Current).await.unwrap_err();
    assert_eq!(class(&error), Class::Unavailable);
}

#[test]
fn a_region_is_what_can_stand_in_a_host() {
    let of =
        |region: &str| region_of(&format!("arn:aws:secretsmanager:{region}:1:secret:a")).map(str::to_owned);
    assert_eq!(of("eu-west-2").as_deref(), Some("eu-west-2"));
    for region in ["", "evil.example/", "a.b", "a@b", "EU-WEST-2", "a#"] {
        assert_eq!(of(region), None, "{region}");
    }
}

#[tokio::test]
async fn missing_settings_are_an_operator_s_work() {
    for (setting, value, said) in [
        ("AWS_REGION", "", "Missing Region"),
        ("AWS_SECRET_ACCESS_KEY", "", "AWS_SECRET_ACCESS_KEY is not set, and AWS_ACCESS_KEY_ID is"),
        ("KEYTURN_AWS_EXTERNAL_ID", "x", "KEYTURN_AWS_EXTERNAL_ID needs a role: KEYTURN_AWS_ROLE_NAME"),
    ] {
        let error = real(&[(setting, value)]).get("a", &Stage::Current).await.unwrap_err();
        assert_eq!(class(&error), Class::Denied, "{setting}: {error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(said), "{cause}");
    }
}
