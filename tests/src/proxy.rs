//! A proxy that stands before an AWS service, counts the calls, can fail in several ways and can deny access.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use ::http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::fake::Mishap;
use crate::server::{Body, Hangup, Server, full, json as json_answer};

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: String,
    client: legacy::Client<HttpConnector, Full<bytes::Bytes>>,
    calls: Mutex<BTreeMap<String, u64>>,
    /// The body of the last call of each operation.
    last: Mutex<BTreeMap<String, bytes::Bytes>>,
    down: AtomicBool,
    mishap: Mutex<Option<Mishap>>,
    /// What a call must name to be denied.
    denied: Mutex<Option<String>>,
}

impl Proxy {
    /// Starts a proxy to `target` (`http://host:port`).
    pub async fn start(target: &str) -> Self {
        let state = Arc::new(State {
            target: target.to_owned(),
            client: legacy::Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            last: Mutex::default(),
            down: AtomicBool::new(false),
            mishap: Mutex::default(),
            denied: Mutex::default(),
        });
        let handler_state = Arc::clone(&state);
        let server =
            Server::start(move |request, hangup| forward(Arc::clone(&handler_state), request, hangup)).await;
        Self { server, state }
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How many calls of one operation (the last part of `X-Amz-Target`, such as `GetSecretValue`) came.
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        self.state.calls().get(operation).copied().unwrap_or_default()
    }

    /// What the last call of one operation said.
    #[must_use]
    pub fn last(&self, operation: &str) -> Option<serde_json::Value> {
        let last = self.state.last.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::from_slice(last.get(operation)?).ok()
    }

    /// How many calls came in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.state.calls().values().sum()
    }

    /// While down, every call is answered 503, and counted.
    pub fn outage(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// From now on every call fails like this, and is counted; or none does.
    pub fn fail(&self, mishap: Option<Mishap>) {
        *self.state.mishap.lock().unwrap_or_else(PoisonError::into_inner) = mishap;
    }

    /// From now on, every call whose body holds `name` is answered as IAM does when no policy allows it, and
    /// counted.
    pub fn deny(&self, name: &str) {
        *self.state.denied() = Some(name.to_owned());
    }
}

impl State {
    fn calls(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn denied(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn denies(&self, body: &[u8]) -> bool {
        let body = String::from_utf8_lossy(body);
        self.denied().as_deref().is_some_and(|name| body.contains(name))
    }
}

async fn forward(state: Arc<State>, request: Request<Incoming>, hangup: Hangup) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    *state.calls().entry(operation.clone()).or_default() += 1;
    if state.down.load(Ordering::SeqCst) {
        return json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"__type": "ServiceUnavailable", "message": "out of service"}),
        );
    }
    let mishap = state.mishap.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(mishap) = mishap {
        return mishap.befall(&hangup).await;
    }
    let Ok(body) = body.collect().await else {
        return json_answer(StatusCode::BAD_REQUEST, &json!({"message": "the request body ended early"}));
    };
    let body = body.to_bytes();
    state.last.lock().unwrap_or_else(PoisonError::into_inner).insert(operation.clone(), body.clone());
    if state.denies(&body) {
        let message = format!(
            "User is not authorized to perform: {operation} because no identity-based policy allows it"
        );
        let refusal = json!({"__type": "AccessDeniedException", "Message": message});
        return json_answer(StatusCode::BAD_REQUEST, &refusal);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("{}{path}", state.target).parse().expect("the target's address");
    for hop in [HOST, CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    match state.client.request(Request::from_parts(head, Full::new(body))).await {
        Ok(response) => response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()),
        Err(error) => {
            let mut response = Response::new(full(format!("{error:?}")));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
