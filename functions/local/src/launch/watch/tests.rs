use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::super::values::made;
use super::*;

/// What was done to programs, in order.
type Story = Arc<Mutex<Vec<String>>>;

/// A program that ends when a signal says so, or when the test does.
#[derive(Clone)]
struct Fake {
    story: Story,
    /// Signals that it does not heed.
    deaf_to: &'static [Signal],
    /// How the one that runs ends.
    end: watch::Sender<Option<u8>>,
    cannot_start: bool,
}

struct Alive {
    program: Fake,
    end: watch::Receiver<Option<u8>>,
}

impl Fake {
    fn new(deaf_to: &'static [Signal]) -> Self {
        Self { story: Story::default(), deaf_to, end: watch::channel(None).0, cannot_start: false }
    }

    fn note(&self, what: String) {
        self.story.lock().unwrap().push(what);
    }

    fn told(&self) -> Vec<String> {
        self.story.lock().unwrap().clone()
    }
}

impl Program for Fake {
    type Running = Alive;

    fn start(&self, values: &Values) -> io::Result<Alive> {
        if self.cannot_start {
            return Err(io::ErrorKind::NotFound.into());
        }
        let value = values.all().find_map(|(name, value)| (name == "A").then(|| value.unwrap().expose()));
        self.note(format!("starts with {}", value.unwrap()));
        self.end.send_replace(None);
        Ok(Alive { program: self.clone(), end: self.end.subscribe() })
    }
}

impl Running for Alive {
    async fn ended(&mut self) -> io::Result<u8> {
        let code = self.end.wait_for(Option::is_some).await.unwrap().unwrap();
        self.program.note(format!("ends with {code}"));
        Ok(code)
    }

    fn signal(&self, signal: Signal) {
        self.program.note(format!("gets {}", signal.as_raw()));
        let ends = [Signal::TERM, Signal::INT, Signal::KILL].contains(&signal);
        if ends && !self.program.deaf_to.contains(&signal) {
            self.program.end.send_replace(Some(128 + u8::try_from(signal.as_raw()).unwrap()));
        }
    }
}

fn values(value: &str) -> Values {
    made(&[("A", value, value)])
}

/// Runs a program; the test talks to it through what is returned.
struct Desk {
    signals: mpsc::Sender<Signal>,
    changes: mpsc::Sender<Values>,
    outcome: tokio::task::JoinHandle<io::Result<u8>>,
}

fn run(program: &Fake, on_change: OnChange) -> Desk {
    let (signals, mut signal_receiver) = mpsc::channel(8);
    let (changes, mut change_receiver) = mpsc::channel(8);
    let program = program.clone();
    let outcome = tokio::spawn(async move {
        let watched = Watched { on_change, grace: Duration::from_secs(10), tell: |_| {} };
        watched.run(&program, values("one"), &mut signal_receiver, &mut change_receiver).await
    });
    Desk { signals, changes, outcome }
}

/// Lets everything run until it waits for time or for the test.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_as_the_program_does_and_passes_signals_on() {
    let program = Fake::new(&[]);
    let desk = run(&program, OnChange::Restart);
    desk.signals.send(Signal::HUP).await.unwrap();
    settle().await;
    program.end.send_replace(Some(7));
    assert_eq!(desk.outcome.await.unwrap().unwrap(), 7);
    assert_eq!(program.told(), ["starts with one", "gets 1", "ends with 7"]);

    let program = Fake::new(&[]);
    let desk = run(&program, OnChange::Restart);
    desk.signals.send(Signal::TERM).await.unwrap();
    assert_eq!(desk.outcome.await.unwrap().unwrap(), 143);
}

