//! The four steps, once, for every store and every kind of credential; and what comes after them.
//!
//! # When the former credential goes
//!
//! An environment may use a credential until the hard TTL of its cache is over, and a request that began with it may
//! last as long as a Lambda function does: together the *overlap* ([`EngineOptions::overlap`]). From the moment a new
//! version became the current one, nothing is taken back before the overlap has passed. It follows that a next rotation
//! does not begin before then either, while there is a previous version: its promotion would take the last stage off a
//! credential that somebody may still hold. Who finds a current version that nobody has marked yet counts from then on:
//! rather too late than too early.
//!
//! Then [`Engine::retire`], from a schedule, and the first step of the next rotation take back what the service has
//! issued for the secret and no version with a stage holds. The stage of the previous version is taken off first, so
//! that no stage ever names a credential that is gone. Where the service tells when a credential was used last, one
//! that was used within the last overlap stays, and is reported. What was issued within the last
//! quarter of an hour stays too: a step that still runs may be about to store it. And everything stays while the
//! settings name no credential in the current version: one of those may be the one in use.
//!
//! # Two at once, and what was lost
//!
//! A version gets its value once. Of two that make a credential for the same version, the second finds it has one,
//! takes its own back, and goes on with the first's. A credential whose maker died is in no version, and is taken back
//! as above. A rotation of one field that finds the secret changed by somebody else since it began puts the field into
//! the changed secret (see [`mod@finish`]).
//!
//! At a service with two slots a new credential takes the place of the previous one, which loses its stage first. Right
//! before, the rotator asks whether the rotation is still where it was ([`Unchanged`](crate::Unchanged)): a process that
//! was held up must not replace what another one has promoted. A stored credential whose slot another process took never
//! works; its rotation is abandoned, and the next one makes another ([`Rotator::is_lost`]).

mod finish;
mod look;
mod operate;
mod retire;
mod steps;
mod unchanged;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyturn_keys::KeyStore;
use keyturn_secrets::{Lease, StagedStore, VersionId};
use secrecy::SecretString;

pub use operate::{Rehearsal, Status, TargetStatus};
pub use retire::Retired;

use crate::settings::{Settings, SettingsError};
use crate::{Diagnostic, Rotator, Tools};

/// The longest life of a Lambda function's call, request or step
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>): who was called before that is gone.
pub const LONGEST_CALL: SignedDuration = SignedDuration::from_mins(15);

/// A step of Secrets Manager's rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make the new version.
    Create,
    /// Make the service accept it.
    Set,
    /// Prove that it works.
    Test,
    /// Make it the current one.
    Finish,
}

impl Step {
    /// The four, in order.
    pub const ALL: [Self; 4] = [Self::Create, Self::Set, Self::Test, Self::Finish];

    /// The step of a Secrets Manager event; both spellings of the documentation.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Some(match text {
            "createSecret" | "create_secret" => Self::Create,
            "setSecret" | "set_secret" => Self::Set,
            "testSecret" | "test_secret" => Self::Test,
            "finishSecret" | "finish_secret" => Self::Finish,
            _ => return None,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "createSecret",
            Self::Set => "setSecret",
            Self::Test => "testSecret",
            Self::Finish => "finishSecret",
        })
    }
}

/// Which version of which secret is being made, and for whom.
pub struct Rotation<'a> {
    /// Where the secret is.
    pub store: &'a dyn StagedStore,
    /// Its name there.
    pub name: &'a str,
    /// The credential to rotate, where it has several; `None`: the one that was replaced longest ago.
    pub field: Option<&'a str>,
    /// The version to make: the `ClientRequestToken`.
    pub token: VersionId,
    /// The `RotationToken`.
    pub authority: Option<SecretString>,
    /// Whether Secrets Manager leads: then the version must be known to it, and rotation must be on.
    pub led: bool,
}

/// What a step did.
#[derive(Debug)]
pub struct Outcome {
    /// Which credential of the secret, where it has several.
    pub field: Option<String>,
    /// In a few words, for people.
    pub did: &'static str,
    /// What was taken back on the way.
    pub retired: Vec<Retired>,
}

