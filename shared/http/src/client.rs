//! How the client is built.

use std::sync::Arc;
use std::time::Duration;

use keyturn_ambient::Env;

/// How long a connection may take to open, TLS included. An upstream that needs longer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Shorter than the 60 s and more after which the providers' load
/// balancers close theirs, so that a request rarely meets a connection that is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The TLS settings were refused.
    #[error("TLS set-up failed")]
    Tls(#[source] rustls::Error),
    /// The proxy's address was refused; it may hold a password and is not repeated.
    #[error("HTTPS_PROXY is not the address of a proxy")]
    Proxy,
    /// The client was refused.
    #[error("HTTP client set-up failed")]
    Client(#[source] reqwest::Error),
}

/// Builds the client. Do it once, in the init phase, and clone the result: clones share the pool.
///
/// Roots are Mozilla's, compiled in: reading the system's takes 5 ms of CPU at every cold start. There is no
/// overall timeout, because a stream may last for minutes: callers set theirs. No proxy is used, whatever the
/// environment says; [`client_through_proxy`] goes by it.
///
/// # Errors
///
/// When the TLS library refuses its settings; it does not depend on the environment.
pub fn client() -> Result<reqwest::Client, ClientError> {
    builder()?.build().map_err(ClientError::Client)
}

/// Builds the client for a network whose way out is a proxy: `HTTPS_PROXY` for `https://` addresses, save those that
/// `NO_PROXY` names. Addresses of plain HTTP are local servers and are called directly.
///
/// # Errors
///
/// When `HTTPS_PROXY` is no address.
pub fn client_through_proxy(env: &dyn Env) -> Result<reqwest::Client, ClientError> {
    let var = |name: &str| env.var(name).or_else(|| env.var(&name.to_lowercase()));
    let Some(address) = var("HTTPS_PROXY") else { return client() };
    let except = var("NO_PROXY").and_then(|list| reqwest::NoProxy::from_string(&list));
    let proxy = reqwest::Proxy::https(address).map_err(|_| ClientError::Proxy)?.no_proxy(except);
    builder()?.proxy(proxy).build().map_err(ClientError::Client)
}

fn builder() -> Result<reqwest::ClientBuilder, ClientError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .no_proxy()
        .user_agent(concat!("keyturn/", env!("CARGO_PKG_VERSION"))))
}
