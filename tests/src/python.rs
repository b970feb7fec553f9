//! The Python side: `.venv` at the root of the workspace, made by `make venv`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::binaries::workspace;
use crate::within;

/// A program of the virtual environment: `python`, `pytest`, `moto_server`.
///
/// # Panics
///
/// When there is no such environment, saying how to make it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = workspace().join(".venv").join("bin").join(name);
    assert!(path.exists(), "{} is missing: run `make venv`", path.display());
    path
}

/// Runs one file of `tests/python` under pytest, with `environment` and nothing else of ours in its
/// environment.
///
/// # Errors
///
/// When a test in it fails, pytest's output.
///
/// # Panics
///
/// When pytest cannot be started, or does not end.
pub async fn pytest(file: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let run = Command::new(program("python"))
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"])
        .arg(Path::new("tests").join("python").join(file))
        .current_dir(workspace())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("pytest", run).await.expect("pytest starts");
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{file} failed:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// How long schemathesis may take: it sends some thousand requests.
const SCHEMATHESIS_GUARD: Duration = Duration::from_secs(240);

/// Runs schemathesis as `tests/schemathesis.toml` says against the gateway at `url`, with this key.
///
/// # Errors
///
/// When it finds something, its output.
///
/// # Panics
///
/// When it cannot be started, or does not end.
pub async fn schemathesis(url: &str, key: &str, directory: &Path) -> Result<(), String> {
    let config = workspace().join("tests").join("schemathesis.toml");
    let run = Command::new(program("schemathesis"))
        .arg("--config-file")
        .arg(config)
        .args(["run", "--no-color", &format!("{url}/openapi.json")])
        // It keeps examples in the directory that it runs in.
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("KEYTURN_KEY", key)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SCHEMATHESIS_GUARD, run).await.expect("schemathesis ends");
    let output = output.expect("schemathesis starts");
    if output.status.success() {
        return Ok(());
    }
    let (told, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("schemathesis found something:\n{told}{warned}"))
}
