//! A gateway under load: how it is started, when it is ready, what it uses, how it ends.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::load::{Failure, Target, once};
use super::process_tree;

/// How long a gateway may take to answer its first request, and to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a starting gateway is asked.
const POLL: Duration = Duration::from_millis(1);

/// What is loaded, and how it is started.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The head of its column.
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// All of its environment, but for `PATH` and `HOME`.
    pub(super) environment: Vec<(&'static str, String)>,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The headers of a request, besides those that every HTTP client sends.
    pub(super) headers: Vec<(&'static str, String)>,
    /// What each of its processes writes when it is ready, and how many there are. Its first answer tells of one.
    pub(super) processes: Option<(&'static str, usize)>,
}

impl Subject {
    /// What is sent to it.
    pub(super) fn target(&self, stream: bool) -> Target {
        let more = if stream { r#","stream":true"# } else { "" };
        let body = format!(
            r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"Say hello in a language of your choice."}}]{more}}}"#
        );
        let headers = self.headers.iter().map(|(name, value)| {
            let value = HeaderValue::try_from(value).expect("a header's value");
            (HeaderName::from_static(name), value)
        });
        let json = (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let headers: HeaderMap = headers.chain([json]).collect();
        Target { address: self.address, headers, body: Bytes::from(body), stream }
    }

    /// Starts it and waits until it answers. Its output goes to a file in `directory`, its working directory.
    pub(super) async fn start(&self, directory: &Path) -> Running {
        let log = directory.join("output.log");
        let output = File::create(&log).expect("a file for its output");
        let errors = output.try_clone().expect("a second handle of a file");
        let path = ("PATH", super::path());
        let home = ("HOME", directory.to_string_lossy().into_owned());
        let begun = Instant::now();
        let child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().cloned().chain([path, home]))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let mut running = Running { name: self.name.clone(), child, log, ready: Duration::ZERO };
        running.first_answer(&self.target(false)).await;
        running.ready = begun.elapsed();
        if let Some((line, count)) = self.processes {
            running.written(line, count).await;
        }
        running
    }
}

/// A running gateway. Dropping it kills it and its descendants.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ready: Duration,
}

impl Running {
    /// From its start to its first answer.
    pub(super) fn ready(&self) -> Duration {
        self.ready
    }

    /// CPU time of all its processes so far.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        process_tree::cpu_time(self.child.id()?)
    }

    /// Peak resident memory of all its processes, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        process_tree::peak_memory(self.child.id()?)
    }

    /// Ends it as a service manager does.
    pub(super) async fn stop(mut self) {
        if let Some(process) = self.child.id() {
            signal("TERM", &[process]);
        }
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.is_ok(), "{} does not end", self.name);
    }

    /// Ends the benchmark.
    pub(super) fn failed(&self, what: impl std::fmt::Display) -> ! {
        panic!("{}: {what}\nThe end of its output:\n{}", self.name, self.tail())
    }

    async fn first_answer(&mut self, target: &Target) {
        let begun = Instant::now();
        loop {
            match timeout(PATIENCE, once(target)).await {
                Ok(Ok(())) => return,
                Ok(Err(Failure::Connect(_))) if begun.elapsed() < PATIENCE => {}
                Ok(Err(failure)) => self.failed(failure),
                Err(_) => self.failed("no answer"),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                self.failed(status);
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a line was written that often.
    async fn written(&self, line: &str, count: usize) {
        let begun = Instant::now();
        while self.output().matches(line).count() < count {
            if begun.elapsed() > PATIENCE {
                self.failed(format_args!("{line:?} was not written {count} times"));
            }
            sleep(10 * POLL).await;
        }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody waited for it: the benchmark has failed.
        if let Some(process) = self.child.id() {
            signal("KILL", &process_tree::members(process));
        }
    }
}

fn signal(signal: &str, processes: &[u32]) {
    let processes = processes.iter().map(ToString::to_string);
    // One that is gone needs none.
    let _ = Command::new("kill").arg(format!("-{signal}")).args(processes).stderr(Stdio::null()).status();
}

/// A loopback address with a port that nobody uses.
pub(super) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("the port just bound")
}
