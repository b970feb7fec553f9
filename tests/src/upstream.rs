//! A fake upstream: OpenAI's and Anthropic's chat endpoints on one loopback port, with a live key list,
//! scripted misbehaviour, a log of what it was asked, and an eye on clients that hang up.
//!
//! | path | key in |
//! |---|---|
//! | `POST /v1/chat/completions` | `authorization: Bearer …` |
//! | `POST /v1/messages` | `x-api-key` or `authorization: Bearer …`; `anthropic-version` is required |
//! | `GET /v1/models`, `GET /openai/models` | either, or `api-key`; Anthropic's shape when `anthropic-version` is sent |
//!
//! Every answer has [`PROMPT_TOKENS`] and [`COMPLETION_TOKENS`]. A request with tools, whose last message is
//! not a tool's result, is answered with a call of its first tool.
//!
//! Keys can be issued and revoked through the providers' own APIs: see [`admin`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;

use crate::server::{Body, Server, full};
use crate::within;

pub mod admin;
mod anthropic;
pub mod keyring;
mod openai;
mod script;
#[cfg(test)]
mod tests;

pub use admin::Administration;
use keyring::{Keyring, Verdict};
pub use script::{Behaviour, Gate, Piece};

/// Input tokens of every answer.
pub const PROMPT_TOKENS: u64 = 10;
/// Output tokens of every answer.
pub const COMPLETION_TOKENS: u64 = 5;
/// What it says unless [`Upstream::say`] was called.
pub const COMPLETION: &str = "The fake upstream says hello.";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path, with the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The running upstream.
#[derive(Debug)]
pub struct Upstream {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    counts: watch::Sender<Counts>,
}

#[derive(Debug)]
struct Inner {
    keys: Keyring,
    administration: Option<admin::Shared>,
    completion: String,
    script: VecDeque<Behaviour>,
    by_model: BTreeMap<String, Behaviour>,
    log: Vec<Seen>,
    forgetful: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: u64,
    refused: u64,
    /// Requests for answers, not for lists, with a key that was good once.
    revoked: u64,
    /// The same with any key that was refused.
    refused_answers: u64,
    gone: u64,
}

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    OpenAi,
    Anthropic,
}

/// What an ordinary answer is made of.
struct Ask<'a> {
    body: &'a Value,
    model: &'a str,
    completion: &'a str,
    /// The tool to call and its arguments.
    tool: Option<(String, Value)>,
}

impl Upstream {
    /// Starts an upstream that knows the given keys.
    pub async fn start(keys: &[&str]) -> Self {
        let mut keyring = Keyring::default();
        keys.iter().for_each(|key| keyring.allow(key));
        let state = Arc::new(State {
            inner: Mutex::new(Inner {
                keys: keyring,
                administration: None,
                completion: COMPLETION.to_owned(),
                script: VecDeque::new(),
                by_model: BTreeMap::new(),
                log: Vec::new(),
                forgetful: false,
            }),
            counts: watch::Sender::new(Counts::default()),
        });
        let handler_state = Arc::clone(&state);
        let server = Server::start(move |request, _| handle(Arc::clone(&handler_state), request)).await;
        Self { server, state }
    }

    /// `http://127.0.0.1:PORT`: Anthropic's `api_base`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// `http://127.0.0.1:PORT/v1`: OpenAI's `api_base`.
    #[must_use]
    pub fn openai_base(&self) -> String {
        format!("{}/v1", self.server.url())
    }

    /// Accepts a key from now on.
    pub fn allow(&self, key: &str) {
        self.state.inner().keys.allow(key);
    }

    /// Refuses a key from now on.
    pub fn revoke(&self, key: &str) {
        self.state.inner().keys.revoke(key);
    }

    /// Issues keys through a provider's API from now on, which answers at the same address.
    pub fn administer(&self, administration: impl Administration + 'static) {
        self.state.inner().administration = Some(Arc::new(administration));
    }

