//! How the client is built.

use std::sync::Arc;
use std::time::Duration;

use keyturn_ambient::Env;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretSlice};

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
    /// The roots or the client certificate are not what they should be; nothing of them is repeated.
    #[error("not a PEM file of {0}")]
    Pem(&'static str),
}

/// TLS settings for a server that is not on the public web.
pub struct Tls {
    /// PEM: the only roots to trust; `None` = Mozilla's.
    pub roots: Option<Vec<u8>>,
    /// PEM: the client's certificate, with its chain, and its key.
    pub identity: Option<(Vec<u8>, SecretSlice<u8>)>,
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
    builder(None)?.build().map_err(ClientError::Client)
}

/// Builds the client for a network whose way out is a proxy: `HTTPS_PROXY` for `https://` addresses, save those that
/// `NO_PROXY` names. Addresses of plain HTTP are local servers and are called directly.
///
/// # Errors
///
/// When `HTTPS_PROXY` is no address.
pub fn client_through_proxy(env: &dyn Env) -> Result<reqwest::Client, ClientError> {
    through_proxy(builder(None)?, env)
}

/// Builds a client of its own for one server, with [`client_through_proxy`]'s way out.
///
/// # Errors
///
/// When the files in `tls` are no certificates, or `HTTPS_PROXY` is no address.
pub fn client_with(env: &dyn Env, tls: &Tls) -> Result<reqwest::Client, ClientError> {
    through_proxy(builder(Some(tls))?, env)
}

fn through_proxy(builder: reqwest::ClientBuilder, env: &dyn Env) -> Result<reqwest::Client, ClientError> {
    let var = |name: &str| env.var(name).or_else(|| env.var(&name.to_lowercase()));
    let builder = match var("HTTPS_PROXY") {
        None => builder,
        Some(address) => {
            let except = var("NO_PROXY").and_then(|list| reqwest::NoProxy::from_string(&list));
            builder.proxy(reqwest::Proxy::https(address).map_err(|_| ClientError::Proxy)?.no_proxy(except))
        }
    };
    builder.build().map_err(ClientError::Client)
}

/// The roots to trust.
fn roots(tls: Option<&Tls>) -> Result<rustls::RootCertStore, ClientError> {
    let Some(pem) = tls.and_then(|tls| tls.roots.as_ref()) else {
        return Ok(rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(pem, "roots")? {
        roots.add(certificate).map_err(|_| ClientError::Pem("roots"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    read.ok().filter(|found| !found.is_empty()).ok_or(ClientError::Pem(what))
}

fn builder(tls: Option<&Tls>) -> Result<reqwest::ClientBuilder, ClientError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots(tls)?);
    let tls = match tls.and_then(|tls| tls.identity.as_ref()) {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "a client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret());
            let key = key.map_err(|_| ClientError::Pem("a client certificate's key"))?;
            config.with_client_auth_cert(chain, key).map_err(ClientError::Tls)?
        }
    };
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
