//! End to end: the built programs between real servers and real clients.
//!
//! | module | what it shows |
//! |---|---|
//! | `lambda_events` | the `bootstrap` answers every event in `tests/events`, streaming included |
//! | `rotation_live` | a rotated credential costs no request and one read |
//! | `canary` | no secret, key or prompt is where it does not belong |
//! | `bad_input` | each kind of bad input has its status and its error |
//! | `sdk` | the official Python SDKs work through the gateway |
//! | `first_run` | the first start on a machine, and the end of one |

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, and what they share, fail with a panic"
)]

mod bad_input;
mod canary;
mod first_run;
mod lambda_events;
mod rotation_live;
mod sdk;
mod stack;
