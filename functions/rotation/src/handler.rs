//! What the function does with an event.

use keyturn_config::SecretRef;
use keyturn_keys::manage::Manager;
use keyturn_rotation::{Diagnostic, Engine, Retired, Rotation};
use keyturn_secrets::SecretError;
use serde_json::{Value, json};

use crate::event::{Event, NotAnEvent};
use crate::report::Report;
use crate::stores::StagedStores;

/// The store whose own service leads rotations.
const LED: &str = "aws-secretsmanager";

/// How many pages of virtual keys one call looks at; the next call begins anew, and finds fewer that are due.
const PAGES: u32 = 1000;

/// What the function holds between its calls.
pub struct Handler {
    /// The engine.
    pub engine: Engine,
    /// Where secrets are.
    pub stores: StagedStores,
    /// The virtual keys, if there are any.
    pub(crate) keys: Option<Manager>,
    /// The secrets to look after; the name `*` means all of a store that have our tag.
    pub listed: Vec<SecretRef>,
    pub(crate) report: Report,
}

/// Why a call failed. What it says is safe to show.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No event of ours.
    #[error(transparent)]
    Event(#[from] NotAnEvent),
    /// A step that failed.
    #[error("{0}")]
    Rotation(Box<Diagnostic>),
    /// A store that there is not, or that cannot be listed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The virtual keys.
    #[error("the virtual keys cannot be read")]
    Keys(#[source] keyturn_keys::manage::ManageError),
    /// Virtual keys were to be rotated, and there are none.
    #[error("there are no virtual keys: set KEYTURN_TABLE or KEYTURN_KEY_STORE")]
    NoKeys,
    /// Not everything worked; each failure is in the log.
    #[error("{failed} of {all} failed; the log has each of them")]
    Some {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Rotation(Box::new(diagnostic))
    }
}

impl Failure {
    /// A name for Lambda's error report.
    fn name(&self) -> &'static str {
        match self {
            Self::Event(_) => "InvalidEvent",
            Self::Rotation(_) => "RotationFailed",
            Self::Secret(_) => "SecretFailed",
            Self::Keys(_) | Self::NoKeys => "KeysFailed",
            Self::Some { .. } => "SomeFailed",
        }
    }
}

impl From<Failure> for lambda_runtime::Diagnostic {
    fn from(failure: Failure) -> Self {
        Self { error_type: failure.name().to_owned(), error_message: keyturn_ambient::with_causes(&failure) }
    }
}

impl Handler {
    /// Answers one event.
    ///
    /// # Errors
    ///
    /// [`Failure`]; Secrets Manager and schedules call again.
    pub async fn handle(&self, event: &Value) -> Result<Value, Failure> {
        match Event::read(event)? {
            Event::Step { step, secret, token, authority } => {
                let store = &*self.stores.find(LED)?;
                let rotation = Rotation { store, name: &secret, field: None, token, authority, led: true };
                let result = self.engine.step(step, &rotation).await;
                self.report.step(step, &rotation, &result);
                result?;
                Ok(Value::Null)
            }
            Event::Rotate { secret } => {
                let store = self.stores.find(&secret.scheme)?;
                let holder = uuid::Uuid::new_v4().to_string();
                let reference = secret.to_string();
                let name = whole(&secret);
                let mut tell = |step, outcome: &_| self.report.outcome(step, &name, None, outcome);
                let field = secret.field.as_deref();
                let result = self.engine.rotate(&*store, &secret.name, field, &holder, &mut tell).await;
                if let Err(diagnostic) = &result {
                    self.report.failure(diagnostic);
                }
                Ok(json!({"secret": reference, "version": result?.as_str()}))
            }
            Event::Retire { secret: Some(secret) } => {
                let retired = self.retire(&secret).await?;
                Ok(json!({"secrets": 1, "retired": retired}))
            }
            Event::Retire { secret: None } => self.retire_all().await,
            Event::Keys => Box::pin(self.rotate_keys()).await,
        }
    }

