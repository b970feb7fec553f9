//! A service of one's own, by one that holds callers to what the store says of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::{HeaderValue, Response, StatusCode};
use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::{Custom, Surroundings};
use keyturn_secrets::{SecretError, SecretStore, Stage};
use keyturn_tests::fake::{Answer, Asked, Fake, Mishap};
use keyturn_tests::server::{Server as Plain, full};
use serde_json::Value;

use crate::faults::{Fault, Faulty, survives_faults};
use crate::promises::{Seed, keeps_its_promises};

/// The running service, and the file with its token.
struct Server {
    fake: Fake,
    state: Arc<Mutex<State>>,
    token: tempfile::NamedTempFile,
}

#[derive(Default)]
struct State {
    token: String,
    /// By path and query, as they are sent.
    secrets: BTreeMap<String, String>,
}

impl State {
    fn answer(&self, asked: &Asked) -> Answer {
        if asked.method != "GET" || asked.header("authorization") != format!("Bearer {}", self.token) {
            return Answer::text(401, "");
        }
        let place = match asked.query.as_str() {
            "" => asked.path.clone(),
            query => format!("{}?{query}", asked.path),
        };
        match self.secrets.get(&place) {
            // A text ends in a newline, as texts do.
            Some(value) => Answer::text(200, format!("{value}\n")),
            None => Answer::text(404, ""),
        }
    }
}

fn store(variables: &[(&str, &str)]) -> Custom {
    let env: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Custom::new(&Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    })
}

impl Server {
    async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let of_fake = Arc::clone(&state);
        let fake = Fake::start(move |asked| of_fake.lock().unwrap().answer(asked)).await;
        let server = Self { fake, state, token: tempfile::NamedTempFile::new().unwrap() };
        server.expects("token-one");
        server.has_token("token-one");
        server
    }

    /// The service takes this token from now on.
    fn expects(&self, token: &str) {
        self.state.lock().unwrap().token = token.to_owned();
    }

    /// The file has this token from now on.
    fn has_token(&self, token: &str) {
        std::fs::write(self.token.path(), token).unwrap();
    }

    fn keep(&self, place: &str, value: &str) {
        self.state.lock().unwrap().secrets.insert(place.to_owned(), value.to_owned());
    }

    fn store(&self, path: &str) -> Custom {
        let token = format!("file:{}", self.token.path().display());
        let url = format!("{}{path}", self.fake.url());
        store(&[("KEYTURN_CUSTOM_SECRETS_URL", &url), ("KEYTURN_CUSTOM_SECRETS_TOKEN", &token)])
    }
}

#[async_trait]
impl Seed for Server {
    async fn put(&self, name: &str, value: &str) -> String {
        self.keep(&format!("/v1/secrets/llm/{name}"), value);
        format!("llm/{name}")
    }

    fn has_stages(&self) -> bool {
        false
    }
}

impl Faulty for Server {
    fn fail(&self, fault: Option<Fault>) {
        self.fake.fail(fault.map(|fault| match fault {
            Fault::Denied => Mishap::Status(403, Value::Null),
            Fault::Throttled => Mishap::Status(429, Value::Null),
            Fault::Down => Mishap::Status(503, Value::Null),
            Fault::Broken => Mishap::Broken,
            Fault::Garbage => Mishap::Garbage,
            Fault::Silent => Mishap::Silent,
        }));
    }

    fn reads(&self) -> u64 {
        u64::try_from(self.fake.asked().len()).unwrap()
    }

    fn attempts(&self) -> u64 {
        1
    }
}

