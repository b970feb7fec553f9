//! Something that ends by itself, kept and replaced in time.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::{Clock, Life};

/// Once a renewal has begun and until it has succeeded, what is kept serves on, and for this long nobody tries again.
const PAUSE: Duration = Duration::from_secs(5);

/// What was granted, and for how long.
#[derive(Debug, Clone)]
pub struct Granted<T> {
    /// The credential or token.
    pub value: T,
    /// How long it is good for.
    pub life: Life,
}

/// Keeps one thing that ends by itself. Once it is due, one caller replaces it while it serves the others; when it has
/// ended, all wait for one replacement, and for nothing longer than that: if it fails, it has failed for all who waited.
pub struct Renewed<T> {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept<T>>,
    /// Held while a replacement is fetched.
    turn: tokio::sync::Mutex<()>,
}

struct Kept<T> {
    granted: Option<Granted<T>>,
    /// When a renewal was begun that has not succeeded.
    tried_at: Option<Timestamp>,
    /// How often there was nothing to serve on with, and no replacement.
    failures: u64,
    /// Why not, at last; an error of what was fetched, whose type each caller knows.
    failure: Option<Box<dyn Any + Send>>,
}

impl<T: Clone> Renewed<T> {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let kept = Mutex::new(Kept { granted: None, tried_at: None, failures: 0, failure: None });
        Self { clock, kept, turn: tokio::sync::Mutex::default() }
    }

    /// What is kept, or what `fetch` gets; `fetch` is given the time that a life is counted from.
    ///
    /// # Errors
    ///
    /// Nothing that serves is kept, and `fetch` failed; or that of another caller, whom this one has waited for.
    pub async fn get<E: Clone + Send + 'static>(
        &self,
        fetch: impl AsyncFnOnce(Timestamp) -> Result<Granted<T>, E>,
    ) -> Result<Granted<T>, E> {
        let failures = self.kept().failures;
        let _turn = match self.look() {
            Look::Fresh(granted) => return Ok(granted),
            // Somebody else replaces it: what is kept will do.
            Look::Due(granted) => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(granted),
            },
            Look::Nothing => self.turn.lock().await,
        };
        // It may have been replaced between the look and the turn.
        let due = match self.look() {
            Look::Fresh(granted) => return Ok(granted),
            Look::Due(granted) => Some(granted),
            Look::Nothing => None,
        };
        if due.is_none()
            && let Some(error) = self.failed_since(failures)
        {
            return Err(error);
        }
        let now = self.clock.now();
        if due.is_some() {
            // At once: whoever has the turn may give up before there is an answer, and the next must not wait in turn.
            self.kept().tried_at = Some(now);
        }
        match (fetch(now).await, due) {
            (Ok(granted), _) => {
                let mut kept = self.kept();
                (kept.granted, kept.tried_at, kept.failure) = (Some(granted.clone()), None, None);
                Ok(granted)
            }
            (Err(_), Some(due)) => Ok(due),
            (Err(error), None) => {
                let mut kept = self.kept();
                kept.failures += 1;
                kept.failure = Some(Box::new(error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets what is kept, if `is_it` says that it is what was refused.
    pub fn forget(&self, is_it: impl FnOnce(&T) -> bool) {
        let mut kept = self.kept();
        if kept.granted.as_ref().is_some_and(|granted| is_it(&granted.value)) {
            kept.granted = None;
        }
    }

    /// The last failure, if there was one after the first `failures`.
    fn failed_since<E: Clone + 'static>(&self, failures: u64) -> Option<E> {
        let kept = self.kept();
        let failure = kept.failure.as_ref().filter(|_| kept.failures > failures)?;
        failure.downcast_ref().cloned()
    }

    fn look(&self) -> Look<T> {
        let now = self.clock.now();
        let kept = self.kept();
        let paused = kept.tried_at.is_some_and(|at| now >= at && now < at + PAUSE);
        match &kept.granted {
            Some(granted) if !granted.life.serves(now) => Look::Nothing,
            Some(granted) if granted.life.is_due(now) && !paused => Look::Due(granted.clone()),
            Some(granted) => Look::Fresh(granted.clone()),
            None => Look::Nothing,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Look<T> {
    Fresh(Granted<T>),
    Due(Granted<T>),
    Nothing,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use keyturn_ambient::ManualClock;
    use tokio::sync::Notify;

    use super::*;

    struct Rig {
        clock: Arc<ManualClock>,
        renewed: Arc<Renewed<u32>>,
    }

    impl Rig {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_000_000).unwrap()));
            Self { renewed: Arc::new(Renewed::new(clock.clone())), clock }
        }

        /// Asks; a fetch gets `value`, good for an hour.
        async fn get(&self, value: Result<u32, &'static str>) -> Result<u32, &'static str> {
            let fetch = async |now| {
                value.map(|value| Granted { value, life: Life::granted(now, Duration::from_secs(3600)) })
            };
            Ok(self.renewed.get(fetch).await?.value)
        }
    }

    #[tokio::test]
    async fn it_is_fetched_once_and_replaced_when_it_is_due() {
        let rig = Rig::new();
        assert_eq!(rig.get(Ok(1)).await, Ok(1));
        assert_eq!(rig.get(Ok(2)).await, Ok(1));
        rig.clock.advance(Duration::from_secs(3270));
        assert_eq!(rig.get(Ok(2)).await, Ok(2));
        rig.renewed.forget(|kept| *kept == 1);
        assert_eq!(rig.get(Ok(3)).await, Ok(2));
        rig.renewed.forget(|kept| *kept == 2);
        assert_eq!(rig.get(Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn a_failed_renewal_leaves_what_is_kept_to_its_end_and_is_not_tried_at_every_call() {
        let rig = Rig::new();
        assert_eq!(rig.get(Err("down")).await, Err("down"));
        assert_eq!(rig.get(Ok(1)).await, Ok(1));
        rig.clock.advance(Duration::from_secs(3400));
        assert_eq!(rig.get(Err("down")).await, Ok(1));
        assert_eq!(rig.get(Ok(2)).await, Ok(1), "the pause");
        rig.clock.advance(PAUSE);
        assert_eq!(rig.get(Err("down")).await, Ok(1));
        rig.clock.advance(Duration::from_secs(165));
        assert_eq!(rig.get(Err("down")).await, Err("down"), "it has ended");
        assert_eq!(rig.get(Ok(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn while_one_replaces_it_the_others_are_served() {
        let rig = Rig::new();
        rig.get(Ok(1)).await.unwrap();
        rig.clock.advance(Duration::from_secs(3400));
        let (renewed, gate) = (Arc::clone(&rig.renewed), Arc::new(Notify::new()));
        let open = Arc::clone(&gate);
        let slow = tokio::spawn(async move {
            let fetch = async |now| {
                open.notified().await;
                Ok::<_, ()>(Granted { value: 2, life: Life::granted(now, Duration::from_secs(3600)) })
            };
            renewed.get(fetch).await.unwrap().value
        });
        tokio::task::yield_now().await;
        assert_eq!(rig.get(Ok(9)).await, Ok(1));
        gate.notify_one();
        assert_eq!(slow.await.unwrap(), 2);
        assert_eq!(rig.get(Ok(9)).await, Ok(2));
    }

    #[tokio::test]
    async fn one_who_gives_up_a_renewal_does_not_leave_the_next_to_wait() {
        let rig = Rig::new();
        rig.get(Ok(1)).await.unwrap();
        rig.clock.advance(Duration::from_secs(3400));
        let never = async |_| std::future::pending::<Result<Granted<u32>, &'static str>>().await;
        assert!(rig.renewed.get(never).now_or_never().is_none(), "it is given up");
        let served = rig.renewed.get(never).now_or_never().expect("it waits");
        assert_eq!(served.unwrap().value, 1);
        rig.clock.advance(PAUSE);
        assert_eq!(rig.get(Ok(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn a_failure_is_that_of_all_who_waited_for_it_and_of_nobody_else() {
        let rig = Rig::new();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let fails = async |_| {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err::<Granted<u32>, _>("down")
        };
        let crowd = futures_util::future::join_all((0..200).map(|_| rig.renewed.get(fails))).await;
        assert!(crowd.into_iter().all(|answer| answer.err() == Some("down")));
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert_eq!(rig.get(Ok(1)).await, Ok(1), "who comes later tries");
    }

    #[tokio::test]
    async fn a_crowd_without_anything_fetches_once() {
        let rig = Rig::new();
        let asks = (0..200).map(|ask| {
            let renewed = Arc::clone(&rig.renewed);
            tokio::spawn(async move {
                let fetch = async |now| {
                    tokio::task::yield_now().await;
                    Ok::<_, ()>(Granted { value: ask, life: Life::granted(now, Duration::from_secs(60)) })
                };
                renewed.get(fetch).await.unwrap().value
            })
        });
        let asks: Vec<_> = asks.collect();
        let mut answers = Vec::new();
        for ask in asks {
            answers.push(ask.await.unwrap());
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}
