//! The API behind Lambda's events: function URLs, API Gateway and load balancers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body_util::BodyExt;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Error, RequestExt, service_fn};

use crate::api::Api;

/// Serves invocations until the environment is shut down.
///
/// # Errors
///
/// The Runtime API is gone.
pub async fn run(api: Arc<Api>) -> Result<(), Error> {
    lambda_http::run_concurrent(service_fn(move |request: lambda_http::Request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(answer(&api, request).await) }
    }))
    .await
}

async fn answer(api: &Api, request: lambda_http::Request) -> Response<Body> {
    let path = path(&request);
    let (mut head, body) = request.into_parts();
    let mut uri = head.uri.into_parts();
    let query = uri.path_and_query.as_ref().and_then(|whole| whole.query().map(str::to_owned));
    let whole = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    uri.path_and_query = whole.parse::<PathAndQuery>().ok();
    head.uri = http::Uri::from_parts(uri).unwrap_or_default();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return api.body_unreadable(&head).map(Body::from_bytes),
    };
    api.answer(Request::from_parts(head, body)).await.map(Body::from_bytes)
}

/// The path without an API's stage, which HTTP APIs put in front of it.
fn path(request: &lambda_http::Request) -> String {
    let path = request.raw_http_path();
    let stage = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.stage.as_deref(),
        _ => None,
    };
    let stripped = stage
        .filter(|stage| !stage.is_empty() && *stage != "$default")
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match stripped.unwrap_or(path) {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

/// A body for Lambda.
trait FromBytes {
    fn from_bytes(bytes: Bytes) -> Self;
}

impl FromBytes for Body {
    fn from_bytes(bytes: Bytes) -> Self {
        // All that is answered is JSON.
        String::from_utf8(bytes.into()).map_or_else(|error| Self::Binary(error.into_bytes()), Self::Text)
    }
}
