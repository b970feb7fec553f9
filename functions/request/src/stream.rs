//! Upstream bytes → decoder → client bytes, and an outcome when it is over, however it ends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use keyturn_providers::{Decoder, Failure, Surface, Usage, error_body};
use tokio::sync::oneshot;

use crate::error::GatewayError;
use crate::redact::Redactor;

/// How a response ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The tokens that the upstream counted.
    pub(crate) usage: Option<Usage>,
    /// What went wrong after the first byte.
    pub(crate) error: Option<&'static str>,
}

/// An upstream stream whose first client bytes are there.
pub(crate) struct Upstream {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    decoder: Box<dyn Decoder>,
    redactor: Redactor,
    ready: Vec<Bytes>,
    ended: bool,
    idle: Duration,
}

impl Upstream {
    /// Reads until there is something for the client: an error that comes first is still a status.
    ///
    /// # Errors
    ///
    /// The upstream's error event, a broken stream, or nothing within `idle`.
    pub(crate) async fn open(
        body: reqwest::Body,
        decoder: Box<dyn Decoder>,
        redactor: Redactor,
        idle: Duration,
    ) -> Result<Self, GatewayError> {
        let bytes = Box::pin(body.into_data_stream());
        let mut upstream = Self { bytes, decoder, redactor, ready: Vec::new(), ended: false, idle };
        while upstream.ready.is_empty() && !upstream.ended {
            upstream.advance().await?;
        }
        Ok(upstream)
    }

    /// Takes one piece from upstream.
    async fn advance(&mut self) -> Result<(), GatewayError> {
        let next = tokio::time::timeout(self.idle, self.bytes.next()).await;
        let failed = |failure: Failure| self.redactor.failure(failure);
        match next {
            Ok(Some(Ok(chunk))) => self.decoder.push(chunk, &mut self.ready).map_err(failed),
            Ok(Some(Err(_))) => {
                // The terminal event may have come before the connection broke.
                self.ended = true;
                self.decoder.finish(&mut self.ready).map_err(|_| GatewayError::UpstreamUnreachable)
            }
            Ok(None) => {
                self.ended = true;
                self.decoder.finish(&mut self.ready).map_err(failed)
            }
            Err(_) => {
                self.ended = true;
                self.decoder.finish(&mut self.ready).map_err(|_| GatewayError::UpstreamTimeout)
            }
        }
    }

    /// The client's bytes. `over` gets the outcome when the stream has ended or the client has gone away; then
    /// the upstream connection is closed with it.
    pub(crate) fn into_client(
        self,
        surface: Surface,
        over: oneshot::Sender<Outcome>,
    ) -> impl Stream<Item = Bytes> + Send + use<> {
        let guard = Guard { over: Some(over), outcome: Outcome { error: Some("client_gone"), usage: None } };
        let state = Client { ready: VecDeque::new(), upstream: self, surface, guard };
        stream::unfold(state, |mut state| async move { state.next().await.map(|bytes| (bytes, state)) })
    }
}

struct Client {
    ready: VecDeque<Bytes>,
    upstream: Upstream,
    surface: Surface,
    guard: Guard,
}

impl Client {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.ready.extend(self.upstream.ready.drain(..));
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.upstream.ended {
                if self.guard.outcome.error == Some("client_gone") {
                    self.guard.outcome.error = None;
                }
                self.guard.send(self.upstream.decoder.usage());
                return None;
            }
            let advanced = self.upstream.advance().await;
            self.guard.outcome.usage = self.upstream.decoder.usage().cloned();
            if let Err(error) = advanced {
                self.upstream.ended = true;
                self.guard.outcome.error = Some(error.name());
                self.ready.extend(self.upstream.ready.drain(..));
                self.ready.push_back(error_event(self.surface, error));
            }
        }
    }
}

/// Sends the outcome once, also when the client goes away and the stream is dropped.
struct Guard {
    over: Option<oneshot::Sender<Outcome>>,
    outcome: Outcome,
}

impl Guard {
    fn send(&mut self, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            self.outcome.usage = Some(usage.clone());
        }
        if let Some(over) = self.over.take() {
            // Nobody waits for the outcome when the process is going down.
            let _ = over.send(std::mem::take(&mut self.outcome));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.send(None);
    }
}

/// An error after the first byte, as an event of the client's format; then the stream closes, without `[DONE]`.
fn error_event(surface: Surface, error: GatewayError) -> Bytes {
    let response = error.into_response(Some(surface));
    let body = match response.into_body() {
        crate::Body::Whole(bytes) => bytes,
        crate::Body::Stream(_) => error_body::openai("The stream failed.", "server_error", None, None),
    };
    let mut event = Vec::with_capacity(body.len() + 32);
    match surface {
        Surface::ChatCompletions => event.extend_from_slice(b"data: "),
        Surface::Messages => event.extend_from_slice(b"event: error\ndata: "),
    }
    event.extend_from_slice(&body);
    event.extend_from_slice(b"\n\n");
    event.into()
}
