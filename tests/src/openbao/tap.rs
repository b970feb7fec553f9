//! A proxy that stands before the server, notes the calls and can fail them.

use std::sync::{Arc, Mutex, PoisonError};

use ::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use ::http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::server::{Body, Hangup, Server, full, json as json_answer};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes through.
    Through,
    /// It is answered with this status, without reaching the server.
    Status(u16),
    /// It reaches the server, and its answer is lost.
    AnswerLost,
    /// It does not reach the server; the connection breaks.
    Broken,
    /// It is answered with this status and this body, without reaching the server.
    Answer(u16, &'static str),
    /// It is answered with a success that is some proxy's page.
    Garbage,
    /// It is never answered.
    Silent,
}

/// Decides on a call by its method and its path.
type Judge = Box<dyn Fn(&Method, &str) -> Fate + Send + Sync>;

/// The running proxy.
#[derive(Debug)]
pub struct Tap {
    server: Server,
    state: Arc<State>,
}

struct State {
    target: String,
    client: legacy::Client<HttpConnector, Full<bytes::Bytes>>,
    calls: Mutex<Vec<(Method, String)>>,
    judge: Mutex<Judge>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Tap {
    /// Starts a proxy to `target` (`http://host:port`).
    pub async fn start(target: &str) -> Self {
        let state = Arc::new(State {
            target: target.to_owned(),
            client: legacy::Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            judge: Mutex::new(Box::new(|_, _| Fate::Through)),
        });
        let of_handler = Arc::clone(&state);
        let server =
            Server::start(move |request, hangup| forward(Arc::clone(&of_handler), request, hangup)).await;
        Self { server, state }
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How many calls came with this method and a path that holds `part`.
    #[must_use]
    pub fn calls(&self, method: &str, part: &str) -> usize {
        let calls = self.state.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|(used, path)| used.as_str() == method && path.contains(part)).count()
    }

    /// From now on, `judge` decides on every call by its method and path.
    pub fn judge(&self, judge: impl Fn(&Method, &str) -> Fate + Send + Sync + 'static) {
        *self.state.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }
}

async fn forward(state: Arc<State>, request: Request<Incoming>, hangup: Hangup) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let fate = {
        let judge = state.judge.lock().unwrap_or_else(PoisonError::into_inner);
        judge(&head.method, &path)
    };
    state.calls.lock().unwrap_or_else(PoisonError::into_inner).push((head.method.clone(), path));
    let answer_with = |status: u16, body: &'static str| {
        let mut answer = Response::new(full(body));
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        answer
    };
    match fate {
        Fate::Status(status) => {
            let status = StatusCode::from_u16(status).expect("a status");
            return json_answer(status, &json!({"errors": ["made by the test"]}));
        }
        Fate::Answer(status, body) => return answer_with(status, body),
        Fate::Garbage => return answer_with(200, "<html><body>It works! {\"value\": 12}</body></html>"),
        Fate::Silent => std::future::pending().await,
        Fate::Broken => hangup.now().await,
        Fate::Through | Fate::AnswerLost => {}
    }
    let Ok(body) = body.collect().await else {
        return json_answer(StatusCode::BAD_REQUEST, &json!({"errors": ["the body ended early"]}));
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("{}{path}", state.target).parse().expect("the target's address");
    for hop in [HOST, CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    let answer = state.client.request(Request::from_parts(head, Full::new(body.to_bytes()))).await;
    if fate == Fate::AnswerLost {
        hangup.now().await;
    }
    match answer {
        Ok(answer) => answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()),
        Err(error) => {
            let mut answer = Response::new(full(format!("{error:?}")));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}
