//! The rotation function: Secrets Manager's four steps, and the same for secrets elsewhere from a schedule.
//!
//! It alone can write secrets and issue credentials; it reads no request and serves none.

mod event;
mod handler;
mod load;
mod report;
mod stores;

pub use event::{Event, NotAnEvent};
pub use handler::{Failure, Handler};
pub use load::{LoadError, load};
pub use stores::StagedStores;
