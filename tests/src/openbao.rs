//! Vault: the OpenBao server from `.venv`, which is Vault's free fork and speaks its API, on a plain port and on one
//! with TLS.
//!
//! It starts in its development mode, in memory and unsealed, with the root token [`ROOT`] and a KV engine, version
//! 2, at `secret/`. It lacks Vault's AWS login and its Enterprise functions.

mod tap;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread;

use ::http::Method;
use serde_json::Value;

use crate::http::{Answer, Client};
use crate::{GUARD, python};

pub use tap::{Fate, Tap};

/// The token that may do everything.
pub const ROOT: &str = "root";

/// Runs the server and ends it with this process, however this process ends: then its standard input closes.
const SCRIPT: &str = r#"
directory=$1; shift
exec 3<&0
"$@" 2>&1 & server=$!
(cat <&3 > /dev/null; kill -9 $server) & watcher=$!
wait $server
kill $watcher
rm -rf "$directory"
echo "the server has ended"
"#;

/// The running server. Dropping it ends it.
#[derive(Debug)]
pub struct OpenBao {
    /// Holds the pipe that keeps the server alive.
    child: Child,
    url: String,
    tls_url: String,
    directory: PathBuf,
}

impl OpenBao {
    /// The one server that the tests of a program share; each test takes a [`Self::fresh`] name.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<OpenBao> = LazyLock::new(OpenBao::start);
        &SHARED
    }

    /// Starts a server of one's own, to be sealed or filled with limits, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start() -> Self {
        // The server cannot tell a port that the system chose for it. One that was free may be taken by now.
        let mut output = String::new();
        for _ in 0..5 {
            match Self::try_start() {
                Ok(server) => return server,
                Err(lines) => output = lines,
            }
        }
        panic!("cannot start OpenBao:\n{output}");
    }

    fn try_start() -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("openbao").tempdir().expect("a directory").keep();
        let (port, tls_port) = (free_port(), free_port());
        let listener =
            format!("listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n");
        let config = directory.join("listener.hcl");
        std::fs::write(&config, listener).expect("the configuration is written");
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(&directory)
            .arg(python::program("bao"))
            .args(["server", "-dev", "-dev-no-store-token", "-dev-tls"])
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{tls_port}"))
            .arg(format!("-dev-tls-cert-dir={}", directory.display()))
            .arg(format!("-config={}", config.display()))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let stdout = child.stdout.take().expect("a piped stdout");
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the server never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once the server has started.
                let _ = sender.send(line);
            }
        });
        let mut output = String::new();
        while let Ok(line) = lines.recv_timeout(GUARD) {
            if line.contains("server started!") {
                let url = format!("http://127.0.0.1:{port}");
                let tls_url = format!("https://127.0.0.1:{tls_port}");
                return Ok(Self { child, url, tls_url, directory });
            }
            let ended = line == "the server has ended";
            output.push_str(&line);
            output.push('\n');
            if ended {
                break;
            }
        }
        drop(child.stdin.take());
        let _ = child.wait();
        Err(output)
    }

    /// The address without TLS, for `HCP_VAULT_ADDR`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address with TLS.
    #[must_use]
    pub fn tls_url(&self) -> &str {
        &self.tls_url
    }

    /// The PEM file of the authority that signed the certificate of [`Self::tls_url`].
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.join("vault-ca.pem")
    }

    /// A directory that lives as long as the server.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A name that no other test has: for a prefix, a mount, a role.
    #[must_use]
    pub fn fresh(&self, name: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Calls the server as root.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let url = format!("{}/v1/{path}", self.url);
        // A client of its own for each call: connections belong to the runtime of one test.
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Client::default().send(method, &url, &[("x-vault-token", ROOT)], body).await
    }

    /// Writes as root.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn write(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask(Method::POST, path, body).await;
        assert!((200..300).contains(&answer.status), "OpenBao refused {path}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// Reads as root.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, &Value::Null).await;
        assert_eq!(answer.status, 200, "OpenBao refused {path}: {}", answer.text());
        answer.json()
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("the port just bound").port()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn it_keeps_documents_and_ends_when_it_is_dropped() {
        let server = OpenBao::start();
        let name = server.fresh("document");
        let path = format!("secret/data/{name}");
        server.write(&path, &json!({"data": {"a": 1}})).await;
        assert_eq!(server.read(&path).await["data"]["data"], json!({"a": 1}));
        assert!(server.authority().exists());
        let (directory, address) =
            (server.directory().to_owned(), server.url()["http://".len()..].to_owned());
        drop(server);
        assert!(!directory.exists());
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
