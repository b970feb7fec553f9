//! What a process finds around it and no code may reach for by itself: the environment and the time.
//!
//! Both are passed in, so that a test states them as values and never sleeps. And how an error is put into words.

mod causes;
mod clock;
mod env;
mod life;

pub use causes::with_causes;
pub use clock::{Clock, ManualClock, SystemClock};
pub use env::{Env, Overlay, ProcessEnv};
pub use life::Life;
