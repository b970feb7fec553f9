//! An embedded DynamoDB, a new one for each scenario.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use dynoxide::Database;
use keyturn_keys::{DynamoKeyStore, KeyStore};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The server stops when the sender goes.
async fn start() -> (oneshot::Sender<()>, Arc<dyn KeyStore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let database = Database::memory().unwrap();
    tokio::spawn(async move {
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
    let store = DynamoKeyStore::new(Client::from_conf(Builder::from(&config).build()), "keys".to_owned());
    store.create_table().await.unwrap();
    (stop, Arc::new(store))
}

crate::scenarios!(crate::run_on, start);
