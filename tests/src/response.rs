//! What a function answered to an HTTP event, in one shape: buffered (the JSON object of a proxy integration)
//! or streamed (a metadata prelude, eight NUL bytes, then the body as it comes).
//!
//! Sources: "Working with HTTP APIs / Lambda proxy integrations" and "Custom runtimes: response streaming" in
//! the AWS documentation.

use std::fmt;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::within;

/// How the function answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One JSON object with the whole answer.
    Buffered,
    /// A prelude and a stream.
    Streamed,
}

/// An invocation, an initialisation or a stream that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// The error's type, such as `Runtime.ExitError`.
    pub kind: String,
    /// What the function said about it.
    pub message: String,
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl FunctionError {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into() }
    }
}

/// A piece of the body.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The bytes.
    pub bytes: Bytes,
    /// How long after the function received the event they arrived.
    pub after: Duration,
}

/// What arrives after the head.
pub(crate) type Piece = Result<Chunk, FunctionError>;

/// An answer whose body may still be on its way. Dropping it is a client that goes away: the function's
/// connection to the Runtime API is closed.
#[derive(Debug)]
pub struct Response {
    /// How the function answered.
    pub mode: Mode,
    /// The status code.
    pub status: u16,
    /// The headers; each cookie is a `set-cookie`.
    pub headers: HeaderMap,
    pub(crate) pieces: mpsc::UnboundedReceiver<Piece>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Whole {
    /// How the function answered.
    pub mode: Mode,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it arrived.
    pub chunks: Vec<Chunk>,
    /// What broke the stream off, if anything did.
    pub error: Option<FunctionError>,
}

impl Response {
    /// The next piece of the body, `None` at its end.
    ///
    /// # Errors
    ///
    /// When the function reports an error in the middle of the stream, or the stream breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Chunk>, FunctionError> {
        within("the next chunk of a function's answer", self.pieces.recv()).await.transpose()
    }

    /// Reads the rest.
    pub async fn collect(mut self) -> Whole {
        let mut chunks = Vec::new();
        let error = loop {
            match self.chunk().await {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        Whole { mode: self.mode, status: self.status, headers: self.headers, chunks, error }
    }
}

impl Whole {
    /// The body in one piece.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let mut body = BytesMut::new();
        for chunk in &self.chunks {
            body.extend_from_slice(&chunk.bytes);
        }
        body.freeze()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body())
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    /// A header's value, the empty string when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
}

/// Reads the JSON object of a proxy integration: its head and its body.
pub(crate) fn buffered(answer: &[u8]) -> Result<(Head, Bytes), String> {
    let answer: Value = serde_json::from_slice(answer).map_err(|error| format!("not JSON: {error}"))?;
    let head = head(&answer)?;
    let body = answer["body"].as_str().unwrap_or_default();
    let body = if answer["isBase64Encoded"].as_bool().unwrap_or_default() {
        BASE64_STANDARD.decode(body).map_err(|error| format!("a body that is not base64: {error}"))?.into()
    } else {
        Bytes::copy_from_slice(body.as_bytes())
    };
    Ok((head, body))
}

/// The eight NUL bytes between the prelude and the body.
const DELIMITER: [u8; 8] = [0; 8];

/// Takes the prelude off the front of a stream, once all of it is there.
pub(crate) fn prelude(stream: &mut BytesMut) -> Option<Result<Head, String>> {
    let end = stream.windows(DELIMITER.len()).position(|window| window == DELIMITER)?;
    let prelude = stream.split_to(end);
    let _ = stream.split_to(DELIMITER.len());
    let prelude = serde_json::from_slice::<Value>(&prelude).map_err(|error| format!("prelude: {error}"));
    Some(prelude.and_then(|prelude| head(&prelude)))
}

fn head(answer: &Value) -> Result<Head, String> {
    let status = answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.ok_or_else(|| format!("no statusCode in {answer}"))?;
    let mut headers = HeaderMap::new();
    let empty = Map::new();
    let single = answer["headers"].as_object().unwrap_or(&empty);
    let multiple = answer["multiValueHeaders"].as_object().unwrap_or(&empty);
    let cookies = answer["cookies"].as_array().map(Vec::as_slice).unwrap_or_default();
    // As API Gateway merges the two: a name in both has the values of the second.
    let single = single.iter().filter(|(name, _)| !multiple.contains_key(*name));
    for (name, value) in single.chain(multiple) {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            append(&mut headers, name, value)?;
        }
    }
    for cookie in cookies {
        append(&mut headers, "set-cookie", cookie)?;
    }
    Ok(Head { status, headers })
}

fn append(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), String> {
    let bad = || format!("the header {name}: {value} is not valid");
    let name = HeaderName::try_from(name).map_err(|_| bad())?;
    let value = value.as_str().map(HeaderValue::from_str).and_then(Result::ok).ok_or_else(bad)?;
    headers.append(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffered_answer_is_decoded() {
        let answer = br#"{"statusCode":201,"headers":{"a":"0","b":"1"},
            "multiValueHeaders":{"b":["2","3"]},"cookies":["c=1"],"body":"aGk=","isBase64Encoded":true}"#;
        let (head, body) = buffered(answer).unwrap();
        assert_eq!((head.status, &body[..]), (201, &b"hi"[..]));
        let values: Vec<_> = head.headers.get_all("b").iter().collect();
        assert_eq!(values, ["2", "3"]);
        assert_eq!(head.headers["a"], "0");
        assert_eq!(head.headers["set-cookie"], "c=1");
    }

    #[test]
    fn an_answer_without_a_status_is_refused() {
        assert!(buffered(br#"{"body":"x"}"#).is_err());
        assert!(buffered(b"plain").is_err());
        assert!(buffered(br#"{"statusCode":200,"headers":{"x":"a\nb"}}"#).is_err());
    }

    #[test]
    fn a_prelude_ends_at_the_eighth_nul() {
        let mut stream = BytesMut::from(&b"{\"statusCode\":200,\"headers\":{}}\0\0\0\0\0\0\0"[..]);
        assert!(prelude(&mut stream).is_none());
        stream.extend_from_slice(b"\0rest");
        assert_eq!(prelude(&mut stream).unwrap().unwrap().status, 200);
        assert_eq!(&stream[..], b"rest");
    }
}
