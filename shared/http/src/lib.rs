//! The one HTTP client: every upstream call, every secret store and the AWS SDK go through it, so there is
//! one TLS stack (rustls with aws-lc-rs), one connection pool and one place for its settings.

pub mod aws;
pub mod call;
mod client;

pub use client::{ClientError, Tls, client, client_through_proxy, client_with};
