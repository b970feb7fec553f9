//! Proxies that stand between a program under test and the services it calls, and fail it at one chosen call.
//!
//! Each call has two places to fail at: before the service has it, and after the service has done it. All proxies of
//! one [`Faults`] count their calls together, so that "the third call" is the third that the program makes, wherever
//! it goes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::header::{CONNECTION, TRANSFER_ENCODING};
use ::http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::sync::watch;

use crate::server::{Body, Hangup, Server, full, json as json_answer};

/// What happens to the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection breaks, and the service never hears of the call.
    CutBefore,
    /// The service does it, and the connection breaks before the answer.
    CutAfter,
    /// The service has too much to do: 429.
    TooMany,
    /// The service is out of order from this call on: 503.
    Outage,
    /// The program is to be ended before the service hears of the call.
    KillBefore,
    /// The program is to be ended when the service has done it.
    KillAfter,
    /// The answer never comes, and the program's time runs out: then the Lambda service ends it.
    TimeOut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CutBefore,
        Self::CutAfter,
        Self::TooMany,
        Self::Outage,
        Self::KillBefore,
        Self::KillAfter,
        Self::TimeOut,
    ];

    /// Whether whoever runs the program must end it when the fault comes.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter | Self::TimeOut)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CutBefore => "cut before",
            Self::CutAfter => "cut after",
            Self::TooMany => "429",
            Self::Outage => "503 from there on",
            Self::KillBefore => "killed before",
            Self::KillAfter => "killed after",
            Self::TimeOut => "timed out",
        })
    }
}

/// The proxies, and the fault that waits for its call.
#[derive(Debug)]
pub struct Faults {
    state: Arc<State>,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct State {
    client: legacy::Client<HttpConnector, Full<bytes::Bytes>>,
    inner: Mutex<Inner>,
    /// Rises with every fatal fault.
    fatal: watch::Sender<u32>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many calls came since the last [`Faults::count`].
    calls: u32,
    /// How many calls still go through, and what happens then.
    armed: Option<(u32, Fault)>,
    /// What an outage began with.
    out: bool,
    /// Where the fault came.
    hit: Option<String>,
    /// Every place where one came, with its kind.
    places: BTreeSet<(String, Fault)>,
}

impl Default for Faults {
    fn default() -> Self {
        let state = State {
            client: legacy::Client::builder(TokioExecutor::new()).build_http(),
            inner: Mutex::default(),
            fatal: watch::Sender::new(0),
        };
        Self { state: Arc::new(state), servers: Vec::new() }
    }
}

impl Faults {
    /// Puts a proxy before `target` (`http://host:port`), which reports call it `name`; returns its own address.
    pub async fn before(&mut self, name: &'static str, target: &str) -> String {
        let (state, target) = (Arc::clone(&self.state), target.to_owned());
        let server = Server::start(move |request, hangup| {
            forward(Arc::clone(&state), name, target.clone(), request, hangup)
        });
        let server = server.await;
        let url = server.url();
        self.servers.push(server);
        url
    }

    /// Lets `calls` more calls through; then `fault` comes, once.
    pub fn arm(&self, calls: u32, fault: Fault) {
        let mut inner = self.state.inner();
        (inner.armed, inner.hit, inner.out) = (Some((calls, fault)), None, false);
    }

    /// Ends whatever was armed; where the fault came, if it did.
    pub fn disarm(&self) -> Option<String> {
        let mut inner = self.state.inner();
        (inner.armed, inner.out) = (None, false);
        inner.hit.take()
    }

    /// How many calls came since this was asked last.
    pub fn count(&self) -> u32 {
        std::mem::take(&mut self.state.inner().calls)
    }

