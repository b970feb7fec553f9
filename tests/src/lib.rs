//! What the end-to-end tests stand on: the servers that a gateway talks to, the Lambda service around it and
//! the processes under test. It knows nothing of Keyturn's own crates, so each of them may use it in its tests.
//!
//! | module | what it is |
//! |---|---|
//! | [`runtime_api`] | the Lambda Runtime and Extensions API |
//! | [`environment`] | one execution environment: a `bootstrap` under that API |
//! | [`response`] | what a function answered, buffered or streamed |
//! | [`upstream`] | a fake of OpenAI and Anthropic with a live key list |
//! | [`moto`] | AWS Secrets Manager, KMS and STS (moto), with a count of calls |
//! | [`openbao`] | Vault (OpenBao) |
//! | [`fake`] | a service made up by a test |
//! | [`federation`] | AWS's STS and the token endpoints of workload identity federation |
//! | [`azure`] | Azure Key Vault and its logins, by the documented protocol |
//! | [`google`] | Google's token services, Secret Manager and Cloud KMS, made up |
//! | [`faults`] | proxies that fail a program at one chosen call |
//! | [`invocations`] | Lambda's Invoke API, for services that call functions |
//! | [`dynamo`] | DynamoDB (dynoxide), with a count of calls |
//! | [`gateway`] | the `keyturn` binary behind plain HTTP |
//! | [`binaries`], [`python`], [`process`] | finding, starting and watching programs |
//! | [`http`], [`server`], [`proxy`] | the plain HTTP underneath |
//!
//! Nothing here sleeps, save an upstream that is told to. What takes time is awaited as an event, with [`GUARD`] as the limit; whatever goes
//! wrong in the harness is a panic that says what it waited for.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a harness that cannot do its work fails the test with a message"
)]

use std::future::Future;
use std::time::Duration;

pub mod azure;
pub mod binaries;
pub mod dynamo;
pub mod environment;
pub mod fake;
pub mod faults;
pub mod federation;
pub mod gateway;
pub mod google;
pub mod http;
pub mod invocations;
pub mod moto;
pub mod openbao;
pub mod process;
pub mod proxy;
pub mod python;
pub mod response;
pub mod runtime_api;
pub mod server;
pub mod upstream;

/// How long an event may take before the test counts as hung. Generous, for a machine that also compiles.
pub const GUARD: Duration = Duration::from_secs(30);

/// Awaits `future`, at most [`GUARD`].
///
/// # Panics
///
/// When the time is over, naming `what` was awaited.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(GUARD, future).await {
        Ok(value) => value,
        Err(_) => panic!("gave up after {} s waiting for {what}", GUARD.as_secs()),
    }
}
