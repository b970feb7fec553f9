//! CyberArk Conjur, by a server that holds callers to its API.
//!
//! <https://github.com/cyberark/conjur-openapi-spec> (`authentication.yml`, `secrets.yml`, `resources.yml`)

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use jiff::Timestamp;
use keyturn_ambient::{Clock, ManualClock, SystemClock};
use keyturn_secrets::stores::{CyberArk, Surroundings};
use keyturn_secrets::{SecretError, SecretStore, Stage};
use keyturn_tests::fake::{Answer, Asked, Fake, Mishap};
use serde_json::{Value, json};

use crate::faults::{Fault, Faulty, survives_faults};
use crate::promises::{Seed, keeps_its_promises};

const ACCOUNT: &str = "acme";
const LOGIN: &str = "host/apps/keyturn";
const KEY: &str = "3x0ample-api-key";

/// The running server.
struct Server {
    fake: Fake,
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

struct State {
    clock: Arc<dyn Clock>,
    variables: BTreeMap<String, Vec<String>>,
    forbidden: BTreeSet<String>,
    /// By what is sent: when each token was made.
    tokens: HashMap<String, Timestamp>,
    logins: usize,
    /// It refuses the tokens that it gives.
    is_strange: bool,
}

fn decoded(text: &str) -> String {
    let address = format!("http://x/?v={}", text.replace('+', "%2B"));
    let address = reqwest::Url::parse(&address).unwrap();
    address.query_pairs().next().unwrap().1.into_owned()
}

fn not_found(id: &str) -> Answer {
    let message = format!("CONJ00076E Variable {id} is empty or not found.");
    Answer::json(404, &json!({"error": {"code": "not_found", "message": message}}))
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
        if let ["authn", ACCOUNT, login, "authenticate"] = *parts {
            if asked.method != "POST" || decoded(login) != LOGIN || asked.text() != KEY {
                return Answer::text(401, "");
            }
            return self.log_in();
        }
        let token = asked.header("authorization");
        let token = token.strip_prefix("Token token=\"").and_then(|token| token.strip_suffix('"'));
        let made = token.and_then(|token| self.tokens.get(token)).filter(|_| !self.is_strange);
        let now = self.clock.now();
        if made.is_none_or(|made| now.duration_since(*made).as_secs() >= 8 * 60) || asked.method != "GET" {
            return Answer::text(401, "");
        }
        match *parts {
            ["secrets", ACCOUNT, "variable", id] => self.secret(&decoded(id), &asked.query),
            ["secrets"] => self.secrets(&asked.query),
            ["resources", ACCOUNT, "variable", id] => self.resource(&decoded(id)),
            _ => Answer::text(404, ""),
        }
    }

    fn log_in(&mut self) -> Answer {
        self.logins += 1;
        let now = self.clock.now();
        let payload = STANDARD.encode(json!({"sub": LOGIN, "iat": now.as_second()}).to_string());
        let token =
            json!({"protected": "e30=", "payload": payload, "signature": format!("signed-{}", self.logins)});
        let token = token.to_string();
        self.tokens.insert(STANDARD.encode(&token), now);
        Answer(200, "application/json", token.into())
    }

    fn secret(&self, id: &str, query: &str) -> Answer {
        if self.forbidden.contains(id) {
            return Answer::json(403, &json!({"error": {"code": "forbidden", "message": "Forbidden"}}));
        }
        let Some(versions) = self.variables.get(id) else { return not_found(id) };
        let number = match query.strip_prefix("version=") {
            None => versions.len(),
            Some(number) => number.parse().unwrap(),
        };
        match number.checked_sub(1).and_then(|index| versions.get(index)) {
            Some(value) => Answer(200, "application/octet-stream", value.clone().into()),
            None => not_found(id),
        }
    }

    fn secrets(&self, query: &str) -> Answer {
        let ids = decoded(query.strip_prefix("variable_ids=").unwrap());
        let mut found = serde_json::Map::new();
        for whole in ids.split(',') {
            let id = whole.strip_prefix("acme:variable:").unwrap();
            if self.forbidden.contains(id) {
                return Answer::text(403, "");
            }
            let Some(value) = self.variables.get(id).and_then(|versions| versions.last()) else {
                return not_found(whole);
            };
            if found.insert(whole.to_owned(), json!(value)).is_some() {
                return Answer::json(422, &json!({"error": {"code": "unprocessable_entity"}}));
            }
        }
        Answer::json(200, &Value::Object(found))
    }

