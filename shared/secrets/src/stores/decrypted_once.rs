//! What a key management service has decrypted, by ciphertext: once per process.
//!
//! The same ciphertext is the same value for ever, so it need not be asked for again, and a value that was decrypted
//! once outlives an outage of the service, and the loss of the permission. All who ask for one ciphertext at a time
//! wait for one call, and share its failure; who asks later asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::{Secret, SecretError};

/// What was decrypted. There are as many as references in the configuration.
#[derive(Default)]
pub(super) struct DecryptedOnce(Mutex<HashMap<[u8; 32], Arc<Slot>>>);

/// One ciphertext.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Held while it is decrypted.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    value: Option<Secret>,
    failures: u64,
    /// The last one.
    failure: Option<SecretError>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, or how often it could not be had.
    fn look(&self) -> Result<Secret, u64> {
        let state = self.state();
        state.value.clone().ok_or(state.failures)
    }
}

impl DecryptedOnce {
    /// The value of a ciphertext; `decrypt` is asked for it if it is not known.
    pub(super) async fn get(
        &self,
        ciphertext: &[u8],
        decrypt: impl AsyncFnOnce() -> Result<Secret, SecretError>,
    ) -> Result<Secret, SecretError> {
        let slot = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(Sha256::digest(ciphertext).into()).or_default())
        };
        let failures = match slot.look() {
            Ok(secret) => return Ok(secret),
            Err(failures) => failures,
        };
        let _turn = slot.turn.lock().await;
        {
            let state = slot.state();
            if let Some(secret) = &state.value {
                return Ok(secret.clone());
            }
            if let Some(error) = state.failure.as_ref().filter(|_| state.failures > failures) {
                return Err(error.clone());
            }
        }
        let answer = decrypt().await;
        let mut state = slot.state();
        match &answer {
            Ok(secret) => (state.value, state.failure) = (Some(secret.clone()), None),
            Err(error) => {
                state.failures += 1;
                state.failure = Some(error.clone());
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_crowd_asks_once_and_a_failure_is_of_who_waited_only() {
        let (once, asked) = (DecryptedOnce::default(), AtomicUsize::new(0));
        let get = async |ciphertext: &[u8], fails: bool| {
            let decrypt = async || {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let value = format!("{ciphertext:?}");
                if fails {
                    Err(SecretError::unavailable("x", "down"))
                } else {
                    Ok(Secret::unversioned(value))
                }
            };
            once.get(ciphertext, decrypt).await.map(|secret| secret.value.expose().to_owned())
        };
        let crowd = join_all((0..200).map(|_| get(b"one", true))).await;
        assert!(crowd.into_iter().all(|value| value.is_err()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let crowd = join_all((0..200).map(|_| get(b"one", false))).await;
        assert!(crowd.into_iter().all(|value| value.unwrap() == "[111, 110, 101]"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        get(b"one", true).await.unwrap();
        assert_eq!(get(b"two", false).await.unwrap(), "[116, 119, 111]");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}
