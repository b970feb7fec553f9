//! An embedded DynamoDB behind the real client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::Database;
use keyturn_keys::DynamoKeyStore;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The table's name.
pub(crate) const TABLE: &str = "keys";

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A table on a server of its own.
pub(crate) struct Dynamo {
    pub(crate) client: Client,
    /// Its endpoint.
    pub(crate) endpoint: String,
    /// The database itself.
    pub(crate) database: Database,
    calls: Calls,
    stop: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Dynamo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let database = Database::memory().unwrap();
        let served = database.clone();
        let server = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            dynoxide::server::serve_with_shutdown(listener, served, shutdown).await.unwrap();
        });
        let calls = Calls::default();
        let client = Client::from_conf(config(&endpoint).interceptor(calls.clone()).build());
        let stop = Mutex::new(Some((stop, server)));
        let dynamo = Self { client, endpoint, database, calls, stop };
        dynamo.store().create_table().await.unwrap();
        dynamo.calls();
        dynamo
    }

    /// A store on the table, as another gateway process would have it.
    pub(crate) fn store(&self) -> DynamoKeyStore {
        DynamoKeyStore::new(self.client.clone(), TABLE.to_owned())
    }

    /// The calls sent since the last time this was asked, by operation.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.0.lock().unwrap())
    }

    /// Stops the server; returns when nobody listens any more.
    pub(crate) async fn stop(&self) {
        let (stop, server) = self.stop.lock().unwrap().take().unwrap();
        drop(stop);
        server.await.unwrap();
    }

    /// An item as it is.
    pub(crate) async fn item(&self, pk: &str, sk: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(TABLE).consistent_read(true);
        get.key("pk", s(pk)).key("sk", s(sk)).send().await.unwrap().item
    }

    /// Puts an item past the store.
    pub(crate) async fn put(&self, item: Item) {
        self.client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
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

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(number: &str) -> AttributeValue {
    AttributeValue::N(number.to_owned())
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
