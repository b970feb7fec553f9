//! The least reverse proxy: an HTTP server that passes a body on with the same HTTP client, streams the answer back
//! and does nothing else: what `make bench` compares `keyturn serve` with.
//!
//! `LIMIT_LISTEN` is the address it listens on, `LIMIT_UPSTREAM` the URL it posts to, `LIMIT_KEY` the credential.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyturn_ambient::{Env, ProcessEnv};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = keyturn_http::client()?;
    let address = ProcessEnv.var("LIMIT_LISTEN").ok_or("LIMIT_LISTEN is not set")?;
    let url = ProcessEnv.var("LIMIT_UPSTREAM").ok_or("LIMIT_UPSTREAM is not set")?;
    let key = ProcessEnv.var("LIMIT_KEY").ok_or("LIMIT_KEY is not set")?;
    let authorization = format!("Bearer {key}");
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, url, authorization) = (client.clone(), url.clone(), authorization.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let upstream = client
                .post(&url)
                .header(AUTHORIZATION, &authorization)
                .header(CONTENT_TYPE, "application/json")
                .body(reqwest::Body::wrap(request.into_body()));
            async move { upstream.send().await.map(Response::<reqwest::Body>::from) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
