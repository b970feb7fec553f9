//! What every function has at its entry: the key that a request shows, the request's id, log lines and metrics.

mod call_id;
mod door;
pub mod log;
mod metric;
pub mod setup;

pub use call_id::{CALL_ID, call_id};
pub use door::{Door, KeyFault, Presented};
pub use metric::Metric;
