//! Calls of a service's HTTP API ([`keyturn_http::call`]), and what their answers mean for a rotation.
//!
//! A call says with whose credential it is made ([`By`]): the same 401 means that the administrator's credential is
//! wrong ([`RotationError::Denied`]) or that the one that is tried is ([`RotationError::Refused`]).

use keyturn_http::call::{self, CallError};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::settings::{OURS, SettingsError};
use crate::{RotationError, Tools};

/// With whose credential a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The administrator's, which issues and takes back credentials.
    Admin,
    /// The one that is rotated, to try it.
    Tested,
}

/// A call that is being prepared.
pub(super) type Call<'a> = call::Call<'a, By>;

/// Its answer.
pub(super) type Answer = call::Answer<By>;

impl By {
    /// A call of a whole address.
    pub(super) fn calls(self, tools: &Tools, method: Method, url: Url) -> Call<'_> {
        call::Call::new(&tools.http, method, url).marked(self)
    }

    /// The error that puts it down to the credential.
    pub(super) fn blame(self, told: String) -> RotationError {
        match self {
            Self::Admin => RotationError::Denied(told),
            Self::Tested => RotationError::Refused(told),
        }
    }
}

/// A service's API.
#[derive(Clone)]
pub(super) struct Service(call::Service);

impl Service {
    /// The API at the address that the setting `name` holds, or at the usual one.
    ///
    /// # Errors
    ///
    /// It is no address.
    pub(super) fn open(
        tools: &Tools,
        name: &str,
        setting: Option<&str>,
        usual: &str,
    ) -> Result<Self, SettingsError> {
        call::Service::at(&tools.http, setting.unwrap_or(usual)).map(Self).ok_or_else(|| {
            SettingsError::new(format!("{OURS}{name}"), "is not the address of an HTTP service")
        })
    }

    /// With a header that every call has.
    pub(super) fn always(self, name: &'static str, value: &'static str) -> Self {
        Self(self.0.always(name, value))
    }

    /// Asks for what is at a path, given by its segments.
    pub(super) fn get(&self, by: By, path: &[&str]) -> Call<'_> {
        self.0.call(Method::GET, path).marked(by)
    }

    /// Posts to a path.
    pub(super) fn post(&self, by: By, path: &[&str]) -> Call<'_> {
        self.0.call(Method::POST, path).marked(by)
    }

    /// Changes what is at a path.
    pub(super) fn patch(&self, by: By, path: &[&str]) -> Call<'_> {
        self.0.call(Method::PATCH, path).marked(by)
    }

    /// Deletes what is at a path.
    pub(super) fn delete(&self, by: By, path: &[&str]) -> Call<'_> {
        self.0.call(Method::DELETE, path).marked(by)
    }
}

impl From<CallError> for RotationError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoAnswer(what) => Self::Unavailable(what.to_owned()),
            CallError::Unfit(what) => Self::Unfit(what.to_owned()),
            CallError::Malformed(what) => Self::Malformed(what),
        }
    }
}

/// What a call is made for.
pub(super) trait Calling {
    /// Makes the call and reads what a success says.
    ///
    /// # Errors
    ///
    /// There is no answer; or as [`Meaning::success`].
    async fn read<T: DeserializeOwned>(self) -> Result<T, RotationError>;

    /// Makes the call; whatever a success says is of no interest.
    ///
    /// # Errors
    ///
    /// There is no answer; or as [`Meaning::error`].
    async fn done(self) -> Result<(), RotationError>;

    /// Makes the call on something that may not be there any more, which is as good as a success.
    ///
    /// # Errors
    ///
    /// As [`Calling::done`].
    async fn done_or_gone(self) -> Result<(), RotationError>;
}

impl Calling for Call<'_> {
    async fn read<T: DeserializeOwned>(self) -> Result<T, RotationError> {
        self.answer().await?.success()
    }

    async fn done(self) -> Result<(), RotationError> {
        let answer = self.answer().await?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.error()) }
    }

    async fn done_or_gone(self) -> Result<(), RotationError> {
        let answer = self.answer().await?;
        let fine = answer.status().is_success()
            || matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE);
        if fine { Ok(()) } else { Err(answer.error()) }
    }
}

/// What an answer means.
pub(super) trait Meaning {
    /// What a success says; [`Answer::read`](call::Answer::read) reads refusals too.
    ///
    /// # Errors
    ///
    /// [`RotationError::Malformed`]: something else than was expected, and where; or [`Meaning::error`].
    fn success<T: DeserializeOwned>(&self) -> Result<T, RotationError>;

    /// What an answer that is no success means.
    fn error(&self) -> RotationError;

    /// The error that puts it down to the credential that the call was made with.
    fn blame(&self, told: String) -> RotationError;
}

impl Meaning for Answer {
    fn success<T: DeserializeOwned>(&self) -> Result<T, RotationError> {
        if !self.status().is_success() {
            return Err(self.error());
        }
        let mut reader = serde_json::Deserializer::from_slice(self.bytes());
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            // Where it is wrong; never what is there.
            let place = error.path().to_string().replace('[', ".").replace(']', "");
            let place = if self.may_tell(&place) { place } else { "its body".to_owned() };
            RotationError::Malformed(format!("HTTP {}, {place} is not as documented", self.status().as_u16()))
        })
    }

    fn error(&self) -> RotationError {
        let told = self.told();
        match self.status().as_u16() {
            401 | 403 => self.blame(told),
            408 | 425 | 429 | 500.. => RotationError::Unavailable(told),
            404 | 410 => {
                RotationError::Unfit(format!("the service does not have what was asked for ({told})"))
            }
            400.. => RotationError::Unfit(format!("the service does not take the request ({told})")),
            ..400 => RotationError::Malformed(told),
        }
    }

    fn blame(&self, told: String) -> RotationError {
        self.mark().blame(told)
    }
}

#[cfg(test)]
mod tests;
