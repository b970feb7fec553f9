//! Events → requests: function URLs and HTTP APIs (payload 2.0), REST APIs (1.0), load balancers.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use lambda_http::aws_lambda_events::alb::AlbTargetGroupRequest;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Which service sent an event; it decides the shape of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    FunctionUrl,
    HttpApi,
    RestApi,
    /// A load balancer; `multi_value` as its target group is configured.
    LoadBalancer {
        multi_value: bool,
    },
}

/// Why an event is no request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It comes from none of the services we answer.
    Foreign,
    /// It does, but HTTP does not allow what stands in it: a header with a newline, a broken base64 body.
    Malformed(Sender),
}

/// As much of an event as tells who sent it.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "requestContext", borrow)]
    context: ShapeContext<'a>,
    #[serde(rename = "multiValueHeaders")]
    multi_value_headers: Option<IgnoredAny>,
    #[serde(rename = "httpMethod")]
    http_method: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ShapeContext<'a> {
    elb: Option<IgnoredAny>,
    http: Option<IgnoredAny>,
    #[serde(rename = "domainName", borrow)]
    domain_name: Option<Cow<'a, str>>,
}

impl Shape<'_> {
    fn sender(&self) -> Option<Sender> {
        if self.context.elb.is_some() {
            return Some(Sender::LoadBalancer { multi_value: self.multi_value_headers.is_some() });
        }
        if self.context.http.is_some() {
            // Function URLs speak the HTTP API's format; only their host tells them apart.
            let url = self.context.domain_name.as_deref().is_some_and(|host| host.contains(".lambda-url."));
            return Some(if url { Sender::FunctionUrl } else { Sender::HttpApi });
        }
        self.http_method.is_some().then_some(Sender::RestApi)
    }
}

/// Reads an event.
///
/// # Errors
///
/// [`Unreadable`], with the sender where it is known, so that the caller can be told.
pub(super) fn read(event: &[u8]) -> Result<(Sender, Request<Bytes>), Unreadable> {
    let shape: Shape<'_> = serde_json::from_slice(event).map_err(|_| Unreadable::Foreign)?;
    let sender = shape.sender().ok_or(Unreadable::Foreign)?;
    let request = match sender {
        Sender::FunctionUrl | Sender::HttpApi => http_api(event),
        Sender::RestApi => rest_api(event),
        Sender::LoadBalancer { .. } => load_balancer(event),
    };
    request.map(|request| (sender, request)).ok_or(Unreadable::Malformed(sender))
}

fn http_api(event: &[u8]) -> Option<Request<Bytes>> {
    let event: ApiGatewayV2httpRequest = serde_json::from_slice(event).ok()?;
    let path = event.raw_path.unwrap_or_default();
    let path = without_stage(&path, event.request_context.stage.as_deref());
    build(
        event.request_context.http.method,
        path,
        event.raw_query_string.as_deref(),
        event.headers,
        event.body,
        event.is_base64_encoded,
    )
}

fn rest_api(event: &[u8]) -> Option<Request<Bytes>> {
    let event: ApiGatewayProxyRequest = serde_json::from_slice(event).ok()?;
    let path = event.path.unwrap_or_default();
    // Where the stage stands in front of `path` in the context, it is not part of `path`: a first segment of that
    // name is the client's own then.
    let whole = event.request_context.path.unwrap_or_default();
    let apart =
        |stage: &&str| whole.strip_prefix('/').and_then(|rest| rest.strip_prefix(stage)) == Some(&path);
    let stage = event.request_context.stage.as_deref().filter(|stage| !apart(stage));
    let path = without_stage(&path, stage);
    let headers =
        if event.multi_value_headers.is_empty() { event.headers } else { event.multi_value_headers };
    build(event.http_method, path, None, headers, event.body, event.is_base64_encoded)
}

fn load_balancer(event: &[u8]) -> Option<Request<Bytes>> {
    let event: AlbTargetGroupRequest = serde_json::from_slice(event).ok()?;
    let path = event.path.unwrap_or_default();
    let headers =
        if event.multi_value_headers.is_empty() { event.headers } else { event.multi_value_headers };
    build(event.http_method, &path, None, headers, event.body, event.is_base64_encoded)
}

/// HTTP APIs put a named stage in front of the path; REST APIs do when a client spells it out behind a custom
/// domain.
fn without_stage<'p>(path: &'p str, stage: Option<&str>) -> &'p str {
    let stripped = stage
        .filter(|stage| !stage.is_empty() && *stage != "$default")
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    match stripped {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

fn build(
    method: Method,
    path: &str,
    query: Option<&str>,
    headers: HeaderMap,
    body: Option<String>,
    base64: bool,
) -> Option<Request<Bytes>> {
    let uri = match query {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    };
    let body = match body {
        None => Bytes::new(),
        Some(text) if base64 => BASE64_STANDARD.decode(text).ok()?.into(),
        Some(text) => text.into(),
    };
    let mut request = Request::builder().method(method).uri(uri).body(body).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_a_stage_and_nothing_else() {
        for (path, stage, expected) in [
            ("/prod/v1/models", Some("prod"), "/v1/models"),
            ("/prod", Some("prod"), "/"),
            ("/production/v1", Some("prod"), "/production/v1"),
            ("/v1/models", Some("prod"), "/v1/models"),
            ("/v1/models", Some("$default"), "/v1/models"),
            ("/v1/models", Some(""), "/v1/models"),
            ("/v1/models", None, "/v1/models"),
        ] {
            assert_eq!(without_stage(path, stage), expected, "{path} {stage:?}");
        }
    }

    #[test]
    fn a_rest_stage_that_is_called_like_a_route_is_left_alone() {
        let path = |path: &str, context: &str| {
            let event = serde_json::json!({
                "httpMethod": "GET", "path": path, "headers": {}, "multiValueHeaders": {}, "isBase64Encoded": false,
                "requestContext": {"stage": "v1", "path": context, "httpMethod": "GET"},
            });
            read(event.to_string().as_bytes()).unwrap().1.uri().path().to_owned()
        };
        assert_eq!(path("/v1/messages", "/v1/v1/messages"), "/v1/messages");
        assert_eq!(path("/v1/v1/messages", "/v1/v1/messages"), "/v1/messages");
    }

    #[test]
    fn an_event_from_elsewhere_is_foreign() {
        for event in
            ["{}", "[]", "", r#"{"Records":[]}"#, r#"{"requestContext":{}}"#, r#"{"Step":"createSecret"}"#]
        {
            assert_eq!(read(event.as_bytes()).unwrap_err(), Unreadable::Foreign, "{event}");
        }
    }

    #[test]
    fn a_header_with_a_newline_is_malformed_and_keeps_its_sender() {
        let event = serde_json::json!({
            "version": "2.0", "rawPath": "/v1/models", "rawQueryString": "", "isBase64Encoded": false,
            "headers": {"authorization": "Bearer sk-a\nb"},
            "requestContext": {"http": {"method": "GET", "path": "/v1/models"}, "stage": "$default"},
        });
        let refused = read(event.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused, Unreadable::Malformed(Sender::HttpApi));
    }
}
