//! A secret as a store hands it out: its value, which is never shown, and its version, which may be.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use keyturn_ambient::Life;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Which version of a value this is. It identifies a value without revealing it, so it may be logged.
///
/// A store that numbers its versions gives its own id; for one that does not, it is [`VersionId::of_value`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(Arc<str>);

impl VersionId {
    /// An id as the store gave it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// An id for a value of a store without versions: 16 hex digits of a salted SHA-256.
    ///
    /// The salt is drawn once per process, so that a guess at the value cannot be checked against a logged id.
    /// The same value therefore has different ids in different processes.
    #[must_use]
    pub fn of_value(value: &str) -> Self {
        static SALT: OnceLock<[u64; 2]> = OnceLock::new();
        // The standard library keys its hashers from the operating system's random source.
        let salt = SALT.get_or_init(|| [(); 2].map(|()| RandomState::new().hash_one(())));
        let mut hasher = Sha256::new();
        for part in salt {
            hasher.update(part.to_ne_bytes());
        }
        hasher.update(value.as_bytes());
        let id = hasher.finalize().iter().take(8).fold(0_u64, |id, byte| (id << 8) | u64::from(*byte));
        Self(format!("{id:016x}").into())
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret's value. Clones share one copy of the key material, which is wiped when the last one goes.
///
/// It dereferences to [`SecretString`], so `secrecy::ExposeSecret` works on it too.
#[derive(Clone)]
pub struct SecretValue {
    text: Arc<SecretString>,
    /// The field of its document that it is, if that has no other.
    only_field: Option<&'static str>,
}

impl SecretValue {
    /// The value of a document that has one field, whose name everybody knows: a reference to this field means the
    /// whole value, whatever is in it.
    pub(crate) fn of_only_field(field: &'static str, value: SecretString) -> Self {
        Self { text: Arc::new(value), only_field: Some(field) }
    }

    /// Whether it is the field of this name, as a whole.
    pub(crate) fn is_field(&self, field: &str) -> bool {
        self.only_field == Some(field)
    }

    /// The value itself. Call it only where the value leaves for its owner: a header being built.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl Deref for SecretValue {
    type Target = SecretString;

    fn deref(&self) -> &SecretString {
        &self.text
    }
}

impl From<SecretString> for SecretValue {
    fn from(value: SecretString) -> Self {
        Self { text: Arc::new(value), only_field: None }
    }
}

impl From<String> for SecretValue {
    fn from(value: String) -> Self {
        SecretString::from(value).into()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A value and its version.
#[derive(Debug, Clone)]
pub struct Secret {
    /// The value; its `Debug` is redacted.
    pub value: SecretValue,
    /// The version it was read at.
    pub version: VersionId,
    /// How long it is good for, where it ends by itself: a token, a lease. The cache's TTLs do not count then.
    pub life: Option<Life>,
}

impl Secret {
    /// A value that does not end by itself.
    #[must_use]
    pub fn new(value: impl Into<SecretValue>, version: VersionId) -> Self {
        Self { value: value.into(), version, life: None }
    }

    /// A value of a store without versions.
    #[must_use]
    pub fn unversioned(value: String) -> Self {
        let version = VersionId::of_value(&value);
        Self::new(value, version)
    }
}

/// Which of a secret's versions is meant, in AWS Secrets Manager's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `AWSCURRENT`: what everybody uses.
    Current,
    /// `AWSPREVIOUS`: what everybody used before the last rotation.
    Previous,
    /// `AWSPENDING`: the version that a rotation is making.
    Pending,
    /// Any other label.
    Named(String),
}

impl Stage {
    /// The stage that a reference's `?stage=` names; a reference without one means the current version.
    #[must_use]
    pub fn of(label: Option<&str>) -> Self {
        match label {
            None | Some("AWSCURRENT") => Self::Current,
            Some("AWSPREVIOUS") => Self::Previous,
            Some("AWSPENDING") => Self::Pending,
            Some(label) => Self::Named(label.to_owned()),
        }
    }

    /// The label.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
            Self::Pending => "AWSPENDING",
            Self::Named(label) => label,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_a_value_is_stable_and_tells_values_apart() {
        let one = VersionId::of_value("one");
        assert_eq!(one, VersionId::of_value("one"));
        assert_ne!(one, VersionId::of_value("two"));
        assert_eq!(one.as_str().len(), 16);
        assert!(one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn a_version_of_a_value_is_salted() {
        let plain = Sha256::digest(b"one");
        let plain: String = plain.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_ne!(VersionId::of_value("one").as_str(), plain);
    }

    #[test]
    fn stages_have_labels_both_ways() {
        for label in ["AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "blue"] {
            assert_eq!(Stage::of(Some(label)).label(), label);
        }
        assert_eq!(Stage::of(None), Stage::Current);
    }
}
