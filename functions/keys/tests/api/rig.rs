//! The API on a database of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use bytes::Bytes;
use dynoxide::Database;
use http::{HeaderMap, Request, StatusCode};
use keyturn_ambient::ManualClock;
use keyturn_entry::Door;
use keyturn_entry::log::{Level, Log};
use keyturn_keys::manage::{Manager, ManagerOptions};
use keyturn_keys::{DynamoKeyStore, KeyStore};
use keyturn_keys_api::{Api, Parts};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The configured master key.
pub(crate) const MASTER: &str = "sk-master-0123456789";

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) struct Rig {
    pub(crate) api: Api,
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) clock: Arc<ManualClock>,
    server: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let database = Database::memory().unwrap();
        let server = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            dynoxide::server::serve_with_shutdown(listener, database, shutdown).await.unwrap();
        });
        let env: HashMap<String, String> = [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoint.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let config = keyturn_http::aws::sdk_config(&env, &keyturn_http::client().unwrap(), "DYNAMODB");
        let client = Client::from_conf(Builder::from(&config).retry_config(RetryConfig::disabled()).build());
        let store = DynamoKeyStore::new(client, "keys".to_owned());
        store.create_table().await.unwrap();
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let clock = Arc::new(ManualClock::at("2026-11-20T12:00:00Z".parse().unwrap()));
        let master = SecretString::from(MASTER);
        let options = ManagerOptions { derivation: Some(master.clone()), ..ManagerOptions::default() };
        let api = Api::new(Parts {
            manager: Manager::new(Arc::clone(&store), Arc::clone(&clock) as _, options),
            store: Arc::clone(&store),
            door: Door::new(Some(master), None),
            log: Log {
                level: Level::Info,
                sink: |line| {
                    LINES.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
                },
            },
            clock: Arc::clone(&clock) as _,
        });
        Self { api, store, clock, server: Mutex::new(Some((stop, server))) }
    }

    /// Stops the database; returns when nobody listens any more.
    pub(crate) async fn stop(&self) {
        let (stop, server) = self.server.lock().unwrap().take().unwrap();
        drop(stop);
        server.await.unwrap();
    }

    /// A request as it stands here.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        let (head, body) = self.api.answer(request).await.into_parts();
        assert_eq!(head.headers["content-type"], "application/json");
        assert!(head.headers.contains_key("x-litellm-call-id"));
        Answer {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}")),
        }
    }

    /// A request with a key and a body.
    pub(crate) async fn call(&self, method: &str, path: &str, key: &str, body: impl Into<Bytes>) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn post_as(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.call("POST", path, key, body.to_string()).await
    }

    pub(crate) async fn get_as(&self, key: &str, path: &str) -> Answer {
        self.call("GET", path, key, "").await
    }

    /// Posts as the master key; the answer must be 200.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.post_as(MASTER, path, body).await.ok()
    }

    /// Gets as the master key; the answer must be 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.get_as(MASTER, path).await.ok()
    }

    /// A new key's value.
    pub(crate) async fn key(&self, fields: &Value) -> String {
        let made = self.post("/key/generate", fields).await;
        made["key"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// A refusal in LiteLLM's shape with this status, type and parameter.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, kind: &str, param: Option<&str>) {
        let error = &self.body["error"];
        let told = (self.status.as_u16(), error["type"].as_str(), error["param"].as_str());
        assert_eq!(told, (status, Some(kind), param), "{}", self.body);
        assert_eq!(error["code"], json!(status.to_string()));
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

/// Whether any line of the log has a text.
pub(crate) fn logged(text: &str) -> bool {
    LINES.lock().unwrap().iter().any(|line| line.contains(text))
}
