//! The Lambda Runtime API (2018-06-01) and Extensions API (2020-01-01), as the Lambda service offers them to
//! one execution environment.
//!
//! Sources: "Lambda runtime API", "Lambda Extensions API" and "Custom runtimes: response streaming" in the AWS
//! Lambda documentation; `lambda_runtime` and `lambda-extension` for what clients of it rely on.
//!
//! As in the service, an environment is idle, and would be frozen, only when its runtime and every registered
//! extension have asked for their next event; only then is the next one handed out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::{HeaderMap, Method, Request, Response as HttpResponse, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::response::{Chunk, FunctionError, Head, Mode, Response, buffered, prelude};
use crate::server::{Acknowledge, Body, Hangup, Server, full, json as json_answer};

mod routes;

/// How long an invocation may take: the most that Lambda allows.
const TIME_LIMIT: Duration = Duration::from_secs(900);
/// The function that runs here.
pub(crate) const FUNCTION_NAME: &str = "keyturn-under-test";
const ACCOUNT: &str = "123456789012";

/// The Runtime API of one environment.
#[derive(Debug)]
pub struct RuntimeApi {
    shared: Arc<Shared>,
    server: Server,
}

/// What the environment has reported so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase {
    /// Requests for the next event that wait for one.
    waiting: usize,
    extensions: usize,
    extensions_waiting: usize,
    in_flight: usize,
    /// The initialisation failed or the process ended.
    pub(crate) failed: Option<FunctionError>,
}

impl Phase {
    /// Whether the environment would be frozen now.
    fn idle(&self) -> bool {
        self.waiting > 0 && self.extensions_waiting == self.extensions && self.in_flight == 0
    }
}

#[derive(Debug)]
struct Shared {
    slots: Arc<Semaphore>,
    concurrent: bool,
    /// Whether answers are taken as they are: the events are not HTTP.
    plain: AtomicBool,
    serial: AtomicU64,
    queue: mpsc::UnboundedSender<Event>,
    events: AsyncMutex<mpsc::UnboundedReceiver<Event>>,
    in_flight: Mutex<HashMap<String, InFlight>>,
    extensions: Mutex<HashMap<String, Extension>>,
    phase: watch::Sender<Phase>,
    time_limit: Mutex<Duration>,
    billing: Mutex<Billing>,
}

/// How long invocations took.
#[derive(Debug, Default)]
struct Billing {
    /// When the event that is being worked at was handed out.
    since: Option<Instant>,
    done: Vec<Duration>,
}

/// An event on its way to the runtime.
#[derive(Debug)]
struct Event {
    id: String,
    payload: String,
    deadline: u128,
}

/// An invocation that has not been answered.
#[derive(Debug)]
struct InFlight {
    since: Instant,
    head: oneshot::Sender<Result<Response, FunctionError>>,
    slot: Slot,
}

#[derive(Debug)]
struct Extension {
    invoke: bool,
    shutdown: bool,
    send: mpsc::UnboundedSender<Value>,
    events: Arc<AsyncMutex<mpsc::UnboundedReceiver<Value>>>,
}

/// One invocation's place; dropped when its answer has been received.
#[derive(Debug)]
struct Slot {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.phase.send_modify(|phase| phase.in_flight -= 1);
        self.shared.bill();
    }
}

impl RuntimeApi {
    /// Starts the API for an environment that takes `concurrency` invocations at once (1, save on Lambda
    /// Managed Instances).
    pub async fn start(concurrency: usize) -> Self {
        Self::start_with(concurrency, Acknowledge::Lazily).await
    }

