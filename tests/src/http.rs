//! A plain HTTP/1 client for tests: no TLS, no redirects, no retries, and bodies chunk by chunk.

use ::http::{HeaderMap, Method, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::within;

/// The client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer whose body is still on its way. Dropping it closes the connection, as a client that goes away.
#[derive(Debug)]
pub struct Streaming {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

/// The connection failed, or was closed in the middle of an answer.
#[derive(Debug)]
pub struct Broken(pub String);

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Client {
    /// Sends a request and returns when the headers are here.
    ///
    /// # Errors
    ///
    /// When the connection fails before there is an answer.
    ///
    /// # Panics
    ///
    /// When the URL or a header is not valid.
    pub async fn open(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Streaming, Broken> {
        within(&format!("an answer from {url}"), self.open_for_long(method, url, headers, body)).await
    }

    /// As [`Self::open`], for an answer that may take longer than [`crate::GUARD`].
    ///
    /// # Errors
    ///
    /// When the connection fails before there is an answer.
    ///
    /// # Panics
    ///
    /// When the URL or a header is not valid.
    pub async fn open_for_long(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Streaming, Broken> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a valid request");
        let response = self.0.request(request).await.map_err(|error| Broken(format!("{error:?}")))?;
        let (head, body) = response.into_parts();
        Ok(Streaming { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Panics
    ///
    /// When the connection fails.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let answer = match self.open(method, url, headers, body).await {
            Ok(streaming) => streaming.collect().await,
            Err(broken) => Err(broken),
        };
        answer.unwrap_or_else(|Broken(why)| panic!("no answer from {url}: {why}"))
    }

    /// `GET`s a whole answer.
    ///
    /// # Panics
    ///
    /// When the connection fails.
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, url, headers, Bytes::new()).await
    }

    /// `POST`s JSON and reads the whole answer. `key`, if given, goes as a bearer token.
    ///
    /// # Panics
    ///
    /// When the connection fails.
    pub async fn post_json(&self, url: &str, key: Option<&str>, body: &Value) -> Answer {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        self.send(Method::POST, url, &headers, body.to_string()).await
    }
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    /// A header's value, the empty string when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Streaming {
    /// The next piece of the body as it arrives, `None` at its proper end.
    ///
    /// # Errors
    ///
    /// When the connection is cut before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            match within("the next chunk of a body", self.body.frame()).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Broken(format!("{error:?}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Reads until the bytes read so far contain `text`; returns them.
    ///
    /// # Panics
    ///
    /// When the body ends before.
    pub async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.chunk().await {
                Ok(Some(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                end => panic!("the body ended ({end:?}) without {text:?} in: {seen}"),
            }
        }
        seen
    }

    /// Reads the rest.
    ///
    /// # Errors
    ///
    /// When the connection is cut before the end.
    pub async fn collect(mut self) -> Result<Answer, Broken> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: self.status, headers: self.headers, body: body.freeze() })
    }
}

/// The `data:` values of a server-sent event stream, in order.
#[must_use]
pub fn sse_data(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| data.trim().to_owned()).collect()
}
