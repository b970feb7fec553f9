//! One execution environment: a `bootstrap` started as the Lambda service starts it, under a [`RuntimeApi`] of
//! its own. Several may run side by side.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{Process, Start};
use crate::response::{FunctionError, Response, Whole};
use crate::runtime_api::{FUNCTION_NAME, RuntimeApi};
use crate::server::Acknowledge;
use crate::within;

/// What the Lambda service sets for an OS-only runtime (AWS Lambda documentation, "Defined runtime environment
/// variables"), with credentials that mean nothing.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("_HANDLER", "bootstrap"),
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ("AWS_LAMBDA_FUNCTION_NAME", FUNCTION_NAME),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/keyturn-under-test"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/20/[$LATEST]0123456789abcdef"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-EXAMPLEKEY"),
    ("AWS_SESSION_TOKEN", "session-token"),
    ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
    ("LANG", "en_US.UTF-8"),
    ("LD_LIBRARY_PATH", "/lib64:/usr/lib64:/var/runtime:/var/task:/opt/lib"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin"),
    ("TZ", ":UTC"),
];

/// A running environment. Dropping it kills its process.
#[derive(Debug)]
pub struct Environment {
    api: RuntimeApi,
    process: Process,
    started: Instant,
    init: Duration,
    _task_root: TempDir,
}

