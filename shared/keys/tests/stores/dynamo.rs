//! An embedded DynamoDB behind the real client, and the contract suite on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::Database;
use keyturn_ambient::ManualClock;
use keyturn_keys::{DynamoKeyStore, KeyHash, KeyStore};
use tokio::net::TcpListener;

use crate::contract::{Subject, suite};

pub(crate) const TABLE: &str = "keys";
pub(crate) const CACHE_LIFE: Duration = Duration::from_secs(10);

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A table on a server of its own, and a clock that starts on a full slot of five minutes.
pub(crate) struct Dynamo {
    pub(crate) client: Client,
    pub(crate) clock: Arc<ManualClock>,
    calls: Calls,
    stop: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
    server: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Dynamo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let database = Database::memory().unwrap();
        let server = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            dynoxide::server::serve_with_shutdown(listener, database, shutdown).await.unwrap();
        });
        let calls = Calls::default();
        let config = config(&endpoint).interceptor(calls.clone()).build();
        let dynamo = Self {
            client: Client::from_conf(config),
            clock: Arc::new(ManualClock::at("2026-11-20T12:00:00Z".parse().unwrap())),
            calls,
            stop: Mutex::new(Some(stop)),
            server: Mutex::new(Some(server)),
        };
        dynamo.store(CACHE_LIFE).create_table().await.unwrap();
        dynamo.calls();
        dynamo
    }

    /// Another gateway process on the table: a store with an empty cache.
    pub(crate) fn store(&self, cache_life: Duration) -> DynamoKeyStore {
        DynamoKeyStore::new(self.client.clone(), TABLE.to_owned(), self.clock.clone(), cache_life)
    }

    /// The calls sent since the last time this was asked, by operation.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.0.lock().unwrap())
    }

    /// Stops the server; returns when nobody listens any more.
    pub(crate) async fn stop(&self) {
        drop(self.stop.lock().unwrap().take());
        let server = self.server.lock().unwrap().take().unwrap();
        server.await.unwrap();
    }

    pub(crate) async fn item(&self, hash: &KeyHash) -> Item {
        let get = self.client.get_item().table_name(TABLE).consistent_read(true);
        get.key("pk", pk(hash)).key("sk", s("KEY")).send().await.unwrap().item.unwrap()
    }

    pub(crate) async fn put(&self, item: Item) {
        self.client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    }

    /// Changes a key as the management API does: the attributes, and `rev`.
    pub(crate) async fn change(&self, id: &KeyHash, changes: &[(&str, AttributeValue)]) {
        let mut item = self.item(id).await;
        let rev = number(&item, "rev") + 1;
        item.insert("rev".to_owned(), n(rev));
        for (name, value) in changes {
            item.insert((*name).to_owned(), value.clone());
        }
        self.put(item).await;
    }

    pub(crate) async fn delete(&self, hash: &KeyHash) {
        let delete = self.client.delete_item().table_name(TABLE);
        delete.key("pk", pk(hash)).key("sk", s("KEY")).send().await.unwrap();
    }

    pub(crate) async fn set_generation(&self, number: i64) {
        let key = || s("GENERATION");
        let item = [("pk", key()), ("sk", key()), ("n", n(number))];
        self.put(item.map(|(name, value)| (name.to_owned(), value)).into()).await;
    }
}

/// The client's settings for an endpoint: the gateway's own, but one attempt only, so that an outage is seen
/// without waiting for retries.
pub(crate) fn config(endpoint: &str) -> Builder {
    let env: HashMap<String, String> = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let config = keyturn_http::aws::sdk_config(&env, &keyturn_http::client().unwrap(), "DYNAMODB");
    Builder::from(&config).retry_config(RetryConfig::disabled())
}

pub(crate) fn pk(hash: &KeyHash) -> AttributeValue {
    s(&format!("KEY#{hash}"))
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn number(item: &Item, name: &str) -> i64 {
    item[name].as_n().unwrap().parse().unwrap()
}

/// Writes down the operation of every request that goes out.
#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(operation);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_the_contract() {
    let dynamo = Dynamo::start().await;
    let open = || -> Arc<dyn KeyStore> { Arc::new(dynamo.store(CACHE_LIFE)) };
    suite(&Subject { open: &open, clock: &dynamo.clock }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_the_contract_without_a_cache() {
    let dynamo = Dynamo::start().await;
    let open = || -> Arc<dyn KeyStore> { Arc::new(dynamo.store(Duration::ZERO)) };
    suite(&Subject { open: &open, clock: &dynamo.clock }).await;
}

#[tokio::test]
async fn making_the_table_again_changes_nothing() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store(CACHE_LIFE);
    let (_, key) = store.create(keyturn_keys::NewKey::default()).await.unwrap();
    store.create_table().await.unwrap();
    dynamo.item(&key.id).await;
}
