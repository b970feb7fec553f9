//! The calls, and what they answer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyturn_http::call::{Answer, Call};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::AzureKeyVault;
use super::place::Place;
use crate::stores::answers;
use crate::{Cause, Secret, SecretError, VersionId};

/// The version of the API.
pub(super) const API: (&str, &str) = ("api-version", "2025-07-01");

/// What the names of our tags begin with. (`keyturn:` is how people tell us something.)
const OURS: &str = "keyturn-";
/// The tag with the id that a rotation gave to a version.
pub(super) const VERSION: &str = "keyturn-version";
/// The tag with the service's id of the version before, and then the one that a rotation gave to that.
pub(super) const PREVIOUS: &str = "keyturn-previous";
/// The tag that tells when a version was promoted last.
pub(super) const ROTATED: &str = "keyturn-rotated";

pub(super) type Tags = BTreeMap<String, String>;

/// One version, as the service has it.
#[derive(Deserialize)]
pub(super) struct Kept {
    id: String,
    pub(super) value: Option<SecretString>,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    pub(super) tags: Tags,
}

#[derive(Default, Deserialize)]
pub(super) struct Attributes {
    created: Option<i64>,
    pub(super) updated: Option<i64>,
    /// What can be done with it once it is deleted.
    #[serde(rename = "recoveryLevel")]
    recovery_level: Option<String>,
}

impl Kept {
    /// The service's id of it.
    pub(super) fn id(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    /// Its name in a list: there is no version in the identifier there.
    pub(super) fn listed_name(&self) -> &str {
        self.id()
    }

    /// Its id.
    pub(super) fn version(&self) -> VersionId {
        VersionId::new(self.tags.get(VERSION).map_or_else(|| self.id(), String::as_str))
    }

    /// The version before: the service's id, and the id.
    pub(super) fn previous(&self) -> Option<(&str, &str)> {
        let tag = self.tags.get(PREVIOUS)?;
        let (id, version) = tag.split_once(' ').unwrap_or((tag, tag));
        is_id(id).then_some((id, version))
    }

    /// What stands in [`PREVIOUS`] of the version that comes after it.
    pub(super) fn as_previous(&self) -> String {
        let version = self.version();
        if version.as_str() == self.id() { version.to_string() } else { format!("{} {version}", self.id()) }
    }

    /// When it was written, by the service's clock: it tells whole seconds, so it was no later than one after this.
    pub(super) fn created(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.attributes.created?).ok()
    }

    pub(super) fn changed(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.attributes.updated?).ok()
    }

    /// Whether it can be purged once it is deleted.
    pub(super) fn is_purgeable(&self) -> bool {
        self.attributes.recovery_level.as_deref().is_none_or(|level| level.contains("Purgeable"))
    }

    /// The tags that are not ours.
    pub(super) fn foreign_tags(&self) -> Tags {
        let tags = self.tags.iter().filter(|(name, _)| !name.starts_with(OURS));
        tags.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(super) fn secret(self, place: &Place) -> Result<Secret, SecretError> {
        let version = self.version();
        let value = self.value.filter(|value| !value.expose_secret().is_empty());
        Ok(Secret::new(value.ok_or_else(|| place.malformed("empty"))?, version))
    }
}

/// Whether a text is an id of the service's.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Place {
    /// A call of the vault.
    pub(super) fn call(&self, method: Method, path: &[&str]) -> Call<'_> {
        self.vault.call(method, path).query(API.0, API.1)
    }

    /// What an answer says, or what it means that it is a refusal.
    pub(super) fn success<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, SecretError> {
        if !answer.status().is_success() {
            return Err(self.refusal(answer));
        }
        answer.read().map_err(|error| SecretError::Malformed {
            reference: self.reference.clone(),
            cause: Cause::of(&error),
        })
    }

    pub(super) fn refusal(&self, answer: &Answer) -> SecretError {
        let status = answer.status().as_u16();
        let code = inner_code(answer).filter(|code| answer.may_tell(code));
        let told = code.map(|code| format!("HTTP {status} {code}"));
        match (status, told) {
            (403, Some(told)) => SecretError::denied(&*self.reference, &told),
            (409, Some(told)) => SecretError::conflict(&*self.reference, &told),
            _ => answers::refusal(&self.reference, answer),
        }
    }
}

/// The service's closer name of an error: `SecretDisabled`, `ObjectIsDeletedButRecoverable`.
pub(super) fn inner_code(answer: &Answer) -> Option<String> {
    let body = answer.value();
    let error = body.get("error")?;
    // It is written in both ways.
    let inner = error.get("innererror").or_else(|| error.get("innerError"))?;
    inner.get("code")?.as_str().map(str::to_owned)
}

impl AzureKeyVault {
    /// Makes a call. A token that is refused is replaced once.
    pub(super) async fn ask<'a>(
        &self,
        place: &Place,
        call: impl Fn() -> Call<'a> + Send + Sync,
    ) -> Result<Answer, SecretError> {
        let mut again = true;
        loop {
            let token = self.entra.token(place.scope).await;
            let token = token.map_err(|error| answers::unidentified(&place.reference, &error))?.value;
            let answer = answers::answer(&place.reference, call().bearer(&token)).await?;
            if answer.status().as_u16() != 401 || !again {
                return Ok(answer);
            }
            self.entra.forget(place.scope, &token);
            again = false;
        }
    }

    /// Reads a version of a secret, or the newest one. It is an error if that is disabled, as it is for everybody.
    pub(super) async fn read(
        &self,
        place: &Place,
        name: &str,
        version: Option<&str>,
    ) -> Result<Kept, SecretError> {
        let path: Vec<&str> = ["secrets", name].into_iter().chain(version).collect();
        place.success(&self.ask(place, || place.call(Method::GET, &path)).await?)
    }

    /// The newest version of a secret. `None`: there is no such secret, or that version is disabled.
    pub(super) async fn newest(&self, place: &Place, name: &str) -> Result<Option<Kept>, SecretError> {
        let answer = self.ask(place, || place.call(Method::GET, &["secrets", name])).await?;
        let is_absent = match answer.status().as_u16() {
            404 => true,
            403 => inner_code(&answer).is_some_and(|code| code == "SecretDisabled"),
            _ => false,
        };
        if is_absent { Ok(None) } else { place.success(&answer).map(Some) }
    }
}
