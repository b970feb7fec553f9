//! What every function has at its entry: the key that a request shows, the request's id, and log lines.

mod call_id;
mod door;
pub mod log;

pub use call_id::{CALL_ID, call_id};
pub use door::{Door, KeyFault, Presented};
