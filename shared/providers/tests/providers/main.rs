//! The providers, through the port that the gateway uses.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]
#![expect(clippy::result_large_err, reason = "the port has large failures")]
#![expect(clippy::needless_pass_by_value, reason = "a helper that takes a literal reads better at its calls")]

mod anthropic_request;
mod anthropic_stream;
mod anthropic_thinking;
mod errors;
mod hostile;
mod messages;
mod mock;
mod openai;
mod support;
mod vectors;
