//! The stores against real servers: one contract suite for every store, and what is particular to each.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod dynamo;
mod faults;
mod regenerated;
mod reservations;
mod round_trips;
mod template;
