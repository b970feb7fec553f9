//! The calls that change something, and what takes time at the service: deleting, purging and recovering.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use keyturn_http::call::Answer;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::AzureKeyVault;
use super::api::{Kept, Tags, inner_code};
use super::place::Place;
use crate::SecretError;

/// The most bytes of a value.
const LONGEST_VALUE: usize = 25_600;

/// A new version.
#[derive(Serialize)]
struct Set<'a> {
    value: &'a str,
    tags: &'a Tags,
}

/// What is next in deleting a secret for good.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Delete,
    /// Look how it was deleted before.
    Look,
    Purge {
        just_deleted: bool,
    },
}

impl AzureKeyVault {
    /// Writes a new version of a secret. A refusal is an answer too.
    pub(super) async fn put(
        &self,
        place: &Place,
        name: &str,
        value: &SecretString,
        tags: &Tags,
    ) -> Result<Answer, SecretError> {
        let body = Set { value: value.expose_secret(), tags };
        let call = || place.call(Method::PUT, &["secrets", name]).json(&body).hiding(value);
        self.ask(place, call).await
    }

    /// Writes a new version of a secret that may be deleted, or just be on its way to or from there. What is recovered
    /// keeps its tags.
    pub(super) async fn put_anew(
        &self,
        place: &Place,
        name: &str,
        value: &SecretString,
        mut tags: Tags,
    ) -> Result<Kept, SecretError> {
        let mut waits = self.waits.iter();
        loop {
            let answer = self.put(place, name, value, &tags).await?;
            if answer.status().as_u16() != 409 {
                return place.success(&answer);
            }
            match inner_code(&answer).as_deref() {
                Some("ObjectIsDeletedButRecoverable") => {
                    let call = || place.call(Method::POST, &["deletedsecrets", name, "recover"]);
                    let recovered = self.ask(place, call).await?;
                    // Somebody else may have been faster.
                    if recovered.status().is_success() {
                        for (name, value) in place.success::<Kept>(&recovered)?.foreign_tags() {
                            tags.entry(name).or_insert(value);
                        }
                    } else if !matches!(recovered.status().as_u16(), 404 | 409) {
                        return Err(place.refusal(&recovered));
                    }
                }
                Some("ObjectIsBeingDeleted" | "ObjectIsBeingRecovered") => {}
                _ => return Err(place.refusal(&answer)),
            }
            wait(place, waits.next()).await?;
        }
    }

    /// Changes what is known of a version: its tags, whether it is enabled.
    pub(super) async fn patch(
        &self,
        place: &Place,
        name: &str,
        id: &str,
        change: &Value,
    ) -> Result<(), SecretError> {
        let call = || place.call(Method::PATCH, &["secrets", name, id]).json(change);
        place.success::<Kept>(&self.ask(place, call).await?).map(drop)
    }

    /// Deletes a secret for good, as far as the vault lets anybody.
    pub(super) async fn delete(&self, place: &Place, name: &str) -> Result<(), SecretError> {
        let mut waits = self.waits.iter();
        let mut step = Step::Delete;
        loop {
            let call = || match step {
                Step::Delete => place.call(Method::DELETE, &["secrets", name]),
                Step::Look => place.call(Method::GET, &["deletedsecrets", name]),
                Step::Purge { .. } => place.call(Method::DELETE, &["deletedsecrets", name]),
            };
            let answer = self.ask(place, call).await?;
            step = match (step, answer.status().as_u16()) {
                (Step::Delete, 404) => Step::Look,
                (Step::Delete | Step::Look, 200) => {
                    if !place.success::<Kept>(&answer)?.is_purgeable() {
                        return Ok(());
                    }
                    Step::Purge { just_deleted: step == Step::Delete }
                }
                (Step::Look | Step::Purge { just_deleted: false }, 404) | (Step::Purge { .. }, 204) => {
                    return Ok(());
                }
                // It is not where it can be purged yet.
                (Step::Purge { .. }, 404) | (_, 409) => {
                    wait(place, waits.next()).await?;
                    step
                }
                _ => return Err(place.refusal(&answer)),
            };
        }
    }

    /// Waits until nobody else in this process changes the secret.
    pub(super) async fn turn(&self, place: &Place) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            // Names are the same in upper and lower case.
            let name = place.canonical().to_ascii_lowercase();
            turns.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(name, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

/// Waits for a secret that is being deleted or recovered, if there is still time.
async fn wait(place: &Place, wait: Option<&Duration>) -> Result<(), SecretError> {
    let wait = wait.ok_or_else(|| {
        SecretError::unavailable(&*place.reference, "it is just being deleted or recovered")
    })?;
    tokio::time::sleep(*wait).await;
    Ok(())
}

impl Place {
    /// Checks what the service would refuse without saying why.
    pub(super) fn check(&self, value: &SecretString) -> Result<(), SecretError> {
        match value.expose_secret().len() {
            0 => Err(self.malformed("empty")),
            1..=LONGEST_VALUE => Ok(()),
            _ => Err(self.malformed("longer than the 25,600 bytes that Azure Key Vault keeps")),
        }
    }
}
