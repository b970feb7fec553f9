//! Calls of a service's HTTP API: one way to make them, and one to tell what an answer means.
//!
//! A call says with whose credential it is made ([`By`]): the same 401 means that the administrator's credential is
//! wrong ([`RotationError::Denied`]) or that the one that is tried is ([`RotationError::Refused`]).
//!
//! Of an answer that is no success, only its status and the service's own name of the error are told, and the name
//! only if it looks like one and has nothing in common with any credential that was sent.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::settings::{OURS, SettingsError};
use crate::{RotationError, Tools};

/// How long a call may take, with its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: a page of a list is far shorter.
const LONGEST_ANSWER: usize = 4 << 20;
/// The longest name of an error that is repeated, in characters.
const LONGEST_CODE: usize = 60;
/// What services show of a key's end (`sk-proj-...AbCd`), in characters.
const PIECE: usize = 4;

/// With whose credential a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The administrator's, which issues and takes back credentials.
    Admin,
    /// The one that is rotated, to try it.
    Tested,
}

/// A service's API.
#[derive(Clone)]
pub(super) struct Service {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
}

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
        let base = address(setting.unwrap_or(usual)).ok_or_else(|| {
            SettingsError::new(format!("{OURS}{name}"), "is not the address of an HTTP service")
        })?;
        Ok(Self { http: tools.http.clone(), base, headers: HeaderMap::new() })
    }

    /// With a header that every call has.
    pub(super) fn always(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Asks for what is at a path, given by its segments.
    pub(super) fn get(&self, by: By, path: &[&str]) -> Call<'_> {
        self.call(Method::GET, by, path)
    }

    /// Posts to a path.
    pub(super) fn post(&self, by: By, path: &[&str]) -> Call<'_> {
        self.call(Method::POST, by, path)
    }

    /// Changes what is at a path.
    pub(super) fn patch(&self, by: By, path: &[&str]) -> Call<'_> {
        self.call(Method::PATCH, by, path)
    }

    /// Deletes what is at a path.
    pub(super) fn delete(&self, by: By, path: &[&str]) -> Call<'_> {
        self.call(Method::DELETE, by, path)
    }

    /// A call with any method. The segments of the path are percent-encoded; none may be empty or made of dots, which
    /// would name another place than the one that is meant.
    pub(super) fn call(&self, method: Method, by: By, path: &[&str]) -> Call<'_> {
        let mut url = self.base.clone();
        let mut wrong = None;
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            wrong = Some("an id in a path is empty or made of dots");
        } else if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Call { wrong, ..self.call_url(method, by, url) }
    }

    /// A call of a whole address.
    pub(super) fn call_url(&self, method: Method, by: By, url: Url) -> Call<'_> {
        Call { headers: self.headers.clone(), ..Call::new(&self.http, method, by, url) }
    }
}

/// Reads the address of a service: `http` or `https`, a host, no user, query or fragment.
pub(super) fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}

/// A call that is being prepared.
pub(super) struct Call<'a> {
    http: &'a reqwest::Client,
    method: Method,
    by: By,
    url: Url,
    headers: HeaderMap,
    body: Option<Zeroizing<Vec<u8>>>,
    /// Every secret in it: none of them is repeated.
    sent: Vec<SecretString>,
    limit: Duration,
    wrong: Option<&'static str>,
}

impl<'a> Call<'a> {
    /// A call of a whole address.
    pub(super) fn new(http: &'a reqwest::Client, method: Method, by: By, url: Url) -> Self {
        let headers = HeaderMap::new();
        Call {
            http,
            method,
            by,
            url,
            headers,
            body: None,
            sent: Vec::new(),
            limit: CALL_TIMEOUT,
            wrong: None,
        }
    }

    /// With a credential as a bearer token.
    pub(super) fn bearer(self, credential: &SecretString) -> Self {
        let text = Zeroizing::new(format!("Bearer {}", credential.expose_secret()));
        self.put_secret(AUTHORIZATION, &text).hiding(credential)
    }

    /// With a credential in a header.
    pub(super) fn secret_header(self, name: &'static str, credential: &SecretString) -> Self {
        self.put_secret(HeaderName::from_static(name), credential.expose_secret()).hiding(credential)
    }

