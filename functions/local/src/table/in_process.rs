//! The embedded database as the AWS SDK's transport. It has no port: nothing else on the machine can reach it.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

/// What `X-Amz-Target` begins with (DynamoDB's API version).
const TARGET: &str = "DynamoDB_20120810.";

/// A database as a connector. Calls wait for one another here: the database takes one at a time anyway, and threads
/// that wait for it would cost memory.
#[derive(Clone)]
pub(super) struct InProcess(Arc<Mutex<Database>>);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpClient for InProcess {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let database = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let database = database.lock_owned().await;
            // The database may wait for another process on the same file; requests go on meanwhile.
            let answered = tokio::task::spawn_blocking(move || answer(&database, &request));
            answered.await.unwrap_or_else(|error| Err(ConnectorError::other(error.into(), None)))
        })
    }
}

impl InProcess {
    pub(super) fn new(database: Database) -> Self {
        Self(Arc::new(Mutex::new(database)))
    }
}

fn answer(database: &Database, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let operation = request.headers().get("x-amz-target").and_then(|target| target.strip_prefix(TARGET));
    let body = request.body().bytes().unwrap_or_default();
    // The operations that the key store uses: one line each.
    let outcome = match operation.unwrap_or_default() {
        "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
        "CreateTable" => run(body, |request| database.create_table(request)),
        "DescribeTimeToLive" => run(body, |request| database.describe_time_to_live(request)),
        "GetItem" => run(body, |request| database.get_item(request)),
        "Query" => run(body, |request| database.query(request)),
        "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
        "UpdateItem" => run(body, |request| database.update_item(request)),
        "UpdateTimeToLive" => run(body, |request| database.update_time_to_live(request)),
        other => Err(DynoxideError::ValidationException(format!("no operation {other} here"))),
    };
    let (status, json) = match outcome {
        Ok(json) => (200, json),
        Err(error) => (error.status_code(), error.to_json()),
    };
    let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(json)))
}

fn run<I: DeserializeOwned, O: Serialize>(
    body: &[u8],
    operation: impl FnOnce(I) -> dynoxide::Result<O>,
) -> Result<String, DynoxideError> {
    let malformed = |error: serde_json::Error| DynoxideError::ValidationException(error.to_string());
    let output = operation(serde_json::from_slice(body).map_err(malformed)?)?;
    serde_json::to_string(&output).map_err(malformed)
}
