//! Writing. What becomes current is written as a version of its own, with its tags in the same call: a process that
//! dies before or after it leaves a whole rotation, under way or done.
//!
//! There is no check-and-set. Within one process changes come one after the other; two processes that change one secret
//! within the time of a call can both believe to be first, and then the one that wrote last is. What both wrote stays
//! readable by its version, and each of them names the version that it took the place of. Leases keep rotations apart
//! but for that time (docs/adr/0006-azure-key-vault-stages.md).
//!
//! A version can be given no other stage. A description and a key to encrypt with are left out. Of the 15 tags that a
//! secret may have three are ours.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::AzureKeyVault;
use super::api::{Kept, PREVIOUS, ROTATED, Tags, VERSION, is_id};
use super::pending::{self, SUFFIX, Turn};
use super::place::Place;
use crate::{About, Description, Lease, Listed, Page, Secret, SecretError, Stage, StagedStore, VersionId};

/// What stands in a pending version that has no value yet.
const NOTHING: &str = "-";

/// A page of a list.
#[derive(Deserialize)]
struct Items {
    #[serde(default)]
    value: Vec<Kept>,
    #[serde(rename = "nextLink")]
    next: Option<String>,
}

/// The value of a version with a stage.
struct There {
    value: Option<SecretString>,
    is_current: bool,
}

impl AzureKeyVault {
    /// Takes the stage off the pending version.
    async fn end_pending(&self, place: &Place, id: &str) -> Result<(), SecretError> {
        let disabled = json!({"attributes": {"enabled": false}});
        self.patch(place, &place.pending_name(), id, &disabled).await
    }

    /// Makes a value the current one in the place of the present one.
    async fn succeed(
        &self,
        place: &Place,
        current: &Kept,
        value: &SecretString,
        ours: Tags,
    ) -> Result<Kept, SecretError> {
        let mut tags = current.foreign_tags();
        if let Some(rotated) = current.tags.get(ROTATED) {
            tags.insert(ROTATED.to_owned(), rotated.clone());
        }
        tags.insert(PREVIOUS.to_owned(), current.as_previous());
        tags.extend(ours);
        place.success(&self.put(place, &place.name, value, &tags).await?)
    }

    /// The value of a version with a stage.
    async fn staged_value(
        &self,
        place: &Place,
        current: &Kept,
        version: &VersionId,
    ) -> Result<Option<There>, SecretError> {
        if current.version() == *version {
            return Ok(Some(There { value: current.value.clone(), is_current: true }));
        }
        let there = |value| Some(There { value, is_current: false });
        if let Some((id, _)) = current.previous().filter(|(_, previous)| *previous == version.as_str()) {
            return Ok(there(self.read(place, &place.name, Some(id)).await?.value));
        }
        let pending = self.pending(place, current).await?;
        let pending = pending.filter(|pending| pending.is_made && pending.version == version.as_str());
        Ok(pending.and_then(|pending| there(pending.value)))
    }

    /// The place of a secret that is to be changed.
    fn place_to_change(&self, name: &str) -> Result<Place, SecretError> {
        let place = self.place(name)?;
        if place.version.is_some() {
            return Err(place.denied("a version cannot be changed: leave it out of the name"));
        }
        if place.pending_name().len() > super::place::LONGEST_NAME {
            return Err(place.denied("the name is too long for the secret beside it that a rotation needs"));
        }
        Ok(place)
    }
}

