//! What a person asks of the engine, besides rotating.

use keyturn_secrets::{Description, Stage, StagedStore, VersionId};

use super::look::{Opened, Seen, place, replaced_at};
use super::{Engine, later};
use crate::Diagnostic;

/// What is known of a secret that is rotated.
#[derive(Debug)]
pub struct Status {
    /// Its versions, stages and times.
    pub description: Description,
    /// Its credentials.
    pub targets: Vec<TargetStatus>,
}

/// What is known of one credential.
#[derive(Debug)]
pub struct TargetStatus {
    /// Its field, if it has one.
    pub field: Option<String>,
    /// The name of its rotator.
    pub rotator: String,
    /// When it was replaced last, where the secret tells.
    pub replaced_at: Option<jiff::Timestamp>,
    /// When the previous credential may be taken back; `None`: there is none, or it is not known.
    pub retires_at: Option<jiff::Timestamp>,
}

/// What a rotation would do.
#[derive(Debug)]
pub struct Rehearsal {
    /// The field of the credential that is next, if it has one.
    pub field: Option<String>,
    /// The name of its rotator.
    pub rotator: String,
    /// The version that a broken rotation left, and that would be gone on with.
    pub pending: Option<VersionId>,
    /// What would stop it now; empty: nothing.
    pub obstacles: Vec<String>,
}

impl Engine {
    /// What is known of a secret, without asking its services.
    ///
    /// # Errors
    ///
    /// [`Diagnostic`]: it cannot be read, or its settings do not fit.
    pub async fn status(&self, store: &dyn StagedStore, name: &str) -> Result<Status, Diagnostic> {
        let seen = self.look(place(store, name), None).await?;
        let targets = seen.targets.iter().map(|opened| TargetStatus {
            field: opened.target.field.clone(),
            rotator: opened.target.rotator.clone(),
            replaced_at: replaced_at(&seen.current.1, opened.target.field.as_deref()),
            retires_at: self.retires_at(&seen, opened),
        });
        let targets = targets.collect();
        Ok(Status { description: seen.description, targets })
    }

    /// What a rotation would do now, and what would stop it. Nothing is issued and nothing is written; the current
    /// credential is tried, and what was issued is listed.
    ///
    /// # Errors
    ///
    /// [`Diagnostic`]: the secret cannot be read, or its settings do not fit.
    pub async fn rehearse(
        &self,
        store: &dyn StagedStore,
        name: &str,
        field: Option<&str>,
    ) -> Result<Rehearsal, Diagnostic> {
        let place = place(store, name);
        let seen = self.look_rotated(place, None).await?;
        let Some(opened) = seen.next(field) else {
            return Err(place.wrong(
                None,
                "no setting names that field",
                "name a field that keyturn:rotator has",
            ));
        };
        let mut obstacles = Vec::new();
        if let Err(error) = opened.fits(&seen.current.1) {
            obstacles.push(error.to_string());
        }
        if let Some(until) = self.retires_at(&seen, opened).filter(|until| self.tools.now() < *until) {
            obstacles.push(format!("the last change is too fresh: wait until {until:.0}"));
        }
        let current = opened.credential(&seen.current.1);
        if let Err(error) = opened.rotator.test(&current).await {
            obstacles.push(format!("the current credential: {}", keyturn_ambient::with_causes(&error)));
        }
        // Where the service has a list, this tries the administrator's credential.
        if let Err(error) = opened.rotator.issued(&opened.prefix, &current).await {
            obstacles
                .push(format!("what was issued cannot be listed: {}", keyturn_ambient::with_causes(&error)));
        }
        let pending = seen.description.at(&Stage::Pending);
        let pending = pending.filter(|pending| **pending != seen.current.0).cloned();
        let (field, rotator) = (opened.target.field.clone(), opened.target.rotator.clone());
        Ok(Rehearsal { field, rotator, pending, obstacles })
    }

    /// When the previous credential may be taken back, and a next rotation begin. `None`: there is none, or it is not
    /// known.
    fn retires_at(&self, seen: &Seen, opened: &Opened) -> Option<jiff::Timestamp> {
        seen.description.at(&Stage::Previous)?;
        seen.description.current_since.map(|since| later(since, self.overlap(opened)))
    }

    /// Gives up a rotation that broke off: its version is pending no more, so that a new one can begin. Nothing is
    /// taken back at once: what was issued for it goes with [`Engine::retire`]. Returns the version; `None`: there was
    /// none.
    ///
    /// # Errors
    ///
    /// [`Diagnostic`].
    pub async fn abandon(
        &self,
        store: &dyn StagedStore,
        name: &str,
    ) -> Result<Option<VersionId>, Diagnostic> {
        let place = place(store, name);
        let failed = |error: keyturn_secrets::SecretError| place.failed(None, None, error.into());
        let description = store.describe(name).await.map_err(failed)?;
        let Some(pending) = description.at(&Stage::Pending) else { return Ok(None) };
        // Secrets Manager may leave the stage on the version that it made the current one.
        if description.has(pending, &Stage::Current) {
            return Ok(None);
        }
        store.unstage(name, pending, &Stage::Pending).await.map_err(failed)?;
        Ok(Some(pending.clone()))
    }
}
