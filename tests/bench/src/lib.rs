//! What `make bench` measures and how it reports.
//!
//! | module | what it is |
//! |---|---|
//! | [`lambda`] | the functions under the tests' Runtime API emulator |
//! | [`keys`] | what virtual keys cost, and one that is very busy |
//! | [`server_mode`] | `keyturn serve` beside a bare reverse proxy, LiteLLM and Portkey |
//! | [`stage`] | the servers, the configuration and the events around them |
//! | [`report`] | tables, and how they are shown |
//! | [`cost`] | AWS's prices |
//! | [`machine`], [`progress`], [`nodelay`], [`pin`] | small parts |

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot do its work stops with a message"
)]

pub mod cost;
pub mod keys;
pub mod lambda;
pub mod machine;
pub mod nodelay;
pub mod pin;
pub mod progress;
pub mod report;
mod samples;
pub mod server_mode;
pub mod stage;
