//! Create, set, test. Finish has a file of its own.

use keyturn_secrets::{SecretError, Stage};

use super::look::{Opened, Place, Record, Seen, place};
use super::unchanged::Watch;
use super::{Engine, Outcome, Rotation, Step, later};
use crate::{Ask, Created, Credential, Diagnostic, Document, RotationError};

impl Engine {
    /// createSecret.
    pub(super) async fn create(&self, rotation: &Rotation<'_>) -> Result<Outcome, Diagnostic> {
        let place = place(rotation.store, rotation.name);
        let step = Some(Step::Create);
        let seen = self.look_rotated(place, step).await?;
        if !self.is_open(rotation, Step::Create, &seen)? {
            return Ok(done("the version is the current one already"));
        }
        match rotation.store.version(rotation.name, &rotation.token).await {
            Ok(_) => return Ok(done("the version has its value already")),
            Err(SecretError::NotFound { .. }) => {}
            Err(error) => return Err(place.failed(step, None, error.into())),
        }
        let Some(opened) = seen.next(rotation.field) else {
            return Err(place.wrong(
                step,
                "no setting names that field",
                "name a field that keyturn:rotator has",
            ));
        };
        let field = seen.told(opened);
        let failed = |error| place.failed(step, field.as_deref(), error);
        opened.fits(&seen.current.1).map_err(failed)?;
        if let Some(until) = self.too_soon(place, &seen, opened).await.map_err(failed)? {
            return Err(place.wrong(
                step,
                "the last change is too fresh: environments may still use what was replaced then",
                format!(
                    "nothing, if it is tried again after {until:.0}; keyturn:overlap says how long that takes"
                ),
            ));
        }
        let retired = self.retire_target(place, &seen, opened, true).await;
        self.make_way(place, &seen, opened).await.map_err(failed)?;
        let created = self.issue(rotation, &seen, opened).await.map_err(failed)?;
        let document = self.next_document(rotation, &seen, opened, &created).map_err(failed)?;
        let staged = rotation
            .store
            .stage(
                rotation.name,
                &rotation.token,
                &document.to_secret(),
                &Stage::Pending,
                rotation.authority.as_ref(),
            )
            .await;
        let did = match staged {
            Ok(()) => "a new credential is issued and stored",
            // Somebody else made this version meanwhile: theirs counts, ours goes.
            Err(SecretError::Conflict { .. }) => {
                self.take_back(opened, &created.credential, rotation, place).await;
                "the version has its value already"
            }
            // It may be stored, or not: the next try will see, and what is lost is taken back later.
            Err(error) => return Err(failed(error.into())),
        };
        Ok(Outcome { field, did, retired })
    }

    /// Until when nothing may be rotated, if so: see the text of [`super`].
    async fn too_soon(
        &self,
        place: Place<'_>,
        seen: &Seen,
        opened: &Opened,
    ) -> Result<Option<jiff::Timestamp>, RotationError> {
        if seen.description.at(&Stage::Previous).is_none() {
            return Ok(None);
        }
        let since = self.since(place, &seen.description, &seen.current.0).await?;
        let until = later(since, self.overlap(opened));
        Ok((self.tools.now() < until).then_some(until))
    }