/// An environment that did not come up.
#[derive(Debug)]
pub struct InitFailure {
    /// What the function reported, or that it ended.
    pub error: FunctionError,
    /// All it wrote, both pipes.
    pub output: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Environment {
    /// Starts `binary` and waits until it, and its extensions, ask for their first event. `environment` is
    /// added to what Lambda sets, and wins; `AWS_LAMBDA_MAX_CONCURRENCY` in it makes an environment that takes
    /// several invocations at once.
    ///
    /// # Panics
    ///
    /// When the initialisation fails, with what the function wrote.
    pub async fn start(binary: &Path, environment: &[(&str, &str)]) -> Self {
        started(Self::try_start(binary, environment).await)
    }

    /// As [`Self::start`], for a function that may fail to start.
    ///
    /// # Errors
    ///
    /// When the function reports an initialisation error, or ends before it asks for an event.
    ///
    /// # Panics
    ///
    /// When neither happens within [`crate::GUARD`].
    pub async fn try_start(binary: &Path, environment: &[(&str, &str)]) -> Result<Self, InitFailure> {
        Self::launch(binary, environment, RuntimeApi::address, Acknowledge::Lazily).await
    }

    /// As [`Self::start`], with the Runtime API where `cargo lambda watch` has it: `AWS_LAMBDA_RUNTIME_API` is
    /// then a URL with a path.
    ///
    /// # Panics
    ///
    /// When the initialisation fails, with what the function wrote.
    pub async fn start_as_cargo_lambda(binary: &Path, environment: &[(&str, &str)]) -> Self {
        let address = RuntimeApi::cargo_lambda_address;
        started(Self::launch(binary, environment, address, Acknowledge::Lazily).await)
    }

    /// As [`Self::start`], under a Runtime API that acknowledges every piece at once, so that a client without
    /// TCP_NODELAY does not stall: for comparisons that are not about that.
    ///
    /// # Panics
    ///
    /// When the initialisation fails, with what the function wrote.
    pub async fn start_acknowledging(binary: &Path, environment: &[(&str, &str)]) -> Self {
        started(Self::launch(binary, environment, RuntimeApi::address, Acknowledge::AtOnce).await)
    }

    async fn launch(
        binary: &Path,
        environment: &[(&str, &str)],
        address: fn(&RuntimeApi) -> String,
        acknowledge: Acknowledge,
    ) -> Result<Self, InitFailure> {
        let concurrency = environment.iter().find(|(name, _)| *name == "AWS_LAMBDA_MAX_CONCURRENCY");
        let concurrency = concurrency.and_then(|(_, value)| value.parse().ok()).unwrap_or(1);
        let api = RuntimeApi::start_with(concurrency, acknowledge).await;
        let task_root = tempfile::tempdir().expect("a temporary directory");
        let task_root_path = task_root.path().to_string_lossy().into_owned();
        let address = address(&api);
        let runtime = [("AWS_LAMBDA_RUNTIME_API", address.as_str()), ("LAMBDA_TASK_ROOT", &task_root_path)];
        let all = ENVIRONMENT.iter().chain(&runtime).chain(environment);
        let started = Instant::now();
        let mut process = Process::start(&Start {
            program: binary.to_owned(),
            arguments: Vec::new(),
            environment: all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            directory: task_root.path().to_owned(),
        });
        let (handle, closed) = (api.handle(), process.closed());
        tokio::spawn(async move {
            closed.await;
            RuntimeApi::fail(&handle, &FunctionError::new("Runtime.ExitError", "the process has ended"));
        });
        match within("the end of the init phase", api.idle()).await {
            Ok(()) => {
                let init = started.elapsed();
                Ok(Self { api, process, started, init, _task_root: task_root })
            }
            Err(error) => {
                let (status, output) = process.exit().await;
                Err(InitFailure { error, output, status })
            }
        }
    }

    /// Hands an event to the function and returns when the head of its answer is there. In an environment that
    /// takes one invocation at a time it first waits until the last one is over, extensions included.
    ///
    /// # Errors
    ///
    /// When the function reports an error, or ends.
    ///
    /// # Panics
    ///
    /// When there is no answer within [`crate::GUARD`], with what the function wrote.
    pub async fn invoke(&self, event: &Value) -> Result<Response, FunctionError> {
        match tokio::time::timeout(crate::GUARD, self.api.invoke(event)).await {
            Ok(answer) => answer,
            Err(_) => panic!("no answer to {event}; the function wrote:\n{}", self.process.output()),
        }
    }

    /// Hands an event to the function and reads its whole answer.
    ///
    /// # Panics
    ///
    /// When the invocation fails, with what the function wrote.
    pub async fn call(&self, event: &Value) -> Whole {
        match self.invoke(event).await {
            Ok(response) => response.collect().await,
            Err(error) => panic!("the invocation failed: {error}\n{}", self.process.output()),
        }
    }

    /// Hands an event that is not HTTP to the function, and reads what it returns.
    ///
    /// # Errors
    ///
    /// When the function reports an error, or ends.
    ///
    /// # Panics
    ///
    /// When there is no answer within [`crate::GUARD`], or it is not JSON.
    pub async fn run(&self, event: &Value) -> Result<Value, FunctionError> {
        self.api.take_plain_answers();
        Ok(self.invoke(event).await?.collect().await.json())
    }

    /// Gives the invocations from now on this long, as the function is told.
    pub fn set_time_limit(&self, limit: Duration) {
        self.api.set_time_limit(limit);
    }

    /// Waits until the environment would be frozen: what is done after the answer, in an extension, is done.
    ///
    /// # Panics
    ///
    /// When that does not happen within [`crate::GUARD`], or the process has ended.
    pub async fn idle(&self) {
        let idle = within("an idle environment", self.api.idle()).await;
        assert!(idle.is_ok(), "{idle:?}\n{}", self.process.output());
    }

    /// From the start of the process to the end of the init phase.
    #[must_use]
    pub fn init_duration(&self) -> Duration {
        self.init
    }

    /// The time since the start of the process.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long each invocation took that has ended since the last call, as Lambda bills it, but for the rounding:
    /// see [`RuntimeApi::take_billed`].
    #[must_use]
    pub fn take_billed(&self) -> Vec<Duration> {
        self.api.take_billed()
    }

    /// The function's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends the environment as the service does: extensions are told, then the process gets SIGTERM. Returns
    /// all it wrote.
    ///
    /// # Panics
    ///
    /// When it does not end within [`crate::GUARD`].
    pub async fn shut_down(mut self) -> String {
        self.api.shut_down();
        self.process.signal("TERM").await;
        self.process.exit().await.1
    }
}

fn started(launched: Result<Environment, InitFailure>) -> Environment {
    match launched {
        Ok(environment) => environment,
        Err(InitFailure { error, output, .. }) => panic!("the function did not start: {error}\n{output}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_ends_is_an_init_failure_with_what_it_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("bootstrap");
        std::fs::write(
            &script,
            "#!/bin/sh\necho \"in $PWD for $AWS_LAMBDA_RUNTIME_API\"\necho no >&2\nexit 3\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let failure = Environment::try_start(&script, &[]).await.unwrap_err();
        assert_eq!((failure.error.kind.as_str(), failure.status.code()), ("Runtime.ExitError", Some(3)));
        assert!(
            failure.output.contains("for 127.0.0.1:") && failure.output.contains("no\n"),
            "{}",
            failure.output
        );
    }
}