async fn get(store: &Custom, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

/// What an error says of its cause.
fn cause(error: &SecretError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn a_service_of_ones_own_keeps_its_promises_and_survives_faults() {
    let server = Server::start().await;
    keeps_its_promises(Arc::new(server.store("/v1/secrets")), &server).await;
    survives_faults(|| Arc::new(server.store("/v1/secrets/")), &server).await;
}

#[tokio::test]
async fn the_name_is_the_end_of_the_path_or_where_the_address_says() {
    let server = Server::start().await;
    for (address, name, place) in [
        ("", "a", "/a"),
        ("/v1/", "team/a b", "/v1/team/a%20b"),
        ("/v1?format=raw", "a?b", "/v1/a%3Fb?format=raw"),
        ("/v1/{name}/value", "team/ä", "/v1/team%2F%C3%A4/value"),
        ("/v1?id={name}&x=1", "a&b=c", "/v1?id=a%26b%3Dc&x=1"),
    ] {
        server.keep(place, place);
        assert_eq!(get(&server.store(address), name).await.unwrap(), place, "{address} {name}");
    }
    let store = server.store("/v1/{name}");
    for name in ["", ".", "..", "a/../b", "a//b", "/a"] {
        let error = get(&store, name).await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_read_again_once() {
    let server = Server::start().await;
    server.keep("/a", "sk-1");
    let store = server.store("");
    assert_eq!(get(&store, "a").await.unwrap(), "sk-1");
    server.expects("token-two");
    let asked = || server.fake.asked().len();
    let before = asked();
    let error = get(&store, "a").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(asked() - before, 1, "the file has the same token");
    server.has_token("token-two");
    let before = asked();
    assert_eq!(get(&store, "a").await.unwrap(), "sk-1");
    assert_eq!(asked() - before, 2);
    server.expects("token-three");
    server.has_token("token-three");
    let reads = join_all((0..200).map(|_| get(&store, "a"))).await;
    assert!(reads.into_iter().all(|read| read.unwrap() == "sk-1"));
    server.expects("token-four");
    server.has_token("another");
    let before = asked();
    get(&store, "a").await.unwrap_err();
    assert_eq!(asked() - before, 2, "once");
    std::fs::remove_file(server.token.path()).unwrap();
    let error = get(&store, "a").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert!(cause(&error).starts_with("secret `file:"), "{error:?}");
}

#[tokio::test]
async fn an_etag_is_no_version() {
    let tag = Arc::new(Mutex::new(String::new()));
    let of_server = Arc::clone(&tag);
    let server = Plain::start(move |_, _| {
        let tag = of_server.lock().unwrap().clone();
        async move {
            let mut answer = Response::new(full("sk-1"));
            *answer.status_mut() = StatusCode::OK;
            answer.headers_mut().insert("etag", HeaderValue::from_str(&tag).unwrap());
            answer
        }
    })
    .await;
    let store = store(&[
        ("KEYTURN_CUSTOM_SECRETS_URL", &server.url()),
        ("KEYTURN_CUSTOM_SECRETS_TOKEN", "bearer-7d3e"),
    ]);
    let mut versions = Vec::new();
    for sent in ["\"v7\"", "W/\"v7\"", "\"v8\"", "\"sk-1\"", "\"a-7d3e-b\"", "", "\"a b\""] {
        sent.clone_into(&mut tag.lock().unwrap());
        versions.push(store.get("a", &Stage::Current).await.unwrap().version.to_string());
    }
    assert!(versions.iter().all(|digest| digest.len() == 16 && *digest == versions[0]), "{versions:?}");
}

#[tokio::test]
async fn settings_that_are_wrong_are_told_and_send_no_token() {
    const TOKEN: &str = "sk-canary";
    for (url, token, expected) in [
        ("", TOKEN, "KEYTURN_CUSTOM_SECRETS_URL is not set"),
        ("secrets.example.com", TOKEN, "KEYTURN_CUSTOM_SECRETS_URL is no address"),
        ("http://secrets.example.com", TOKEN, "KEYTURN_CUSTOM_SECRETS_URL must begin with https://"),
        ("ftp://127.0.0.1/", TOKEN, "KEYTURN_CUSTOM_SECRETS_URL must begin with https://"),
        (
            "https://u:p@secrets.example.com",
            TOKEN,
            "KEYTURN_CUSTOM_SECRETS_URL must have no user and no fragment",
        ),
        (
            "https://{name}.example.com",
            TOKEN,
            "KEYTURN_CUSTOM_SECRETS_URL must not have the name in its host",
        ),
        (
            "http://127.0.0.1:9",
            "custom:token",
            "KEYTURN_CUSTOM_SECRETS_TOKEN must not be in the store that it opens",
        ),
        ("http://127.0.0.1:9", "file:", "KEYTURN_CUSTOM_SECRETS_TOKEN names no secret after the scheme"),
    ] {
        let store = store(&[("KEYTURN_CUSTOM_SECRETS_URL", url), ("KEYTURN_CUSTOM_SECRETS_TOKEN", token)]);
        let error = get(&store, "a").await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        assert_eq!(cause(&error), expected);
        assert!(!format!("{error:?}").contains("canary"));
    }
}
