//! A service on a local port: a function, with faults before it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Request, Response, StatusCode};
use keyturn_tests::server::{Body, Hangup, Server, full};
use serde_json::{Map, Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// The method.
    pub(crate) method: String,
    /// The path as it was sent, without the query.
    pub(crate) path: String,
    /// The query's parameters, decoded.
    pub(crate) query: BTreeMap<String, String>,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    /// `POST /keys`: for a `match`.
    pub(crate) fn what(&self) -> (&str, &str) {
        (&self.method, &self.path)
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The bearer token.
    pub(crate) fn bearer(&self) -> &str {
        self.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
    }

    /// The body, which must be a JSON object with none but these fields.
    pub(crate) fn object(&self, allowed: &[&str]) -> Result<Map<String, Value>, Reply> {
        let wrong =
            |what: String| Reply::json(400, &json!({"error": {"message": what, "code": "invalid_body"}}));
        if self.header("content-type") != "application/json" {
            return Err(wrong("content-type".to_owned()));
        }
        let Ok(Value::Object(body)) = serde_json::from_slice(&self.body) else {
            return Err(wrong("no object".to_owned()));
        };
        match body.keys().find(|field| !allowed.contains(&field.as_str())) {
            Some(field) => Err(wrong(format!("unknown field {field}"))),
            None => Ok(body),
        }
    }

    /// The body as a form, decoded.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// What looks like a credential in it: the headers that carry one.
    fn credentials(&self) -> Vec<String> {
        let names = ["authorization", "x-api-key", "api-key", "x-vault-token", "x-goog-api-key"];
        let found = names.iter().map(|name| self.header(name).trim_start_matches("Bearer ").to_owned());
        found.filter(|text| !text.is_empty()).collect()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A JSON answer.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self { status, body: value.to_string().into_bytes() }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, body: Vec::new() }
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The answer has this status, and repeats in every field what it was sent.
    Status(u16),
    /// The answer is this.
    Reply(Reply),
    /// The answer is a success and no JSON.
    Garbage,
    /// The answer is a success and has none of the documented fields.
    Empty,
    /// The connection is cut, and nothing is done.
    Cut,
    /// It is done, and the connection is cut before the answer.
    Lost,
}

/// A service: what it does with a request, and what goes wrong.
pub(crate) struct Fake {
    server: Server,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// For the next requests, one each; `None` = nothing goes wrong.
    next: VecDeque<Option<Fault>>,
    /// For all after those.
    always: Option<Fault>,
    log: Vec<Arrived>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    /// Starts it.
    pub(crate) async fn start(handler: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let (state, handler) = (Arc::clone(&inner), Arc::new(handler));
        let server = Server::start(move |request, hangup| {
            let (state, handler) = (Arc::clone(&state), Arc::clone(&handler));
            async move { serve(&state, &*handler, request, hangup).await }
        })
        .await;
        Self { server, inner }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// What goes wrong with the request after `skip` further ones.
    pub(crate) fn fail(&self, skip: usize, fault: Fault) {
        let mut inner = lock(&self.inner);
        inner.next.extend(std::iter::repeat_n(None, skip));
        inner.next.push_back(Some(fault));
    }

    /// What goes wrong with every request from now on.
    pub(crate) fn always(&self, fault: Option<Fault>) {
        lock(&self.inner).always = fault;
    }

    /// The requests since the last call of this.
    pub(crate) fn take_log(&self) -> Vec<Arrived> {
        std::mem::take(&mut lock(&self.inner).log)
    }
}

async fn serve(
    state: &Mutex<Inner>,
    handler: &(dyn Fn(&Arrived) -> Reply + Send + Sync),
    request: Request<hyper::body::Incoming>,
    hangup: Hangup,
) -> Response<Body> {
    use http_body_util::BodyExt as _;
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let query =
        form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let arrived = Arrived {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query,
        headers: head.headers,
        body,
    };
    let fault = {
        let mut inner = lock(state);
        inner.log.push(arrived.clone());
        inner.next.pop_front().unwrap_or_else(|| inner.always.clone())
    };
    let reply = match fault {
        None => handler(&arrived),
        Some(Fault::Reply(reply)) => reply,
        Some(Fault::Status(status)) => echo(status, &arrived),
        Some(Fault::Garbage) => Reply { status: 200, body: [b"{\"", arrived.body.as_slice()].concat() },
        Some(Fault::Empty) => Reply::json(200, &json!({"surprise": arrived.credentials()})),
        Some(Fault::Cut) => {
            hangup.now().await;
            Reply::empty(500)
        }
        Some(Fault::Lost) => {
            handler(&arrived);
            hangup.now().await;
            Reply::empty(500)
        }
    };
    let mut response = Response::new(full(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// An error that repeats all it was sent, in every place where a service may name its error.
fn echo(status: u16, arrived: &Arrived) -> Reply {
    let credential = arrived.credentials().first().cloned().unwrap_or_default();
    let body = String::from_utf8_lossy(&arrived.body).into_owned();
    let error = json!({"message": body, "type": credential, "code": credential, "status": credential});
    Reply::json(
        status,
        &json!({"error": error, "code": credential, "type": credential, "message": credential}),
    )
}
