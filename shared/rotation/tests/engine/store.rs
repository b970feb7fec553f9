//! A store in memory with the semantics of AWS Secrets Manager, and leases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_secrets::{About, Description, Lease, Page, Secret, SecretError, Stage, StagedStore, VersionId};
use secrecy::{ExposeSecret, SecretString};

use crate::cuts::Cuts;
use crate::world::TestClock;

pub(crate) const NAME: &str = "prod/key";

#[derive(Default)]
struct State {
    versions: BTreeMap<VersionId, (Option<String>, Vec<Stage>)>,
    /// Which version was marked as the current one, and when.
    marked: Option<(VersionId, Timestamp)>,
    created: BTreeMap<VersionId, Timestamp>,
    tags: BTreeMap<String, String>,
    /// Whose turn it is to rotate.
    turn: Option<String>,
    /// Every value that was current, and since when, oldest first.
    history: Vec<(Timestamp, String)>,
}

pub(crate) struct Store {
    state: Mutex<State>,
    clock: Arc<TestClock>,
    cuts: Arc<Cuts>,
}

fn conflict(what: &str) -> SecretError {
    SecretError::conflict(NAME, what)
}

impl Store {
    pub(crate) fn new(clock: Arc<TestClock>, cuts: Arc<Cuts>, tags: &[(&str, &str)]) -> Self {
        let tags = tags.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { state: Mutex::new(State { tags, ..State::default() }), clock, cuts }
    }

    /// What a person writes at the console: a new current version.
    pub(crate) fn put(&self, value: &str) {
        let mut state = self.state.lock().unwrap();
        let version = self.cuts.version();
        state.versions.insert(version.clone(), (Some(value.to_owned()), Vec::new()));
        state.make_current(&version, self.now());
    }

    /// What a person does at the console: the current version is the former one again.
    pub(crate) fn go_back(&self, from: &VersionId, to: &VersionId) {
        let mut state = self.state.lock().unwrap();
        assert!(state.versions[from].1.contains(&Stage::Current));
        state.make_current(to, self.now());
    }

    /// What Secrets Manager does first when it rotates: it goes on with a pending version, or registers an empty one.
    pub(crate) fn rotate(&self) -> VersionId {
        let mut state = self.state.lock().unwrap();
        let pending = state
            .versions
            .iter()
            .find(|(_, (_, stages))| stages.contains(&Stage::Pending) && !stages.contains(&Stage::Current));
        if let Some((version, _)) = pending {
            return version.clone();
        }
        let version = self.cuts.version();
        state.set_stage(&version, &Stage::Pending);
        version
    }

    /// Registers an empty version, as `RotateImmediately=false` does.
    pub(crate) fn register(&self) -> VersionId {
        self.rotate()
    }

    /// Whose turn it is to rotate.
    pub(crate) fn turn(&self) -> Option<String> {
        self.state.lock().unwrap().turn.clone()
    }

    /// The value with a stage.
    pub(crate) fn at(&self, stage: &Stage) -> Option<String> {
        let state = self.state.lock().unwrap();
        let found = state.versions.values().find(|(_, stages)| stages.contains(stage))?;
        found.0.clone()
    }

    pub(crate) fn version_at(&self, stage: &Stage) -> Option<VersionId> {
        let state = self.state.lock().unwrap();
        let found = state.versions.iter().find(|(_, (_, stages))| stages.contains(stage))?;
        Some(found.0.clone())
    }

    /// The values that an environment may hold now: those that were current at any time since `since`.
    pub(crate) fn current_since(&self, since: Timestamp) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let history = &state.history;
        let ended = |at: usize| history.get(at + 1).is_some_and(|(next, _)| *next <= since);
        (0..history.len()).filter(|&at| !ended(at)).map(|at| history[at].1.clone()).collect()
    }

    fn now(&self) -> Timestamp {
        keyturn_ambient::Clock::now(&*self.clock)
    }
}

impl State {
    fn set_stage(&mut self, version: &VersionId, stage: &Stage) {
        for (_, stages) in self.versions.values_mut() {
            stages.retain(|other| other != stage);
        }
        self.versions.entry(version.clone()).or_default().1.push(stage.clone());
    }

    fn make_current(&mut self, version: &VersionId, now: Timestamp) {
        let former = self.versions.iter().find(|(_, (_, stages))| stages.contains(&Stage::Current));
        let former = former.map(|(former, _)| former.clone());
        self.set_stage(version, &Stage::Current);
        if let Some(former) = former.filter(|former| former != version) {
            self.set_stage(&former, &Stage::Previous);
        }
        self.created.entry(version.clone()).or_insert(now);
        let value = self.versions[version].0.clone().expect("an empty version became the current one");
        self.history.push((now, value));
    }
}