#[tokio::test(start_paused = true)]
async fn a_changed_value_restarts_it_with_the_newest() {
    let program = Fake::new(&[]);
    let desk = run(&program, OnChange::Restart);
    settle().await;
    desk.changes.send(values("two")).await.unwrap();
    desk.changes.send(values("three")).await.unwrap();
    settle().await;
    assert_eq!(program.told(), ["starts with one", "gets 15", "ends with 143", "starts with three"]);
    assert!(!desk.outcome.is_finished());
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_end_is_killed_after_the_grace_and_not_before() {
    let program = Fake::new(&[Signal::TERM]);
    let desk = run(&program, OnChange::Restart);
    settle().await;
    desk.changes.send(values("two")).await.unwrap();
    settle().await;
    tokio::time::advance(Duration::from_millis(9_990)).await;
    settle().await;
    assert_eq!(program.told(), ["starts with one", "gets 15"]);
    tokio::time::advance(Duration::from_millis(20)).await;
    settle().await;
    assert_eq!(program.told()[2..], ["gets 9", "ends with 137", "starts with two"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_stop_during_a_restart_is_heard() {
    let program = Fake::new(&[Signal::TERM]);
    let desk = run(&program, OnChange::Restart);
    settle().await;
    desk.changes.send(values("two")).await.unwrap();
    settle().await;
    desk.signals.send(Signal::INT).await.unwrap();
    assert_eq!(desk.outcome.await.unwrap().unwrap(), 130);
    assert_eq!(program.told(), ["starts with one", "gets 15", "gets 2", "ends with 130"]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_instead_of_a_restart() {
    let program = Fake::new(&[]);
    let desk = run(&program, OnChange::Signal(Signal::USR1));
    settle().await;
    desk.changes.send(values("two")).await.unwrap();
    settle().await;
    assert_eq!(program.told(), ["starts with one".to_owned(), format!("gets {}", Signal::USR1.as_raw())]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_is_an_error() {
    let program = Fake { cannot_start: true, ..Fake::new(&[]) };
    let error = run(&program, OnChange::Restart).outcome.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Looks that the test has prepared.
struct Prepared(Mutex<VecDeque<Look>>);

#[async_trait]
impl Looking for Prepared {
    async fn look(&self) -> Look {
        self.0.lock().unwrap().pop_front().unwrap_or(Look::Trouble("no more".to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn values_are_passed_on_when_they_differ_and_never_while_there_is_trouble() {
    thread_local! {
        static TOLD: Mutex<Vec<String>> = const { Mutex::new(Vec::new()) };
    }
    let trouble = |why: &str| Look::Trouble(why.to_owned());
    let looks = VecDeque::from([
        Look::Values(values("one")),
        trouble("A is down"),
        trouble("A is down"),
        Look::Values(values("one")),
        Look::Values(values("two")),
        Look::Values(values("two")),
    ]);
    let (sender, mut changes) = mpsc::channel(8);
    let tell = |text: &str| TOLD.with(|told| told.lock().unwrap().push(text.to_owned()));
    let every = Duration::from_secs(5);
    tokio::spawn(follow(Prepared(Mutex::new(looks)), values("one"), every, sender, tell));
    let began = tokio::time::Instant::now();
    let new = changes.recv().await.unwrap();
    assert_eq!(began.elapsed(), 5 * every);
    assert_eq!(new.changed(&values("one")), ["A"]);
    // The sixth look has nothing new; the seventh is trouble.
    tokio::time::sleep(2 * every + Duration::from_secs(1)).await;
    assert!(changes.try_recv().is_err());
    let told = TOLD.with(|told| told.lock().unwrap().clone());
    let goes_on = "; the command goes on with the values that it has";
    assert_eq!(
        told,
        [
            format!("A is down{goes_on}"),
            "every secret can be read again".to_owned(),
            "changed: A".to_owned(),
            format!("no more{goes_on}"),
        ]
    );
}

#[test]
fn what_to_do_is_read_from_a_word() {
    assert_eq!(OnChange::read("restart"), Ok(OnChange::Restart));
    assert_eq!(OnChange::read("signal"), Ok(OnChange::Signal(Signal::HUP)));
    for name in ["USR1", "SIGUSR1"] {
        assert_eq!(OnChange::read(&format!("signal={name}")), Ok(OnChange::Signal(Signal::USR1)));
    }
    for wrong in ["", "signals", "signal=", "signal=KILL", "restart=now"] {
        assert!(OnChange::read(wrong).is_err(), "{wrong}");
    }
}
