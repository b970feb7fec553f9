//! A function's `bootstrap` under valgrind, which counts the instructions that it executes.
//!
//! valgrind shows the program a processor of its own, without SHA or AVX-512 instructions, so a binary takes the same
//! path on every x86-64 machine with AVX2. What the kernel does is not counted.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyturn_tests::environment::Environment;
use tempfile::TempDir;

/// Keeps glibc from copying with `rep movsb`, each byte of which counts as an instruction here and costs a fraction of
/// one on a processor. Where there is no such instruction the setting does nothing.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM";

/// valgrind, as it is installed.
pub(crate) struct Valgrind {
    program: PathBuf,
    /// What it says of itself: `valgrind-3.19.0`.
    pub(crate) version: String,
}

/// A running function whose instructions are counted.
pub(crate) struct Counted {
    pub(crate) function: Environment,
    directory: TempDir,
}

/// What a program asked of the system.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Files opened, shared libraries apart.
    pub(crate) files: u64,
    /// Connections begun.
    pub(crate) connections: u64,
    /// Threads started.
    pub(crate) threads: u64,
}

impl Valgrind {
    /// Finds it on `PATH`; `None` when it is not there.
    pub(crate) fn find() -> Option<Self> {
        let paths = std::env::var_os("PATH")?;
        let mut programs = std::env::split_paths(&paths).map(|path| path.join("valgrind"));
        let program = programs.find(|program| program.is_file())?;
        let output = Command::new(&program).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(Self { program, version })
    }

    /// Starts a `bootstrap` under it, and waits for the end of its init phase.
    pub(crate) async fn start(&self, bootstrap: &Path, environment: &[(&str, &str)]) -> Counted {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = directory.path().join("bootstrap");
        let text = format!(
            "#!/bin/sh\nGLIBC_TUNABLES={TUNABLES} exec '{}' --tool=callgrind --callgrind-out-file='{}' --trace-syscalls=yes --log-file='{}' '{}'\n",
            self.program.display(),
            directory.path().join("counts").display(),
            directory.path().join("log").display(),
            bootstrap.display(),
        );
        fs::write(&script, text).expect("a script in a temporary directory");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("a script that may be run");
        Counted { function: Environment::start(&script, environment).await, directory }
    }
}

impl Counted {
    /// Ends the function. Returns how many instructions it has executed, and what it asked of the system.
    pub(crate) async fn end(self) -> (u64, Calls) {
        self.function.idle().await;
        let output = self.function.shut_down().await;
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        let log = read("log");
        let Some(instructions) = total(&read("counts")) else {
            panic!("callgrind counted nothing:\n{log}\n{output}")
        };
        (instructions, calls(&log))
    }
}

/// The sum in callgrind's output.
fn total(counts: &str) -> Option<u64> {
    counts.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

/// Reads the lines of `--trace-syscalls=yes`. A call that may wait has two: `SYSCALL[pid,thread](257) sys_openat (…)
/// --> [async] ...`, and later `SYSCALL[pid,thread](257) ... [async] --> Success(0x4)`.
fn calls(log: &str) -> Calls {
    let mut calls = Calls::default();
    let mut opening: HashMap<&str, &str> = HashMap::new();
    let lines = log.lines().filter_map(|line| line.strip_prefix("SYSCALL[")?.split_once(')'));
    for (thread, call) in lines {
        let call = call.trim_start();
        if call.starts_with("sys_openat ") {
            opening.insert(thread, call);
        }
        let succeeded = call.contains(" Success(");
        let ended = succeeded || call.contains(" Failure(");
        if ended && let Some(opened) = opening.remove(thread) {
            calls.files += u64::from(succeeded && !opened.contains(".so"));
        }
        calls.connections += u64::from(call.starts_with("sys_connect "));
        calls.threads += u64::from(call.starts_with("sys_clone") && succeeded);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("events: Ir\nfn=(1) main\n0 5\ntotals: 868625\n"), Some(868_625));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn files_connections_and_threads_are_counted() {
        let log = "\
==7== Command: bootstrap
SYSCALL[7,1](257) sys_openat ( 4294967196, 0x1f(/lib64/libc.so.6), 524288 ) --> [async] ...
SYSCALL[7,1](257) ... [async] --> Success(0x4)
SYSCALL[7,1](257) sys_openat ( 4294967196, 0x1f(/missing), 524288 ) --> [async] ...
SYSCALL[7,1](257) ... [async] --> Failure(0x2)
SYSCALL[7,1](257) sys_openat ( 4294967196, 0x1f(/tmp/config.yaml), 524288 ) --> [async] ...
SYSCALL[7,2](202) ... [async] --> Success(0x0)
SYSCALL[7,1](257) ... [async] --> Success(0x7)
SYSCALL[7,1](41) sys_socket ( 2, 524289, 6 )[sync] --> Success(0x7)
SYSCALL[7,1](42) sys_connect ( 7, 0x1f, 16 ) --> [async] ...
SYSCALL[7,1](42) ... [async] --> Failure(0x73)
SYSCALL[7,1](435) sys_clone3 ( 0x1f, 88 )[sync] --> Failure(0x26)
SYSCALL[7,1](56) sys_clone ( 3d0f00, 0x4d, 0x4d, 0x4d, 0x4d ) --> [pre-success] Success(0x5386)
";
        assert_eq!(calls(log), Calls { files: 1, connections: 1, threads: 1 });
    }
}