#[async_trait]
impl StagedStore for Store {
    fn scheme(&self) -> &'static str {
        "model"
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        self.cuts.gate().await;
        let state = self.state.lock().unwrap();
        let versions = state.versions.iter().filter(|(_, (_, stages))| !stages.is_empty());
        let current = versions.clone().find(|(_, (_, stages))| stages.contains(&Stage::Current));
        let current_since = match (&state.marked, current) {
            (Some((version, at)), Some((current, _))) => (version == current).then_some(*at),
            (None, Some((current, _))) => state.created.get(current).copied(),
            (_, None) => None,
        };
        Ok(Description {
            name: name.to_owned(),
            versions: versions.map(|(version, (_, stages))| (version.clone(), stages.clone())).collect(),
            current_since,
            rotation_enabled: Some(true),
            tags: state.tags.clone(),
            ..Description::default()
        })
    }

    async fn version(&self, _: &str, version: &VersionId) -> Result<Secret, SecretError> {
        self.cuts.gate().await;
        let state = self.state.lock().unwrap();
        let value = state.versions.get(version).and_then(|(value, _)| value.clone());
        let value = value.ok_or_else(|| SecretError::not_found(NAME, "no such version"))?;
        Ok(Secret::new(value, version.clone()))
    }

    async fn begin(
        &self,
        _: &str,
        proposed: &VersionId,
        holder: &str,
        _: Lease,
    ) -> Result<VersionId, SecretError> {
        self.cuts.gate().await;
        let mut state = self.state.lock().unwrap();
        state.turn = Some(holder.to_owned());
        let pending = state
            .versions
            .iter()
            .find(|(_, (_, stages))| stages.contains(&Stage::Pending) && !stages.contains(&Stage::Current));
        Ok(pending.map_or_else(|| proposed.clone(), |(version, _)| version.clone()))
    }

    async fn release(&self, _: &str, holder: &str) -> Result<(), SecretError> {
        self.state.lock().unwrap().turn.take_if(|turn| turn == holder);
        Ok(())
    }

    async fn stage(
        &self,
        _: &str,
        version: &VersionId,
        value: &SecretString,
        stage: &Stage,
        _: Option<&SecretString>,
    ) -> Result<(), SecretError> {
        self.cuts.gate().await;
        {
            let mut state = self.state.lock().unwrap();
            match &state.versions.entry(version.clone()).or_default().0 {
                Some(there) if there != value.expose_secret() => return Err(conflict("has another value")),
                Some(_) => {}
                None => {
                    state.versions.get_mut(version).expect("just made").0 =
                        Some(value.expose_secret().to_owned());
                    state.set_stage(version, stage);
                }
            }
        }
        self.cuts.gate().await;
        Ok(())
    }

    async fn promote(&self, _: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError> {
        self.cuts.gate().await;
        {
            let mut state = self.state.lock().unwrap();
            let has = |version: &VersionId| {
                state.versions.get(version).is_some_and(|(_, stages)| stages.contains(&Stage::Current))
            };
            if !has(version) {
                if !has(from) {
                    return Err(conflict("not the current version"));
                }
                let now = self.now();
                state.make_current(version, now);
            }
        }
        self.cuts.gate().await;
        Ok(())
    }

    async fn mark_current(&self, _: &str, version: &VersionId, seen: Timestamp) -> Result<(), SecretError> {
        self.cuts.gate().await;
        self.state.lock().unwrap().marked = Some((version.clone(), seen));
        self.cuts.gate().await;
        Ok(())
    }

    async fn unstage(&self, _: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError> {
        self.cuts.gate().await;
        {
            let mut state = self.state.lock().unwrap();
            let stages = &mut state.versions.get_mut(version).ok_or_else(|| conflict("no such version"))?.1;
            let before = stages.len();
            stages.retain(|other| other != stage);
            if stages.len() == before {
                return Err(conflict("does not have the stage"));
            }
        }
        self.cuts.gate().await;
        Ok(())
    }

    async fn write(&self, _: &str, value: &SecretString, _: &About) -> Result<VersionId, SecretError> {
        self.put(value.expose_secret());
        self.version_at(&Stage::Current).ok_or_else(|| conflict("gone"))
    }

    async fn remove(&self, _: &str) -> Result<(), SecretError> {
        *self.state.lock().unwrap() = State::default();
        Ok(())
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<Page, SecretError> {
        Ok(Page::default())
    }
}