    /// Waits for a fault at which the program is to be ended. Call it before the program's call begins.
    pub fn fatal(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut fatal = self.state.fatal.subscribe();
        async move {
            if fatal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Every place where a fault came so far, with its kind.
    #[must_use]
    pub fn places(&self) -> BTreeSet<(String, Fault)> {
        self.state.inner().places.clone()
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen to a call that has just come.
    fn judge(&self, place: String) -> Option<Fault> {
        let mut inner = self.inner();
        inner.calls += 1;
        if inner.out {
            return Some(Fault::Outage);
        }
        match &mut inner.armed {
            None => None,
            Some((0, fault)) => {
                let fault = *fault;
                inner.armed = None;
                inner.out = fault == Fault::Outage;
                inner.places.insert((place.clone(), fault));
                inner.hit = Some(place);
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
        }
    }
}

/// What a call is for: the operation of an AWS call, or the method and the path without what differs each time.
fn purpose(request: &request::Parts, body: &[u8]) -> String {
    let target = request.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    if let Some(operation) = target.and_then(|target| target.rsplit('.').next()) {
        return operation.to_owned();
    }
    let body = String::from_utf8_lossy(body);
    if let Some(action) = body.split('&').find_map(|pair| pair.strip_prefix("Action=")) {
        return action.to_owned();
    }
    let is_word =
        |part: &&str| part.len() < 20 && !part.contains(|c: char| c.is_ascii_digit() && part.len() > 3);
    let path: Vec<&str> = request.uri.path().split('/').filter(is_word).collect();
    format!("{} {}", request.method, path.join("/"))
}

async fn forward(
    state: Arc<State>,
    name: &'static str,
    target: String,
    request: Request<Incoming>,
    hangup: Hangup,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Response::new(full(""));
    };
    let fault = state.judge(format!("{name} {}", purpose(&head, &body)));
    let end = async || {
        state.fatal.send_modify(|count| *count += 1);
        std::future::pending::<()>().await;
    };
    let refusal = |status: StatusCode| json_answer(status, &json!({"error": {"code": "made_by_the_test"}}));
    match fault {
        Some(Fault::CutBefore) => hangup.now().await,
        Some(Fault::TooMany) => return refusal(StatusCode::TOO_MANY_REQUESTS),
        Some(Fault::Outage) => return refusal(StatusCode::SERVICE_UNAVAILABLE),
        Some(Fault::KillBefore) => end().await,
        None | Some(Fault::CutAfter | Fault::KillAfter | Fault::TimeOut) => {}
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("{target}{path}").parse().expect("the target's address");
    // The host stays: signatures hold it.
    for hop in [CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    let answer = state.client.request(Request::from_parts(head, Full::new(body))).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let mut answer = Response::new(full(format!("{error:?}")));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            return answer;
        }
    };
    // All of it, so that the service has surely done its work.
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else {
        return refusal(StatusCode::BAD_GATEWAY);
    };
    match fault {
        Some(Fault::CutAfter) => hangup.now().await,
        Some(Fault::KillAfter | Fault::TimeOut) => end().await,
        _ => {}
    }
    Response::from_parts(head, full(body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;
    use crate::upstream::Upstream;
    use ::http::Method;

    #[tokio::test]
    async fn the_chosen_call_fails_before_or_after_its_effect_and_the_others_do_not() {
        let upstream = Upstream::start(&["k"]).await;
        let mut faults = Faults::default();
        let url = faults.before("upstream", &upstream.url()).await;
        // A client of its own each time: a broken connection is not used again.
        let ask = async || {
            let answer = Client::default().open(Method::GET, &format!("{url}/v1/models"), &[], "").await;
            answer.map(|answer| answer.status).ok()
        };
        for (fault, answered, arrives) in [
            (Fault::CutBefore, None, 0),
            (Fault::CutAfter, None, 1),
            (Fault::TooMany, Some(429), 0),
            (Fault::Outage, Some(503), 0),
        ] {
            let before = upstream.count();
            faults.arm(1, fault);
            assert_eq!(ask().await, Some(401), "{fault}");
            assert_eq!(ask().await, answered, "{fault}");
            let again = if fault == Fault::Outage { Some(503) } else { Some(401) };
            assert_eq!(ask().await, again, "{fault}");
            let others = if fault == Fault::Outage { 1 } else { 2 };
            assert_eq!(upstream.count() - before, others + arrives, "{fault}");
            assert_eq!(faults.disarm().as_deref(), Some("upstream GET /v1/models"));
            assert_eq!(ask().await, Some(401), "{fault}");
        }
        for fault in [Fault::KillBefore, Fault::KillAfter, Fault::TimeOut] {
            faults.arm(0, fault);
            let fatal = faults.fatal();
            tokio::select! {
                answer = ask() => panic!("{fault}: {answer:?}"),
                () = fatal => {}
            }
        }
        assert!(faults.count() > 0 && faults.count() == 0);
        assert_eq!(faults.places().len(), 7);
        assert!(faults.disarm().is_some() && faults.disarm().is_none());
    }
}
