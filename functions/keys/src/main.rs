//! The keys function as a Lambda bootstrap.

use std::process::ExitCode;
use std::sync::Arc;

use keyturn_ambient::{Clock, ProcessEnv, SystemClock};
use keyturn_entry::log;
use keyturn_keys_api::{lambda, load};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::quiet_panics();
    let api = match load(Arc::new(ProcessEnv), Arc::new(SystemClock), log::stdout).await {
        Ok(api) => api,
        Err(error) => {
            log::fatal(log::stdout, SystemClock.now(), "initialisation failed", &error);
            return ExitCode::FAILURE;
        }
    };
    match lambda::run(api).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::fatal(log::stdout, SystemClock.now(), "the Runtime API is gone", error.as_ref());
            ExitCode::FAILURE
        }
    }
}
