//! The rotation function as a Lambda bootstrap.

use std::process::ExitCode;
use std::sync::Arc;

use keyturn_ambient::{Clock, Env, ProcessEnv, SystemClock};
use keyturn_entry::log;
use keyturn_rotation_function::load;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::quiet_panics();
    let (env, clock): (Arc<dyn Env>, Arc<dyn Clock>) = (Arc::new(ProcessEnv), Arc::new(SystemClock));
    let handler = match load(&env, &clock, log::stdout).await {
        Ok(handler) => handler,
        Err(error) => {
            log::fatal(log::stdout, SystemClock.now(), "initialisation failed", &error);
            return ExitCode::FAILURE;
        }
    };
    let handler = &handler;
    let answer =
        service_fn(
            move |event: LambdaEvent<Value>| async move { Box::pin(handler.handle(&event.payload)).await },
        );
    match lambda_runtime::run(answer).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::fatal(log::stdout, SystemClock.now(), "the Runtime API is gone", error.as_ref());
            ExitCode::FAILURE
        }
    }
}
