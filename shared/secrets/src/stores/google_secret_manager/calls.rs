//! The calls by which the writing half reads and changes a secret, and what is current in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::super::google::{FAILED_PRECONDITION, crc32c, status};
use super::state::{Kept, MASK, Metadata, Promotion, State, Version, annotate, numbered};
use super::{GoogleSecretManager, Place};
use crate::{About, Secret, SecretError, VersionId};

/// How often a change is tried whose secret is another one each time.
pub(super) const TRIES: u32 = 8;
/// The longest value, in bytes.
const LONGEST_VALUE: usize = 65_536;

pub(super) type Tags = BTreeMap<String, String>;

/// A secret as it was read.
pub(super) struct Loaded {
    pub(super) metadata: Metadata,
    /// What is so, whether or not it is noted yet.
    pub(super) state: State,
    /// What is noted to be destroyed.
    discarded: (Vec<u64>, Vec<u64>),
    pub(super) current: Kept,
    /// Since when it is current, or later.
    pub(super) since: Timestamp,
}

/// A version that was just added, and its id.
#[derive(Clone, Copy)]
pub(super) struct Added<'a>(pub(super) &'a Version, pub(super) &'a str);

/// Where a value is.
pub(super) enum At {
    Here(u64),
    Pending(u64),
}

impl Loaded {
    pub(super) fn at(&self, id: &str) -> Option<At> {
        let pending = self.state.pending.as_ref().filter(|made| made.id == id).and_then(|made| made.number);
        let previous = self.state.previous.as_ref().filter(|kept| kept.id == id).map(|kept| kept.number);
        let current = Some(self.current.number).filter(|_| self.current.id == id);
        current.or(previous).map(At::Here).or(pending.map(At::Pending)).or(numbered(id).map(At::Here))
    }
}

impl GoogleSecretManager {
    pub(super) async fn metadata(&self, place: &Place) -> Result<Metadata, SecretError> {
        let answer = self.ask(place, || place.call(Method::GET, &[])).await?;
        answer.read().map_err(|error| place.malformed(&error.to_string()))
    }

