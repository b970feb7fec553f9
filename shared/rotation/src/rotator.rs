//! The port: one kind of credential, and how it is issued, tried and taken back.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{Document, RotationError};

/// One kind of credential at one service, with the settings of one secret.
///
/// The engine may call every method at any time, again, and from two processes at once. A rotator keeps nothing: what
/// must be remembered is in the secret or at the service.
#[async_trait]
pub trait Rotator: Send + Sync {
    /// What a credential consists of. The first part is what clients use.
    fn parts(&self) -> &'static [Part] {
        &[Part { name: "value", field: None }]
    }

    /// Whether a new credential takes the place of the one before the current one (a service with two slots). Then
    /// none is made before nobody can hold that one any more.
    fn overwrites(&self) -> bool {
        false
    }

    /// Makes a new credential. Called again after its answer was lost, it may make another one under the same name:
    /// the engine takes back what no version holds.
    ///
    /// # Errors
    ///
    /// See [`RotationError`].
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError>;

    /// Makes the service accept the credential, where issuing is not enough for that. The current one must go on
    /// working.
    ///
    /// # Errors
    ///
    /// See [`RotationError`].
    async fn set(&self, pending: &Credential, current: &Credential) -> Result<(), RotationError> {
        let _ = (pending, current);
        Ok(())
    }

    /// Proves that the service accepts the credential, with the cheapest call there is, and with one for each
    /// configured model.
    ///
    /// # Errors
    ///
    /// [`RotationError::Refused`] when it does not, or not yet everywhere.
    async fn test(&self, credential: &Credential) -> Result<(), RotationError>;

    /// Whether a credential that the service refuses can never be accepted: another one took its place before it was
    /// stored. Asked of a pending one whose test failed in all patience; its rotation is abandoned then, and the next
    /// one makes another. `false` when in doubt.
    ///
    /// # Errors
    ///
    /// See [`RotationError`].
    async fn is_lost(&self, pending: &Credential) -> Result<bool, RotationError> {
        let _ = pending;
        Ok(false)
    }

    /// The credentials that were issued for this secret and that the service still has: those whose names begin with
    /// [`Ask::prefix`] as it was at [`Rotator::create`], or all of an account that is there for this secret alone.
    /// Nothing where there is nothing to take back. `current` is the current credential: a service without names
    /// must know it, or the account is not this secret's.
    ///
    /// # Errors
    ///
    /// See [`RotationError`].
    async fn issued(&self, prefix: &str, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let _ = (prefix, current);
        Ok(Vec::new())
    }

    /// Whether an issued credential may be this one: true when in doubt. What may be in use is never taken back.
    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        let _ = (issued, credential);
        true
    }

    /// Stops an issued credential so that it could be started again. `false`: this service has no such thing. One that
    /// is not there any more is no error.
    ///
    /// # Errors
    ///
    /// See [`RotationError`].
    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let _ = issued;
        Ok(false)
    }

    /// Takes an issued credential back for good. One that is not there any more is no error.
    ///
    /// # Errors
    ///
    /// See [`RotationError`].
    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let _ = issued;
        Ok(())
    }
}

/// A part of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name: `value`, `access_key_id`.
    pub name: &'static str,
    /// The field of a JSON secret that it is in, unless the settings say otherwise (`field` for the first part,
    /// `<name>_field` for the others); `None`: the settings must say, or the secret is one text.
    pub field: Option<&'static str>,
}

/// A credential: its parts by name.
#[derive(Debug, Clone, Default)]
pub struct Credential(BTreeMap<&'static str, SecretString>);

impl Credential {
    /// A credential of one part, `value`.
    #[must_use]
    pub fn of(value: SecretString) -> Self {
        Self::default().with("value", value)
    }

    /// With a part.
    #[must_use]
    pub fn with(mut self, part: &'static str, value: SecretString) -> Self {
        self.0.insert(part, value);
        self
    }

    /// A part.
    ///
    /// # Errors
    ///
    /// [`RotationError::Unfit`]: the secret does not have it.
    pub fn part(&self, part: &str) -> Result<&SecretString, RotationError> {
        self.get(part).ok_or_else(|| RotationError::Unfit(format!("the secret holds no {part}")))
    }

    /// A part that may be missing.
    #[must_use]
    pub fn get(&self, part: &str) -> Option<&SecretString> {
        self.0.get(part)
    }

    /// The part that is called `value`.
    ///
    /// # Errors
    ///
    /// As [`Credential::part`].
    pub fn value(&self) -> Result<&SecretString, RotationError> {
        self.part("value")
    }

    /// Whether both have the same parts with the same values.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(part, value)| {
                other.get(part).is_some_and(|other| other.expose_secret() == value.expose_secret())
            })
    }
}

/// Tells whether a rotation is still where it was when [`Rotator::create`] was called.
#[async_trait]
pub trait Unchanged: Send + Sync {
    /// The secret's current version is still the same one, and nobody has made the new one meanwhile. What takes the
    /// place of another credential at a service asks this right before: a process that was held up for a moment may
    /// find that the rotation has ended without it, and that the other credential is the one in use.
    ///
    /// # Errors
    ///
    /// [`RotationError::Unavailable`]: it is not so; [`RotationError::Secret`]: it cannot be known.
    async fn confirm(&self) -> Result<(), RotationError>;
}

/// What a new credential is made from.
pub struct Ask<'a> {
    /// What the names of all credentials that are issued for this secret begin with; letters, digits and `-`, at most
    /// 20 characters.
    pub prefix: &'a str,
    /// The name to issue it under: the prefix and the rotation's token, at most 84 characters of the same kind.
    pub name: String,
    /// The rotation's token (`ClientRequestToken`).
    pub token: &'a str,
    /// The field of the secret that the credential is in, if the secret has fields.
    pub field: Option<&'a str>,
    /// The current credential.
    pub current: &'a Credential,
    /// The current value of the whole secret, for what stands beside the credential.
    pub document: &'a Document,
    /// The time now.
    pub now: Timestamp,
    /// Whether all this is still so.
    pub unchanged: &'a dyn Unchanged,
}

/// A new credential. `Debug` shows the names of the fields only: they may hold credentials too.
pub struct Created {
    /// The credential.
    pub credential: Credential,
    /// Further fields of the secret that change with it, by name; `None` removes one. They are not carried over when
    /// somebody else changes the secret during the rotation: what that one wrote in them stays.
    pub fields: BTreeMap<String, Option<Value>>,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&String> = self.fields.keys().collect();
        f.debug_struct("Created").field("credential", &self.credential).field("fields", &fields).finish()
    }
}

impl From<Credential> for Created {
    fn from(credential: Credential) -> Self {
        Self { credential, fields: BTreeMap::new() }
    }
}

/// A credential as the service lists it: without its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issued {
    /// The service's id of it. Not secret.
    pub id: String,
    /// What the service shows of its value, or of a hash of it, if anything; to recognise it by.
    pub hint: Option<String>,
    /// When it was issued.
    pub created_at: Option<Timestamp>,
    /// When it was used last, where the service tells and it was.
    pub last_used_at: Option<Timestamp>,
    /// Whether it is stopped.
    pub disabled: bool,
}
