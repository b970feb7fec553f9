//! Every endpoint and every refusal, on an embedded DynamoDB.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod callers;
mod keys;
mod lists;
mod master;
mod owners;
mod refusals;
mod rig;
mod spend;
