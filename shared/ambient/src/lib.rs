//! What a process finds around it and no code may reach for by itself: the environment and the time.
//!
//! Both are passed in, so that a test states them as values and never sleeps.

mod clock;
mod env;

pub use clock::{Clock, ManualClock, SystemClock};
pub use env::{Env, ProcessEnv};
