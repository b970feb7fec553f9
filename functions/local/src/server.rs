//! HTTP in front of the gateway.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use keyturn_keys_api::Api;
use keyturn_request::{Answer, Body, Gateway, MAX_BODY_BYTES};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long a client may take for the head of a request, and leave a connection idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body that announces more bytes than this is refused unread. A smaller one is read to the bound first: many
/// clients do not look at an answer while they write.
const HOPELESS_BODY_BYTES: u64 = 32 * 1024 * 1024;

/// What a request is served with.
#[derive(Clone)]
struct Server {
    gateway: Arc<Gateway>,
    /// The management API.
    api: Arc<Api>,
    /// Log lines and settlements that outlive their responses.
    aftermaths: TaskTracker,
}

/// Serves until `stop` ends, then answers what is under way; at most until `stop_now` ends.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    api: Arc<Api>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    stop_now: impl Future<Output = ()>,
) {
    let server = Server { gateway, api, aftermaths: TaskTracker::new() };
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => server.clone().connection(stream, &connections),
                // Out of file descriptors, or the peer has gone already: the next one may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    server.aftermaths.close();
    tokio::select! {
        () = async { connections.shutdown().await; server.aftermaths.wait().await; } => {}
        () = stop_now => {}
    }
}

impl Server {
    fn connection(self, stream: TcpStream, connections: &GracefulShutdown) {
        // A stream's small pieces must not wait for an acknowledgement. Failing to say so costs only time.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is the client's affair; the gateway notes that it has gone.
        tokio::spawn(connections.watch(connection));
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if keyturn_keys_api::serves(head.uri.path()) {
            return self.manage(head, body).await;
        }
        let Answer { response, aftermath } = match self.gateway.refused_early(&head) {
            Some(refused) => refused,
            None => match receive(body, MAX_BODY_BYTES).await {
                Ok(body) => self.gateway.answer(Request::from_parts(head, body)).await,
                Err(Unread::TooLarge) => self.gateway.body_too_large(&head),
                Err(Unread::Broken) => self.gateway.body_unreadable(&head),
            },
        };
        if let Some(aftermath) = aftermath {
            self.aftermaths.spawn(aftermath.run());
        }
        response
    }

    /// A request of the management API.
    async fn manage(&self, head: Parts, body: Incoming) -> Response<Body> {
        let response = match receive(body, keyturn_keys_api::MAX_BODY_BYTES).await {
            Ok(body) => self.api.answer(Request::from_parts(head, body)).await,
            Err(Unread::TooLarge) => self.api.body_too_large(&head),
            Err(Unread::Broken) => self.api.body_unreadable(&head),
        };
        response.map(Body::from)
    }
}

/// Why there is no body.
enum Unread {
    /// It has more bytes than it may have.
    TooLarge,
    /// It broke off, or took too long.
    Broken,
}

/// The body of a request, of `most` bytes at most.
async fn receive(body: Incoming, most: usize) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > HOPELESS_BODY_BYTES {
        return Err(Unread::TooLarge);
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Unread::Broken),
    }
}

/// Binds the address.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(address).await?;
    Ok((listener.local_addr()?, listener))
}
