//! The machine that a benchmark ran on.

use std::fs;
use std::num::NonZero;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What figures depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The cores that this process may use.
    pub cores: usize,
    /// The architecture, as Rust names it.
    pub architecture: String,
    /// The operating system's name and release.
    pub kernel: String,
    /// `rustc --version`.
    pub rustc: String,
    /// Gigabytes (10⁹ bytes) of memory; 0 where /proc does not tell.
    pub memory_gb: u64,
    /// The load average of the last minute, which tells of other work; empty where /proc does not tell.
    #[serde(default)]
    pub load: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn describe() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let kibibytes = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or_default();
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: said("uname", &["-sr"]),
            rustc: said("rustc", &["--version"]),
            load: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next().map(str::to_owned))
                .unwrap_or_default(),
            memory_gb: (kibibytes * 1024).div_ceil(1_000_000_000),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processor, cores, architecture, kernel, rustc, memory_gb, load } = self;
        let plural = if *cores == 1 { "core" } else { "cores" };
        write!(f, "{processor}, {cores} {plural} ({architecture}), {memory_gb} GB, {kernel}, {rustc}")?;
        if load.is_empty() { Ok(()) } else { write!(f, ", load average {load} at the start") }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { format!("unknown {program}") } else { text }
}
