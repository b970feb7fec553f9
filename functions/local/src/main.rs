//! `keyturn`: the gateway on a laptop or in a container, and the command line of its keys.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use keyturn_ambient::{ProcessEnv, SystemClock};
use keyturn_local::{Arguments, Command, RotationAsk, SealAsk};

#[tokio::main]
async fn main() -> ExitCode {
    keyturn_entry::log::quiet_panics();
    match Arguments::parse().into_command() {
        Command::Serve(serve) => {
            match keyturn_local::start(serve, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    keyturn_local::complain(&error);
                    ExitCode::FAILURE
                }
            }
        }
        Command::Check(check) => {
            match keyturn_local::run_check(check, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => {
                    error.complain();
                    ExitCode::from(2)
                }
            }
        }
        Command::Env(launch) => {
            match keyturn_local::run_launch(launch, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
                Ok(code) => ExitCode::from(code),
                Err(error) => {
                    error.complain();
                    ExitCode::from(error.code())
                }
            }
        }
        Command::Rotate(rotate) => rotation(RotationAsk::Rotate(rotate)).await,
        Command::Rotation(ask) => rotation(RotationAsk::Rotation(ask)).await,
        Command::Seal(ask) => seal(SealAsk::Seal(ask)).await,
        Command::Unseal(ask) => seal(SealAsk::Unseal(ask)).await,
        Command::Key(key) => {
            match keyturn_local::run_key(key, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    error.complain();
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn rotation(ask: RotationAsk) -> ExitCode {
    match keyturn_local::run_rotation(ask, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.complain();
            ExitCode::FAILURE
        }
    }
}

async fn seal(ask: SealAsk) -> ExitCode {
    match keyturn_local::run_seal(ask, Arc::new(ProcessEnv), Arc::new(SystemClock)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.complain();
            ExitCode::FAILURE
        }
    }
}
