//! Looks after a program: passes signals on, restarts it or tells it when a value has changed, and ends as it does.
//!
//! A program is restarted with values that were all read just now, or not at all: while one of them cannot be read, it
//! runs on with those it has.

use std::future::Future;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::process::{signal_name, signal_of};
use super::values::Values;

/// What to do when a value has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnChange {
    /// End the program and start it with the new values.
    Restart,
    /// Tell it. Its environment stays what it is: no process can change another one's.
    Signal(Signal),
}

impl OnChange {
    /// Reads `restart`, `signal` or `signal=USR1`.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        match text.split_once('=') {
            None if text == "restart" => Ok(Self::Restart),
            None if text == "signal" => Ok(Self::Signal(Signal::HUP)),
            Some(("signal", name)) => {
                signal_of(name).map(Self::Signal).ok_or("expected HUP, INT, QUIT, TERM, USR1, USR2 or WINCH")
            }
            _ => Err("expected restart, signal or signal=NAME"),
        }
    }
}

/// What can be started.
pub(super) trait Program {
    /// What it is when it runs.
    type Running: Running;

    /// Starts it.
    ///
    /// # Errors
    ///
    /// The system cannot.
    fn start(&self, values: &Values) -> io::Result<Self::Running>;
}

/// A program that runs.
pub(super) trait Running {
    /// Waits for its end: the code to end with. It may be asked again.
    fn ended(&mut self) -> impl Future<Output = io::Result<u8>> + Send;

    /// Sends it a signal. One that has ended gets none.
    fn signal(&self, signal: Signal);
}

/// How values are now.
pub(super) enum Look {
    /// All of them, as they are today.
    Values(Values),
    /// They cannot all be read, for this reason.
    Trouble(String),
}

/// Who looks.
#[async_trait]
pub(super) trait Looking: Send + Sync {
    /// Looks.
    async fn look(&self) -> Look;
}

/// Looks at values every now and then and passes on those that have changed. Trouble is told when it begins, changes or
/// ends.
pub(super) async fn follow(
    looking: impl Looking,
    mut held: Values,
    every: Duration,
    changes: mpsc::Sender<Values>,
    tell: fn(&str),
) {
    let mut trouble = None;
    loop {
        tokio::time::sleep(every).await;
        match looking.look().await {
            Look::Trouble(why) => {
                if trouble.as_ref() != Some(&why) {
                    tell(&format!("{why}; the command goes on with the values that it has"));
                    trouble = Some(why);
                }
            }
            Look::Values(values) => {
                if trouble.take().is_some() {
                    tell("every secret can be read again");
                }
                let changed = values.changed(&held).join(", ");
                if changed.is_empty() {
                    continue;
                }
                tell(&format!("changed: {changed}"));
                held = values.clone();
                if changes.send(values).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// How a program is looked after.
pub(super) struct Watched {
    pub(super) on_change: OnChange,
    /// How long it may take to end when it is restarted.
    pub(super) grace: Duration,
    /// Takes a line for who started this.
    pub(super) tell: fn(&str),
}

impl Watched {
    /// Starts the program and stays until it ends; the code to end with.
    ///
    /// # Errors
    ///
    /// It cannot be started, or started again.
    pub(super) async fn run<P: Program>(
        &self,
        program: &P,
        values: Values,
        signals: &mut mpsc::Receiver<Signal>,
        changes: &mut mpsc::Receiver<Values>,
    ) -> io::Result<u8> {
        let mut running = program.start(&values)?;
        drop(values);
        loop {
            tokio::select! {
                biased;
                ended = running.ended() => return ended,
                Some(signal) = signals.recv() => running.signal(signal),
                Some(mut values) = changes.recv() => match self.on_change {
                    OnChange::Signal(signal) => {
                        (self.tell)(&format!("sends {} to the command", signal_name(signal)));
                        running.signal(signal);
                    }
                    OnChange::Restart => {
                        (self.tell)("restarts the command");
                        if let Some(code) = self.stop(&mut running, signals).await? {
                            return Ok(code);
                        }
                        // What came meanwhile is newer.
                        while let Ok(newer) = changes.try_recv() {
                            values = newer;
                        }
                        running = program.start(&values)?;
                    }
                },
            }
        }
    }

    /// Ends the program to start it again; a code if this process was told to end meanwhile.
    async fn stop(
        &self,
        running: &mut impl Running,
        signals: &mut mpsc::Receiver<Signal>,
    ) -> io::Result<Option<u8>> {
        running.signal(Signal::TERM);
        let grace = tokio::time::sleep(self.grace);
        tokio::pin!(grace);
        let (mut is_over, mut is_killed) = (false, false);
        loop {
            tokio::select! {
                biased;
                ended = running.ended() => {
                    let code = ended?;
                    return Ok(is_over.then_some(code));
                }
                Some(signal) = signals.recv() => {
                    is_over |= [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal);
                    running.signal(signal);
                }
                () = &mut grace, if !is_killed => {
                    (self.tell)("the command did not end in time and is killed");
                    running.signal(Signal::KILL);
                    is_killed = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
