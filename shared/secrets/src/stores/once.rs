//! What is read once and then known: the values of ciphertexts, which never change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, WeakShared};

use crate::{SecretError, SecretValue};

/// A read.
pub(super) type Reading = BoxFuture<'static, Result<SecretValue, SecretError>>;

/// Values by what they are read from. Who asks while a read is under way shares it; one that fails is not remembered, and
/// one that nobody waits for any more ends.
#[derive(Default)]
pub(super) struct Once(Mutex<HashMap<String, State>>);

enum State {
    UnderWay(WeakShared<Reading>),
    Known(SecretValue),
}

impl Once {
    /// The value of `key`, known or as `read` gets it.
    pub(super) async fn get(
        &self,
        key: &str,
        read: impl FnOnce() -> Reading,
    ) -> Result<SecretValue, SecretError> {
        let reading = {
            let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = match states.get(key) {
                Some(State::Known(value)) => return Ok(value.clone()),
                Some(State::UnderWay(reading)) => reading.upgrade(),
                None => None,
            };
            match under_way {
                Some(reading) => reading,
                None => {
                    let reading = read().shared();
                    if let Some(reading) = reading.downgrade() {
                        states.insert(key.to_owned(), State::UnderWay(reading));
                    }
                    reading
                }
            }
        };
        let value = reading.await?;
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(key) {
            *state = State::Known(value.clone());
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[derive(Default)]
    struct Rig {
        once: Once,
        reads: Arc<AtomicU32>,
        gate: Arc<Notify>,
    }

    impl Rig {
        /// Asks; a read ends when the gate opens.
        async fn get(&self, answer: Result<&'static str, &'static str>) -> Result<String, String> {
            let (reads, gate) = (Arc::clone(&self.reads), Arc::clone(&self.gate));
            let read = || {
                let reading = async move {
                    reads.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    let value = answer.map(|value| SecretValue::from(value.to_owned()));
                    value.map_err(|reference| SecretError::unavailable(reference, "down"))
                };
                reading.boxed()
            };
            let value = self.once.get("key", read).await;
            value.map(|value| value.expose().to_owned()).map_err(|error| error.to_string())
        }

        /// Asks 200 times at once; the gate opens when all have asked.
        async fn crowd(&self, answer: Result<&'static str, &'static str>) -> Vec<Result<String, String>> {
            let asks = join_all((0..200).map(|_| self.get(answer)));
            tokio::join!(asks, async { self.gate.notify_one() }).0
        }

        fn reads(&self) -> u32 {
            self.reads.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_crowd_shares_one_read_and_then_there_is_none() {
        let rig = Rig::default();
        let answers = rig.crowd(Ok("one")).await;
        assert!(answers.iter().all(|answer| answer.as_deref() == Ok("one")));
        assert_eq!(rig.get(Ok("two")).await.unwrap(), "one");
        assert_eq!(rig.reads(), 1);
    }

    #[tokio::test]
    async fn a_crowd_shares_a_failure_and_the_next_one_tries_again() {
        let rig = Rig::default();
        let answers = rig.crowd(Err("a")).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(rig.reads(), 1);
        rig.gate.notify_one();
        assert_eq!(rig.get(Ok("two")).await.unwrap(), "two");
        assert_eq!(rig.reads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_nobody_waits_for_ends_and_others_go_on_without_who_left() {
        let rig = Rig::default();
        let brief = Duration::from_millis(1);
        assert!(tokio::time::timeout(brief, rig.get(Ok("one"))).await.is_err());
        let (left, stays) = tokio::join!(tokio::time::timeout(brief, rig.get(Ok("two"))), async {
            let waits = rig.get(Ok("three"));
            let opens = async {
                tokio::time::sleep(2 * brief).await;
                rig.gate.notify_one();
            };
            tokio::join!(waits, opens).0
        });
        assert!(left.is_err());
        assert_eq!((stays.unwrap().as_str(), rig.reads()), ("two", 2));
    }
}