    /// Refuses new keys this many times, from now on, as if they were not known everywhere at once.
    pub fn be_slow(&self, refusals: u32) {
        self.state.inner().keys.slowness = refusals;
    }

    /// Looks at the keys, or changes them.
    pub fn keys<T>(&self, look: impl FnOnce(&mut Keyring) -> T) -> T {
        look(&mut self.state.inner().keys)
    }

    /// How many requests for an answer came with a key that was good once.
    #[must_use]
    pub fn revoked(&self) -> u64 {
        self.state.counts.borrow().revoked
    }

    /// Sets the text of every answer from now on.
    pub fn say(&self, completion: &str) {
        completion.clone_into(&mut self.state.inner().completion);
    }

    /// Scripts the next chat request with a good key that has no behaviour of its own yet; calls queue up.
    pub fn script(&self, behaviour: Behaviour) {
        self.state.inner().script.push_back(behaviour);
    }

    /// Sets how every chat request for one upstream model, with a good key, is treated from now on.
    pub fn when_model(&self, model: &str, behaviour: Behaviour) {
        self.state.inner().by_model.insert(model.to_owned(), behaviour);
    }

    /// From now on requests are counted and not kept, so that any number of them may come.
    pub fn forget_requests(&self) {
        let mut inner = self.state.inner();
        inner.log = Vec::new();
        inner.forgetful = true;
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state.inner().log.clone()
    }

    /// The models that were asked for so far, in order of arrival; an empty text where a request names none.
    #[must_use]
    pub fn models_asked(&self) -> Vec<String> {
        let model = |seen: &Seen| {
            let body = serde_json::from_slice::<Value>(&seen.body).unwrap_or_default();
            body["model"].as_str().unwrap_or_default().to_owned()
        };
        self.state.inner().log.iter().map(model).collect()
    }

    /// How many requests came, refused ones included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.counts.borrow().requests
    }

    /// How many requests were refused for their key.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.state.counts.borrow().refused
    }

    /// How many requests for an answer, not for a list, were refused for their key.
    #[must_use]
    pub fn refused_answers(&self) -> u64 {
        self.state.counts.borrow().refused_answers
    }

    /// How many clients closed the connection before they had the whole answer.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.state.counts.borrow().gone
    }

    /// Waits until `count` requests have come in all.
    pub async fn wait_for_requests(&self, count: u64) {
        self.wait(&format!("request {count} at the upstream"), |counts| counts.requests >= count).await;
    }

    /// Waits until `count` clients in all have closed the connection before the end.
    pub async fn wait_for_gone(&self, count: u64) {
        self.wait(&format!("client {count} to hang up on the upstream"), |counts| counts.gone >= count).await;
    }

    async fn wait(&self, what: &str, reached: impl FnMut(&Counts) -> bool) {
        let mut counts = self.state.counts.subscribe();
        let outcome = within(what, counts.wait_for(reached)).await.map(|_| ());
        assert!(outcome.is_ok(), "the upstream has stopped");
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a client as gone unless it was told that the answer is complete.
#[derive(Debug)]
struct Watched {
    state: Arc<State>,
    complete: bool,
}

impl Watched {
    /// The client has, or will have, all of the answer.
    fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.complete {
            self.state.counts.send_modify(|counts| counts.gone += 1);
        }
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let watched = Watched { state: Arc::clone(&state), complete: false };
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Response::new(full(""));
    };
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let seen = Seen { method: head.method.clone(), path, headers: head.headers.clone(), body };
    let format = match head.uri.path() {
        "/v1/messages" => Format::Anthropic,
        _ if head.headers.contains_key("anthropic-version") => Format::Anthropic,
        _ => Format::OpenAi,
    };
    let answered = {
        let mut inner = state.inner();
        let administration = inner.administration.clone();
        administration.and_then(|administration| administration.answer(&mut inner.keys, &seen))
    };
    if let Some((status, body)) = answered {
        return finish(watched, &script::Answer::json(status, &body));
    }
    let key = presented_key(&head.headers);
    let verdict = state.inner().keys.present(&key);
    let known = verdict == Verdict::Good;
    let body = serde_json::from_slice::<Value>(&seen.body).unwrap_or_default();
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let chat =
        head.method == Method::POST && matches!(head.uri.path(), "/v1/chat/completions" | "/v1/messages");
    let (behaviour, completion) = {
        let mut inner = state.inner();
        if !inner.forgetful {
            inner.log.push(seen);
        }
        let own = inner.by_model.get(&model).cloned().filter(|_| known && chat);
        let next = if known && chat && own.is_none() { inner.script.pop_front() } else { None };
        (own.or(next).unwrap_or(Behaviour::Ordinary), inner.completion.clone())
    };
    state.counts.send_modify(|counts| {
        counts.requests += 1;
        counts.refused += u64::from(!known);
        counts.refused_answers += u64::from(chat && !known);
        counts.revoked += u64::from(chat && verdict == Verdict::Revoked);
    });
    if !known {
        return finish(watched, &bad_key(format, &key));
    }
    if !chat {
        return finish(watched, &models(format, &head.method, head.uri.path()));
    }
    let tool = wanted_tool(format, &body);
    let ask = Ask { body: &body, model: &model, completion: &completion, tool };
    let ordinary = || match format {
        Format::OpenAi => openai::answer(&ask),
        Format::Anthropic => anthropic::answer(&ask, &head.headers),
    };
    script::play(behaviour, ordinary, &key, watched).await
}

