//! finishSecret: the new version becomes the current one.
//!
//! A JSON secret may have been changed by somebody else since the rotation began: a person wrote another field. The
//! version that is promoted then is not the pending one but a merged one: the present current version with the field
//! that was rotated. Its id follows from both, so that a repeat finds it; it takes the pending stage over, and the
//! record in it says whose rotation it ends. Of a secret that is one text, the rotation's value wins: the other one
//! becomes the previous version.

use keyturn_secrets::{SecretError, Stage, VersionId};
use sha2::{Digest, Sha256};

use super::look::{Opened, Place, Record, Seen, place, replaced_at};
use super::steps::done;
use super::{Engine, Outcome, Rotation, Step};
use crate::{Diagnostic, Document, RotationError};

/// How often a promotion is tried that others come before.
const TRIES: u32 = 4;

impl Engine {
    /// finishSecret.
    pub(super) async fn finish(&self, rotation: &Rotation<'_>) -> Result<Outcome, Diagnostic> {
        let place = place(rotation.store, rotation.name);
        let failed = |error| place.failed(Some(Step::Finish), None, error);
        let mut tries = 1;
        let left = loop {
            let seen = self.look_rotated(place, Some(Step::Finish)).await?;
            let followed = self.followed(rotation, &seen).await;
            let rotation = followed.as_ref().unwrap_or(rotation);
            if !self.is_open(rotation, Step::Finish, &seen)? {
                let pending = seen.description.at(&Stage::Pending);
                break pending
                    .filter(|pending| **pending == rotation.token || **pending == seen.current.0)
                    .cloned();
            }
            // A version without a value must never become the current one.
            let pending = self.read(place, Some(Step::Finish), &rotation.token).await?;
            let opened = self.target_of(&seen, &pending, place, Step::Finish)?;
            let merged = self.merged(rotation, &seen, opened, &pending).map_err(failed)?;
            let version = match merged {
                None => rotation.token.clone(),
                Some((version, merged)) => {
                    let authority = rotation.authority.as_ref();
                    rotation
                        .store
                        .stage(rotation.name, &version, &merged.to_secret(), &Stage::Pending, authority)
                        .await
                        .map_err(|error| failed(error.into()))?;
                    version
                }
            };
            match rotation.store.promote(rotation.name, &version, &seen.current.0).await {
                Ok(()) => {
                    let now = self.tools.now();
                    let marked = rotation.store.mark_current(rotation.name, &version, now).await;
                    marked.map_err(|error| failed(error.into()))?;
                    self.tell_the_fleet().await.map_err(failed)?;
                    self.close(place, &version).await.map_err(failed)?;
                    return Ok(Outcome {
                        field: seen.told(opened),
                        did: "the new version is the current one",
                        retired: Vec::new(),
                    });
                }
                Err(SecretError::Conflict { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(failed(error.into())),
            }
        };
        // The call that promoted it may have ended before it told.
        self.tell_the_fleet().await.map_err(failed)?;
        if let Some(left) = left {
            self.close(place, &left).await.map_err(failed)?;
        }
        Ok(done("the version is the current one already"))
    }

    /// Takes the pending stage off a version whose rotation is over, if the promotion has left it there: when somebody
    /// writes the secret next, it would look like a rotation that broke off, and be gone on with.
    async fn close(&self, place: Place<'_>, version: &VersionId) -> Result<(), RotationError> {
        match place.store.unstage(place.name, version, &Stage::Pending).await {
            Ok(()) | Err(SecretError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The rotation of the merged version that took the pending stage over from this one, if so.
    async fn followed<'a>(&self, rotation: &Rotation<'a>, seen: &Seen) -> Option<Rotation<'a>> {
        let merged = seen.description.at(&Stage::Pending).filter(|pending| **pending != rotation.token)?;
        let secret = rotation.store.version(rotation.name, merged).await.ok()?;
        let record = Record::of(&Document::parse(&secret.value).ok()?)?;
        (record.token == rotation.token.as_str()).then(|| Rotation {
            store: rotation.store,
            name: rotation.name,
            field: rotation.field,
            token: merged.clone(),
            authority: rotation.authority.clone(),
            led: rotation.led,
        })
    }

    /// The merged version, if the secret has changed since the rotation began.
    fn merged(
        &self,
        rotation: &Rotation<'_>,
        seen: &Seen,
        opened: &Opened,
        pending: &Document,
    ) -> Result<Option<(VersionId, Document)>, RotationError> {
        let (current, document) = &seen.current;
        let Some(record) = Record::of(pending).filter(|record| record.base != current.as_str()) else {
            return Ok(None);
        };
        let mut merged = document.clone();
        opened.put(&opened.credential(pending), &mut merged)?;
        let at = replaced_at(pending, record.field.as_deref());
        let record = Record { base: current.as_str().to_owned(), ..record };
        record.write(&mut merged, at.unwrap_or_else(|| self.tools.now()))?;
        let id = Sha256::digest(format!("{}\n{}", rotation.token, current).as_bytes());
        Ok(Some((VersionId::new(&hex::encode(&id[..16])), merged)))
    }
}
