//! The pipeline behind the Lambda Runtime API.
//!
//! lambda_runtime polls for events, concurrently on Managed Instances; `event` reads them. The answer goes out
//! through a client of our own (`docs/adr/0002-lambda-responses.md`):
//! - lambda_runtime writes the prelude, the delimiter and the first chunk separately, on a socket without
//!   TCP_NODELAY, and a delayed acknowledgement then holds the first byte for 40 ms;
//! - when the answer has gone out, settlement runs before the next event is asked for. Lambda has answered the
//!   client by then, and freezes the environment only when it is asked: no extension is needed.

mod event;
mod invocation;
mod reply;
mod runtime_api;

use std::sync::Arc;

use keyturn_ambient::Env;
use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};

use crate::gateway::Gateway;
use runtime_api::RuntimeApi;

/// How many invocations the environment takes at once: more than one on Managed Instances only.
#[must_use]
pub fn max_concurrency(env: &dyn Env) -> usize {
    env.var("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Serves invocations until the environment is shut down.
///
/// # Errors
///
/// The Runtime API is gone.
pub async fn run(gateway: Arc<Gateway>, env: &dyn Env) -> Result<(), Error> {
    gateway.warm_up();
    let service = invocation::Service::new(gateway, RuntimeApi::from_env(env)?);
    // The layer takes the place of lambda_runtime's own response path; this handler is never called.
    let unused = service_fn(|_: LambdaEvent<serde::de::IgnoredAny>| async { Ok::<(), Error>(()) });
    Runtime::new(unused).layer(layer_fn(move |_| service.clone())).run_concurrent().await
}

/// Tells Lambda why the environment cannot start, so that the caller and the log see more than an exit status.
pub async fn report_init_error(env: &dyn Env, error: &(dyn std::error::Error + Send + Sync)) {
    if let Ok(api) = RuntimeApi::from_env(env) {
        // Nobody is left to tell when this fails too; the log line has been written.
        let _ = api.fail_init("InitError", &crate::log::with_causes(error)).await;
    }
}
