//! The store on DynamoDB, against an embedded one.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod large;
mod port;
mod round_trips;
mod server;
mod shares;
mod template;