    /// Takes back what is left over of one secret; how many credentials went.
    async fn retire(&self, secret: &SecretRef) -> Result<usize, Failure> {
        let store = self.stores.find(&secret.scheme)?;
        let result = self.engine.retire(&*store, &secret.name).await;
        match &result {
            Ok(retired) => self.report.retired(&whole(secret), retired),
            Err(diagnostic) => self.report.failure(diagnostic),
        }
        let retired = result?;
        let failed = retired.iter().filter(|one| matches!(one, Retired::Failed { .. })).count();
        if failed > 0 {
            return Err(Failure::Some { failed, all: retired.len() });
        }
        Ok(retired.iter().filter(|one| !matches!(one, Retired::StillUsed { .. })).count())
    }

    /// The same of every secret there is to look at.
    async fn retire_all(&self) -> Result<Value, Failure> {
        let secrets = self.rotated().await?;
        let (mut retired, mut failed) = (0, 0);
        for secret in &secrets {
            match self.retire(secret).await {
                Ok(count) => retired += count,
                Err(_) => failed += 1,
            }
            self.tell_age(secret).await;
        }
        if failed > 0 {
            return Err(Failure::Some { failed, all: secrets.len() });
        }
        Ok(json!({"secrets": secrets.len(), "retired": retired}))
    }

    /// Tells how old a secret's credentials are; one that cannot be read was told by its retirement.
    async fn tell_age(&self, secret: &SecretRef) {
        let Ok(store) = self.stores.find(&secret.scheme) else { return };
        if let Ok(status) = self.engine.status(&*store, &secret.name).await {
            self.report.age(&whole(secret), &status);
        }
    }

    /// The secrets to look after, each by its name.
    ///
    /// # Errors
    ///
    /// The list cannot be had.
    pub async fn rotated(&self) -> Result<Vec<SecretRef>, SecretError> {
        let mut found: Vec<SecretRef> = Vec::new();
        for listed in &self.listed {
            if listed.name == "*" {
                self.tagged(&listed.scheme, &mut found).await?;
            } else if !found.contains(listed) {
                found.push(listed.clone());
            }
        }
        Ok(found)
    }

    /// Adds the secrets of a store that have our tag.
    async fn tagged(&self, scheme: &str, found: &mut Vec<SecretRef>) -> Result<(), SecretError> {
        let store = self.stores.find(scheme)?;
        let mut from = None;
        loop {
            let page = store.list("", from.as_deref()).await?;
            for secret in page.secrets {
                let scheme = scheme.to_owned();
                let reference = SecretRef { scheme, name: secret.name, field: None, stage: None };
                if secret.tags.contains_key(keyturn_rotation::settings::ROTATOR)
                    && !found.contains(&reference)
                {
                    found.push(reference);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Gives the virtual keys that are due new values, and removes kept values that belong to no key.
    async fn rotate_keys(&self) -> Result<Value, Failure> {
        let manager = self.keys.as_ref().ok_or(Failure::NoKeys)?;
        let mut pages = 0;
        let rotated = manager.rotate_due(None, || {
            pages += 1;
            pages < PAGES
        });
        let rotated = Box::pin(rotated).await.map_err(Failure::Keys)?;
        self.report.keys(&rotated);
        let (mut tidied, mut from) = (0, None);
        loop {
            let (removed, next) = manager.tidy_kept(from.as_deref()).await.map_err(Failure::Keys)?;
            tidied += removed;
            if next.is_none() {
                break;
            }
            from = next;
        }
        let (done, failed) = (rotated.done.len(), rotated.failed.len());
        if failed > 0 {
            return Err(Failure::Some { failed, all: done + failed });
        }
        Ok(json!({"rotated": done, "tidied": tidied}))
    }
}

/// A secret's reference without a field, as the log and the metrics name it.
fn whole(secret: &SecretRef) -> String {
    format!("{}:{}", secret.scheme, secret.name)
}
