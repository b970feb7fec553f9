//! The request function as a Lambda bootstrap.

use std::process::ExitCode;
use std::sync::Arc;

use keyturn_ambient::{Clock, Env, ProcessEnv, SystemClock};
use keyturn_request::{Gateway, Options, lambda, log};

fn main() -> ExitCode {
    log::quiet_panics();
    // One request at a time needs one thread: a second costs every request a third more. Managed Instances send
    // several at once.
    let mut runtime = match lambda::max_concurrency(&ProcessEnv) {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let Ok(runtime) = runtime.enable_all().build() else { return ExitCode::FAILURE };
    runtime.block_on(serve())
}

async fn serve() -> ExitCode {
    let env: Arc<dyn Env> = Arc::new(ProcessEnv);
    let served = async {
        let options = Options::new(Arc::clone(&env), Arc::new(SystemClock), log::stdout)?;
        let gateway = Gateway::load(options).await?;
        Ok(lambda::run(gateway, env.as_ref()).await)
    };
    match served.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            log::fatal(log::stdout, SystemClock.now(), "the Runtime API is gone", error.as_ref());
            ExitCode::FAILURE
        }
        Err(error) => {
            let error: keyturn_request::LoadError = error;
            log::fatal(log::stdout, SystemClock.now(), "initialisation failed", &error);
            lambda::report_init_error(env.as_ref(), &error).await;
            ExitCode::FAILURE
        }
    }
}