    fn resource(&self, id: &str) -> Answer {
        let Some(versions) = self.variables.get(id) else { return not_found(id) };
        let versions: Vec<Value> =
            (1..=versions.len()).map(|number| json!({"version": number, "expires_at": null})).collect();
        let whole = format!("{ACCOUNT}:variable:{id}");
        Answer::json(200, &json!({"id": whole, "permissions": [], "annotations": [], "secrets": versions}))
    }
}

impl Server {
    async fn start(clock: Arc<dyn Clock>) -> Self {
        let state = Arc::new(Mutex::new(State {
            clock: Arc::clone(&clock),
            variables: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            tokens: HashMap::new(),
            logins: 0,
            is_strange: false,
        }));
        let of_fake = Arc::clone(&state);
        let fake = Fake::start(move |asked| of_fake.lock().unwrap().answer(asked)).await;
        Self { fake, state, clock }
    }

    fn store(&self, more: &[(&str, &str)]) -> CyberArk {
        let own = [
            ("CYBERARK_API_BASE", self.fake.url()),
            ("CYBERARK_ACCOUNT", ACCOUNT.to_owned()),
            ("CYBERARK_USERNAME", LOGIN.to_owned()),
            ("CYBERARK_API_KEY", KEY.to_owned()),
        ];
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let env: HashMap<String, String> =
            own.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect();
        CyberArk::new(&Surroundings {
            env: Arc::new(env),
            http: keyturn_http::client().unwrap(),
            clock: Arc::clone(&self.clock),
        })
    }

    fn logins(&self) -> usize {
        self.state.lock().unwrap().logins
    }

    fn calls(&self, part: &str) -> usize {
        self.fake.asked().iter().filter(|asked| asked.path.starts_with(part)).count()
    }
}

#[async_trait]
impl Seed for Server {
    async fn put(&self, name: &str, value: &str) -> String {
        let name = format!("prod/llm/{name}");
        self.state.lock().unwrap().variables.entry(name.clone()).or_default().push(value.to_owned());
        name
    }

    fn has_stages(&self) -> bool {
        true
    }
}

impl Faulty for Server {
    fn fail(&self, fault: Option<Fault>) {
        self.fake.fail(fault.map(|fault| match fault {
            Fault::Denied => Mishap::Status(403, json!({"error": {"code": "forbidden"}})),
            Fault::Throttled => Mishap::Status(429, Value::Null),
            Fault::Down => Mishap::Status(503, Value::Null),
            Fault::Broken => Mishap::Broken,
            Fault::Garbage => Mishap::Garbage,
            Fault::Silent => Mishap::Silent,
        }));
    }

    fn reads(&self) -> u64 {
        u64::try_from(self.calls("/secrets/")).unwrap()
    }

    fn attempts(&self) -> u64 {
        1
    }
}