/// How the engine works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How long the former credential must go on working: the hard TTL of the gateway's cache, and the longest request.
    pub overlap: SignedDuration,
    /// The longest that one call of a step lasts: what was issued within it may be about to be stored.
    pub longest_call: SignedDuration,
    /// The waits between tries of what may come true by itself: a credential that is not known everywhere yet, a
    /// version that cannot be read yet.
    pub waits: Vec<Duration>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            // `CacheSettings::hard_ttl` and a Lambda function's longest call.
            overlap: SignedDuration::from_mins(75),
            longest_call: LONGEST_CALL,
            // 62 s in all: a Google key takes up to a minute to be known
            // (https://docs.cloud.google.com/iam/docs/keys-create-delete).
            waits: [1, 2, 4, 8, 16, 31].map(Duration::from_secs).into(),
        }
    }
}

/// Finds rotators by name: [`crate::rotators::open`], or a test's own.
pub trait Rotators: Send + Sync {
    /// Builds the rotator with a name.
    ///
    /// # Errors
    ///
    /// There is none, or its settings do not fit.
    fn open(&self, name: &str, settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError>;
}

impl<F> Rotators for F
where
    F: Fn(&str, Settings, &Tools) -> Result<Box<dyn Rotator>, SettingsError> + Send + Sync,
{
    fn open(&self, name: &str, settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
        self(name, settings, tools)
    }
}

/// The engine.
pub struct Engine {
    tools: Tools,
    rotators: Arc<dyn Rotators>,
    /// Where the generation is, whose rise tells every environment to look for new versions.
    fleet: Option<Arc<dyn KeyStore>>,
    options: EngineOptions,
}

impl Engine {
    /// An engine. `fleet` is the key table, if there is one.
    #[must_use]
    pub fn new(
        tools: Tools,
        rotators: Arc<dyn Rotators>,
        fleet: Option<Arc<dyn KeyStore>>,
        options: EngineOptions,
    ) -> Self {
        Self { tools, rotators, fleet, options }
    }

    /// Does one step. Again, and in any state, it does what is left to do.
    ///
    /// # Errors
    ///
    /// [`Diagnostic`].
    pub async fn step(&self, step: Step, rotation: &Rotation<'_>) -> Result<Outcome, Diagnostic> {
        match step {
            Step::Create => self.create(rotation).await,
            Step::Set => self.set(rotation).await,
            Step::Test => self.test(rotation).await,
            Step::Finish => self.finish(rotation).await,
        }
    }

    /// Rotates a secret from beginning to end, for a store without a service that leads rotations, or for a person.
    /// It goes on with a rotation that broke off. `holder` is the caller: a store with leases keeps others off, until the
    /// rotation is over or has failed.
    ///
    /// # Errors
    ///
    /// The [`Diagnostic`] of the step that failed.
    pub async fn rotate(
        &self,
        store: &dyn StagedStore,
        name: &str,
        field: Option<&str>,
        holder: &str,
        tell: &mut (dyn FnMut(Step, &Outcome) + Send),
    ) -> Result<VersionId, Diagnostic> {
        let now = self.tools.now();
        let lease = Lease { now, until: later(now, self.options.longest_call) };
        let proposed = new_version();
        let token = store.begin(name, &proposed, holder, lease).await;
        let token = token.map_err(|error| look::place(store, name).failed(None, None, error.into()))?;
        let rotation = Rotation { store, name, field, token, authority: None, led: false };
        for step in Step::ALL {
            match self.step(step, &rotation).await {
                Ok(outcome) => tell(step, &outcome),
                Err(diagnostic) => {
                    // Who tries again need not wait. If this fails too, the lease ends by itself.
                    let _ = store.release(name, holder).await;
                    return Err(diagnostic);
                }
            }
        }
        Ok(rotation.token)
    }

    /// Tells every environment that there are new versions. Not every deployment has a place for that: then they are
    /// found when what is cached has aged.
    async fn tell_the_fleet(&self) -> Result<(), crate::RotationError> {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        match fleet.next_generation().await {
            Ok(_) => Ok(()),
            Err(failure) => Err(crate::RotationError::Unavailable(failure.to_string())),
        }
    }
}

/// A new version's id: a random UUID, as Secrets Manager makes them.
fn new_version() -> VersionId {
    VersionId::new(&uuid::Uuid::new_v4().to_string())
}

/// `span` after `time`.
fn later(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}