    /// With a header that is no secret.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => _ = self.headers.insert(name, value),
            _ => self.wrong = Some("a header has characters that headers cannot have"),
        }
        self
    }

    /// With a header that holds a secret among other things: [`Call::hiding`] says what.
    pub(super) fn put_secret(mut self, name: HeaderName, text: &str) -> Self {
        match HeaderValue::from_str(text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(name, value);
            }
            Err(_) => self.wrong = Some("a credential has characters that a header cannot have"),
        }
        self
    }

    /// With a parameter in the query.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// With a JSON body.
    pub(super) fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body("application/json", body),
            Err(_) => Self { wrong: Some("a request cannot be written as JSON"), ..self },
        }
    }

    /// With a form as its body. Secrets in it are named with [`Call::hiding`].
    pub(super) fn form(self, fields: &[(&str, &str)]) -> Self {
        let mut form = Zeroizing::new(String::new());
        for (name, value) in fields {
            if !form.is_empty() {
                form.push('&');
            }
            for piece in form_urlencoded::byte_serialize(name.as_bytes()) {
                form.push_str(piece);
            }
            form.push('=');
            for piece in form_urlencoded::byte_serialize(value.as_bytes()) {
                form.push_str(piece);
            }
        }
        let body = std::mem::take(&mut *form).into_bytes();
        self.body("application/x-www-form-urlencoded", body)
    }

    /// With a body of any kind.
    pub(super) fn body(mut self, kind: &'static str, body: Vec<u8>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        self.body = Some(Zeroizing::new(body));
        self
    }

    /// Names a secret that stands in the body or the address: it is in no error.
    pub(super) fn hiding(mut self, secret: &SecretString) -> Self {
        self.sent.push(secret.clone());
        self
    }

    /// It may take this long instead of the usual ten seconds.
    pub(super) fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Makes the call and reads the whole answer, whatever its status is.
    ///
    /// # Errors
    ///
    /// [`RotationError::Unavailable`]: there is none; [`RotationError::Unfit`]: the call cannot be made like this;
    /// [`RotationError::Malformed`]: the answer has no end.
    pub(super) async fn answer(self) -> Result<Answer, RotationError> {
        if let Some(wrong) = self.wrong {
            return Err(RotationError::Unfit(wrong.to_owned()));
        }
        let mut request = self.http.request(self.method, self.url).headers(self.headers).timeout(self.limit);
        if let Some(mut body) = self.body {
            request = request.body(std::mem::take(&mut *body));
        }
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(RotationError::Malformed(format!("more than {LONGEST_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body, by: self.by, sent: self.sent })
    }

    /// Makes the call and reads what a success says.
    ///
    /// # Errors
    ///
    /// As [`Call::answer`] and [`Answer::read`].
    pub(super) async fn read<T: DeserializeOwned>(self) -> Result<T, RotationError> {
        self.answer().await?.read()
    }

    /// Makes the call; whatever a success says is of no interest.
    ///
    /// # Errors
    ///
    /// As [`Call::answer`] and [`Answer::error`].
    pub(super) async fn done(self) -> Result<(), RotationError> {
        let answer = self.answer().await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.error()) }
    }

    /// Makes the call on something that may not be there any more, which is as good as a success.
    ///
    /// # Errors
    ///
    /// As [`Call::done`].
    pub(super) async fn done_or_gone(self) -> Result<(), RotationError> {
        let answer = self.answer().await?;
        let fine =
            answer.status.is_success() || matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE);
        if fine { Ok(()) } else { Err(answer.error()) }
    }
}

/// Whether two texts have a piece in common that is as long as what a masked key shows of its end.
fn share_a_piece(one: &str, other: &str) -> bool {
    one.as_bytes().windows(PIECE).any(|piece| other.as_bytes().windows(PIECE).any(|found| found == piece))
}

/// What is told of a call without an answer: never the address, which may hold a key.
fn failed(error: &reqwest::Error) -> RotationError {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_builder() {
        return RotationError::Unfit("a request cannot be made from the settings".to_owned());
    } else {
        "the connection broke"
    };
    RotationError::Unavailable(what.to_owned())
}

/// An answer. It has no `Debug`: it may hold a new credential.
pub(super) struct Answer {
    status: StatusCode,
    body: Zeroizing<Vec<u8>>,
    by: By,
    sent: Vec<SecretString>,
}

impl Answer {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Its body.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Its body as JSON; null where it is none.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What a success says.
    ///
    /// # Errors
    ///
    /// [`RotationError::Malformed`]: something else than was expected, and where; or [`Answer::error`].
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, RotationError> {
        if !self.status.is_success() {
            return Err(self.error());
        }
        let mut reader = serde_json::Deserializer::from_slice(&self.body);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            // Where it is wrong; never what is there.
            let place = error.path().to_string().replace('[', ".").replace(']', "");
            let place = if self.may_tell(&place) { place } else { "its body".to_owned() };
            RotationError::Malformed(format!("HTTP {}, {place} is not as documented", self.status.as_u16()))
        })
    }

    /// What an answer that is no success means.
    pub(super) fn error(&self) -> RotationError {
        let told = self.told();
        match (self.status.as_u16(), self.by) {
            (401 | 403, By::Admin) => RotationError::Denied(told),
            (401 | 403, By::Tested) => RotationError::Refused(told),
            (408 | 425 | 429 | 500.., _) => RotationError::Unavailable(told),
            (404 | 410, _) => {
                RotationError::Unfit(format!("the service does not have what was asked for ({told})"))
            }
            (400.., _) => RotationError::Unfit(format!("the service does not take the request ({told})")),
            (..400, _) => RotationError::Malformed(told),
        }
    }

    /// The error that puts it down to the credential that the call was made with.
    pub(super) fn blame(&self, told: String) -> RotationError {
        match self.by {
            By::Admin => RotationError::Denied(told),
            By::Tested => RotationError::Refused(told),
        }
    }

    /// Its status, and the service's name of the error: `HTTP 401 invalid_api_key`.
    pub(super) fn told(&self) -> String {
        let status = self.status.as_u16();
        self.code().map_or_else(|| format!("HTTP {status}"), |code| format!("HTTP {status} {code}"))
    }

    /// The service's name of the error, where it gives one that may be repeated.
    pub(super) fn code(&self) -> Option<String> {
        const PLACES: &[&str] =
            &["/error/code", "/error/type", "/error/status", "/error", "/code", "/__type", "/type"];
        let body = self.value();
        let mut found = PLACES.iter().filter_map(|place| body.pointer(place)?.as_str());
        found.find(|code| self.may_tell(code)).map(str::to_owned)
    }

    /// Whether a text of the answer may be repeated: it looks like a name, and has nothing in common with what was
    /// sent. Digits alone are no name: some services repeat the status where others have one.
    pub(super) fn may_tell(&self, text: &str) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let is_name =
            text.len() <= LONGEST_CODE && text.chars().all(fits) && text.contains(char::is_alphabetic);
        let mut sent = self.sent.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        is_name
            && !sent
                .any(|secret| text.contains(secret) || secret.contains(text) || share_a_piece(text, secret))
    }
}

#[cfg(test)]
mod tests;
