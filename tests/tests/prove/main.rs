//! The proof: credentials are rotated, again and again and with faults at every call, and no client notices.
//!
//! Providers with real keys stand behind the built gateway, which answers constant load from several environments;
//! the built rotation function goes through the steps that a Secrets Manager server calls, and through scheduled
//! rotations of a secret in Vault. Times are short: a credential is cached for two seconds, and a step or a request
//! lasts two seconds at most, so a former credential must work for four.
//!
//! It asserts that no request failed, that no key was revoked which somebody still used, that every rotation came to
//! its end, and that nothing is left behind. What follows from the seed are the choices: which fault comes at which
//! call of which step. How processes come in between each other does not follow from it.
//!
//! The overlap is real time here, so this waits for it to pass.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, which prints a table"
)]

mod aws;
mod fleet;
mod lane;
mod options;
mod providers;
#[path = "../stack.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod stack;
mod tally;
mod world;

use options::Options;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rotation_costs_a_request() {
    world::prove(&Options::short()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make prove-rotation"]
async fn no_rotation_costs_a_request_for_long() {
    world::prove(&Options::read()).await;
}