#[async_trait]
impl StagedStore for AzureKeyVault {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        let place = self.place(name)?;
        let current = self.read(&place, &place.name, None).await?;
        let pending = self.pending(&place, &current).await?;
        let mut versions: BTreeMap<VersionId, Vec<Stage>> = BTreeMap::new();
        let previous = current.previous().map(|(_, version)| (VersionId::new(version), Stage::Previous));
        let pending = pending.map(|pending| (VersionId::new(&pending.version), Stage::Pending));
        let newest = (current.version(), Stage::Current);
        for (version, stage) in [Some(newest), previous, pending].into_iter().flatten() {
            versions.entry(version).or_default().push(stage);
        }
        Ok(Description {
            name: place.canonical(),
            versions,
            // It became current when it was written, within the second that begins then.
            current_since: current.created().map(|written| written + SignedDuration::from_secs(1)),
            rotation_enabled: None,
            last_rotated: current.tags.get(ROTATED).and_then(|time| time.parse().ok()),
            next_rotation: None,
            tags: current.foreign_tags(),
        })
    }

    async fn version(&self, name: &str, version: &VersionId) -> Result<Secret, SecretError> {
        let place = self.place(name)?;
        let current = self.read(&place, &place.name, None).await?;
        if let Some(there) = self.staged_value(&place, &current, version).await? {
            let value = there.value.ok_or_else(|| place.malformed("empty"))?;
            return Ok(Secret::new(value, version.clone()));
        }
        if !is_id(version.as_str()) {
            return Err(place.not_found("no value of this version"));
        }
        let older = self.read(&place, &place.name, Some(version.as_str())).await?;
        Ok(Secret { version: version.clone(), ..older.secret(&place)? })
    }

    async fn begin(
        &self,
        name: &str,
        proposed: &VersionId,
        holder: &str,
        lease: Lease,
    ) -> Result<VersionId, SecretError> {
        let place = self.place_to_change(name)?;
        let _turn = self.turn(&place).await;
        let current = self.read(&place, &place.name, None).await?;
        let pending = self.pending(&place, &current).await?;
        if let Some(turn) = pending.as_ref().and_then(|pending| pending.turn.as_ref())
            && turn.holder != holder
            && lease.now < turn.until
        {
            return Err(place.conflict(&format!("another rotation may go on until {}", turn.until)));
        }
        // A rotation that is finished is not begun again.
        if current.version() == *proposed {
            return Ok(proposed.clone());
        }
        let turn = Turn { holder: holder.to_owned(), until: lease.until };
        let version = match &pending {
            Some(pending) if pending.turn.as_ref() == Some(&turn) => {
                return Ok(VersionId::new(&pending.version));
            }
            Some(pending) => {
                let tags = pending::tags(&pending.version, &current, pending.is_made, Some(&turn));
                let change = json!({ "tags": tags });
                self.patch(&place, &place.pending_name(), &pending.id, &change).await?;
                VersionId::new(&pending.version)
            }
            None => {
                let tags = pending::tags(proposed.as_str(), &current, false, Some(&turn));
                self.put_anew(&place, &place.pending_name(), &NOTHING.into(), tags).await?;
                proposed.clone()
            }
        };
        // Somebody else may have begun at the same time, and then the last one has it.
        let pending = self.pending(&place, &current).await?;
        let is_ours =
            pending.is_some_and(|pending| pending.turn == Some(turn) && pending.version == version.as_str());
        if is_ours { Ok(version) } else { Err(place.conflict("another rotation began at the same time")) }
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), SecretError> {
        let place = self.place_to_change(name)?;
        let _turn = self.turn(&place).await;
        let current = self.read(&place, &place.name, None).await?;
        let pending = self.pending(&place, &current).await?;
        let ours = pending.filter(|pending| pending.turn.as_ref().is_some_and(|turn| turn.holder == holder));
        match ours {
            None => Ok(()),
            Some(pending) if !pending.is_made => self.end_pending(&place, &pending.id).await,
            Some(pending) => {
                let tags = pending::tags(&pending.version, &current, true, None);
                let change = json!({ "tags": tags });
                self.patch(&place, &place.pending_name(), &pending.id, &change).await
            }
        }
    }

    async fn stage(
        &self,
        name: &str,
        version: &VersionId,
        value: &SecretString,
        stage: &Stage,
        _: Option<&SecretString>,
    ) -> Result<(), SecretError> {
        let place = self.place_to_change(name)?;
        if !matches!(stage, Stage::Current | Stage::Pending) {
            return Err(place.denied("no version can be given this stage"));
        }
        place.check(value)?;
        let _turn = self.turn(&place).await;
        let current = self.read(&place, &place.name, None).await?;
        let there = self.staged_value(&place, &current, version).await?;
        if let Some(there) = &there {
            let is_same = |there: &SecretString| there.expose_secret() == value.expose_secret();
            if !there.value.as_ref().is_some_and(is_same) {
                return Err(place.conflict("the version has another value"));
            }
            if there.is_current || *stage == Stage::Pending {
                return Ok(());
            }
        }
        if *stage == Stage::Current {
            let ours = [(VERSION.to_owned(), version.to_string())].into();
            return self.succeed(&place, &current, value, ours).await.map(drop);
        }
        let turn = self.pending(&place, &current).await?.and_then(|pending| pending.turn);
        let tags = pending::tags(version.as_str(), &current, true, turn.as_ref());
        self.put_anew(&place, &place.pending_name(), value, tags).await.map(drop)
    }

    async fn promote(&self, name: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError> {
        let place = self.place_to_change(name)?;
        let _turn = self.turn(&place).await;
        let current = self.read(&place, &place.name, None).await?;
        if current.version() == *version {
            return Ok(());
        }
        if current.version() != *from {
            return Err(place.conflict("another version is current"));
        }
        let value = self.staged_value(&place, &current, version).await?.and_then(|there| there.value);
        let value = value.ok_or_else(|| place.not_found("no value of this version"))?;
        let ours = [(VERSION, version.to_string()), (ROTATED, self.found.clock.now().to_string())];
        let ours = ours.map(|(name, value)| (name.to_owned(), value)).into();
        self.succeed(&place, &current, &value, ours).await.map(drop)
    }

    async fn unstage(&self, name: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError> {
        let place = self.place_to_change(name)?;
        if *stage == Stage::Current {
            return Err(place.denied("there is always a current version"));
        }
        let _turn = self.turn(&place).await;
        let mut current = self.read(&place, &place.name, None).await?;
        let unfit = || place.conflict("the version does not have this stage");
        if *stage == Stage::Pending {
            let pending = self.pending(&place, &current).await?;
            let pending = pending.filter(|pending| pending.version == version.as_str());
            return self.end_pending(&place, &pending.ok_or_else(unfit)?.id).await;
        }
        let is_meant = current.previous().is_some_and(|(_, previous)| previous == version.as_str());
        if *stage != Stage::Previous || !is_meant {
            return Err(unfit());
        }
        current.tags.remove(PREVIOUS);
        let change = json!({ "tags": current.tags });
        self.patch(&place, &place.name, current.id(), &change).await
    }

    /// What a disabled version has for tags is not kept: nobody can read it.
    async fn write(&self, name: &str, value: &SecretString, about: &About) -> Result<VersionId, SecretError> {
        let place = self.place_to_change(name)?;
        place.check(value)?;
        let _turn = self.turn(&place).await;
        let written = match self.newest(&place, &place.name).await? {
            Some(current) => self.succeed(&place, &current, value, about.tags.clone()).await?,
            None => self.put_anew(&place, &place.name, value, about.tags.clone()).await?,
        };
        Ok(written.version())
    }

    /// In a vault with purge protection the versions stay where they can be recovered until their time is over, and
    /// [`StagedStore::write`] recovers them.
    async fn remove(&self, name: &str) -> Result<(), SecretError> {
        let place = self.place_to_change(name)?;
        let _turn = self.turn(&place).await;
        self.delete(&place, &place.pending_name()).await?;
        self.delete(&place, &place.name).await
    }

    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, SecretError> {
        let place = Place::of_prefix(&self.found, prefix)?;
        let next = match from {
            None => None,
            // Where to go on is an address, and the token goes there.
            Some(from) => {
                let url = Url::parse(from).ok().filter(|url| url.origin() == place.vault.base().origin());
                Some(url.ok_or_else(|| place.malformed("the next page is not in the vault"))?)
            }
        };
        let call = || match &next {
            None => place.call(Method::GET, &["secrets"]),
            Some(url) => place.vault.call_url(Method::GET, url.clone()),
        };
        let items: Items = place.success(&self.ask(&place, call).await?)?;
        let secrets = items.value.into_iter().filter_map(|item| {
            let name = item.listed_name();
            (name.starts_with(&place.name) && !name.ends_with(SUFFIX)).then(|| Listed {
                name: format!("{}{name}", place.before),
                changed: item.changed(),
                tags: item.foreign_tags(),
            })
        });
        Ok(Page { secrets: secrets.collect(), next: items.next.filter(|next| !next.is_empty()) })
    }
}
