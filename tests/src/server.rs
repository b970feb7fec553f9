//! A small HTTP/1 server on a loopback port that the system chose, and bodies for it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// The body of an answer. An error in it cuts the connection, as a server that dies does.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Cuts the connection that a request came on.
#[derive(Debug, Clone, Default)]
pub struct Hangup(Arc<Notify>);

impl Hangup {
    /// Closes the connection, without an answer if none has been sent. It never returns: the handler that
    /// calls it is dropped with the connection.
    pub async fn now(&self) {
        self.0.notify_one();
        std::future::pending::<()>().await;
    }
}

/// When a server acknowledges what it has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// As the system likes: after up to 40 ms, when there is nothing to send along. A client that waits for it
    /// before it sends more (Nagle's algorithm) stalls.
    Lazily,
    /// With every read. No client stalls.
    AtOnce,
}

/// A connection that acknowledges as it is told.
struct Acknowledging {
    stream: TcpStream,
    acknowledge: Acknowledge,
}

impl AsyncRead for Acknowledging {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.acknowledge == Acknowledge::AtOnce {
            // The system forgets the option now and then (tcp(7)), so it is set with every read.
            let _ = socket2::SockRef::from(&self.stream).set_tcp_quickack(true);
        }
        read
    }
}

impl AsyncWrite for Acknowledging {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A running server. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `handler` on a fresh port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>, Hangup) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_with(handler, Acknowledge::Lazily).await
    }

    /// As [`Self::start`], with a say in when data is acknowledged.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub async fn start_with<H, F>(handler: H, acknowledge: Acknowledge) -> Self
    where
        H: Fn(Request<Incoming>, Hangup) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("the port just bound");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, handler.clone(), acknowledge));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, task }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<H, F>(stream: TcpStream, handler: H, acknowledge: Acknowledge)
where
    H: Fn(Request<Incoming>, Hangup) -> F,
    F: Future<Output = Response<Body>>,
{
    // Without it Nagle's algorithm holds small chunks back and blurs what a stream's arrival times say.
    let _ = stream.set_nodelay(true);
    let hangup = Hangup::default();
    let service = service_fn(|request| {
        let answer = handler(request, hangup.clone());
        async { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(Acknowledging { stream, acknowledge });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    tokio::select! {
        // A broken connection is the peer's affair; whoever cares sees its body end early.
        _ = connection => {}
        () = hangup.0.notified() => {}
    }
}

/// A body of known bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON answer.
#[must_use]
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    let kind = ::http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(::http::header::CONTENT_TYPE, kind);
    response
}
