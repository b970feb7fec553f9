//! Answers → what the Runtime API takes: a stream with a prelude, or one JSON document.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use keyturn_config::ResponseMode;
use serde_json::{Map, Value, json};

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

/// A response as a stream: the prelude, then the body as it comes.
pub(super) fn streamed(response: Response<Body>) -> ReplyBody {
    let (head, body) = response.into_parts();
    let prelude =
        json!({"statusCode": head.status.as_u16(), "headers": joined(&head.headers), "cookies": []});
    let mut bytes = BytesMut::from(prelude.to_string().as_bytes());
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
    let (body, base64) = match std::str::from_utf8(&body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (BASE64_STANDARD.encode(&body), true),
    };
    let mut reply = json!({"statusCode": head.status.as_u16(), "body": body, "isBase64Encoded": base64});
    let headers = joined(&head.headers);
    match sender {
        Sender::LoadBalancer { multi_value: true } => {
            let lists = headers.into_iter().map(|(name, value)| (name, json!([value])));
            reply["multiValueHeaders"] = Value::Object(lists.collect());
        }
        Sender::LoadBalancer { multi_value: false } | Sender::RestApi => {
            reply["headers"] = Value::Object(headers);
        }
        Sender::FunctionUrl | Sender::HttpApi => {
            reply["headers"] = Value::Object(headers);
            // AWS can do without; `cargo lambda watch` cannot.
            reply["cookies"] = json!([]);
        }
    }
    if let Sender::LoadBalancer { .. } = sender {
        reply["statusDescription"] = json!(head.status.to_string());
    }
    ReplyBody { head: None, body: Body::Whole(reply.to_string().into()) }
}

/// The headers with one value each; repeated ones joined as HTTP allows.
fn joined(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys() {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        map.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    map
}

/// The body of the call to the Runtime API. The prelude goes out in one piece with the first bytes when they are
/// there, and they are: the pipeline holds the head back until then.
pub(super) struct ReplyBody {
    head: Option<BytesMut>,
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
        Poll::Ready(Some(Ok(Frame::data(head.freeze()))))
    }
}
