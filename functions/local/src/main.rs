//! `keyturn`: the gateway on a laptop or in a container.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use keyturn_ambient::{ProcessEnv, SystemClock};
use keyturn_local::{Arguments, start};

#[tokio::main]
async fn main() -> ExitCode {
    keyturn_request::log::quiet_panics();
    let arguments = Arguments::parse();
    match start(arguments, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            keyturn_local::complain(&error);
            ExitCode::FAILURE
        }
    }
}
