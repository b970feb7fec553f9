//! What is being measured, for a person who waits: one line on standard error that is overwritten, on a terminal only.

use std::io::{IsTerminal, Write};

/// Shows the line until it is dropped.
#[derive(Debug)]
pub struct Progress {
    watched: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { watched: std::io::stderr().is_terminal() }
    }
}

impl Progress {
    /// Shows what is being done.
    pub fn say(&self, what: &str) {
        if self.watched {
            // Back to the start of the line, and nothing of what stood there.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{what} …");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.watched {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
