//! The program as a process of the system, and the signals that this process gets.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::values::Values;
use super::watch::{Program, Running};

/// The signals that have names here.
const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
];

/// What is passed on. `WINCH` is not: a terminal tells every process that uses it.
const PASSED_ON: &[Signal] =
    &[Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];

/// The signal of a name, with `SIG` in front or without.
pub(super) fn signal_of(name: &str) -> Option<Signal> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal)
}

/// The name of a signal.
pub(super) fn signal_name(signal: Signal) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == signal).map_or("a signal", |(name, _)| name)
}

/// Starts the command.
pub(super) struct Launcher {
    command: Vec<OsString>,
}

/// The command as it runs.
pub(super) struct Process {
    child: Child,
    pid: Option<Pid>,
}

impl Launcher {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self { command }
    }

    /// What it is called. Arguments may hold anything.
    pub(super) fn name(&self) -> String {
        self.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The only place where values leave: the environment of the program.
    fn prepared(&self, values: &Values) -> Command {
        let (name, arguments) = self
            .command
            .split_first()
            .map_or((OsString::new(), &[][..]), |(name, rest)| (name.clone(), rest));
        let mut command = Command::new(name);
        command.args(arguments);
        for (name, value) in values.all() {
            match value {
                Some(value) => command.env(name, value.expose()),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Turns this process into the command; returns only if that fails.
    pub(super) fn become_it(&self, values: &Values) -> io::Error {
        self.prepared(values).exec()
    }
}

impl Program for Launcher {
    type Running = Process;

    fn start(&self, values: &Values) -> io::Result<Process> {
        let mut command = tokio::process::Command::from(self.prepared(values));
        let child = command.kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Process { child, pid })
    }
}

impl Running for Process {
    async fn ended(&mut self) -> io::Result<u8> {
        self.child.wait().await.map(code)
    }

    fn signal(&self, signal: Signal) {
        // Its number is its own until it has been waited for.
        if let (Some(_), Some(pid)) = (self.child.id(), self.pid) {
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The signals that this process gets from now on and is to pass on.
pub(super) fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(8);
    for &passed in PASSED_ON {
        let mut stream = signal(SignalKind::from_raw(passed.as_raw()))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if comes_from_the_terminal(passed) {
                    continue;
                }
                if sender.send(passed).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Ctrl-C and Ctrl-\ reach every process in front of the terminal: the command has got it already, and many take a
/// second one for impatience.
fn comes_from_the_terminal(signal: Signal) -> bool {
    [Signal::INT, Signal::QUIT].contains(&signal)
        && tcgetpgrp(io::stdin()).is_ok_and(|front| front == getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_shells() {
        for (raw, expected) in [(0, 0), (3 << 8, 3), (15, 143), (9, 137)] {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected);
        }
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_of("SIGUSR1"), Some(Signal::USR1));
        assert_eq!(signal_of("KILL"), None);
        for (name, signal) in NAMES {
            assert_eq!((signal_of(name), signal_name(*signal)), (Some(*signal), *name));
        }
    }
}
