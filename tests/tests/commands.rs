//! Running `keyturn` as a script does, with canaries for secrets: whatever it prints, none of them is seen.

use keyturn_tests::binaries;
use keyturn_tests::process::{Pipe, Process, Start};
use tempfile::TempDir;

/// Secrets. Their parts tell of them, whole or masked.
pub(crate) const OPENAI: &str = "sk-proj-heron-openai-tailWx7Y";
pub(crate) const ANTHROPIC: &str = "sk-ant-finch-anthropic-tailKp2Z";
pub(crate) const NEXT: &str = "sk-proj-lark-next-tailVb5N";
const PARTS: &[&str] = &["heron", "Wx7Y", "finch", "Kp2Z", "lark", "Vb5N"];

/// No canary is in a text.
pub(crate) fn assert_clean(text: &str, place: &str) {
    for part in PARTS {
        assert!(!text.contains(part), "{part} shows up in {place}:\n{text}");
    }
}

/// A directory with a configuration, and the environment of runs in it.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) environment: Vec<(String, String)>,
}

/// What a run said, and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Told {
    /// It ended so, and all of this is told on these pipes together.
    pub(crate) fn says(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.stdout.contains(part) || self.stderr.contains(part), "{part:?} is not in {self:?}");
        }
    }

    /// The line of standard output that has all of these.
    pub(crate) fn line(&self, parts: &[&str]) -> &str {
        let line = self.stdout.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        line.unwrap_or_else(|| panic!("no line has {parts:?}: {self:?}"))
    }
}

impl Bench {
    pub(crate) fn new(config: &str) -> Self {
        let bench = Self {
            directory: TempDir::new().unwrap(),
            environment: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
        };
        bench.write("config.yaml", config);
        bench
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Writes a file as a whole, as Kubernetes and Vault's agent do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!(".{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    /// Starts it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&Start {
            program: binaries::keyturn(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: self.environment.clone(),
            directory: self.directory.path().to_owned(),
        })
    }

    /// Runs it to its end. Whatever it does, no canary is seen, and a pipe gets plain text.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Told {
        let mut process = self.start(arguments);
        let (status, all) = process.exit().await;
        assert_clean(&all, &format!("what {arguments:?} says"));
        assert!(!all.contains(['\u{1b}', '\r']), "not plain: {all:?}");
        let text = |pipe| {
            let lines = process.lines();
            let lines = lines.iter().filter(|line| line.pipe == pipe);
            lines.map(|line| format!("{}\n", line.text)).collect::<String>()
        };
        Told {
            code: status.code().expect("no signal ended it"),
            stdout: text(Pipe::Stdout),
            stderr: text(Pipe::Stderr),
        }
    }
}
