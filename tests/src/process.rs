//! A program under test: started with an empty environment, its output collected line by line, killed when the
//! test is over.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::within;

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output, without its line end.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where it was written.
    pub pipe: Pipe,
    /// What it says.
    pub text: String,
}

/// What to start, and with what.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// The directory it runs in.
    pub directory: PathBuf,
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    lines: watch::Receiver<Vec<Line>>,
}

impl Process {
    /// Starts a program. Call it inside a tokio runtime.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(start: &Start) -> Self {
        let name = start.program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        let mut child = Command::new(&start.program)
            .args(&start.arguments)
            .env_clear()
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&start.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", start.program.display()));
        let pid = child.id().expect("the id of a child that was just started");
        let (sender, lines) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let stdout = child.stdout.take().expect("a piped stdout");
        let stderr = child.stderr.take().expect("a piped stderr");
        tokio::spawn(read(stdout, Pipe::Stdout, Arc::clone(&sender)));
        tokio::spawn(read(stderr, Pipe::Stderr, sender));
        Self { name, child, pid, lines }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.borrow().clone()
    }

    /// What it has written so far, both pipes, as one text.
    #[must_use]
    pub fn output(&self) -> String {
        self.lines.borrow().iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// Waits for a line that `matches`, and returns it. Lines written before the call count.
    ///
    /// # Panics
    ///
    /// When the program closes its output, or [`crate::GUARD`] passes, without it.
    pub async fn line(&self, what: &str, matches: impl Fn(&Line) -> bool) -> Line {
        let mut lines = self.lines.clone();
        let wanted = lines.wait_for(|lines| lines.iter().any(&matches));
        let found = tokio::time::timeout(crate::GUARD, wanted).await;
        if let Ok(Ok(lines)) = &found
            && let Some(line) = lines.iter().find(|line| matches(line))
        {
            return line.clone();
        }
        drop(found);
        panic!("{} did not write {what}; it wrote:\n{}", self.name, self.output())
    }

    /// Resolves when the program has closed its output, which is when it has ended.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut lines = self.lines.clone();
        async move { while lines.changed().await.is_ok() {} }
    }

    /// Sends a signal: `INT`, `TERM`, `STOP`, `CONT`, …
    ///
    /// # Panics
    ///
    /// When it cannot be sent.
    pub async fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid.to_string()).status().await;
        let sent = status.as_ref().is_ok_and(ExitStatus::success);
        assert!(sent, "cannot send SIG{signal} to {}: {status:?}", self.name);
    }

    /// Waits for its end; returns how it ended and all it wrote.
    ///
    /// # Panics
    ///
    /// When it does not end within [`crate::GUARD`].
    pub async fn exit(&mut self) -> (ExitStatus, String) {
        let what = format!("the end of {}", self.name);
        let status = within(&what, self.child.wait()).await.expect("the exit status");
        within("the last of its output", self.closed()).await;
        (status, self.output())
    }

    /// Peak resident memory so far, in bytes (`VmHWM` of `/proc`); `None` where there is no `/proc`.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join("status"));
        let status = status.ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// The CPU time of all its threads that still run. `None` where /proc does not tell (and off Linux).
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let tasks = std::fs::read_dir(Path::new("/proc").join(self.pid.to_string()).join("task")).ok()?;
        let nanoseconds = tasks.filter_map(|task| {
            let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(nanoseconds.sum()))
    }
}

async fn read(pipe: impl AsyncRead + Unpin, from: Pipe, lines: Arc<watch::Sender<Vec<Line>>>) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        lines.send_modify(|lines| lines.push(Line { pipe: from, text }));
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Process {
        Process::start(&Start {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GIVEN".into(), "value".into()), ("PATH".into(), "/usr/bin:/bin".into())],
            directory: std::env::temp_dir(),
        })
    }

    #[tokio::test]
    async fn lines_are_collected_and_the_environment_is_only_what_was_given() {
        let mut process = sh("echo \"a $GIVEN$HOME\"; echo b >&2; printf c; exit 4");
        assert_eq!(process.line("b", |line| line.pipe == Pipe::Stderr).await.text, "b");
        let (status, output) = process.exit().await;
        assert_eq!(status.code(), Some(4));
        let mut lines: Vec<_> = output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["a value", "b", "c"]);
    }

    #[tokio::test]
    async fn a_signal_arrives() {
        let mut process = sh("echo ready; exec cat /dev/zero > /dev/null");
        process.line("ready", |line| line.text == "ready").await;
        process.signal("KILL").await;
        let (status, output) = process.exit().await;
        assert!(!status.success());
        assert_eq!(output, "ready\n");
    }
}
