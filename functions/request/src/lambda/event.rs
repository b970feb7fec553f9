//! Events → requests: function URLs and HTTP APIs (payload 2.0), REST APIs (1.0), load balancers.

mod headers;

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;

use headers::Headers;

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

/// As much of an event as makes a request, whoever sent it. One type for all: an event is read once, and what
/// nobody asks for is skipped, where `aws_lambda_events` would read every field of one sender's type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    request_context: Context,
    http_method: Option<String>,
    raw_path: Option<String>,
    path: Option<String>,
    raw_query_string: Option<String>,
    headers: Option<Headers>,
    multi_value_headers: Option<Headers>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    elb: Option<IgnoredAny>,
    http: Option<HttpContext>,
    domain_name: Option<String>,
    stage: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct HttpContext {
    method: String,
}

/// Reads an event.
///
/// # Errors
///
/// [`Unreadable`], with the sender where it is known, so that the caller can be told.
pub(super) fn read(event: &[u8]) -> Result<(Sender, Request<Bytes>), Unreadable> {
    let read: Event = serde_json::from_slice(event).map_err(|_| unreadable(event))?;
    let sender = read.shape().sender().ok_or(Unreadable::Foreign)?;
    let request = match sender {
        Sender::FunctionUrl | Sender::HttpApi => read.http_api(),
        Sender::RestApi => read.rest_api(),
        Sender::LoadBalancer { .. } => read.load_balancer(),
    };
    request.map(|request| (sender, request)).ok_or(Unreadable::Malformed(sender))
}

/// Whether an event that could not be read comes from a service we answer.
fn unreadable(event: &[u8]) -> Unreadable {
    let sender = serde_json::from_slice(event).ok().and_then(|shape: Shape<'_>| shape.sender());
    sender.map_or(Unreadable::Foreign, Unreadable::Malformed)
}

impl Event {
    fn shape(&self) -> Shape<'_> {
        let context = &self.request_context;
        Shape {
            context: ShapeContext {
                elb: context.elb,
                http: context.http.as_ref().map(|_| IgnoredAny),
                domain_name: context.domain_name.as_deref().map(Cow::Borrowed),
            },
            multi_value_headers: self.multi_value_headers.as_ref().map(|_| IgnoredAny),
            http_method: self.http_method.as_ref().map(|_| IgnoredAny),
        }
    }

    fn http_api(self) -> Option<Request<Bytes>> {
        let path = self.raw_path.or(self.path).unwrap_or_default();
        let path = without_stage(&path, self.request_context.stage.as_deref());
        let headers = self.headers.unwrap_or_default();
        let method = &self.request_context.http?.method;
        let query = self.raw_query_string.as_deref();
        build(method, path, query, headers, self.body, self.is_base64_encoded)
    }

    fn rest_api(self) -> Option<Request<Bytes>> {
        let path = self.path.unwrap_or_default();
        // Where the stage stands in front of `path` in the context, it is not part of `path`: a first segment of
        // that name is the client's own then.
        let whole = self.request_context.path.unwrap_or_default();
        let apart =
            |stage: &&str| whole.strip_prefix('/').and_then(|rest| rest.strip_prefix(stage)) == Some(&path);
        let stage = self.request_context.stage.as_deref().filter(|stage| !apart(stage));
        let path = without_stage(&path, stage);
        let headers = of_both(self.headers, self.multi_value_headers);
        build(&self.http_method?, path, None, headers, self.body, self.is_base64_encoded)
    }

    fn load_balancer(self) -> Option<Request<Bytes>> {
        let path = self.path.unwrap_or_default();
        let headers = of_both(self.headers, self.multi_value_headers);
        build(&self.http_method?, &path, None, headers, self.body, self.is_base64_encoded)
    }
}

/// The lists hold every value; where there are none, the others hold one value each.
fn of_both(headers: Option<Headers>, lists: Option<Headers>) -> Headers {
    lists.filter(|lists| !lists.0.is_empty()).or(headers).unwrap_or_default()
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
    method: &str,
    path: &str,
    query: Option<&str>,
    headers: Headers,
    body: Option<String>,
    base64: Option<bool>,
) -> Option<Request<Bytes>> {
    let uri = match query {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    };
    let body = match body {
        None => Bytes::new(),
        Some(text) if base64.unwrap_or_default() => BASE64_STANDARD.decode(text).ok()?.into(),
        Some(text) => text.into(),
    };
    let mut request = Request::builder().method(method).uri(uri).body(body).ok()?;
    *request.headers_mut() = headers.0;
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

    #[test]
    fn a_field_of_another_type_is_malformed_and_keeps_its_sender() {
        for (field, value) in [("body", "5"), ("isBase64Encoded", "\"yes\""), ("headers", "[]")] {
            let event = format!(
                r#"{{"path": "/", "httpMethod": "GET", "requestContext": {{"stage": "v1"}}, "{field}": {value}}}"#
            );
            let refused = read(event.as_bytes()).unwrap_err();
            assert_eq!(refused, Unreadable::Malformed(Sender::RestApi), "{field}");
        }
    }

    #[test]
    fn what_is_null_is_absent() {
        let event = r#"{"path": "/v1/models", "httpMethod": "GET", "headers": {"x-a": "1"}, "multiValueHeaders": null,
            "queryStringParameters": null, "body": null, "isBase64Encoded": null, "requestContext": {"elb": {}}}"#;
        let (sender, request) = read(event.as_bytes()).unwrap();
        assert_eq!(sender, Sender::LoadBalancer { multi_value: false });
        assert_eq!(request.headers()["x-a"], "1");
        assert!(request.body().is_empty());
    }
}
