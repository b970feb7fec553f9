//! Lambda's Invoke API, as a service that calls functions sees it: what comes is handed to the test.

use std::future::Future;
use std::sync::Arc;

use ::http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::response::FunctionError;
use crate::server::{Server, json as json_answer};

/// The running API.
#[derive(Debug)]
pub struct Invocations(Server);

impl Invocations {
    /// Starts it: every event goes to `handler`, whose answer is the function's.
    pub async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Value) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Value, FunctionError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let server = Server::start(move |request, _| {
            let handler = Arc::clone(&handler);
            async move {
                let body = request.into_body().collect().await;
                let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let event = serde_json::from_slice(&body).unwrap_or_default();
                match handler(event).await {
                    Ok(payload) => json_answer(StatusCode::OK, &payload),
                    Err(FunctionError { kind, message }) => {
                        let error = json!({"errorType": kind, "errorMessage": message});
                        let mut answer = json_answer(StatusCode::OK, &error);
                        let unhandled = HeaderValue::from_static("Unhandled");
                        answer.headers_mut().insert("x-amz-function-error", unhandled);
                        answer
                    }
                }
            }
        });
        Self(server.await)
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }
}