    /// A version without its value; `None` if it is not there.
    async fn look_at(&self, place: &Place, version: &str) -> Result<Option<Version>, SecretError> {
        match self.ask(place, || place.call(Method::GET, &["versions", version])).await {
            Ok(answer) => answer.read().map(Some).map_err(|error| place.malformed(&error.to_string())),
            Err(SecretError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn load(&self, place: &Place) -> Result<Loaded, SecretError> {
        let metadata = self.metadata(place).await?;
        let loaded = self.look(place, metadata, None).await?;
        loaded.map_err(|_| place.not_found("it has no version, or its newest one is disabled or destroyed"))
    }

    /// What is the current version of a secret. `Err`: none is.
    pub(super) async fn look(
        &self,
        place: &Place,
        metadata: Metadata,
        added: Option<Added<'_>>,
    ) -> Result<Result<Loaded, Metadata>, SecretError> {
        let mut state = metadata.state().map_err(|what| place.malformed(what))?;
        let discarded = (state.discarded.clone(), state.discarded_pending.clone());
        let mut newest = self.look_at(place, "latest").await?;
        // The service tells what is newest with a delay. What is noted is there.
        let noted = state.current.as_ref().map(|current| current.number);
        let least = added.and_then(|Added(version, _)| version.number()).max(noted);
        if newest.as_ref().and_then(Version::number) < least {
            newest = match (added, least) {
                (Some(Added(version, _)), least) if version.number() == least => Some(version.clone()),
                (_, Some(least)) => self.look_at(place, &least.to_string()).await?,
                _ => newest,
            };
        }
        let Some(newest) = newest.filter(Version::is_enabled) else { return Ok(Err(metadata)) };
        let unnamed = newest.unnamed().ok_or_else(|| place.malformed("a version has no number"))?;
        match state.current.clone() {
            None => state.current = Some(unnamed.clone()),
            Some(noted) if noted.number == unnamed.number => {}
            Some(noted) => self.catch_up(place, &mut state, &noted, &newest, unnamed.clone(), added).await?,
        }
        let current = state.current.clone().unwrap_or(unnamed);
        let since = newest.create_time;
        Ok(Ok(Loaded { metadata, state, discarded, current, since }))
    }

    /// There is a newer version than the noted one: says what it is.
    async fn catch_up(
        &self,
        place: &Place,
        state: &mut State,
        noted: &Kept,
        newest: &Version,
        unnamed: Kept,
        added: Option<Added<'_>>,
    ) -> Result<(), SecretError> {
        let number = unnamed.number;
        if let Some(Added(version, id)) = added
            && version.number() == Some(number)
        {
            state.succeed(Kept { id: id.to_owned(), number }, newest.create_time);
            return Ok(());
        }
        let value = self.access(place, &number.to_string()).await?.value;
        let open = |promotion: &Promotion| noted.number <= promotion.after && promotion.after < number;
        if let Some(promotion) = state.promotion.clone().filter(open)
            && same(&self.value(place, &promotion.source()).await?, &value)
        {
            state.succeed(Kept { id: promotion.id, number }, newest.create_time);
            return Ok(());
        }
        let before = self.value(place, &At::Here(noted.number)).await?;
        if same(&before, &value) {
            state.current = Some(Kept { id: noted.id.clone(), number });
            return Ok(());
        }
        // A value that was made from the one before would undo somebody's change.
        state.give_up();
        state.current = Some(unnamed);
        if before.is_some() {
            state.precede(Some(noted.clone()));
        }
        Ok(())
    }

    /// A value, if it is there.
    pub(super) async fn value(&self, place: &Place, at: &At) -> Result<Option<SecretString>, SecretError> {
        let accessed = match at {
            At::Here(number) => self.access(place, &number.to_string()).await,
            At::Pending(number) => self.access(&place.pending(), &number.to_string()).await,
        };
        match accessed {
            Ok(accessed) => Ok(Some(accessed.value)),
            Err(SecretError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What readers see as the pending version.
    pub(super) async fn pending_version(&self, place: &Place) -> Result<Secret, SecretError> {
        let none = || place.not_found("no version has this stage");
        let pending = self.load(place).await?.state.pending.ok_or_else(none)?;
        let number = pending.number.ok_or_else(none)?;
        let value = self.value(place, &At::Pending(number)).await?.ok_or_else(none)?;
        Ok(Secret::new(value, VersionId::new(&pending.id)))
    }

    /// Writes a state, and tags, if the secret is as it was read. Says whether it was.
    pub(super) async fn save(
        &self,
        place: &Place,
        loaded: &Loaded,
        mut state: State,
        tags: &Tags,
    ) -> Result<bool, SecretError> {
        let (here, pending) = &loaded.discarded;
        let gone = self.destroy(place, here).await;
        state.discarded.retain(|number| !gone.contains(number));
        if !pending.is_empty() {
            let gone = self.destroy(&place.pending(), pending).await;
            state.discarded_pending.retain(|number| !gone.contains(number));
        }
        self.patch(place, &loaded.metadata, &state, tags).await
    }

    pub(super) async fn patch(
        &self,
        place: &Place,
        read: &Metadata,
        state: &State,
        tags: &Tags,
    ) -> Result<bool, SecretError> {
        let update = read.update(state, tags).ok_or_else(|| place.malformed("not to be written as JSON"))?;
        let call = || place.call(Method::PATCH, &[]).query("updateMask", MASK).json(&update);
        let answer = self.0.ask(&place.reference, call).await?;
        // ABORTED is what Google's rules for APIs say (AIP-154); they said FAILED_PRECONDITION before.
        match answer.status().as_u16() {
            409 | 412 => Ok(false),
            400 if status(&answer).as_deref() == Some(FAILED_PRECONDITION) => Ok(false),
            _ if answer.status().is_success() => Ok(true),
            _ => Err(place.refusal(&answer)),
        }
    }

    /// Destroys versions. Returns those that are gone; the others are tried again with the next change.
    pub(super) async fn destroy(&self, place: &Place, numbers: &[u64]) -> Vec<u64> {
        let mut gone = Vec::new();
        for number in numbers {
            let verb = format!("{number}:destroy");
            let call = || place.call(Method::POST, &["versions", &verb]).json(&json!({}));
            // Gone already, or with the whole secret, it is not found.
            if matches!(self.ask(place, call).await, Ok(_) | Err(SecretError::NotFound { .. })) {
                gone.push(*number);
            }
        }
        gone
    }

    /// Changes a state as `decide` says, which is asked again when somebody else was faster. It says whether there is
    /// anything to change, and what the answer is.
    pub(super) async fn change<T>(
        &self,
        place: &Place,
        decide: impl Fn(&mut State, &Kept) -> Result<(bool, T), SecretError>,
    ) -> Result<T, SecretError> {
        for _ in 0..TRIES {
            let loaded = self.load(place).await?;
            let mut state = loaded.state.clone();
            let (changed, answer) = decide(&mut state, &loaded.current)?;
            if !changed || self.save(place, &loaded, state, &Tags::new()).await? {
                return Ok(answer);
            }
        }
        Err(place.busy())
    }

    /// Adds a version.
    pub(super) async fn add(&self, place: &Place, value: &SecretString) -> Result<Version, SecretError> {
        use base64::Engine as _;
        let bytes = value.expose_secret().as_bytes();
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        let body = json!({"payload": {"data": data, "dataCrc32c": crc32c(bytes).to_string()}});
        let encoded = SecretString::from(data);
        let name = format!("{}:addVersion", place.name);
        let call = || place.call_as(Method::POST, &name, &[]).json(&body).hiding(value).hiding(&encoded);
        let answer = self.ask(place, call).await?;
        answer.read().map_err(|error| place.malformed(&error.to_string()))
    }

    /// Adds a version to the secret for pending ones, which is kept where the secret itself is.
    pub(super) async fn add_pending(
        &self,
        place: &Place,
        like: &Metadata,
        value: &SecretString,
    ) -> Result<u64, SecretError> {
        let pending = place.pending();
        let added = match self.add(&pending, value).await {
            Err(SecretError::NotFound { .. }) => {
                let mut body = json!({"labels": {"keyturn": "pending"}});
                for (field, given) in [
                    ("replication", &like.replication),
                    ("customerManagedEncryption", &like.customer_managed_encryption),
                ] {
                    if let Some(given) = given {
                        body[field] = given.clone();
                    }
                }
                self.create(&pending, &body).await?;
                self.add(&pending, value).await?
            }
            other => other?,
        };
        added.number().ok_or_else(|| place.malformed("a version has no number"))
    }

    /// Makes a secret without a version. Says whether it was not there.
    pub(super) async fn create(&self, place: &Place, body: &Value) -> Result<bool, SecretError> {
        let parent = place.parent.iter().map(String::as_str);
        let path: Vec<&str> = ["v1"].into_iter().chain(parent).chain(["secrets"]).collect();
        let call = || place.service.call(Method::POST, &path).query("secretId", &place.name).json(body);
        match self.ask(place, call).await {
            Ok(_) => Ok(true),
            Err(SecretError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn same(there: &Option<SecretString>, value: &SecretString) -> bool {
    there.as_ref().is_some_and(|there| there.expose_secret() == value.expose_secret())
}

impl Promotion {
    pub(super) fn source(&self) -> At {
        if self.pending { At::Pending(self.number) } else { At::Here(self.number) }
    }
}

impl Place {
    pub(super) fn conflict(&self, what: &str) -> SecretError {
        SecretError::conflict(&*self.reference, what)
    }

    pub(super) fn busy(&self) -> SecretError {
        self.conflict("the secret changes all the time")
    }

    pub(super) fn fits(&self, value: &SecretString) -> Result<(), SecretError> {
        match value.expose_secret().len() {
            0 => Err(self.malformed("empty")),
            1..=LONGEST_VALUE => Ok(()),
            _ => Err(self.malformed("longer than 65,536 bytes")),
        }
    }

    /// What a secret is made with.
    pub(super) fn body(&self, about: &About) -> Option<Value> {
        let mut annotations = Tags::new();
        annotate(&mut annotations, &about.tags)?;
        let mut body = json!({"annotations": annotations});
        let key = about.kms_key.as_ref().map(|key| json!({"kmsKeyName": key}));
        // A regional secret is where it is.
        match (self.parent.len() > 2, key) {
            (true, None) => {}
            (true, Some(key)) => body["customerManagedEncryption"] = key,
            (false, None) => body["replication"] = json!({"automatic": {}}),
            (false, Some(key)) => {
                body["replication"] = json!({"automatic": {"customerManagedEncryption": key}});
            }
        }
        Some(body)
    }
}
