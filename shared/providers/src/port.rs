//! The port: how one provider speaks. No I/O, no clock, no AWS: bytes and values in, bytes and values out.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;

use crate::inspect::Facts;
use crate::usage::Usage;

/// Which of the gateway's formats the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Surface {
    /// OpenAI's `/v1/chat/completions`.
    ChatCompletions,
    /// Anthropic's `/v1/messages`.
    Messages,
}

/// A deployment as its provider sees it.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The provider's own model name, without the prefix: `gpt-4o-mini`.
    pub model: String,
    /// Another endpoint than the provider's own, without a trailing slash.
    pub api_base: Option<String>,
    /// The other `litellm_params` that the provider named in [`Provider::params`].
    pub params: BTreeMap<String, String>,
    /// Drop request fields that the provider does not know, instead of refusing the request.
    pub drop_params: bool,
    /// The most tokens the model can answer with, from the configuration; `None`: from the price table.
    pub max_output_tokens: Option<u64>,
    /// The price table's name of this model when it is not [`Target::model`] (LiteLLM's `model_info.base_model`):
    /// where its abilities and limits are looked up.
    pub base_model: Option<String>,
}

/// One client request bound to one deployment.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The client's format.
    pub surface: Surface,
    /// What was read from the body.
    pub facts: &'a Facts,
    /// The client's own bytes.
    pub body: &'a Bytes,
    /// The client's headers; a provider picks what it passes on (`anthropic-version`, `anthropic-beta`).
    pub headers: &'a HeaderMap,
    /// The deployment.
    pub target: &'a Target,
    /// Seconds since 1970, for the `created` fields of answers that we build.
    pub now: i64,
}

/// The secret fields of one deployment, resolved: `api_key`, `aws_secret_access_key`, … Its `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Credential(BTreeMap<&'static str, SecretString>);

impl Credential {
    /// No fields: for upstreams that need none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: SecretString) -> Self {
        self.0.insert(name, value);
        self
    }

    /// The values of all fields.
    pub fn values(&self) -> impl Iterator<Item = &SecretString> {
        self.0.values()
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }
}

impl FromIterator<(&'static str, SecretString)> for Credential {
    fn from_iter<I: IntoIterator<Item = (&'static str, SecretString)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One secret field of `litellm_params` that a provider reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialField {
    /// Its name in `litellm_params`.
    pub name: &'static str,
    /// The environment variable that LiteLLM reads when the deployment gives none of its provider's fields.
    pub default_env: Option<&'static str>,
}

/// A whole answer, in the client's format.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The body for the client: the upstream's own bytes where the formats are the same.
    pub body: Bytes,
    /// What it cost in tokens, when the upstream said so.
    pub usage: Option<Usage>,
}

/// What an upstream's refusal means for the gateway's next move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The gateway's credential is not accepted: refresh it, once.
    Credential,
    /// Too many requests or tokens: another deployment may serve.
    RateLimited,
    /// The upstream is overloaded or failed: try again or elsewhere.
    Unavailable,
    /// The prompt is longer than the model takes.
    ContextWindow,
    /// The provider's content policy refused the prompt.
    ContentPolicy,
    /// The caller's request is wrong: no other deployment would do better.
    Request,
}

/// An upstream's error, in the client's format. `body` never repeats a credential.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The status for the client.
    pub status: StatusCode,
    /// Headers for the client (`retry-after`, …).
    pub headers: HeaderMap,
    /// The error body, shaped for the client's surface.
    pub body: Bytes,
    /// The gateway's next move.
    pub refusal: Refusal,
}

/// Turns one upstream stream into the client's bytes. It never panics and never stalls, whatever it is fed.
pub trait Decoder: Send {
    /// Takes the next bytes from upstream and appends what the client is to get.
    ///
    /// # Errors
    ///
    /// The upstream sent an error event or something that is no stream. What was appended before is valid. When
    /// nothing had been appended yet, the failure becomes the response's status; later it becomes an error event.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure>;

    /// The upstream closed the stream.
    ///
    /// # Errors
    ///
    /// The stream ended before its terminal event.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure>;

    /// Whether the terminal event has come: nothing that follows would be for the client.
    fn is_over(&self) -> bool;

    /// The tokens counted so far.
    fn usage(&self) -> Option<&Usage>;
}

/// A request that cannot be sent: the caller's fault, named by field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// What is wrong, for the caller.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// A machine-readable code, when there is one.
    pub code: Option<&'static str>,
}

/// Why a provider could not build a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The caller asked for something the provider cannot do: 400.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The deployment's configuration or credential cannot make a request (a newline in a key, a bad URL): 503.
    #[error("the deployment cannot make a request: {0}")]
    Misconfigured(&'static str),
}

/// How one provider speaks.
pub trait Provider: Send + Sync {
    /// The prefix in `litellm_params.model`.
    fn name(&self) -> &'static str;

    /// The client formats it can serve.
    fn surfaces(&self) -> &'static [Surface];

    /// The secret fields it reads, the first required one first. Empty: the upstream needs none.
    fn credential_fields(&self) -> &'static [CredentialField];

    /// The further `litellm_params` it understands; any other is refused at load.
    fn params(&self) -> &'static [&'static str];

    /// The upstream request.
    ///
    /// # Errors
    ///
    /// [`ProviderError::BadRequest`] names the caller's field; [`ProviderError::Misconfigured`] is ours.
    fn request(
        &self,
        call: &Call<'_>,
        credential: &Credential,
    ) -> Result<http::Request<Bytes>, ProviderError>;

    /// A whole successful answer.
    ///
    /// # Errors
    ///
    /// The upstream answered 2xx with something that is not its format.
    fn response(&self, call: &Call<'_>, head: &http::response::Parts, body: Bytes) -> Result<Reply, Failure>;

    /// A successful answer that streams.
    fn decoder(&self, call: &Call<'_>, head: &http::response::Parts) -> Box<dyn Decoder>;

    /// An answer that is not 2xx.
    fn failure(&self, call: &Call<'_>, head: &http::response::Parts, body: &[u8]) -> Failure;

    /// The upstream's response headers that the client is to see: `x-ratelimit-*`, `retry-after`, …
    fn response_headers(&self, call: &Call<'_>, upstream: &HeaderMap) -> HeaderMap;

    /// The cheapest request that proves a credential. `now` is in seconds since 1970, for signatures.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Misconfigured`] when the credential or the target cannot make a request.
    fn verify(
        &self,
        target: &Target,
        credential: &Credential,
        now: i64,
    ) -> Result<http::Request<Bytes>, ProviderError>;
}
