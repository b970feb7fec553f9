//! How the upstream treats one request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Semaphore;

use super::Watched;
use crate::server::{Body, full};

/// A gate that the test holds. What waits at it goes on when the test lets it pass.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets `count` waiters pass, now or when they come.
    pub fn release(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everyone pass from now on.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until let through.
    pub async fn pass(&self) {
        // An error means that the gate stands open.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// A part of a scripted body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes, sent as one chunk.
    Bytes(Bytes),
    /// Wait at the gate.
    Wait(Gate),
    /// Let this time pass: for measurements, since tests have gates.
    Pause(Duration),
    /// Close the connection without ending the body.
    Cut,
}

/// How the upstream treats one request.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// A good answer.
    Ordinary,
    /// A fixed answer.
    Reply {
        /// The status code.
        status: u16,
        /// The headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// Wait at the gate before the head of the answer, then do the other.
    Wait(Gate, Box<Self>),
    /// Let this time pass before the head of the answer, then do the other: for measurements, since tests have
    /// gates.
    Late(Duration, Box<Self>),
    /// A good answer whose every chunk waits at the gate.
    Paced(Gate),
    /// The first chunks of a good answer, then a proper end of the body.
    Truncated(usize),
    /// The first chunks of a good answer, then a closed connection.
    Cut(usize),
    /// 200 with this content type and this body.
    Stream(String, Vec<Piece>),
    /// An error in this status whose message repeats the key it was called with.
    EchoKey(u16),
    /// A stream, of these pieces first, that ends with an error event whose message repeats the key. Both
    /// formats take the event for an error.
    EchoKeyInStream(Vec<Piece>),
}

impl Behaviour {
    /// An answer that never comes, unless the gate is opened.
    #[must_use]
    pub fn hang(gate: &Gate) -> Self {
        Self::Wait(gate.clone(), Box::new(Self::Ordinary))
    }

    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Reply { status, headers, body: body.to_string().into() }
    }

    /// The HTML page of a load balancer in trouble.
    #[must_use]
    pub fn html(status: u16) -> Self {
        let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
        let body = "<html><head><title>Bad gateway</title></head><body>cloud trouble</body></html>";
        Self::Reply { status, headers, body: body.into() }
    }

    /// A server that has too much to do, in OpenAI's words, without a word of when to come back.
    #[must_use]
    pub fn overloaded() -> Self {
        let error = serde_json::json!({
            "message": "The server is overloaded.",
            "type": "server_error",
            "param": null,
            "code": "overloaded",
        });
        Self::json(503, &serde_json::json!({"error": error}))
    }

    /// OpenAI's rate limit error, with its headers.
    #[must_use]
    pub fn rate_limited() -> Self {
        let body = serde_json::json!({"error": {
            "message": "Rate limit reached for requests",
            "type": "requests",
            "param": null,
            "code": "rate_limit_exceeded",
        }});
        let headers =
            [("content-type", "application/json"), ("retry-after", "7"), ("x-ratelimit-limit-requests", "3")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self::Reply { status: 429, headers, body: body.to_string().into() }
    }

    /// An event stream of what is not server-sent events at all.
    #[must_use]
    pub fn garbage_sse() -> Self {
        let pieces = [
            &b"data: {\"choices\": [{\n\n"[..],
            b"data: \xff\xfe\x00\n\n",
            b"\n: \nnonsense\n\ndata: 12\n\n",
        ];
        let pieces = pieces.map(|piece| Piece::Bytes(Bytes::from_static(piece))).to_vec();
        Self::Stream("text/event-stream".to_owned(), pieces)
    }
}

/// An answer before it is sent: a stream's chunks one by one.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) chunks: Vec<Bytes>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        let chunks = vec![Bytes::from(body.to_string())];
        Self { status, content_type: "application/json", headers: Vec::new(), chunks }
    }

    pub(super) fn whole(&self) -> Response<Body> {
        self.respond(full(self.chunks.concat()))
    }

    fn respond(&self, body: Body) -> Response<Body> {
        let mut response = Response::builder().status(self.status).header("content-type", self.content_type);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        response.body(body).expect("valid headers")
    }

    fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.chunks.iter().cloned().map(Piece::Bytes)
    }
}

/// Treats one request as scripted. `ordinary` makes the good answer.
pub(super) async fn play(
    mut behaviour: Behaviour,
    ordinary: impl Fn() -> Answer,
    key: &str,
    watched: Watched,
) -> Response<Body> {
    loop {
        behaviour = match behaviour {
            Behaviour::Wait(gate, then) => {
                gate.pass().await;
                *then
            }
            Behaviour::Late(time, then) => {
                tokio::time::sleep(time).await;
                *then
            }
            now => {
                behaviour = now;
                break;
            }
        };
    }
    if let Behaviour::EchoKeyInStream(mut pieces) = behaviour {
        let message = format!("The request with the API key {key} broke off");
        let error = serde_json::json!({"type": "error", "error": {"type": "api_error", "message": message}});
        pieces.push(Piece::Bytes(format!("event: error\ndata: {error}\n\n").into()));
        behaviour = Behaviour::Stream("text/event-stream".to_owned(), pieces);
    }
    let behaviour = match behaviour {
        Behaviour::Stream(content_type, pieces) => {
            let response = Response::builder().header("content-type", content_type);
            return response.body(scripted(pieces, watched)).expect("a valid content type");
        }
        Behaviour::Reply { status, headers, body } => {
            watched.complete();
            return reply(status, &headers, body);
        }
        Behaviour::EchoKey(status) => {
            watched.complete();
            let message = format!("The request with the API key {key} could not be processed");
            let body =
                serde_json::json!({"error": {"message": message, "type": key, "param": key, "code": key}});
            let headers = [("content-type".to_owned(), "application/json".to_owned())];
            return reply(status, &headers, body.to_string().into());
        }
        good => good,
    };
    let good = ordinary();
    let pieces: Vec<Piece> = match behaviour {
        Behaviour::Paced(gate) => {
            good.pieces().flat_map(|piece| [Piece::Wait(gate.clone()), piece]).collect()
        }
        Behaviour::Truncated(count) => good.pieces().take(count).collect(),
        Behaviour::Cut(count) => good.pieces().take(count).chain([Piece::Cut]).collect(),
        _ => good.pieces().collect(),
    };
    if matches!(pieces.as_slice(), [Piece::Bytes(_)]) {
        watched.complete();
        return good.whole();
    }
    good.respond(scripted(pieces, watched))
}

fn reply(status: u16, headers: &[(String, String)], body: Bytes) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(full(body)).expect("a valid scripted answer")
}

fn scripted(pieces: Vec<Piece>, watched: Watched) -> Body {
    let chunks = stream::unfold((pieces.into_iter(), watched), |(mut pieces, mut watched)| async move {
        loop {
            match pieces.next() {
                None => {
                    watched.complete();
                    return None;
                }
                Some(Piece::Wait(gate)) => gate.pass().await,
                Some(Piece::Pause(time)) => tokio::time::sleep(time).await,
                Some(Piece::Bytes(bytes)) => return Some((Ok(Frame::data(bytes)), (pieces, watched))),
                Some(Piece::Cut) => {
                    // One turn for the server to send what it holds before it meets the error.
                    tokio::task::yield_now().await;
                    watched.complete = true;
                    return Some((Err(io::Error::other("cut by the test")), (pieces, watched)));
                }
            }
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}
