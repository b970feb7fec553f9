//! Calls of a service's HTTP API: one way to make them, and what may be told of their answers.
//!
//! Of an answer that is no success, only its status and the service's own name of the error are told, and the name
//! only if it looks like one and has nothing in common with any secret that was sent.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

/// How long a call may take, with its answer, where it does not say so.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: a page of a list is far shorter.
const LONGEST_ANSWER: usize = 4 << 20;
/// The longest name of an error that is repeated, in characters.
const LONGEST_CODE: usize = 60;
/// What services show of a key's end (`sk-proj-...AbCd`), in characters.
const PIECE: usize = 4;

/// Why a call has no answer, or none that can be read. It repeats nothing that was sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, no answer in time, or a connection that broke: later it may work.
    #[error("{0}")]
    NoAnswer(&'static str),
    /// The call cannot be made from what it was given.
    #[error("{0}")]
    Unfit(&'static str),
    /// The answer is too long, or is not what the service documents.
    #[error("{0}")]
    Malformed(String),
}

/// A service's API.
#[derive(Clone)]
pub struct Service {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
}

impl Service {
    /// The API at an address; `None` if it is none ([`address`]).
    #[must_use]
    pub fn at(http: &reqwest::Client, base: &str) -> Option<Self> {
        Some(Self { http: http.clone(), base: address(base)?, headers: HeaderMap::new() })
    }

    /// With a header that every call has.
    #[must_use]
    pub fn always(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// A call of a path, given by its segments. They are percent-encoded; none may be empty or made of dots, which would
    /// name another place than the one that is meant.
    pub fn call(&self, method: Method, path: &[&str]) -> Call<'_> {
        let mut url = self.base.clone();
        let mut wrong = None;
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            wrong = Some("an id in a path is empty or made of dots");
        } else if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Call { wrong, ..self.call_url(method, url) }
    }

    /// A call of a whole address.
    pub fn call_url(&self, method: Method, url: Url) -> Call<'_> {
        Call { headers: self.headers.clone(), ..Call::new(&self.http, method, url) }
    }

    /// Where it is.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }
}

/// Reads the address of a service: `http` or `https`, a host, no user, query or fragment.
#[must_use]
pub fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}

/// Whether an address is this machine's: what is sent there is on no network.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether what is sent to an address is read by nobody on the way: `https`, or `http` on this machine.
#[must_use]
pub fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_local(url)
}

/// A call that is being prepared. `Mark` is the caller's own: the answer bears it too.
#[must_use]
pub struct Call<'a, Mark = ()> {
    http: &'a reqwest::Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Zeroizing<Vec<u8>>>,
    /// Every secret in it: none of them is repeated.
    sent: Vec<SecretString>,
    limit: Duration,
    wrong: Option<&'static str>,
    mark: Mark,
}

impl<'a> Call<'a> {
    /// A call of a whole address.
    pub fn new(http: &'a reqwest::Client, method: Method, url: Url) -> Self {
        let headers = HeaderMap::new();
        let (body, sent, limit, wrong, mark) = (None, Vec::new(), CALL_TIMEOUT, None, ());
        Call { http, method, url, headers, body, sent, limit, wrong, mark }
    }

    /// With a mark.
    pub fn marked<Mark>(self, mark: Mark) -> Call<'a, Mark> {
        let Self { http, method, url, headers, body, sent, limit, wrong, mark: () } = self;
        Call { http, method, url, headers, body, sent, limit, wrong, mark }
    }
}