    /// Where the new credential takes the place of the previous one, no stage goes on naming that.
    async fn make_way(&self, place: Place<'_>, seen: &Seen, opened: &Opened) -> Result<(), RotationError> {
        let Some(previous) = seen.description.at(&Stage::Previous).filter(|_| opened.rotator.overwrites())
        else {
            return Ok(());
        };
        let held = match place.store.version(place.name, previous).await {
            Ok(secret) => opened.credential(&Document::parse(&secret.value)?),
            Err(SecretError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // The previous version was replaced for another field.
        if held.is(&opened.credential(&seen.current.1)) {
            return Ok(());
        }
        match place.store.unstage(place.name, previous, &Stage::Previous).await {
            // It has lost the stage meanwhile.
            Ok(()) | Err(SecretError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn issue(
        &self,
        rotation: &Rotation<'_>,
        seen: &Seen,
        opened: &Opened,
    ) -> Result<Created, RotationError> {
        let token = rotation.token.as_str();
        let ask = Ask {
            prefix: &opened.prefix,
            name: format!("{}{token}", opened.prefix),
            token,
            field: opened.target.field.as_deref(),
            current: &opened.credential(&seen.current.1),
            document: &seen.current.1,
            now: self.tools.now(),
            unchanged: &Watch { rotation, current: &seen.current.0 },
        };
        opened.rotator.create(&ask).await
    }

    fn next_document(
        &self,
        rotation: &Rotation<'_>,
        seen: &Seen,
        opened: &Opened,
        created: &Created,
    ) -> Result<Document, RotationError> {
        let (base, current) = &seen.current;
        let mut next = current.clone();
        opened.put(&created.credential, &mut next)?;
        for (field, value) in &created.fields {
            next.set_json(field, value.clone())?;
        }
        let record = Record {
            token: rotation.token.as_str().to_owned(),
            base: base.as_str().to_owned(),
            field: opened.target.field.clone(),
        };
        record.write(&mut next, self.tools.now())?;
        Ok(next)
    }

    /// Takes back what was just issued and is not needed; if it fails, it is found later.
    async fn take_back(&self, opened: &Opened, mine: &Credential, rotation: &Rotation<'_>, place: Place<'_>) {
        let Ok(theirs) = self.read(place, Some(Step::Create), &rotation.token).await else { return };
        let theirs = opened.credential(&theirs);
        let Ok(issued) = opened.rotator.issued(&opened.prefix, &theirs).await else { return };
        let is_mine = |issued: &&crate::Issued| {
            opened.rotator.may_be(issued, mine) && !opened.rotator.may_be(issued, &theirs)
        };
        // Only where there is no doubt which one it is.
        if let [one] = issued.iter().filter(is_mine).collect::<Vec<_>>().as_slice() {
            let _ = opened.rotator.delete(one).await;
        }
    }

    /// setSecret.
    pub(super) async fn set(&self, rotation: &Rotation<'_>) -> Result<Outcome, Diagnostic> {
        let place = place(rotation.store, rotation.name);
        let seen = self.look_rotated(place, Some(Step::Set)).await?;
        if !self.is_open(rotation, Step::Set, &seen)? {
            return Ok(done("the version is the current one already"));
        }
        let pending = self.read(place, Some(Step::Set), &rotation.token).await?;
        let opened = self.target_of(&seen, &pending, place, Step::Set)?;
        let (pending, current) = (opened.credential(&pending), opened.credential(&seen.current.1));
        let field = seen.told(opened);
        if opened.rotator.test(&pending).await.is_ok() {
            return Ok(Outcome {
                field,
                did: "the service accepts the new credential already",
                retired: Vec::new(),
            });
        }
        match opened.rotator.set(&pending, &current).await {
            Ok(()) => {
                Ok(Outcome { field, did: "the service is told of the new credential", retired: Vec::new() })
            }
            Err(error) => Err(place.failed(Some(Step::Set), field.as_deref(), error)),
        }
    }

    /// testSecret.
    pub(super) async fn test(&self, rotation: &Rotation<'_>) -> Result<Outcome, Diagnostic> {
        let place = place(rotation.store, rotation.name);
        let step = Some(Step::Test);
        let seen = self.look_rotated(place, step).await?;
        if !self.is_open(rotation, Step::Test, &seen)? {
            return Ok(done("the version is the current one already"));
        }
        // `RotateImmediately=false` calls this step alone, on a version without a value: then what is asked is whether
        // the function can do its work, and the current credentials answer.
        let pending = match rotation.store.version(rotation.name, &rotation.token).await {
            Ok(secret) => {
                Some(Document::parse(&secret.value).map_err(|wrong| place.failed(step, None, wrong.into()))?)
            }
            Err(SecretError::NotFound { .. }) if rotation.led => None,
            Err(SecretError::NotFound { .. }) => Some(self.read(place, step, &rotation.token).await?),
            Err(error) => return Err(place.failed(step, None, error.into())),
        };
        let Some(pending) = pending else {
            for opened in &seen.targets {
                let current = opened.credential(&seen.current.1);
                self.prove(opened, &current)
                    .await
                    .map_err(|error| place.failed(step, seen.told(opened).as_deref(), error))?;
            }
            return Ok(done("the current version works; nothing is rotated"));
        };
        let opened = self.target_of(&seen, &pending, place, Step::Test)?;
        let field = seen.told(opened);
        let pending = opened.credential(&pending);
        match self.prove(opened, &pending).await {
            Ok(()) => Ok(Outcome { field, did: "the new credential works", retired: Vec::new() }),
            Err(RotationError::Refused(_))
                if opened.rotator.is_lost(&pending).await.is_ok_and(|lost| lost) =>
            {
                // It would never pass, and its version cannot have another value.
                let unstaged = rotation.store.unstage(rotation.name, &rotation.token, &Stage::Pending).await;
                unstaged.map_err(|error| place.failed(step, field.as_deref(), error.into()))?;
                let wrong = place.wrong(
                    step,
                    "another credential took the place of the new one at the service, so the rotation is abandoned",
                    "nothing, if the secret is rotated on a schedule: the next rotation makes another; else rotate again",
                );
                Err(Diagnostic { field, ..wrong })
            }
            Err(error) => Err(place.failed(step, field.as_deref(), error)),
        }
    }

    /// Which target a pending version replaces.
    pub(super) fn target_of<'a>(
        &self,
        seen: &'a Seen,
        pending: &Document,
        place: Place<'_>,
        step: Step,
    ) -> Result<&'a Opened, Diagnostic> {
        let field = Record::of(pending).and_then(|record| record.field);
        seen.target(field.as_deref()).ok_or_else(|| {
            place.wrong(
                Some(step),
                "the settings no longer name what the pending version replaces",
                "run `keyturn rotation abandon`, then rotate again",
            )
        })
    }

    /// Proves a credential, with patience: it may not be known everywhere yet. There is no sense in waiting for one that
    /// is lost, and the function's time may be over before the patience is.
    async fn prove(&self, opened: &Opened, credential: &Credential) -> Result<(), RotationError> {
        let mut waits = self.options.waits.iter();
        let mut refused = false;
        loop {
            match opened.rotator.test(credential).await {
                Err(error @ RotationError::Refused(_))
                    if std::mem::replace(&mut refused, true)
                        && opened.rotator.is_lost(credential).await.is_ok_and(|lost| lost) =>
                {
                    return Err(error);
                }
                Err(error @ (RotationError::Refused(_) | RotationError::Unavailable(_))) => {
                    match waits.next() {
                        Some(wait) => tokio::time::sleep(*wait).await,
                        None => return Err(error),
                    }
                }
                other => return other,
            }
        }
    }
}

/// Nothing was to be done for one target or another.
pub(super) fn done(did: &'static str) -> Outcome {
    Outcome { field: None, did, retired: Vec::new() }
}
