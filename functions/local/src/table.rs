//! DynamoDB in a file: the production key store runs against it unchanged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use dynoxide::Database;
use keyturn_ambient::Clock;
use keyturn_http::aws::sdk_config;
use keyturn_keys::DynamoKeyStore;
use tokio::net::TcpListener;

use crate::error::Error;

/// The table's name in the file.
const TABLE: &str = "keyturn";

/// How long a key is served without asking the table: not at all. The table is in this process, and a change of
/// a key is then seen at once.
const CACHE_LIFE: std::time::Duration = std::time::Duration::ZERO;

/// Opens the file, serves it on a loopback port of its own, and makes the table when it is new.
///
/// # Errors
///
/// The file cannot be opened, or is not a database.
pub(crate) async fn open(
    file: &Path,
    http: &reqwest::Client,
    clock: Arc<dyn Clock>,
) -> Result<Arc<DynamoKeyStore>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Table(error.to_string());
    let path = file.to_string_lossy();
    let database = Database::new(&path).map_err(|error| failed(&error))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));

    // These credentials open nothing: the embedded server checks none.
    let env: HashMap<String, String> = [
        ("AWS_REGION", "local".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{address}")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let client = aws_sdk_dynamodb::Client::new(&sdk_config(&env, http, "DYNAMODB"));
    let store = DynamoKeyStore::new(client, TABLE.to_owned(), clock, CACHE_LIFE);
    store.create_table().await.map_err(|error| failed(&error))?;
    Ok(Arc::new(store))
}
