//! What a process holds, and one request from start to log line.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::Clock;
use keyturn_entry::log::{Level, Log};
use keyturn_entry::{CALL_ID, Door, call_id};
use keyturn_keys::manage::Manager;
use keyturn_keys::{KeyStore, Keys, KeysOptions};
use serde::Serialize;

use crate::error::{Refusal, json};
use crate::openapi::document;
use crate::routes::{Call, Found, Route, find};
use crate::who::Who;

/// The longest body that is read.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What an [`Api`] is made of.
pub struct Parts {
    /// What does the work.
    pub manager: Manager,
    /// Where the keys are; callers are always looked up there.
    pub store: Arc<dyn KeyStore>,
    /// What opens it besides virtual keys.
    pub door: Door,
    /// Takes the log lines.
    pub log: Log,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The management API. One for each process.
pub struct Api {
    manager: Manager,
    keys: Keys,
    door: Door,
    log: Log,
    clock: Arc<dyn Clock>,
}

/// What the log tells of a request. Never a body, a query or a path, which may hold keys.
#[derive(Default, Serialize)]
struct Record {
    call_id: String,
    route: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    duration_ms: f64,
}

impl Api {
    /// An API of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { manager, store, door, log, clock } = parts;
        // A blocked admin must not go on for the rest of a cache life.
        let options = KeysOptions { cache_life: std::time::Duration::ZERO, ..KeysOptions::default() };
        let keys = Keys::new(store, Arc::clone(&clock), options);
        Self { manager, keys, door, log, clock }
    }

    /// Answers one request and writes its log line. The path is as the client sent it, without an API stage.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let found = find(head.method.as_str(), head.uri.path());
        let mut record = self.record(&head.headers, &found);
        let started = self.clock.now();
        let answer = AssertUnwindSafe(self.take(found, &head, &body, &mut record));
        // What panicked may say anything in its message, which is not repeated.
        let answer = answer.catch_unwind().await.unwrap_or(Err(Refusal::Panic));
        self.finish(record, started, answer)
    }

    /// Refuses a request whose body is over [`MAX_BODY_BYTES`], for servers that stop reading there.
    pub fn body_too_large(&self, head: &Head) -> Response<Bytes> {
        self.refuse(head, Refusal::TooLarge)
    }

    /// Refuses a request whose body broke off or came too slowly.
    pub fn body_unreadable(&self, head: &Head) -> Response<Bytes> {
        self.refuse(head, Refusal::Unreadable)
    }

    fn refuse(&self, head: &Head, refusal: Refusal) -> Response<Bytes> {
        let record = self.record(&head.headers, &find(head.method.as_str(), head.uri.path()));
        self.finish(record, self.clock.now(), Err(refusal))
    }

    fn record(&self, headers: &HeaderMap, found: &Found) -> Record {
        let route = match found {
            Found::Route(route, _) => route.path,
            Found::Document => crate::routes::DOCUMENT,
            Found::Method(_) | Found::Unknown => "none",
        };
        Record { call_id: call_id(headers), route, ..Record::default() }
    }

    fn finish(
        &self,
        mut record: Record,
        started: Timestamp,
        answer: Result<Response<Bytes>, Refusal>,
    ) -> Response<Bytes> {
        let mut response = answer.unwrap_or_else(|refusal| {
            record.error = Some(refusal.name());
            record.detail = refusal.failure();
            refusal.into_response()
        });
        if let Ok(id) = HeaderValue::from_str(&record.call_id) {
            response.headers_mut().insert(CALL_ID, id);
        }
        let now = self.clock.now();
        record.status = response.status().as_u16();
        record.duration_ms = milliseconds(now.duration_since(started));
        let level = if response.status().is_server_error() { Level::Warn } else { Level::Info };
        self.log.write(level, now, "management request", &record);
        response
    }

    async fn take(
        &self,
        found: Found,
        head: &Head,
        body: &Bytes,
        record: &mut Record,
    ) -> Result<Response<Bytes>, Refusal> {
        let (route, path_key) = match found {
            Found::Document => return Ok(json(StatusCode::OK, &document())),
            Found::Method(allow) => return Err(Refusal::Method { allow }),
            Found::Unknown => return Err(Refusal::NoRoute),
            Found::Route(route, path_key) => (route, path_key),
        };
        let who = Who::of(&head.headers, &self.door, &self.keys).await?;
        record.caller = Some(who.name());
        let caller = who.may(route.access, head.uri.path())?;
        check_body(route, &head.headers, body)?;
        let call = Call {
            manager: &self.manager,
            door: &self.door,
            now: self.clock.now(),
            who,
            caller,
            path_key,
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body,
        };
        (route.handler)(call).await
    }
}

/// Microseconds are enough for a reader, and keep the line short.
fn milliseconds(took: SignedDuration) -> f64 {
    (took.as_secs_f64().max(0.0) * 1e6).round() / 1e3
}

/// Refuses bodies that are too long or, by their own header, no JSON.
fn check_body(route: &Route, headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
    if body.len() > MAX_BODY_BYTES {
        return Err(Refusal::TooLarge);
    }
    if route.method == "GET" || body.is_empty() {
        return Ok(());
    }
    let is_json = headers.get(CONTENT_TYPE).is_none_or(|value| {
        let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    });
    if is_json { Ok(()) } else { Err(Refusal::MediaType) }
}
