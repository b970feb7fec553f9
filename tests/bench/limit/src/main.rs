//! The least Lambda function that forwards a body with the same HTTP client and does nothing else: what
//! `make bench` compares the request function with.
//!
//! `LIMIT_UPSTREAM` is the URL it posts to, `LIMIT_KEY` the credential.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use keyturn_ambient::{Env, ProcessEnv};
use lambda_http::{Error, Request, Response, run_with_streaming_response, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = keyturn_http::client()?;
    let url = ProcessEnv.var("LIMIT_UPSTREAM").ok_or("LIMIT_UPSTREAM is not set")?;
    let key = ProcessEnv.var("LIMIT_KEY").ok_or("LIMIT_KEY is not set")?;
    let (client, url, authorization) = (&client, &url, &format!("Bearer {key}"));
    run_with_streaming_response(service_fn(move |request: Request| async move {
        let body = request.into_body().to_vec();
        let upstream =
            client.post(url).header(AUTHORIZATION, authorization).header(CONTENT_TYPE, "application/json");
        let upstream = Response::<reqwest::Body>::from(upstream.body(body).send().await?);
        Ok::<_, Error>(upstream)
    }))
    .await
}
