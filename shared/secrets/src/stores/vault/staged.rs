//! Writing. Every change is one document in the place of the one that was read, by check-and-set: who comes second
//! looks again.
//!
//! The stages are those of [`super::document`]; a version can be given no other. Tags are the document's custom
//! metadata; a description and a key to encrypt with are left out. What is written new is a plain document, as LiteLLM
//! writes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_vault::VaultError;
use secrecy::SecretString;

use super::document::{self, Fields, Loaded, Made, State, Turn};
use super::{HashiCorpVault, Place};
use crate::{About, Description, Lease, Listed, Page, Secret, SecretError, Stage, StagedStore, VersionId};

/// How often a change is tried whose document is another one each time.
const TRIES: u32 = 8;

type Tags = BTreeMap<String, String>;

/// What is to become of a document, its fields and what stands in ours, or nothing if it is as it should be; and the
/// answer then.
type Change<T> = (Option<(Fields, State)>, T);

impl HashiCorpVault {
    /// Changes a document as `decide` says, which is asked again when somebody else was faster.
    async fn change<T>(
        &self,
        place: &Place,
        decide: impl Fn(Loaded) -> Result<Change<T>, SecretError>,
    ) -> Result<T, SecretError> {
        for _ in 0..TRIES {
            let loaded = place.load().await?;
            let number = loaded.number;
            let (parts, answer) = decide(loaded)?;
            let Some((fields, state)) = parts else { return Ok(answer) };
            let document = document::whole(fields, state, number)
                .map_err(|_| place.malformed("not to be written as JSON"))?;
            match place.vault.put(&place.path, &document, number).await {
                Ok(_) => return Ok(answer),
                Err(VaultError::CasMismatch) => {}
                Err(error) => return Err(place.failure(&error)),
            }
        }
        Err(place.conflict("the document changes all the time"))
    }

    fn now(&self) -> Timestamp {
        self.connection.clock().now()
    }

    /// Writes the fields of a secret that is there. Tells its tags.
    async fn write_over(
        &self,
        place: &Place,
        value: &SecretString,
    ) -> Result<(VersionId, Tags), SecretError> {
        let now = self.now();
        self.change(place, |mut loaded| {
            let fields =
                document::fields(value, Some(&loaded.fields)).map_err(|what| place.malformed(what))?;
            let version = document::unnamed(loaded.number + 1, now);
            let tags = std::mem::take(&mut loaded.notes);
            let parts = loaded.succeed(&version, fields, now);
            Ok((Some(parts), (VersionId::new(&version), tags)))
        })
        .await
    }
}

impl Place {
    fn conflict(&self, what: &str) -> SecretError {
        SecretError::conflict(&*self.reference, what)
    }

    fn malformed(&self, what: &str) -> SecretError {
        SecretError::malformed(&*self.reference, what)
    }

