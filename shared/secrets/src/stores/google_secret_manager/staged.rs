//! Writing. `docs/adr/0007-google-secret-manager-stages.md` says why it is like this.
//!
//! The newest version is the current one, for every reader. So a pending value is not in the secret: it is in one of
//! its own, `NAME--keyturn-pending`, and is added to the secret when it is promoted. What else there is to know stands
//! in an annotation ([`super::state`]), which is changed by the secret's etag: who comes second looks again.
//!
//! Adding a version cannot be made to depend on an etag. So a promotion is announced first, and while it may still add
//! its version nobody promotes another one. What is added twice by a repetition has the same value, and is the same
//! version.
//!
//! Versions that a rotation made are destroyed when they have no stage any more, at the next change; those that people
//! made stay. Tags are annotations (a tag `keyturn:x` is the annotation `keyturn.x`), and labels are tags too. A
//! description is left out. A key to encrypt with is given to a secret that is made.
//!
//! Permissions, on the secret and on the one for pending versions: `secretmanager.secrets.get`, `update`, `delete`,
//! `secretmanager.versions.add`, `get`, `access`, `destroy`; on the project `secretmanager.secrets.create` and `list`
//! (`roles/secretmanager.admin` has them all).

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;

use super::calls::{Added, At, TRIES, Tags, same};
use super::state::{Made, Metadata, Promotion, Turn, Version};
use super::{GoogleSecretManager, PENDING, Place};
use crate::{About, Description, Lease, Listed, Page, Secret, SecretError, Stage, StagedStore, VersionId};

/// How many secrets a page of a list has at most.
const PAGE: &str = "250";
/// For how long nobody else promotes while a promotion is under way.
const HOLD: Duration = Duration::from_secs(60);
/// The last part of it, in which no version is added any more: a call takes ten seconds at most.
const LAST_CALL: Duration = Duration::from_secs(15);

impl GoogleSecretManager {
    /// Announces a promotion. `None`: the version is current.
    async fn announce(
        &self,
        place: &Place,
        version: &VersionId,
        from: &VersionId,
    ) -> Result<Option<Promotion>, SecretError> {
        let now = self.now();
        self.change(place, |state, current| {
            let id = version.as_str();
            if current.id == id {
                return Ok((false, None));
            }
            if current.id != from.as_str() {
                return Err(place.conflict("another version is current"));
            }
            let made = state.pending.as_ref().filter(|made| made.id == id).and_then(|made| made.number);
            let kept = state.previous.as_ref().filter(|kept| kept.id == id).map(|kept| kept.number);
            let Some((pending, number)) = made.map(|made| (true, made)).or(kept.map(|kept| (false, kept)))
            else {
                return Err(place.not_found("no value of this version"));
            };
            let others = state.promotion.take_if(|promotion| now < promotion.until);
            if let Some(other) = &others
                && other.id != id
            {
                let told = format!("another promotion may go on until {}", other.until);
                return Err(place.conflict(&told));
            }
            let until = now.saturating_add(HOLD).unwrap_or(Timestamp::MAX);
            let until = others.as_ref().map_or(until, |other| until.max(other.until));
            let (id, joined) = (id.to_owned(), others.is_some());
            let promotion = Promotion { id, pending, number, after: current.number, until, joined };
            state.promotion = Some(promotion.clone());
            Ok((true, Some(promotion)))
        })
        .await
    }

    async fn promote_at(
        &self,
        place: &Place,
        version: &VersionId,
        from: &VersionId,
    ) -> Result<(), SecretError> {
        let Some(promotion) = self.announce(place, version, from).await? else { return Ok(()) };
        let value = self.value(place, &promotion.source()).await?;
        let value = value.ok_or_else(|| place.not_found("no value of this version"))?;
        if self.now().saturating_add(LAST_CALL).is_ok_and(|last| last >= promotion.until) {
            return Err(SecretError::unavailable(&*place.reference, "the promotion took too long"));
        }
        let added = self.add(place, &value).await?;
        self.conclude(place, version.as_str(), &added).await
    }

    /// Notes that a promotion was carried out. If that cannot be done now, it is seen all the same.
    async fn conclude(&self, place: &Place, id: &str, added: &Version) -> Result<(), SecretError> {
        for _ in 0..TRIES {
            let metadata = self.metadata(place).await?;
            let Ok(loaded) = self.look(place, metadata, Some(Added(added, id))).await? else { break };
            let mut state = loaded.state.clone();
            state.promotion.take_if(|promotion| promotion.id == id && !promotion.joined);
            if self.save(place, &loaded, state, &Tags::new()).await? {
                break;
            }
        }
        Ok(())
    }

