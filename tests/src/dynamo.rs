//! DynamoDB: dynoxide (SQLite behind the DynamoDB API) in this process, behind a proxy that counts the calls.

use std::path::Path;

use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::proxy::Proxy;

/// The running database. Dropping it ends it, and forgets one that was in memory.
#[derive(Debug)]
pub struct Dynamo {
    proxy: Proxy,
    task: JoinHandle<()>,
}

impl Dynamo {
    /// Starts an empty database in memory.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn start() -> Self {
        Self::serve(Database::memory().expect("an in-memory database")).await
    }

    /// Serves a database file, which is made when it is not there.
    ///
    /// # Panics
    ///
    /// When it cannot be opened.
    pub async fn open(file: &Path) -> Self {
        Self::serve(Database::new(&file.to_string_lossy()).expect("a database file")).await
    }

    async fn serve(database: Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let target = format!("http://{}", listener.local_addr().expect("the port just bound"));
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database));
        Self { proxy: Proxy::start(&target).await, task }
    }

    /// The endpoint, for `AWS_ENDPOINT_URL_DYNAMODB`.
    #[must_use]
    pub fn url(&self) -> String {
        self.proxy.url()
    }

    /// How many calls of one operation (`UpdateItem`) came.
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        self.proxy.calls(operation)
    }

    /// How many calls came in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.proxy.total()
    }

    /// While down, every call is answered 503.
    pub fn outage(&self, down: bool) {
        self.proxy.outage(down);
    }

    /// From now on, calls whose body holds this text are denied, as by IAM; an earlier one's are no longer.
    pub fn deny(&self, text: &str) {
        self.proxy.deny(text);
    }
}

impl Drop for Dynamo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;
    use ::http::Method;

    #[tokio::test]
    async fn it_answers_and_counts() {
        let dynamo = Dynamo::start().await;
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=0";
        let headers = [
            ("authorization", authorization),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-date", "20260101T000000Z"),
            ("x-amz-target", "DynamoDB_20120810.ListTables"),
        ];
        let list = || async { Client::default().send(Method::POST, &dynamo.url(), &headers, "{}").await };
        assert_eq!(list().await.json()["TableNames"], serde_json::json!([]));
        dynamo.outage(true);
        assert_eq!(list().await.status, 503);
        dynamo.outage(false);
        dynamo.deny("{}");
        assert_eq!(list().await.json()["__type"], "AccessDeniedException");
        dynamo.deny("nothing of the kind");
        assert_eq!(list().await.status, 200);
        assert_eq!((dynamo.calls("ListTables"), dynamo.calls("PutItem"), dynamo.total()), (4, 0, 4));
    }
}