    /// Makes a secret that is not there, after the versions that were deleted. `None`: it is there by now. Its tags come
    /// first: a process that dies in between leaves no document of which nobody knows whose it is.
    async fn make(
        &self,
        value: &SecretString,
        tags: &Tags,
    ) -> Result<Option<(VersionId, Tags)>, SecretError> {
        let fields = document::fields(value, None).map_err(|what| self.malformed(what))?;
        let (after, there) = match self.vault.trace(&self.path).await {
            Ok(trace) => (trace.version, trace.notes),
            Err(VaultError::NotFound) => (0, Tags::new()),
            Err(error) => return Err(self.failure(&error)),
        };
        match self.vault.get(&self.path).await {
            Err(VaultError::NotFound) => {}
            Err(error) => return Err(self.failure(&error)),
            // It was made just now.
            Ok(_) => return Ok(None),
        }
        self.tag(&there, tags).await?;
        match self.vault.put_timed(&self.path, &document::plain(fields), after).await {
            Ok(written) => {
                let version = document::unnamed(written.version, written.created);
                Ok(Some((VersionId::new(&version), there.into_iter().chain(tags.clone()).collect())))
            }
            Err(VaultError::CasMismatch) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Adds tags to those that there are.
    async fn tag(&self, there: &Tags, more: &Tags) -> Result<(), SecretError> {
        if more.iter().all(|(name, value)| there.get(name) == Some(value)) {
            return Ok(());
        }
        let mut tags = there.clone();
        tags.extend(more.clone());
        self.vault.note(&self.path, &tags).await.map_err(|error| self.failure(&error))
    }
}

#[async_trait]
impl StagedStore for HashiCorpVault {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        let place = self.place(name)?;
        let Loaded { state, notes, .. } = place.load().await?;
        let mut versions: BTreeMap<VersionId, Vec<Stage>> = BTreeMap::new();
        let previous = state.previous.as_ref().map(|kept| (&kept.version, Stage::Previous));
        let pending = state.pending.as_ref().map(|made| (&made.version, Stage::Pending));
        for (version, stage) in
            [Some((&state.version, Stage::Current)), previous, pending].into_iter().flatten()
        {
            versions.entry(VersionId::new(version)).or_default().push(stage);
        }
        Ok(Description {
            name: name.to_owned(),
            versions,
            current_since: Some(state.since),
            rotation_enabled: None,
            last_rotated: state.rotated,
            next_rotation: None,
            tags: notes,
        })
    }

    async fn version(&self, name: &str, version: &VersionId) -> Result<Secret, SecretError> {
        let place = self.place(name)?;
        let loaded = place.load().await?;
        let fields =
            loaded.fields_of(version.as_str()).ok_or_else(|| place.not_found("no value of this version"))?;
        document::secret(version.as_str(), fields).map_err(|what| place.malformed(what))
    }

    async fn begin(
        &self,
        name: &str,
        proposed: &VersionId,
        holder: &str,
        lease: Lease,
    ) -> Result<VersionId, SecretError> {
        let place = self.place(name)?;
        self.change(&place, |loaded| {
            let Loaded { fields, mut state, .. } = loaded;
            if let Some(turn) = &state.lease
                && turn.holder != holder
                && lease.now < turn.until
            {
                return Err(place.conflict(&format!("another rotation may go on until {}", turn.until)));
            }
            // A rotation that is finished is not begun again.
            if state.version == proposed.as_str() {
                return Ok((None, proposed.clone()));
            }
            let turn = Some(Turn { holder: holder.to_owned(), until: lease.until });
            let open = state.pending.is_some();
            let pending = state
                .pending
                .get_or_insert_with(|| Made { version: proposed.as_str().to_owned(), fields: None });
            let version = VersionId::new(&pending.version);
            if open && state.lease == turn {
                return Ok((None, version));
            }
            state.lease = turn;
            Ok((Some((fields, state)), version))
        })
        .await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), SecretError> {
        let place = self.place(name)?;
        self.change(&place, |loaded| {
            let Loaded { fields, mut state, .. } = loaded;
            if state.lease.take_if(|turn| turn.holder == holder).is_none() {
                return Ok((None, ()));
            }
            state.pending.take_if(|made| made.fields.is_none());
            Ok((Some((fields, state)), ()))
        })
        .await
    }

    async fn stage(
        &self,
        name: &str,
        version: &VersionId,
        value: &SecretString,
        stage: &Stage,
        _: Option<&SecretString>,
    ) -> Result<(), SecretError> {
        let place = self.place(name)?;
        if !matches!(stage, Stage::Current | Stage::Pending) {
            return Err(SecretError::denied(place.reference, "no version can be given this stage"));
        }
        let now = self.now();
        self.change(&place, |loaded| {
            let new = document::fields(value, Some(&loaded.fields)).map_err(|what| place.malformed(what))?;
            let there = loaded.fields_of(version.as_str());
            if there.is_some_and(|there| *there != new) {
                return Err(place.conflict("the version has another value"));
            }
            let is_current = loaded.state.version == version.as_str();
            if is_current || (*stage == Stage::Pending && there.is_some()) {
                return Ok((None, ()));
            }
            if *stage == Stage::Current {
                return Ok((Some(loaded.succeed(version.as_str(), new, now)), ()));
            }
            let Loaded { fields, mut state, .. } = loaded;
            state.pending = Some(Made { version: version.as_str().to_owned(), fields: Some(new) });
            Ok((Some((fields, state)), ()))
        })
        .await
    }

    async fn promote(&self, name: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError> {
        let place = self.place(name)?;
        let now = self.now();
        self.change(&place, |loaded| {
            if loaded.state.version == version.as_str() {
                return Ok((None, ()));
            }
            if loaded.state.version != from.as_str() {
                return Err(place.conflict("another version is current"));
            }
            let fields = loaded.fields_of(version.as_str()).cloned();
            let fields = fields.ok_or_else(|| place.not_found("no value of this version"))?;
            let (fields, state) = loaded.succeed(version.as_str(), fields, now);
            Ok((Some((fields, State { rotated: Some(now), ..state })), ()))
        })
        .await
    }

    async fn unstage(&self, name: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError> {
        let place = self.place(name)?;
        if *stage == Stage::Current {
            return Err(SecretError::denied(place.reference, "there is always a current version"));
        }
        self.change(&place, |loaded| {
            let Loaded { fields, mut state, .. } = loaded;
            let is_meant = |other: &str| other == version.as_str();
            if *stage == Stage::Pending && state.pending.as_ref().is_some_and(|made| is_meant(&made.version))
            {
                // The rotation is over.
                state.pending = None;
                state.lease = None;
            } else if *stage == Stage::Previous
                && state.previous.as_ref().is_some_and(|kept| is_meant(&kept.version))
            {
                state.previous = None;
            } else {
                return Err(place.conflict("the version does not have this stage"));
            }
            Ok((Some((fields, state)), ()))
        })
        .await
    }

    async fn write(&self, name: &str, value: &SecretString, about: &About) -> Result<VersionId, SecretError> {
        let place = self.place(name)?;
        for _ in 0..TRIES {
            let written = match self.write_over(&place, value).await {
                Err(SecretError::NotFound { .. }) => place.make(value, &about.tags).await?,
                other => Some(other?),
            };
            if let Some((version, tags)) = written {
                place.tag(&tags, &about.tags).await?;
                return Ok(version);
            }
        }
        Err(place.conflict("the document changes all the time"))
    }

    async fn remove(&self, name: &str) -> Result<(), SecretError> {
        let place = self.place(name)?;
        place.vault.delete(&place.path).await.map_err(|error| place.failure(&error))
    }

    /// One directory at a time. The names of documents whose newest version is deleted are among them.
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, SecretError> {
        let place = self.place(prefix)?;
        let start = place.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut directories = from.unwrap_or(start).split('\n');
        let directory = directories.next().unwrap_or_default();
        let mut left: Vec<String> = directories.map(str::to_owned).collect();
        let names = place.vault.list(directory).await.map_err(|error| place.failure(&error))?;
        let mut secrets = Vec::new();
        for name in names {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            // Vault takes paths that we do not.
            if !path.starts_with(&place.path) || path.contains(char::is_control) {
                continue;
            }
            match path.strip_suffix('/') {
                Some(deeper) => left.push(deeper.to_owned()),
                None => secrets.push(Listed {
                    name: format!("{}/{path}", place.vault.mount()),
                    changed: None,
                    tags: BTreeMap::new(),
                }),
            }
        }
        let next = (!left.is_empty()).then(|| left.join("\n"));
        Ok(Page { secrets, next })
    }
}