    /// As [`Self::start`], with a say in when the answers' pieces are acknowledged.
    pub async fn start_with(concurrency: usize, acknowledge: Acknowledge) -> Self {
        let (queue, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            slots: Arc::new(Semaphore::new(concurrency)),
            concurrent: concurrency > 1,
            plain: AtomicBool::new(false),
            serial: AtomicU64::new(1),
            queue,
            events: AsyncMutex::new(events),
            in_flight: Mutex::default(),
            extensions: Mutex::default(),
            phase: watch::Sender::new(Phase::default()),
            time_limit: Mutex::new(TIME_LIMIT),
            billing: Mutex::default(),
        });
        let handler_shared = Arc::clone(&shared);
        let handler = move |request, hangup| routes::answer(Arc::clone(&handler_shared), request, hangup);
        let server = Server::start_with(handler, acknowledge).await;
        Self { shared, server }
    }

    /// `127.0.0.1:PORT`, for `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// `http://127.0.0.1:PORT/FUNCTION`: the same API as cargo-lambda offers it, with a scheme and a path.
    #[must_use]
    pub fn cargo_lambda_address(&self) -> String {
        format!("{}/{FUNCTION_NAME}", self.server.url())
    }

    /// Hands an event to the function and returns when the head of its answer is there.
    ///
    /// # Errors
    ///
    /// When the function reports an error, or ends.
    pub async fn invoke(&self, event: &Value) -> Result<Response, FunctionError> {
        let shared = &self.shared;
        let permit = Arc::clone(&shared.slots).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        if !shared.concurrent {
            self.idle().await?;
        }
        let serial = shared.serial.fetch_add(1, Ordering::Relaxed);
        let id = format!("8476a536-e9f4-11e8-9739-{serial:012x}");
        let deadline = (epoch() + *shared.time_limit()).as_millis();
        let (head, answer) = oneshot::channel();
        shared.phase.send_modify(|phase| phase.in_flight += 1);
        let slot = Slot { shared: Arc::clone(shared), _permit: permit };
        shared.in_flight().insert(id.clone(), InFlight { since: Instant::now(), head, slot });
        shared.tell_extensions(|extension| extension.invoke, &|| routes::invoke_event(&id, deadline));
        let _ = shared.queue.send(Event { id: id.clone(), payload: event.to_string(), deadline });
        if let Some(error) = shared.phase.borrow().failed.clone() {
            shared.in_flight().remove(&id);
            return Err(error);
        }
        let lost = || FunctionError::new("Runtime.ExitError", "the invocation was never answered");
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// From now on answers are taken as they are, for functions whose events are not HTTP.
    pub fn take_plain_answers(&self) {
        self.shared.plain.store(true, Ordering::SeqCst);
    }

    /// Gives the invocations from now on this long: it is what the function is told, and nothing stops it then.
    pub fn set_time_limit(&self, limit: Duration) {
        *self.shared.time_limit() = limit;
    }

    /// Waits until the environment is idle: the runtime and all extensions wait for their next event.
    ///
    /// # Errors
    ///
    /// When the initialisation fails or the process ends instead.
    pub async fn idle(&self) -> Result<(), FunctionError> {
        let mut phase = self.shared.phase.subscribe();
        let reached = phase.wait_for(|phase| phase.idle() || phase.failed.is_some()).await;
        match reached.as_ref().ok().and_then(|phase| phase.failed.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// How long each invocation took that has ended since the last call: from when its event was handed out until
    /// the runtime and every extension asked for their next. Lambda bills it, rounded up to the millisecond. An
    /// environment that takes several invocations at once is billed otherwise, and has none.
    #[must_use]
    pub fn take_billed(&self) -> Vec<Duration> {
        std::mem::take(&mut self.shared.billing().done)
    }

    /// Tells the extensions that asked for it that the environment shuts down.
    pub fn shut_down(&self) {
        let deadline = (epoch() + Duration::from_secs(2)).as_millis();
        self.shared.tell_extensions(
            |extension| extension.shutdown,
            &|| json!({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline}),
        );
    }

    /// Notes that the process is gone: whatever waits for it gets `error`.
    pub(crate) fn fail(shared: &SharedApi, error: &FunctionError) {
        shared.0.fail(error);
    }

    /// A handle for [`Self::fail`].
    pub(crate) fn handle(&self) -> SharedApi {
        SharedApi(Arc::clone(&self.shared))
    }
}

/// A handle that outlives a borrow of the [`RuntimeApi`].
#[derive(Debug, Clone)]
pub(crate) struct SharedApi(Arc<Shared>);

impl Shared {
    fn time_limit(&self) -> MutexGuard<'_, Duration> {
        self.time_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<String, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extensions(&self) -> MutexGuard<'_, HashMap<String, Extension>> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn billing(&self) -> MutexGuard<'_, Billing> {
        self.billing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the end of an invocation, if the environment has just become idle.
    fn bill(&self) {
        if self.phase.borrow().idle() {
            let mut billing = self.billing();
            if let Some(since) = billing.since.take() {
                billing.done.push(since.elapsed());
            }
        }
    }

    fn tell_extensions(&self, wants: fn(&Extension) -> bool, event: &dyn Fn() -> Value) {
        for extension in self.extensions().values().filter(|extension| wants(extension)) {
            let _ = extension.send.send(event());
        }
    }

    /// The first failure is the one that counts: an exit after a reported error adds nothing.
    fn fail(&self, error: &FunctionError) {
        self.phase.send_modify(|phase| {
            phase.failed.get_or_insert_with(|| error.clone());
        });
        let lost: Vec<InFlight> = self.in_flight().drain().map(|(_, lost)| lost).collect();
        for InFlight { head, slot, .. } in lost {
            drop(slot);
            let _ = head.send(Err(error.clone()));
        }
    }
}

/// Time since 1970.
fn epoch() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the Runtime API states its deadlines in wall-clock time")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
