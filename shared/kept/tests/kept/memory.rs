//! A manager in memory, whose lists have names only and come in pages of two.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::{Clock, SystemClock};
use keyturn_secrets::{
    About, Description, Lease, Listed, Page, Secret, SecretError, Stage, StagedStore, VersionId,
};
use secrecy::{ExposeSecret, SecretString};

use crate::bench::{Bench, Place};

#[derive(Default)]
struct Memory {
    secrets: Mutex<BTreeMap<String, Entry>>,
    down: AtomicBool,
}

#[derive(Clone)]
struct Entry {
    value: SecretString,
    about: About,
    written: Timestamp,
}

impl Memory {
    fn up(&self, name: &str) -> Result<(), SecretError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(SecretError::unavailable(format!("memory:{name}"), "out of service")),
            false => Ok(()),
        }
    }

    fn entry(&self, name: &str) -> Result<Entry, SecretError> {
        self.up(name)?;
        let found = self.secrets.lock().unwrap().get(name).cloned();
        found.ok_or_else(|| SecretError::not_found(format!("memory:{name}"), "no such secret"))
    }
}

/// Keeping keys needs no stages but the current one.
fn unasked<T>(name: &str) -> Result<T, SecretError> {
    Err(SecretError::denied(format!("memory:{name}"), "this manager has no rotations"))
}

#[async_trait]
impl StagedStore for Memory {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        let entry = self.entry(name)?;
        Ok(Description {
            versions: BTreeMap::from([(VersionId::new("only"), vec![Stage::Current])]),
            current_since: Some(entry.written),
            tags: entry.about.tags,
            ..Description::default()
        })
    }

    async fn version(&self, name: &str, version: &VersionId) -> Result<Secret, SecretError> {
        let value = self.entry(name)?.value.expose_secret().to_owned();
        Ok(Secret::new(value, version.clone()))
    }

    async fn begin(&self, name: &str, _: &VersionId, _: &str, _: Lease) -> Result<VersionId, SecretError> {
        unasked(name)
    }

    async fn stage(
        &self,
        name: &str,
        _: &VersionId,
        _: &SecretString,
        _: &Stage,
        _: Option<&SecretString>,
    ) -> Result<(), SecretError> {
        unasked(name)
    }

    async fn promote(&self, name: &str, _: &VersionId, _: &VersionId) -> Result<(), SecretError> {
        unasked(name)
    }

    async fn unstage(&self, name: &str, _: &VersionId, _: &Stage) -> Result<(), SecretError> {
        unasked(name)
    }

    async fn write(&self, name: &str, value: &SecretString, about: &About) -> Result<VersionId, SecretError> {
        self.up(name)?;
        let entry = Entry { value: value.clone(), about: about.clone(), written: SystemClock.now() };
        self.secrets.lock().unwrap().insert(name.to_owned(), entry);
        Ok(VersionId::new("only"))
    }

    async fn remove(&self, name: &str) -> Result<(), SecretError> {
        self.up(name)?;
        self.secrets.lock().unwrap().remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, SecretError> {
        self.up(prefix)?;
        let secrets = self.secrets.lock().unwrap();
        let after = |name: &&String| from.is_none_or(|from| name.as_str() > from);
        let mut names: Vec<_> =
            secrets.keys().filter(|name| name.starts_with(prefix)).filter(after).cloned().collect();
        let more = names.len() > 2;
        names.truncate(2);
        let next = names.last().filter(|_| more).cloned();
        let listed = |name| Listed { name, changed: None, tags: BTreeMap::new() };
        Ok(Page { secrets: names.into_iter().map(listed).collect(), next })
    }
}

async fn start() -> Bench {
    let store = Arc::new(Memory::default());
    let memory = store.clone();
    Bench::on(Place {
        store,
        prefix: "litellm/".to_owned(),
        outage: Box::new(move |down| memory.down.store(down, Ordering::SeqCst)),
        _servers: Box::new(()),
    })
    .await
}

crate::suite!(start);
