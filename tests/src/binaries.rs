//! The programs under test, as cargo built them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

/// The workspace's directory.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// The request function's `bootstrap`.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn request() -> PathBuf {
    binary("request")
}

/// The keys function's `bootstrap`.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn keys() -> PathBuf {
    binary("keys")
}

/// The rotation function's `bootstrap`.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn rotation() -> PathBuf {
    binary("rotation")
}

/// The local server.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn keyturn() -> PathBuf {
    binary("keyturn")
}

/// Finds a binary beside the running test, and builds first what is missing or older than its sources.
fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = directory().join(name);
    BUILT.get_or_init(|| {
        if ["request", "keys", "rotation", "keyturn"].iter().any(|name| stale(&directory().join(name))) {
            build();
        }
    });
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// `target/debug` of a test that runs from `target/debug/deps`.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let mut directory = test.parent().expect("a directory of tests").to_owned();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory
}

fn build() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--bins"]);
    if directory().ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(workspace()).stdin(Stdio::null()).output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the binaries under test do not build:\n{said}");
}

/// Whether a source named in cargo's dependency file (`<binary>.d`) is newer than the binary.
fn stale(binary: &Path) -> bool {
    let Some(built) = modified(binary) else { return true };
    let Ok(dependencies) = fs::read_to_string(binary.with_extension("d")) else { return true };
    let sources = dependencies.split_once(": ").map_or("", |(_, sources)| sources);
    // A space in a path is written `\ `.
    let sources = sources.replace("\\ ", "\0");
    sources
        .split_whitespace()
        .map(|source| source.replace('\0', " "))
        .any(|source| modified(Path::new(&source)).is_none_or(|changed| changed > built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
