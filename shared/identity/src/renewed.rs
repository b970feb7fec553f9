//! Something that ends by itself, kept and replaced in time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::{Clock, Life};

/// After a failed renewal what is kept serves on, and for this long nobody tries again.
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
/// ended, all wait for one replacement, and for nothing longer than that.
pub struct Renewed<T> {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept<T>>,
    /// Held while a replacement is fetched.
    turn: tokio::sync::Mutex<()>,
}

struct Kept<T> {
    granted: Option<Granted<T>>,
    failed_at: Option<Timestamp>,
}

impl<T: Clone> Renewed<T> {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let kept = Mutex::new(Kept { granted: None, failed_at: None });
        Self { clock, kept, turn: tokio::sync::Mutex::default() }
    }

    /// What is kept, or what `fetch` gets; `fetch` is given the time that a life is counted from.
    ///
    /// # Errors
    ///
    /// Nothing that serves is kept, and `fetch` failed.
    pub async fn get<E>(
        &self,
        fetch: impl AsyncFnOnce(Timestamp) -> Result<Granted<T>, E>,
    ) -> Result<Granted<T>, E> {
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
        let now = self.clock.now();
        match (fetch(now).await, due) {
            (Ok(granted), _) => {
                *self.kept() = Kept { granted: Some(granted.clone()), failed_at: None };
                Ok(granted)
            }
            (Err(_), Some(due)) => {
                self.kept().failed_at = Some(now);
                Ok(due)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Forgets what is kept, if `is_it` says that it is what was refused.
    pub fn forget(&self, is_it: impl FnOnce(&T) -> bool) {
        let mut kept = self.kept();
        if kept.granted.as_ref().is_some_and(|granted| is_it(&granted.value)) {
            kept.granted = None;
        }
    }

    fn look(&self) -> Look<T> {
        let now = self.clock.now();
        let kept = self.kept();
        let paused = kept.failed_at.is_some_and(|at| now >= at && now < at + PAUSE);
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
