//! The `keyturn` binary behind plain HTTP, on a port that the system chose.

use std::path::Path;

use serde_json::Value;

use crate::http::{Answer, Client};
use crate::process::{Pipe, Process, Start};

/// A running `keyturn`. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    url: String,
    key: String,
    curl: String,
    client: Client,
}

impl Gateway {
    /// Starts `binary` in `directory` with `--port 0` and `arguments`, and waits until it says where it listens.
    /// `environment` is all it has, but for `PATH` and `HOME`.
    ///
    /// # Panics
    ///
    /// When it ends, or does not say its URL, a key and a curl line.
    pub async fn start(
        binary: &Path,
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let process = Self::spawn(binary, directory, arguments, environment);
        let text = |line: crate::process::Line| line.text;
        let stdout = |marker: &'static str| {
            move |line: &crate::process::Line| line.pipe == Pipe::Stdout && line.text.contains(marker)
        };
        let url = text(process.line("its URL", stdout("http://127.0.0.1:")).await);
        let key = text(process.line("a virtual key", stdout("sk-")).await);
        let curl_line = |line: &crate::process::Line| {
            line.pipe == Pipe::Stdout && line.text.trim_start().starts_with("curl ")
        };
        let curl = text(process.line("a curl line", curl_line).await).trim().to_owned();
        let url = word(&url, "http://127.0.0.1:", |character| {
            character == ':' || character == '/' || character == '.'
        });
        let key = word(&key, "sk-", |character| character == '-' || character == '_');
        Self { process, url: url.trim_end_matches('/').to_owned(), key, curl, client: Client::default() }
    }

    /// Starts the program and waits for nothing, for a start that should fail.
    #[must_use]
    pub fn spawn(
        binary: &Path,
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Process {
        let home = directory.to_string_lossy().into_owned();
        let base = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", home.as_str())];
        Process::start(&Start {
            program: binary.to_owned(),
            arguments: ["serve", "--port", "0"].iter().chain(arguments).map(ToString::to_string).collect(),
            environment: base
                .iter()
                .chain(environment)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            directory: directory.to_owned(),
        })
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The virtual key that it printed.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The curl line that it printed.
    #[must_use]
    pub fn curl(&self) -> &str {
        &self.curl
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to wait for its end.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Posts JSON to a path with the printed key.
    ///
    /// # Panics
    ///
    /// When there is no whole answer.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client.post_json(&format!("{}{path}", self.url), Some(&self.key), body).await
    }
}

/// The part of `line` from `start` on that consists of letters, digits and what `also` takes.
fn word(line: &str, start: &str, also: fn(char) -> bool) -> String {
    let from = line.find(start).unwrap_or(0);
    let (start, rest) = line[from..].split_at(start.len().min(line.len() - from));
    let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && !also(character));
    format!("{start}{}", &rest[..end.unwrap_or(rest.len())])
}
