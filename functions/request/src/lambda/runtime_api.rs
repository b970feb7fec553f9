//! The calls to the Runtime API that answer an invocation (version 2018-06-01).

use std::sync::Arc;

use http::{HeaderValue, Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use keyturn_ambient::Env;
use lambda_runtime::Error;
use lambda_runtime_api_client::PooledClient;
use lambda_runtime_api_client::body::Body;

use super::reply::ReplyBody;

/// Echoed on the answer, so that the Runtime API can tell a late one from the current one.
pub(super) const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

/// A client of the Runtime API: lambda_runtime's own, on a connection that does not hold small pieces back.
#[derive(Clone)]
pub(super) struct RuntimeApi(Arc<PooledClient>);

impl RuntimeApi {
    /// The API that `AWS_LAMBDA_RUNTIME_API` names: host and port on Lambda, a whole URL under `cargo lambda watch`.
    pub(super) fn from_env(env: &dyn Env) -> Result<Self, Error> {
        let mut endpoint = env.var("AWS_LAMBDA_RUNTIME_API").ok_or("AWS_LAMBDA_RUNTIME_API is not set")?;
        if !endpoint.contains("://") {
            endpoint.insert_str(0, "http://");
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let endpoint: Uri = endpoint.parse()?;
        let client = PooledClient::builder().with_connector(connector).with_endpoint(endpoint).build();
        Ok(Self(Arc::new(client)))
    }

    /// Answers an invocation.
    pub(super) async fn respond(
        &self,
        id: &str,
        echo: Option<HeaderValue>,
        body: ReplyBody,
        streams: bool,
    ) -> Result<(), Error> {
        let mut request = Self::post(&format!("invocation/{id}/response"), echo, Body::new(body))?;
        if streams {
            let headers = request.headers_mut();
            headers.insert("lambda-runtime-function-response-mode", HeaderValue::from_static("streaming"));
            headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
            let content_type =
                HeaderValue::from_static("application/vnd.awslambda.http-integration-response");
            headers.insert("content-type", content_type);
        }
        self.send(request).await
    }

    /// Fails an invocation.
    pub(super) async fn fail(
        &self,
        id: &str,
        echo: Option<HeaderValue>,
        kind: &str,
        message: &str,
    ) -> Result<(), Error> {
        self.send(Self::diagnostic(&format!("invocation/{id}/error"), echo, kind, message)?).await
    }

    /// Fails the initialisation.
    pub(super) async fn fail_init(&self, kind: &str, message: &str) -> Result<(), Error> {
        self.send(Self::diagnostic("init/error", None, kind, message)?).await
    }

    fn diagnostic(
        path: &str,
        echo: Option<HeaderValue>,
        kind: &str,
        message: &str,
    ) -> Result<Request<Body>, Error> {
        let body = serde_json::json!({"errorType": kind, "errorMessage": message}).to_string();
        let mut request = Self::post(path, echo, Body::from(body))?;
        request.headers_mut().insert("lambda-runtime-function-error-type", HeaderValue::from_str(kind)?);
        Ok(request)
    }

    fn post(path: &str, echo: Option<HeaderValue>, body: Body) -> Result<Request<Body>, Error> {
        let mut request = Request::post(format!("/2018-06-01/runtime/{path}")).body(body)?;
        if let Some(echo) = echo {
            request.headers_mut().insert(INVOCATION_ID, echo);
        }
        Ok(request)
    }

    async fn send(&self, request: Request<Body>) -> Result<(), Error> {
        let response = self.0.call(request).await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(format!("Runtime API: {}", response.status()).into())
        }
    }
}
