//! JSON lines: `timestamp`, `level`, `message`, and the fields of what happened. Never a body, never a key.

use jiff::Timestamp;
pub use keyturn_ambient::with_causes;
use serde::Serialize;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Something failed that should not.
    Error,
    /// Something an operator should look at.
    Warn,
    /// One line a request.
    Info,
}

/// Where lines go and which.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// The least grave level that is written.
    pub level: Level,
    /// Takes one line, newline included. Lambda collects standard output; the local server writes to standard
    /// error.
    pub sink: fn(&[u8]),
}

/// Bytes of a request's line, from above.
const USUAL_LINE: usize = 1024;

#[derive(Serialize)]
struct Line<'a, F> {
    timestamp: Timestamp,
    level: Level,
    message: &'static str,
    #[serde(flatten)]
    fields: &'a F,
}

impl Log {
    /// Writes one line.
    pub fn write<F: Serialize>(&self, level: Level, timestamp: Timestamp, message: &'static str, fields: &F) {
        if level > self.level {
            return;
        }
        let line = Line { timestamp, level, message, fields };
        let mut bytes = Vec::with_capacity(USUAL_LINE);
        if serde_json::to_writer(&mut bytes, &line).is_err() {
            return;
        }
        bytes.push(b'\n');
        (self.sink)(&bytes);
    }
}

/// Writes the line of a process that cannot go on.
pub fn fatal(
    sink: fn(&[u8]),
    timestamp: Timestamp,
    message: &'static str,
    error: &(dyn std::error::Error + Send + Sync),
) {
    #[derive(Serialize)]
    struct Fatal {
        error: String,
    }
    Log { level: Level::Error, sink }.write(
        Level::Error,
        timestamp,
        message,
        &Fatal { error: with_causes(error) },
    );
}

/// The sink that writes to standard output.
pub fn stdout(line: &[u8]) {
    use std::io::Write;
    // A closed standard output leaves nowhere to report that.
    let _ = std::io::stdout().lock().write_all(line);
}

/// The sink that writes to standard error.
pub fn stderr(line: &[u8]) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(line);
}

/// Replaces the panic message by the place of the panic: the message may hold anything.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let line = serde_json::json!({"level": "ERROR", "message": "panic", "place": place});
        stderr(format!("{line}\n").as_bytes());
    }));
}

impl From<keyturn_config::LogLevel> for Level {
    fn from(level: keyturn_config::LogLevel) -> Self {
        use keyturn_config::LogLevel;
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
        }
    }
}
