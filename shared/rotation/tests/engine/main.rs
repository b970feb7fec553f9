//! The engine over a model of a store and of a provider: every step in every state, cut off at every call.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod cuts;
mod provider;
mod random;
mod steps;
mod store;
mod world;
