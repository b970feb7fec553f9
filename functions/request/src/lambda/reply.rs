//! Answers → what the Runtime API takes: a stream with a prelude, or one JSON document.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use keyturn_config::ResponseMode;
use serde::{Serialize, Serializer};

use super::event::Sender;
use crate::answer::Body;

/// What ends the prelude of a streamed response
/// (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming).
const PRELUDE_END: [u8; 8] = [0; 8];

/// Whether an answer to `sender` is streamed. HTTP APIs and load balancers cannot.
pub(super) fn streams(mode: ResponseMode, sender: Sender) -> bool {
    match mode {
        ResponseMode::Streaming => true,
        ResponseMode::Buffered => false,
        ResponseMode::Auto => matches!(sender, Sender::FunctionUrl | Sender::RestApi),
    }
}

/// Bytes of a prelude, from above.
const USUAL_PRELUDE: usize = 1024;

/// Bytes of a short answer, or of a stream's first events.
const SHORT_BODY: usize = 2048;

/// What a reply says besides its body; of the optional members each sender has its own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Joined<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<Lists<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_base64_encoded: Option<bool>,
}

impl<'a> Reply<'a> {
    fn new(head: &Parts) -> Self {
        Self {
            status_code: head.status.as_u16(),
            status_description: None,
            headers: None,
            multi_value_headers: None,
            cookies: None,
            body: None,
            is_base64_encoded: None,
        }
    }

    /// Its JSON, with room for `more` bytes.
    fn into_bytes(self, more: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_PRELUDE + more);
        // Nothing here is a map with other keys than strings, and memory does not fail to be written to.
        let _ = serde_json::to_writer(&mut bytes, &self);
        bytes
    }
}

/// A response as a stream: the prelude, then the body as it comes.
pub(super) fn streamed(response: Response<Body>) -> ReplyBody {
    let (head, body) = response.into_parts();
    let prelude = Reply { headers: Some(Joined(&head.headers)), cookies: Some([]), ..Reply::new(&head) };
    // A short body goes out in one piece with it.
    let mut bytes = prelude.into_bytes(SHORT_BODY);
    bytes.extend_from_slice(&PRELUDE_END);
    ReplyBody { head: Some(bytes), body }
}

/// A response as the JSON document that `sender` expects.
pub(super) async fn buffered(response: Response<Body>, sender: Sender) -> ReplyBody {
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    };
    let encoded;
    let (text, base64) = match std::str::from_utf8(&body) {
        Ok(text) => (text, false),
        Err(_) => {
            encoded = BASE64_STANDARD.encode(&body);
            (encoded.as_str(), true)
        }
    };
    let mut reply = Reply { body: Some(text), is_base64_encoded: Some(base64), ..Reply::new(&head) };
    match sender {
        Sender::LoadBalancer { multi_value: true } => reply.multi_value_headers = Some(Lists(&head.headers)),
        Sender::LoadBalancer { multi_value: false } | Sender::RestApi => {
            reply.headers = Some(Joined(&head.headers));
        }
        Sender::FunctionUrl | Sender::HttpApi => {
            reply.headers = Some(Joined(&head.headers));
            // AWS can do without; `cargo lambda watch` cannot.
            reply.cookies = Some([]);
        }
    }
    if let Sender::LoadBalancer { .. } = sender {
        reply.status_description = Some(head.status.to_string());
    }
    // Quotes and newlines in it are escaped.
    let bytes = reply.into_bytes(text.len() + text.len() / 8);
    ReplyBody { head: None, body: Body::Whole(bytes.into()) }
}

/// The headers with one value each; repeated ones joined as HTTP allows.
struct Joined<'a>(&'a HeaderMap);

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name.as_str(), joined(self.0, name))))
    }
}

/// The headers with a list each, as load balancers want them; the list has the one joined value.
struct Lists<'a>(&'a HeaderMap);

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name.as_str(), [joined(self.0, name)])))
    }
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next().unwrap_or_default();
    values.fold(first, |all, value| Cow::Owned(format!("{all}, {value}")))
}

/// The body of the call to the Runtime API. The prelude goes out in one piece with the first bytes when they are
/// there, and they are: the pipeline holds the head back until then.
pub(super) struct ReplyBody {
    head: Option<Vec<u8>>,
    body: Body,
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Some(mut head) = self.head.take() else { return polled };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    head.extend_from_slice(&data);
                }
            }
            // An ended body is polled again and says so again.
            Poll::Ready(None) | Poll::Pending => {}
            Poll::Ready(Some(Err(never))) => match never {},
        }
        Poll::Ready(Some(Ok(Frame::data(head.into()))))
    }
}
