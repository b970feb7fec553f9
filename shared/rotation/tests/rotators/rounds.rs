//! Rotators under the engine, for several rotations, with answers that get lost: in the end the service has what the
//! secret holds, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::{Clock, ManualClock};
use keyturn_rotation::engine::{Engine, EngineOptions, Retired};
use keyturn_rotation::{Tools, rotators};
use keyturn_secrets::{About, Description, Lease, Page, Secret, SecretError, Stage, StagedStore, VersionId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::rig::{Fake, Fault, Rig, time};

const NAME: &str = "prod/providers";

/// The field of the secret that is rotated.
pub(crate) const FIELD: &str = "KEY";

/// A store in memory, of one secret.
struct Store {
    clock: Arc<dyn Clock>,
    versions: Mutex<BTreeMap<VersionId, (String, Vec<Stage>)>>,
    since: Mutex<Timestamp>,
}

fn conflict() -> SecretError {
    SecretError::conflict(NAME, "changed meanwhile")
}

impl Store {
    fn at(&self, stage: &Stage) -> Option<(VersionId, String)> {
        let versions = self.versions.lock().unwrap();
        let found = versions.iter().find(|(_, (_, stages))| stages.contains(stage));
        found.map(|(version, (value, _))| (version.clone(), value.clone()))
    }

    fn move_to(&self, version: &VersionId, stage: &Stage) {
        let mut versions = self.versions.lock().unwrap();
        versions.values_mut().for_each(|(_, stages)| stages.retain(|other| other != stage));
        versions.get_mut(version).expect("a version").1.push(stage.clone());
    }

    /// The credential that is current.
    fn current(&self) -> String {
        let (_, value) = self.at(&Stage::Current).expect("a current version");
        let secret: Value = serde_json::from_str(&value).expect("JSON");
        secret[FIELD].as_str().expect("a text").to_owned()
    }
}

#[async_trait]
impl StagedStore for Store {
    fn scheme(&self) -> &'static str {
        "model"
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        let versions = self.versions.lock().unwrap();
        let staged = versions.iter().filter(|(_, (_, stages))| !stages.is_empty());
        let versions = staged.map(|(version, (_, stages))| (version.clone(), stages.clone())).collect();
        let current_since = Some(*self.since.lock().unwrap());
        Ok(Description { name: name.to_owned(), versions, current_since, ..Description::default() })
    }

    async fn version(&self, _: &str, version: &VersionId) -> Result<Secret, SecretError> {
        let versions = self.versions.lock().unwrap();
        let (value, _) =
            versions.get(version).ok_or_else(|| SecretError::not_found(NAME, "no such version"))?;
        Ok(Secret::new(value.clone(), version.clone()))
    }

    async fn begin(&self, _: &str, new: &VersionId, _: &str, _: Lease) -> Result<VersionId, SecretError> {
        let pending = self.at(&Stage::Pending).map(|(version, _)| version);
        let current = self.at(&Stage::Current).map(|(version, _)| version);
        Ok(pending.filter(|pending| Some(pending) != current.as_ref()).unwrap_or_else(|| new.clone()))
    }

    async fn stage(
        &self,
        _: &str,
        version: &VersionId,
        value: &SecretString,
        stage: &Stage,
        _: Option<&SecretString>,
    ) -> Result<(), SecretError> {
        let there = {
            let mut versions = self.versions.lock().unwrap();
            let new = || (value.expose_secret().to_owned(), Vec::new());
            versions.entry(version.clone()).or_insert_with(new).0.clone()
        };
        if there != value.expose_secret() {
            return Err(conflict());
        }
        self.move_to(version, stage);
        Ok(())
    }

    async fn promote(&self, _: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError> {
        let current = self.at(&Stage::Current).map(|(current, _)| current);
        if current.as_ref() != Some(from) {
            return Err(conflict());
        }
        self.move_to(from, &Stage::Previous);
        self.move_to(version, &Stage::Current);
        *self.since.lock().unwrap() = self.clock.now();
        Ok(())
    }

    async fn unstage(&self, _: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError> {
        let mut versions = self.versions.lock().unwrap();
        versions.get_mut(version).ok_or_else(conflict)?.1.retain(|other| other != stage);
        Ok(())
    }

    async fn write(&self, _: &str, _: &SecretString, _: &About) -> Result<VersionId, SecretError> {
        Err(conflict())
    }

    async fn remove(&self, _: &str) -> Result<(), SecretError> {
        Err(conflict())
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<Page, SecretError> {
        Ok(Page::default())
    }
}

/// Rotates [`FIELD`] of `secret` three times. `works` tells every credential that the service accepts; `stays` whether
/// one goes on working though no version holds it: one that a person made, one that waits in a pool.
pub(crate) async fn rounds(
    rig: &Rig,
    fake: &Fake,
    secret: &Value,
    works: impl Fn() -> BTreeSet<String>,
    stays: impl Fn(&str) -> bool,
) {
    let clock = Arc::new(ManualClock::at(time("2026-03-05T00:00:00Z")));
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let first = (secret.to_string(), vec![Stage::Current]);
    let store = Store {
        clock: Arc::clone(&shared),
        versions: Mutex::new(BTreeMap::from([(VersionId::new("first"), first)])),
        since: Mutex::new(time("2026-03-01T00:00:00Z")),
    };
    let options = EngineOptions { waits: Vec::new(), ..EngineOptions::default() };
    let overlap = Duration::from_secs(options.overlap.as_secs().unsigned_abs());
    let tools = Tools { clock: shared, ..rig.tools.clone() };
    let engine = Engine::new(tools, Arc::new(rotators::open), None, options);
    let rotate = async || engine.rotate(&store, NAME, None, "test", &mut |_, _| {}).await;
    for round in 0..3 {
        let former = store.current();
        fake.always(Some(Fault::Lost));
        rotate().await.expect_err("no answer arrives");
        fake.always(None);
        rotate().await.unwrap_or_else(|failed| panic!("round {round}: {failed}"));
        let current = store.current();
        assert_ne!(former, current);
        assert!(works().contains(&former) && works().contains(&current), "both work in the overlap");
        assert!(engine.retire(&store, NAME).await.expect("nothing to do").is_empty());
        rotate().await.expect_err("it is too soon");
        assert!(works().contains(&former) && works().contains(&current), "both work in the overlap");

        clock.advance(overlap + Duration::from_secs(60));
        for _ in 0..2 {
            let retired = engine.retire(&store, NAME).await.expect("a secret");
            let failed =
                |retired: &Retired| matches!(retired, Retired::Failed { .. } | Retired::StillUsed { .. });
            assert!(!retired.iter().any(failed), "round {round}: {retired:?}");
        }
        let left: Vec<String> = works().into_iter().filter(|value| !stays(value)).collect();
        assert_eq!(left, [current], "round {round}");
    }
}