impl<Mark> Call<'_, Mark> {
    /// Its method, address, headers and body so far: what a signature is made of.
    #[must_use]
    pub fn parts(&self) -> (&Method, &Url, &HeaderMap, &[u8]) {
        (&self.method, &self.url, &self.headers, self.body.as_deref().map_or(&[], Vec::as_slice))
    }

    /// It cannot be made: says why.
    pub fn unfit(mut self, why: &'static str) -> Self {
        self.wrong = Some(why);
        self
    }

    /// With a credential as a bearer token.
    pub fn bearer(self, credential: &SecretString) -> Self {
        let text = Zeroizing::new(format!("Bearer {}", credential.expose_secret()));
        self.put_secret(AUTHORIZATION, &text).hiding(credential)
    }

    /// With a credential in a header.
    pub fn secret_header(self, name: &'static str, credential: &SecretString) -> Self {
        self.put_secret(HeaderName::from_static(name), credential.expose_secret()).hiding(credential)
    }

    /// With a header that is no secret.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => _ = self.headers.insert(name, value),
            _ => self.wrong = Some("a header has characters that headers cannot have"),
        }
        self
    }

    /// With a header that holds a secret among other things: [`Call::hiding`] says what.
    pub fn put_secret(mut self, name: HeaderName, text: &str) -> Self {
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
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// With a JSON body. Secrets in it are named with [`Call::hiding`].
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body("application/json", body),
            Err(_) => Self { wrong: Some("a request cannot be written as JSON"), ..self },
        }
    }

    /// With a form as its body. Secrets in it are named with [`Call::hiding`].
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
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
    pub fn body(mut self, kind: &'static str, body: Vec<u8>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        self.body = Some(Zeroizing::new(body));
        self
    }

    /// Names a secret that stands in the body or the address: it is in no error.
    pub fn hiding(mut self, secret: &SecretString) -> Self {
        self.sent.push(secret.clone());
        self
    }

    /// It may take this long instead of the usual ten seconds.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Makes the call and reads the whole answer, whatever its status is.
    ///
    /// # Errors
    ///
    /// [`CallError`]: there is no answer, the call cannot be made like this, or the answer has no end.
    pub async fn answer(self) -> Result<Answer<Mark>, CallError> {
        if let Some(wrong) = self.wrong {
            return Err(CallError::Unfit(wrong));
        }
        let mut request = self.http.request(self.method, self.url).headers(self.headers).timeout(self.limit);
        if let Some(mut body) = self.body {
            request = request.body(std::mem::take(&mut *body));
        }
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(CallError::Malformed(format!("more than {LONGEST_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body, sent: self.sent, mark: self.mark })
    }
}

/// Whether two texts have a piece in common that is as long as what a masked key shows of its end.
fn share_a_piece(one: &str, other: &str) -> bool {
    one.as_bytes().windows(PIECE).any(|piece| other.as_bytes().windows(PIECE).any(|found| found == piece))
}

/// What is told of a call without an answer: never the address, which may hold a key.
fn failed(error: &reqwest::Error) -> CallError {
    CallError::NoAnswer(if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_builder() {
        return CallError::Unfit("a request cannot be made from the settings");
    } else {
        "the connection broke"
    })
}

/// The names that services give an error, by where they stand.
fn codes(body: &Value) -> impl Iterator<Item = &str> {
    const PLACES: &[&str] =
        &["/error/code", "/error/type", "/error/status", "/error", "/code", "/__type", "/type"];
    PLACES.iter().filter_map(|place| body.pointer(place)?.as_str())
}

/// An answer. It has no `Debug`: it may hold a new credential.
pub struct Answer<Mark = ()> {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    sent: Vec<SecretString>,
    mark: Mark,
}

impl<Mark> Answer<Mark> {
    /// An answer as if it had come, to a call that sent these secrets; for tests.
    #[must_use]
    pub fn made_up(status: StatusCode, body: &[u8], sent: Vec<SecretString>, mark: Mark) -> Self {
        Self { status, headers: HeaderMap::new(), body: Zeroizing::new(body.to_vec()), sent, mark }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The mark of its call.
    #[must_use]
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Its body as JSON; null where it is none.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What its body says, whatever its status.
    ///
    /// # Errors
    ///
    /// [`CallError::Malformed`]: something else than was expected. It says neither what nor where.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|_| {
            CallError::Malformed(format!("HTTP {}, its body is not as documented", self.status.as_u16()))
        })
    }

    /// Its status, and the service's name of the error: `HTTP 401 invalid_api_key`.
    #[must_use]
    pub fn told(&self) -> String {
        let status = self.status.as_u16();
        self.code().map_or_else(|| format!("HTTP {status}"), |code| format!("HTTP {status} {code}"))
    }

    /// The service's name of the error, where it gives one that may be repeated.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let body = self.value();
        codes(&body).find(|code| self.may_tell(code)).map(str::to_owned)
    }

    /// Which of these names the service gives the error. What it means must not depend on what may be repeated, and what
    /// is known beforehand may: a long key has, by chance, four letters in common with some name.
    #[must_use]
    pub fn code_among(&self, names: &[&'static str]) -> Option<&'static str> {
        let body = self.value();
        codes(&body).find_map(|code| names.iter().find(|name| **name == code)).copied()
    }

    /// Whether a text of the answer may be repeated: it looks like a name, and has nothing in common with what was
    /// sent. Digits alone are no name: some services repeat the status where others have one.
    #[must_use]
    pub fn may_tell(&self, text: &str) -> bool {
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
