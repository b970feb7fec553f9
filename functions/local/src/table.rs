//! DynamoDB in a file: the production key store runs against it unchanged.

mod gathering;
mod in_process;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use dynoxide::Database;
use gathering::Gathering;
use in_process::InProcess;
use keyturn_http::aws::sdk_config;
use keyturn_keys::DynamoKeyStore;

use crate::chest::owners_only;
use crate::error::Error;

/// The table's name in the file.
const TABLE: &str = "keyturn";

/// Opens the file, and makes the table when it is new. Only its owner can read the file.
///
/// # Errors
///
/// The file cannot be opened, or is not a database.
pub(crate) async fn open(
    file: &Path,
    http: &reqwest::Client,
) -> Result<Arc<Gathering<DynamoKeyStore>>, Error> {
    owners_only(file)?;
    let database = Database::new(&file.to_string_lossy()).map_err(|error| Error::Table(error.to_string()))?;
    // The SDK wants a region and credentials; in the process nobody checks them.
    let names = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let env: HashMap<String, String> = names.map(|name| (name.to_owned(), "local".to_owned())).into();
    let sdk = sdk_config(&env, http, "DYNAMODB");
    let client = Client::from_conf(Builder::from(&sdk).http_client(InProcess::new(database)).build());
    let store = DynamoKeyStore::new(client, TABLE.to_owned());
    store.create_table().await.map_err(Error::Keys)?;
    Ok(Arc::new(Gathering::new(store)))
}
