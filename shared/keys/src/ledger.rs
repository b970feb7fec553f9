//! What is counted of a key, a team or a user, and how it is changed; no store and no I/O in it.
//!
//! Every account (a key, a team, a user, or a share of one that is very busy) has counters, whole numbers by name.
//! A [`Change`] says what to add, under which conditions; a store makes it happen all at once or not at all.
//!
//! | counter | what |
//! |---|---|
//! | `spend` | nano-dollars of all settled requests |
//! | `cm@<pool>` | what is used of a pool, reservations of requests under way included |
//! | `rs@<slot>@<pool>` | how much of it was reserved in a slot of five minutes and is not settled |
//! | `rq@<minute>[#<model>]` | requests in a minute |
//! | `tk@<minute>[#<model>]` | tokens in a minute |
//!
//! A *pool* is a limit on something that is reserved and settled: the budget (`<start of its window>`, 0 where it
//! has no windows), a model's budget (`<start>#<model>`) and the requests under way (`parallel`).
//! `docs/adr/0001-key-table.md` explains reservations.

mod change;
mod counters;
pub(crate) mod plan;
pub(crate) mod settle;
mod slots;
pub(crate) mod spread;
mod windows;

pub use change::{Change, Require};
pub use counters::Counters;
pub use windows::{SPEND, budget_window, spend_counters, spent, spent_on_model};
