//! Upstream bytes → decoder → client bytes, and an outcome when it is over, however it ends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use keyturn_providers::{Decoder, Surface, Usage, error_body};
use memchr::memmem;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::GatewayError;
use crate::redact::Redactor;

/// How long an upstream may keep its connection open after the terminal event. Waiting this long for its end lets
/// the connection be used again; an upstream that lingers longer does not hold the client.
const LINGER: Duration = Duration::from_millis(100);

/// How a response ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The tokens that the upstream counted.
    pub(crate) usage: Option<Usage>,
    /// The tokens that went to the client, guessed: what is settled when the upstream did not count.
    pub(crate) seen: u64,
    /// What went wrong after the first byte.
    pub(crate) error: Option<&'static str>,
}

impl Outcome {
    /// A good end, after about this many tokens.
    pub(crate) fn seen(tokens: usize) -> Self {
        Self { seen: u64::try_from(tokens).unwrap_or(u64::MAX), ..Self::default() }
    }
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Until it answers, and then between two pieces of a stream.
    pub(crate) idle: Duration,
    /// When the invocation ends, and the upstream's time with it.
    pub(crate) end: Option<Instant>,
}

impl Limit {
    /// When the next piece must be there.
    pub(crate) fn next(&self) -> Instant {
        let idle = Instant::now() + self.idle;
        self.end.map_or(idle, |end| end.min(idle))
    }
}

/// An upstream stream whose first client bytes are there.
pub(crate) struct Upstream {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    decoder: Box<dyn Decoder>,
    redactor: Redactor,
    limit: Limit,
    /// For the client, in order.
    ready: Vec<Bytes>,
    /// What comes after `ready` when the stream has failed.
    failed: Option<GatewayError>,
    /// Nothing more is to come for the client.
    ended: bool,
    /// The terminal event has come, and the upstream's connection is still open.
    lingers: bool,
}

impl Upstream {
    /// Reads until there is something for the client: an error that comes first is still a status.
    ///
    /// # Errors
    ///
    /// The upstream's error event, a broken stream, or nothing in time.
    pub(crate) async fn open(
        body: reqwest::Body,
        decoder: Box<dyn Decoder>,
        redactor: Redactor,
        limit: Limit,
    ) -> Result<Self, GatewayError> {
        let bytes = Box::pin(body.into_data_stream());
        let (ready, failed) = (Vec::new(), None);
        let mut upstream =
            Self { bytes, decoder, redactor, limit, ready, failed, ended: false, lingers: false };
        while upstream.ready.is_empty() && !upstream.ended {
            upstream.advance().await;
        }
        match upstream.failed.take_if(|_| upstream.ready.is_empty()) {
            Some(error) => Err(error),
            None => Ok(upstream),
        }
    }

    /// Takes one piece from upstream.
    async fn advance(&mut self) {
        let next = timeout_at(self.limit.next(), self.bytes.next()).await;
        let outcome = match next {
            Ok(Some(Ok(chunk))) => {
                let pushed = self.decoder.push(chunk, &mut self.ready);
                self.ended = pushed.is_err();
                pushed.map_err(|failure| self.redactor.failure(failure))
            }
            Ok(None) => {
                self.ended = true;
                self.decoder.finish(&mut self.ready).map_err(|failure| self.redactor.failure(failure))
            }
            // The terminal event may have come before the connection broke or stalled.
            Ok(Some(Err(_))) => {
                self.ended = true;
                self.decoder.finish(&mut self.ready).map_err(|_| GatewayError::UpstreamUnreachable)
            }
            Err(_) => {
                self.ended = true;
                self.decoder.finish(&mut self.ready).map_err(|_| GatewayError::UpstreamTimeout)
            }
        };
        self.failed = outcome.err();
        self.lingers = self.decoder.is_over() && !self.ended;
        self.ended |= self.lingers;
    }

    /// Waits a moment for an upstream to close what it has ended: its connection can be used again then.
    async fn linger(&mut self) {
        if std::mem::take(&mut self.lingers) {
            let _ = timeout(LINGER, async { while self.bytes.next().await.is_some() {} }).await;
        }
    }

    /// The client's bytes. `over` gets the outcome when the stream has ended or the client has gone away; then
    /// the upstream connection is closed with it.
    pub(crate) fn into_client(
        self,
        surface: Surface,
        over: oneshot::Sender<Outcome>,
    ) -> impl Stream<Item = Bytes> + Send + use<> {
        let (queue, events, error, over) = (VecDeque::new(), 0, None, Some(over));
        let client = Client { upstream: self, surface, queue, events, error, over };
        stream::unfold(client, |mut client| async move { client.next().await.map(|bytes| (bytes, client)) })
    }
}

/// The client's side of a stream. However it ends, it tells the outcome.
struct Client {
    upstream: Upstream,
    surface: Surface,
    queue: VecDeque<Bytes>,
    events: usize,
    error: Option<&'static str>,
    over: Option<oneshot::Sender<Outcome>>,
}

impl Client {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.queue.extend(self.upstream.ready.drain(..));
            if let Some(bytes) = self.queue.pop_front() {
                self.events += memmem::find_iter(&bytes, b"data:").count();
                return Some(bytes);
            }
            if let Some(error) = self.upstream.failed.take() {
                self.error = Some(error.name());
                return Some(error_event(self.surface, error));
            }
            if self.upstream.ended {
                // The client has everything by now.
                self.upstream.linger().await;
                return None;
            }
            self.upstream.advance().await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let usage = self.upstream.decoder.usage().cloned();
        let unsent =
            !self.queue.is_empty() || !self.upstream.ready.is_empty() || self.upstream.failed.is_some();
        let early = (unsent || !self.upstream.ended)
            .then(|| if std::thread::panicking() { "panic" } else { "client_gone" });
        if let Some(over) = self.over.take() {
            // An event is about a token. Nobody waits for the outcome when the process is going down.
            let _ = over.send(Outcome { usage, error: self.error.or(early), ..Outcome::seen(self.events) });
        }
    }
}

/// An error after the first byte, as an event of the client's format; then the stream closes, without its terminal
/// event.
fn error_event(surface: Surface, error: GatewayError) -> Bytes {
    match error.into_response(Some(surface)).into_body() {
        crate::Body::Whole(body) => error_body::event(surface, &body),
        crate::Body::Stream(_) => Bytes::new(),
    }
}
