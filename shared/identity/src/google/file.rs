//! A file of credentials: what kind it is, and what is in it.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::authorized_user::AuthorizedUser;
use super::external_account::ExternalAccount;
use super::service_account::ServiceAccount;
use crate::IdentityError;

/// The only world whose addresses are known here.
const UNIVERSE: &str = "googleapis.com";

/// Credentials, by their `type`.
pub(super) enum Credentials {
    ServiceAccount(ServiceAccount),
    ExternalAccount(Box<ExternalAccount>),
    AuthorizedUser(AuthorizedUser),
}

/// What all kinds have.
#[derive(Deserialize)]
struct Kind {
    r#type: String,
    universe_domain: Option<String>,
}

impl Credentials {
    /// Reads them. An error repeats nothing of them.
    pub(super) fn parse(text: &SecretString, setting: &'static str) -> Result<Self, IdentityError> {
        let wrong = |problem| IdentityError::setting(setting, problem);
        let kind: Kind = read(text)
            .ok_or_else(|| wrong("is no JSON object with a `type`, as Google's credentials are"))?;
        if kind.universe_domain.is_some_and(|domain| domain != UNIVERSE) {
            return Err(wrong("is for another universe_domain than googleapis.com"));
        }
        let incomplete = || wrong("lacks fields that credentials of its type have");
        match kind.r#type.as_str() {
            "service_account" => read(text).map(Self::ServiceAccount).ok_or_else(incomplete),
            "external_account" => read(text).map(Self::ExternalAccount).ok_or_else(incomplete),
            "authorized_user" => read(text).map(Self::AuthorizedUser).ok_or_else(incomplete),
            _ => Err(wrong("has a type other than service_account, external_account and authorized_user")),
        }
    }

    /// The project that they are of.
    pub(super) fn project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(key) => key.project_id.as_deref(),
            Self::ExternalAccount(account) => account.quota_project_id.as_deref(),
            Self::AuthorizedUser(user) => user.quota_project_id.as_deref(),
        }
    }
}

fn read<T: DeserializeOwned>(text: &SecretString) -> Option<T> {
    // The parser's own words would repeat what is there.
    serde_json::from_str(text.expose_secret()).ok()
}
