//! HTTP in front of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use keyturn_ambient::{Clock, Env};
use keyturn_request::log::stderr;
use keyturn_request::{Answer, Gateway, MAX_BODY_BYTES, Options};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::arguments::Arguments;
use crate::error::Error;
use crate::greeting::Greeting;
use crate::{first_run, table};

/// What a request is served with.
#[derive(Clone)]
struct Served {
    gateway: Arc<Gateway>,
    /// Log lines and settlements that outlive their responses.
    aftermaths: TaskTracker,
}

/// Serves until Ctrl-C or SIGTERM, then answers what is under way.
///
/// # Errors
///
/// [`Error`] says what kept the gateway from starting.
pub async fn serve(arguments: Arguments, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<(), Error> {
    let arguments = arguments.into_serve();
    first_run::directory(&arguments.data_dir)?;
    let http = keyturn_http::client()?;
    let keys = table::open(&arguments.data_dir.join("keys.db"), &http, Arc::clone(&clock)).await?;
    let virtual_key = first_run::virtual_key(&arguments.data_dir, keys.as_ref()).await?;
    let master_key = first_run::master_key(&arguments.data_dir)?;

    let options = Options {
        env,
        clock,
        sink: stderr,
        http,
        config: Some(arguments.config.clone()),
        keys: Some(keys),
        master_key: Some(master_key),
    };
    let gateway = Gateway::load(options).await?;

    let address = SocketAddr::new(arguments.host, arguments.port);
    let listening =
        async { TcpListener::bind(address).await.and_then(|bound| Ok((bound.local_addr()?, bound))) };
    let (address, listener) = listening.await.map_err(|source| Error::Listen { address, source })?;
    let listener = listener.tap_io(|connection| {
        // A stream's small pieces must not wait for an acknowledgement. Failing to say so costs only time.
        let _ = connection.set_nodelay(true);
    });

    let master_file = arguments.data_dir.join("master-key");
    Greeting {
        address,
        virtual_key: &virtual_key,
        master_key: gateway.uses_default_master_key().then_some(master_file.as_path()),
        models: gateway.model_groups(),
        config: &arguments.config,
    }
    .print();

    let served = Served { gateway, aftermaths: TaskTracker::new() };
    let router = Router::new().fallback(answer).with_state(served.clone());
    let outcome = axum::serve(listener, router).with_graceful_shutdown(told_to_stop()).await;
    served.aftermaths.close();
    served.aftermaths.wait().await;
    outcome.map_err(|source| Error::Listen { address, source })
}

async fn answer(State(served): State<Served>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Answer { response, aftermath } = match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => served.gateway.answer(http::Request::from_parts(head, body)).await,
        Err(_) => Gateway::body_too_large(),
    };
    if let Some(aftermath) = aftermath {
        served.aftermaths.spawn(aftermath.run());
    }
    response.map(axum::body::Body::new)
}

/// Ends at the first Ctrl-C or SIGTERM; a second Ctrl-C ends the process at once.
async fn told_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        interrupt.recv().await;
        std::process::exit(130);
    });
}
