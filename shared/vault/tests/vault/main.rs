//! The client against a real server: OpenBao.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod app_roles;
mod documents;
mod faults;
mod logins;
mod rig;
mod sessions;
mod settings;
