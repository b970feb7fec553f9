//! What a key management service has decrypted, by ciphertext: once per process.
//!
//! The same ciphertext is the same value for ever, so it need not be asked for again, and a value that was decrypted
//! once outlives an outage of the service, and the loss of the permission. All who ask for one ciphertext at a time
//! wait for one call. A failure is not remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::{Secret, SecretError};

/// What was decrypted. There are as many as references in the configuration.
#[derive(Default)]
pub(super) struct DecryptedOnce(Mutex<HashMap<[u8; 32], Arc<OnceCell<Secret>>>>);

impl DecryptedOnce {
    /// The value of a ciphertext; `decrypt` is asked for it if it is not known.
    pub(super) async fn get(
        &self,
        ciphertext: &[u8],
        decrypt: impl AsyncFnOnce() -> Result<Secret, SecretError>,
    ) -> Result<Secret, SecretError> {
        let cell = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(Sha256::digest(ciphertext).into()).or_default())
        };
        cell.get_or_try_init(|| decrypt()).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_crowd_asks_once_and_a_failure_is_not_remembered() {
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
        get(b"one", true).await.unwrap_err();
        let crowd = join_all((0..200).map(|_| get(b"one", false))).await;
        assert!(crowd.into_iter().all(|value| value.unwrap() == "[111, 110, 101]"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        get(b"one", true).await.unwrap();
        assert_eq!(get(b"two", false).await.unwrap(), "[116, 119, 111]");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}