    async fn stage_pending(
        &self,
        place: &Place,
        version: &VersionId,
        value: &SecretString,
    ) -> Result<(), SecretError> {
        let mut added = None;
        for _ in 0..TRIES {
            let loaded = self.load(place).await?;
            if let Some(at) = loaded.at(version.as_str()) {
                if let Some(added) = added {
                    self.destroy(&place.pending(), &[added]).await;
                }
                let there = self.value(place, &at).await?;
                return if same(&there, value) {
                    Ok(())
                } else {
                    Err(place.conflict("the version has another value"))
                };
            }
            let number = match added {
                Some(number) => number,
                None => *added.insert(self.add_pending(place, &loaded.metadata, value).await?),
            };
            let mut state = loaded.state.clone();
            state.give_up();
            state.pending = Some(Made { id: version.as_str().to_owned(), number: Some(number) });
            if self.save(place, &loaded, state, &Tags::new()).await? {
                return Ok(());
            }
        }
        Err(place.busy())
    }

    /// Writes a secret that is there. `None`: it is not, or has changed.
    async fn write_over(
        &self,
        place: &Place,
        metadata: Metadata,
        value: &SecretString,
        tags: &Tags,
    ) -> Result<Option<VersionId>, SecretError> {
        let there = metadata.tags();
        let tagged = tags.iter().all(|(name, value)| there.get(name) == Some(value));
        let saved = match self.look(place, metadata, None).await? {
            Ok(loaded) => {
                let same = same(&self.value(place, &At::Here(loaded.current.number)).await?, value);
                if same && tagged {
                    return Ok(Some(VersionId::new(&loaded.current.id)));
                }
                let mut state = loaded.state.clone();
                if !same {
                    state.precede(Some(loaded.current.clone()));
                }
                let saved = self.save(place, &loaded, state, tags).await?;
                if saved && same {
                    return Ok(Some(VersionId::new(&loaded.current.id)));
                }
                saved
            }
            Err(_) if tagged => true,
            Err(metadata) => {
                let state = metadata.state().map_err(|what| place.malformed(what))?;
                self.patch(place, &metadata, &state, tags).await?
            }
        };
        if saved { self.add_named(place, value).await.map(Some) } else { Ok(None) }
    }

    async fn add_named(&self, place: &Place, value: &SecretString) -> Result<VersionId, SecretError> {
        let added = self.add(place, value).await?.unnamed();
        let added = added.ok_or_else(|| place.malformed("a version has no number"))?;
        Ok(VersionId::new(&added.id))
    }
}

