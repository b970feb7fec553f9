//! A closed-loop load: so many connections, each sends its next request when it has the last answer whole. It runs on
//! a thread of its own; every answer is checked, and the first wrong one ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::upstream::{CHUNKS, TEXT};

/// What is sent, and to whom.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the answer is a stream.
    pub(super) stream: bool,
}

/// How long a request took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    /// Until the first byte of the body.
    pub(super) first_byte: Duration,
    /// Until its end.
    pub(super) whole: Duration,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There was no connection.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke, or was not HTTP.
    #[error("no whole answer: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is not the upstream's.
    #[error("a wrong answer: {status} {body}")]
    Answer { status: u16, body: String },
}

/// Loads the target until `end`, and returns what was answered between `start` and then.
pub(super) async fn run(
    target: Target,
    connections: usize,
    start: Instant,
    end: Instant,
) -> Result<Vec<Latency>, Failure> {
    let (sender, latencies) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        sender.send(runtime.block_on(all(target, connections, start, end))).ok();
    });
    latencies.await.expect("the load does not panic")
}

async fn all(
    target: Target,
    connections: usize,
    start: Instant,
    end: Instant,
) -> Result<Vec<Latency>, Failure> {
    let target = Arc::new(target);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = Arc::clone(&target);
        tasks.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let latency = connection.ask().await?;
                if (start..end).contains(&Instant::now()) {
                    latencies.push(latency);
                }
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(more) = tasks.join_next().await {
        latencies.extend(more.expect("a connection does not panic")?);
    }
    Ok(latencies)
}

/// Sends one request over a new connection.
pub(super) async fn once(target: &Target) -> Result<(), Failure> {
    Connection::open(target).await?.ask().await.map(|_| ())
}

/// One connection, kept alive.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    stream: bool,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self, Failure> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // What goes wrong with it, the sender tells.
        tokio::spawn(async move { connection.await.ok() });
        let mut request = Request::new(Full::new(target.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/v1/chat/completions");
        request.headers_mut().clone_from(&target.headers);
        let host = target.address.to_string().parse().expect("an address is a header's value");
        request.headers_mut().insert(HOST, host);
        Ok(Self { sender, request, stream: target.stream })
    }

    async fn ask(&mut self) -> Result<Latency, Failure> {
        self.sender.ready().await?;
        let begun = Instant::now();
        let answer = self.sender.send_request(self.request.clone()).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut first_byte = None;
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref()
                && !data.is_empty()
            {
                first_byte.get_or_insert_with(|| begun.elapsed());
                bytes.extend_from_slice(data);
            }
        }
        let whole = begun.elapsed();
        match first_byte {
            Some(first_byte) if status == 200 && plausible(&bytes, self.stream) => {
                Ok(Latency { first_byte, whole })
            }
            _ => {
                let body = String::from_utf8_lossy(&bytes).chars().take(500).collect();
                Err(Failure::Answer { status: status.as_u16(), body })
            }
        }
    }
}

/// Whether the upstream's text is in it, and all of a stream.
fn plausible(body: &[u8], stream: bool) -> bool {
    if stream {
        memmem::find_iter(body, TEXT).count() == CHUNKS && memmem::find(body, b"data: [DONE]").is_some()
    } else {
        memmem::find(body, TEXT.as_bytes()).is_some()
    }
}
