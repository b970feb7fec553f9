//! A service made up by a test: it notes what it is asked, answers as it is told, and can be made to fail.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::server::{Body, Hangup, Server, full, json};

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path, as it was sent: percent-encoded.
    pub path: String,
    /// The query, as it was sent; empty where there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// A header's text; empty where it is not.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What a service answers: a status, a kind and a body.
pub struct Answer(pub u16, pub &'static str, pub Bytes);

impl Answer {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self(status, "application/json", body.to_string().into())
    }

    /// A text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self(status, "text/plain", body.into())
    }
}

/// What happens to every call.
#[derive(Debug, Clone)]
pub enum Mishap {
    /// It is answered like this, whatever it asks.
    Status(u16, Value),
    /// The connection is broken off.
    Broken,
    /// It is answered with a success that is some proxy's page.
    Garbage,
    /// It is never answered.
    Silent,
}

/// The running service.
pub struct Fake {
    server: Server,
    state: Arc<State>,
}

struct State {
    answer: Box<dyn Fn(&Asked) -> Answer + Send + Sync>,
    asked: Mutex<Vec<Asked>>,
    mishap: Mutex<Option<Mishap>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Fake {
    /// Starts a service that answers like this.
    pub async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let state = State { answer: Box::new(answer), asked: Mutex::default(), mishap: Mutex::default() };
        let state = Arc::new(state);
        let handler_state = Arc::clone(&state);
        let server =
            Server::start(move |request, hangup| handle(Arc::clone(&handler_state), request, hangup)).await;
        Self { server, state }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every call so far, failed ones too.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state.asked).clone()
    }

    /// From now on every call fails like this; or none does.
    pub fn fail(&self, mishap: Option<Mishap>) {
        *lock(&self.state.mishap) = mishap;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handle(state: Arc<State>, request: Request<Incoming>, hangup: Hangup) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    lock(&state.asked).push(asked.clone());
    let mishap = lock(&state.mishap).clone();
    match mishap {
        None => respond((state.answer)(&asked)),
        Some(mishap) => mishap.befall(&hangup).await,
    }
}

impl Mishap {
    /// Lets it happen to a call.
    pub(crate) async fn befall(self, hangup: &Hangup) -> Response<Body> {
        match self {
            Self::Status(status, body) => json(status_of(status), &body),
            Self::Garbage => respond(Answer(
                200,
                "text/html",
                "<html><body>It works! {\"value\": 12}</body></html>".into(),
            )),
            Self::Silent => std::future::pending().await,
            Self::Broken => {
                hangup.now().await;
                std::future::pending().await
            }
        }
    }
}

fn respond(Answer(status, kind, body): Answer) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status_of(status);
    response.headers_mut().insert(::http::header::CONTENT_TYPE, ::http::HeaderValue::from_static(kind));
    response
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}