#[async_trait]
impl StagedStore for GoogleSecretManager {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        let place = self.place(name).await?;
        let loaded = self.load(&place).await?;
        let tags = loaded.metadata.tags();
        let mut versions: BTreeMap<VersionId, Vec<Stage>> = BTreeMap::new();
        // While a promotion is under way, or a write, the current version has the previous one's place already.
        let previous = loaded.state.previous.filter(|kept| kept.number != loaded.current.number);
        for (id, stage) in [
            Some((loaded.current.id, Stage::Current)),
            previous.map(|kept| (kept.id, Stage::Previous)),
            loaded.state.pending.map(|made| (made.id, Stage::Pending)),
        ]
        .into_iter()
        .flatten()
        {
            versions.entry(VersionId::new(&id)).or_default().push(stage);
        }
        Ok(Description {
            name: name.to_owned(),
            versions,
            current_since: Some(loaded.since),
            rotation_enabled: None,
            last_rotated: loaded.state.rotated,
            next_rotation: None,
            tags,
        })
    }

    async fn version(&self, name: &str, version: &VersionId) -> Result<Secret, SecretError> {
        let place = self.place(name).await?;
        let none = || place.not_found("no value of this version");
        let at = self.load(&place).await?.at(version.as_str()).ok_or_else(none)?;
        let value = self.value(&place, &at).await?.ok_or_else(none)?;
        Ok(Secret::new(value, version.clone()))
    }

    async fn begin(
        &self,
        name: &str,
        proposed: &VersionId,
        holder: &str,
        lease: Lease,
    ) -> Result<VersionId, SecretError> {
        let place = self.place(name).await?;
        self.change(&place, |state, current| {
            if let Some(turn) = &state.lease
                && turn.holder != holder
                && lease.now < turn.until
            {
                return Err(place.conflict(&format!("another rotation may go on until {}", turn.until)));
            }
            // A rotation that is finished is not begun again.
            if current.id == proposed.as_str() {
                return Ok((false, proposed.clone()));
            }
            let turn = Some(Turn { holder: holder.to_owned(), until: lease.until });
            let open = state.pending.is_some();
            let pending =
                state.pending.get_or_insert_with(|| Made { id: proposed.as_str().to_owned(), number: None });
            let version = VersionId::new(&pending.id);
            let changed = !open || state.lease != turn;
            state.lease = turn;
            Ok((changed, version))
        })
        .await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), SecretError> {
        let place = self.place(name).await?;
        self.change(&place, |state, _| {
            if state.lease.take_if(|turn| turn.holder == holder).is_none() {
                return Ok((false, ()));
            }
            state.pending.take_if(|made| made.number.is_none());
            Ok((true, ()))
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
        let place = self.place(name).await?;
        place.fits(value)?;
        match stage {
            Stage::Pending => self.stage_pending(&place, version, value).await,
            Stage::Current => {
                self.stage_pending(&place, version, value).await?;
                let current = VersionId::new(&self.load(&place).await?.current.id);
                self.promote_at(&place, version, &current).await
            }
            Stage::Previous | Stage::Named(_) => {
                Err(SecretError::denied(place.reference, "no version can be given this stage"))
            }
        }
    }

    async fn promote(&self, name: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError> {
        let place = self.place(name).await?;
        self.promote_at(&place, version, from).await
    }

    async fn unstage(&self, name: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError> {
        let place = self.place(name).await?;
        self.change(&place, |state, current| {
            let is_meant = |id: &str| id == version.as_str();
            if *stage == Stage::Pending && state.pending.as_ref().is_some_and(|made| is_meant(&made.id)) {
                // The rotation is over.
                state.give_up();
                state.lease = None;
            } else if *stage == Stage::Previous
                && state
                    .previous
                    .as_ref()
                    .is_some_and(|kept| is_meant(&kept.id) && kept.number != current.number)
            {
                state.precede(None);
            } else {
                return Err(place.conflict("the version does not have this stage"));
            }
            Ok((true, ()))
        })
        .await
    }

    /// A value that is the current one already makes no version.
    async fn write(&self, name: &str, value: &SecretString, about: &About) -> Result<VersionId, SecretError> {
        let place = self.place(name).await?;
        place.fits(value)?;
        for _ in 0..TRIES {
            let written = match self.metadata(&place).await {
                Err(SecretError::NotFound { .. }) => {
                    let body =
                        place.body(about).ok_or_else(|| place.malformed("not to be written as JSON"))?;
                    match self.create(&place, &body).await? {
                        true => Some(self.add_named(&place, value).await?),
                        false => None,
                    }
                }
                metadata => self.write_over(&place, metadata?, value, &about.tags).await?,
            };
            if let Some(version) = written {
                return Ok(version);
            }
        }
        Err(place.busy())
    }

    async fn remove(&self, name: &str) -> Result<(), SecretError> {
        let place = self.place(name).await?;
        // Whoever is interrupted finds the secret there still.
        for place in [&place.pending(), &place] {
            match self.ask(place, || place.call(Method::DELETE, &[])).await {
                Ok(_) | Err(SecretError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Names are told in the way that the prefix is written in. The secrets for pending versions are not among them.
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, SecretError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Found {
            #[serde(default)]
            secrets: Vec<Metadata>,
            #[serde(default)]
            next_page_token: String,
        }
        let place = self.parent(prefix).await?;
        let written = prefix.strip_suffix(&*place.name).unwrap_or_default();
        let parent = place.parent.iter().map(String::as_str);
        let path: Vec<&str> = ["v1"].into_iter().chain(parent).chain(["secrets"]).collect();
        let call = || {
            let call = place.service.call(Method::GET, &path).query("pageSize", PAGE);
            // It tells those that have it anywhere in their name.
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let call = match place.name.starts_with(char::is_alphanumeric) && place.name.chars().all(fits) {
                true => call.query("filter", &format!("name:{}", place.name)),
                false => call,
            };
            from.into_iter().fold(call, |call, token| call.query("pageToken", token))
        };
        let answer = self.ask(&place, call).await?;
        let found: Found = answer.read().map_err(|error| place.malformed(&error.to_string()))?;
        let listed = |secret: Metadata| {
            let (_, name) = secret.name.rsplit_once('/')?;
            let meant = name.starts_with(&place.name) && !name.ends_with(PENDING);
            let name = format!("{written}{name}");
            meant.then(|| Listed { name, changed: None, tags: secret.tags() })
        };
        let secrets = found.secrets.into_iter().filter_map(listed).collect();
        Ok(Page { secrets, next: Some(found.next_page_token).filter(|token| !token.is_empty()) })
    }
}