async fn get(store: &CyberArk, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

#[tokio::test]
async fn conjur_keeps_its_promises() {
    let server = Server::start(Arc::new(SystemClock)).await;
    keeps_its_promises(Arc::new(server.store(&[])), &server).await;
    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn conjur_survives_faults() {
    let server = Server::start(Arc::new(SystemClock)).await;
    survives_faults(|| Arc::new(server.store(&[])), &server).await;
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_when_it_is_refused() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
    let server = Server::start(clock.clone()).await;
    let name = server.put("token", "sk-1").await;
    let store = server.store(&[]);
    for (pass, logins) in [(0, 1), (299, 1), (1, 2), (200, 2), (479, 3), (10_000, 4)] {
        clock.advance(std::time::Duration::from_secs(pass));
        assert_eq!(get(&store, &name).await.unwrap(), "sk-1");
        assert_eq!(server.logins(), logins, "after {pass} s more");
    }
    server.state.lock().unwrap().tokens.clear();
    let reads = join_all((0..200).map(|_| get(&store, &name))).await;
    assert!(reads.into_iter().all(|read| read.unwrap() == "sk-1"));
    assert_eq!(server.logins(), 5);
}

#[tokio::test]
async fn a_login_that_is_refused_is_tried_once_for_a_question() {
    let server = Server::start(Arc::new(SystemClock)).await;
    let name = server.put("wrong", "sk-1").await;
    let error = get(&server.store(&[("CYBERARK_API_KEY", "wrong-key")]), &name).await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the login: HTTP 401");
    assert_eq!(server.calls("/authn/"), 1);
    // And one that gives tokens that are no good, once more.
    server.state.lock().unwrap().is_strange = true;
    let error = get(&server.store(&[]), &name).await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!((server.logins(), server.calls("/secrets/")), (2, 2));
}

#[tokio::test]
async fn versions_have_numbers_and_many_are_read_in_one_call() {
    let server = Server::start(Arc::new(SystemClock)).await;
    let store = server.store(&[]);
    let mut names = Vec::new();
    for number in 0..23 {
        names.push(server.put(&format!("batch{number}"), &format!("value{number}")).await);
    }
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = store.get_many(&asked).await;
    assert!(
        answers
            .iter()
            .zip(0..)
            .all(|(answer, number)| { answer.as_ref().unwrap().value.expose() == format!("value{number}") })
    );
    assert_eq!(server.calls("/secrets"), 2, "batches of twenty");

    // What is not ours, or has a comma, costs the others nothing.
    server.state.lock().unwrap().forbidden.insert(names[3].clone());
    let odd = server.put("odd, very", "comma").await;
    let answers = store.get_many(&[&names[0], &names[3], &odd]).await;
    assert_eq!(answers[0].as_ref().unwrap().value.expose(), "value0");
    assert!(matches!(answers[1], Err(SecretError::Denied { .. })), "{:?}", answers[1]);
    assert_eq!(answers[2].as_ref().unwrap().value.expose(), "comma");

    let name = server.put("numbers", "one").await;
    server.put("numbers", "two").await;
    for (stage, expected) in [("1", "one"), ("2", "two")] {
        let read = store.get(&name, &Stage::Named(stage.to_owned())).await.unwrap();
        assert_eq!(read.value.expose(), expected);
    }
    let error = store.get(&name, &Stage::Named("3".to_owned())).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_is_asked_for_to_be_verified() {
    let server = Server::start(Arc::new(SystemClock)).await;
    let name = server.put("verify", "sk-1").await;
    assert_eq!(
        get(&server.store(&[("CYBERARK_SSL_VERIFY", "false")]), &name).await.unwrap(),
        "sk-1",
        "no TLS"
    );
    let far = "https://conjur.example.com";
    for (more, expected) in [
        (
            vec![("CYBERARK_API_BASE", far), ("CYBERARK_SSL_VERIFY", "false")],
            "CYBERARK_SSL_VERIFY must not be false",
        ),
        (
            vec![("CYBERARK_API_BASE", far), ("CYBERARK_SSL_VERIFY", "/nonexistent.pem")],
            "CYBERARK_SSL_VERIFY names",
        ),
        (vec![("CYBERARK_API_BASE", "conjur:443")], "CYBERARK_API_BASE is not the address"),
        (vec![("CYBERARK_API_KEY", "")], "CYBERARK_API_KEY is not set"),
        (vec![("CYBERARK_CLIENT_CERT", "/a.pem")], "CYBERARK_CLIENT_KEY is needed"),
        (vec![("CYBERARK_CLIENT_KEY", "/a.pem")], "CYBERARK_CLIENT_CERT is needed"),
        (vec![("CYBERARK_REFRESH_INTERVAL", "5m")], "CYBERARK_REFRESH_INTERVAL is no number"),
    ] {
        let error = get(&server.store(&more), &name).await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(expected), "{cause}");
    }
    let interval = server.store(&[("CYBERARK_REFRESH_INTERVAL", "300")]).soft_ttl();
    assert_eq!(interval, Some(std::time::Duration::from_secs(300)));
}

/// The roots are taken from the file: OpenBao stands for a server whose authority nobody else knows, and answers 404.
#[tokio::test]
async fn roots_of_ones_own_are_trusted() {
    let server = keyturn_tests::openbao::OpenBao::shared();
    let here = Server::start(Arc::new(SystemClock)).await;
    let authority = server.authority();
    let roots = authority.to_str().unwrap();
    let base = ("CYBERARK_API_BASE", server.tls_url());
    let error = get(&here.store(&[base]), "a").await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    let error = get(&here.store(&[base, ("CYBERARK_SSL_VERIFY", roots)]), "a").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the login: HTTP 404");
}
