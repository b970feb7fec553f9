//! What a program and all its descendants use, by /proc. `None` where there is no such thing.

use std::fs;
use std::time::Duration;

/// Clock ticks of /proc in a second: `USER_HZ`, 100 on every architecture that Rust's Linux targets have here
/// (proc(5), sysconf(3)).
const TICKS_PER_SECOND: u64 = 100;

/// The program and its descendants.
pub(super) fn members(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, field(process, PARENT)?.try_into().ok()?)))
        .collect();
    let mut members = vec![root];
    let mut next = 0;
    while let Some(&parent) = members.get(next) {
        members.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| process));
        next += 1;
    }
    members
}

/// CPU time so far, of the user and of the system, threads that have ended included. Its grain is 10 ms.
pub(super) fn cpu_time(root: u32) -> Option<Duration> {
    let mut ticks = 0;
    for process in members(root) {
        // One that has just ended is missed.
        ticks += field(process, USER_TIME).unwrap_or(0) + field(process, SYSTEM_TIME).unwrap_or(0);
    }
    (ticks > 0).then(|| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The sum of the peaks of resident memory, in bytes. What processes share counts for each of them.
pub(super) fn peak_memory(root: u32) -> Option<u64> {
    let peaks = members(root).into_iter().filter_map(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    let kibibytes: u64 = peaks.sum();
    (kibibytes > 0).then_some(kibibytes * 1024)
}

/// Fields of /proc/PID/stat, counted from 0 after the program's name (proc(5) counts from 1, and two come before).
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

fn field(process: u32, index: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may hold anything, these included.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_belongs_to_its_parents_tree() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let own = std::process::id();
        assert!(members(own).contains(&child.id()));
        assert_eq!(members(child.id()), [child.id()]);
        assert!(peak_memory(own) > peak_memory(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