fn finish(watched: Watched, answer: &script::Answer) -> Response<Body> {
    watched.complete();
    answer.whole()
}

fn presented_key(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    text("x-api-key").or(text("api-key")).or(bearer).unwrap_or_default().to_owned()
}

fn bad_key(format: Format, key: &str) -> script::Answer {
    match format {
        Format::OpenAi => openai::bad_key(key),
        Format::Anthropic => {
            anthropic::error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key")
        }
    }
}

fn models(format: Format, method: &Method, path: &str) -> script::Answer {
    // Azure's is under another path.
    match (format, method == Method::GET && matches!(path, "/v1/models" | "/openai/models")) {
        (Format::OpenAi, true) => openai::models(),
        (Format::Anthropic, true) => anthropic::models(),
        (Format::OpenAi, false) => openai::not_found(),
        (Format::Anthropic, false) => anthropic::error(StatusCode::NOT_FOUND, "not_found_error", "Not found"),
    }
}

/// The tool that an answer calls: the first, unless the request forbids it or brings a tool's result.
fn wanted_tool(format: Format, body: &Value) -> Option<(String, Value)> {
    let tool = body["tools"].as_array()?.first()?;
    let last = body["messages"].as_array()?.last()?;
    let (definition, schema, forbidden, answered) = match format {
        Format::OpenAi => {
            let function = &tool["function"];
            (function, &function["parameters"], body["tool_choice"] == "none", last["role"] == "tool")
        }
        Format::Anthropic => {
            let results = last["content"].as_array();
            let answered =
                results.is_some_and(|parts| parts.iter().any(|part| part["type"] == "tool_result"));
            (tool, &tool["input_schema"], body["tool_choice"]["type"] == "none", answered)
        }
    };
    if forbidden || answered {
        return None;
    }
    let name = definition["name"].as_str()?.to_owned();
    let properties = schema["properties"].as_object();
    let arguments = properties.into_iter().flatten().map(|(name, schema)| {
        let value = match schema["type"].as_str() {
            Some("string") => Value::from("Paris"),
            Some("number" | "integer") => Value::from(1),
            Some("boolean") => Value::from(true),
            Some("array") => Value::Array(Vec::new()),
            _ => Value::Null,
        };
        (name.clone(), value)
    });
    Some((name, arguments.collect()))
}
