//! One request to one deployment: credential, upstream call, and what to do when the upstream refuses the
//! credential.
//!
//! A refused credential is refreshed once and the request replayed once; then the previous version is tried,
//! because a provider may learn of a new key later than we do; then it is 502. Until the first byte has gone to
//! the client nothing is lost by trying again.
//!
//! A federated credential may have a key that stands in for it: it serves when no token can be had, because none is held
//! that serves, or because the one that is held is refused and the exchange for another fails. It does not serve where
//! the provider refuses every token: that is its word on who we are.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use jiff::Timestamp;
use keyturn_config::{SecretRef, Value};
use keyturn_providers::{Call, Credential, Facts, ProviderError, Refusal, Reply, Surface, Target, mock};
use keyturn_secrets::{Secret, SecretError, VersionId};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::deployment::Deployment;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::log::with_causes;
use crate::redact::Redactor;
use crate::stream::{Limit, Upstream};

/// The longest answer that is not streamed, in bytes; a longer one is an upstream gone wrong.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The longest error body that is read, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// What the client asked, as far as every attempt needs it.
pub(crate) struct Ask<'a> {
    pub(crate) surface: Surface,
    pub(crate) facts: &'a Facts,
    pub(crate) body: &'a Bytes,
    pub(crate) headers: &'a HeaderMap,
    /// When it has to be over, if the invocation ends.
    pub(crate) end: Option<Instant>,
}

impl<'a> Ask<'a> {
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    fn call(&self, target: &'a Target, now: Timestamp) -> Call<'a> {
        Call {
            surface: self.surface,
            facts: self.facts,
            body: self.body,
            headers: self.headers,
            target,
            now: now.as_second(),
        }
    }
}

/// A successful upstream answer.
pub(crate) struct Reached {
    /// The upstream's headers that the client is to see.
    pub(crate) headers: HeaderMap,
    pub(crate) answer: UpstreamAnswer,
    /// The version of the credential that worked; `None` for a literal.
    pub(crate) version: Option<VersionId>,
    /// Whether the first credential was refused.
    pub(crate) healed: bool,
}

pub(crate) enum UpstreamAnswer {
    Whole(Reply),
    Stream(Box<Upstream>),
    /// A stream that is made up, all of it there.
    Mock(mock::Stream),
}

/// A credential and where it came from.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) credential: Credential,
    versions: Vec<(SecretRef, VersionId)>,
    /// Whether it stands in for another.
    stands_in: bool,
}

impl Held {
    fn version(&self) -> Option<VersionId> {
        self.versions.first().map(|(_, version)| version.clone())
    }

    fn version_of(&self, reference: &SecretRef) -> Option<&VersionId> {
        self.versions.iter().find(|(known, _)| known == reference).map(|(_, version)| version)
    }
}

impl Gateway {
    /// Asks one deployment.
    pub(crate) async fn attempt(
        &self,
        ask: &Ask<'_>,
        deployment: &Deployment,
        target: &Target,
        waited: &mut Duration,
    ) -> Result<Reached, GatewayError> {
        let held = self.credential(deployment).await.map_err(|error| self.no_secret(&error))?;
        let refused = match self.send(ask, deployment, target, &held.credential, waited).await {
            Err(GatewayError::Upstream(failure)) if failure.refusal == Refusal::Credential => held,
            outcome => return outcome.map(|(headers, answer)| reached(headers, answer, &held, false)),
        };
        let mut refused_versions = vec![refused.versions.clone()];
        for source in [Source::Refreshed(&refused), Source::Previous] {
            let Some(held) = self.other(deployment, &refused, source).await else { continue };
            if refused_versions.contains(&held.versions) {
                continue;
            }
            match self.send(ask, deployment, target, &held.credential, waited).await {
                Err(GatewayError::Upstream(failure)) if failure.refusal == Refusal::Credential => {
                    refused_versions.push(held.versions);
                }
                outcome => return outcome.map(|(headers, answer)| reached(headers, answer, &held, true)),
            }
        }
        Err(GatewayError::UpstreamAuth)
    }

    /// Answers for a deployment with a `mock_response`, which has no upstream.
    pub(crate) fn mocked(&self, ask: &Ask<'_>, target: &Target, text: &str) -> Result<Reached, GatewayError> {
        let call = ask.call(target, self.now());
        let answer = if ask.facts.stream {
            mock::stream(&call, text).map(UpstreamAnswer::Mock)
        } else {
            mock::whole(&call, text).map(UpstreamAnswer::Whole)
        };
        let answer = answer.map_err(|failure| GatewayError::Upstream(Box::new(failure)))?;
        Ok(reached(HeaderMap::new(), answer, &Held::default(), false))
    }

    /// The credential as the cache has it, or the one that stands in for it.
    pub(crate) async fn credential(&self, deployment: &Deployment) -> Result<Held, SecretError> {
        match self.gather(&deployment.secrets, Source::Current).await {
            Ok(held) => Ok(held.unwrap_or_default()),
            Err(error) => self.stand_in(deployment, error).await,
        }
    }

    /// The credential that stands in for one that cannot be had; the error why not, if there is none.
    async fn stand_in(&self, deployment: &Deployment, error: SecretError) -> Result<Held, SecretError> {
        if deployment.fallback.is_empty() {
            return Err(error);
        }
        let detail = format!("deployment {}: {}", deployment.id, with_causes(&error));
        self.warn("no token, fallback_api_key serves", &detail);
        let held = self.gather(&deployment.fallback, Source::Current).await?.unwrap_or_default();
        Ok(Held { stands_in: true, ..held })
    }

    /// Another version of a refused credential, or what stands in for it; `None` when there is none to try.
    async fn other(&self, deployment: &Deployment, refused: &Held, source: Source<'_>) -> Option<Held> {
        let fields = if refused.stands_in { &deployment.fallback } else { &deployment.secrets };
        let held = match (self.gather(fields, source).await, source) {
            (Err(error), Source::Refreshed(_)) if !refused.stands_in => {
                self.stand_in(deployment, error).await.map(Some)
            }
            (held, _) => held,
        };
        let held = held.unwrap_or_else(|error| {
            self.no_secret(&error);
            None
        });
        held.filter(|held| held.stands_in || !held.versions.is_empty())
    }

    /// Secret fields; `None` when the source has one of them not.
    async fn gather(
        &self,
        fields: &[(&'static str, Value)],
        source: Source<'_>,
    ) -> Result<Option<Held>, SecretError> {
        let mut held = Held::default();
        for (field, value) in fields {
            let reference = match value {
                Value::Literal(secret) => {
                    held = held.with(field, secret);
                    continue;
                }
                Value::Reference(reference) => reference,
            };
            let secret = match source {
                Source::Current => Some(self.credentials.get(reference).await?),
                Source::Refreshed(refused) => match refused.version_of(reference) {
                    Some(version) => Some(self.credentials.refused(reference, version).await?),
                    None => None,
                },
                Source::Previous => self.credentials.previous(reference).await?,
            };
            let Some(secret) = secret else { return Ok(None) };
            held = held.with_version(field, reference, &secret);
        }
        Ok(Some(held))
    }

    fn no_secret(&self, error: &SecretError) -> GatewayError {
        self.warn("secret unavailable", &with_causes(error));
        GatewayError::CredentialUnavailable
    }

    async fn send(
        &self,
        ask: &Ask<'_>,
        deployment: &Deployment,
        target: &Target,
        credential: &Credential,
        waited: &mut Duration,
    ) -> Result<(HeaderMap, UpstreamAnswer), GatewayError> {
        let started = self.now();
        let call = ask.call(target, started);
        let request = deployment.provider.request(&call, credential).map_err(|error| match error {
            ProviderError::BadRequest(error) => GatewayError::BadRequest(error),
            ProviderError::Misconfigured(what) => {
                self.warn("deployment misconfigured", &format!("deployment {}: {what}", deployment.id));
                GatewayError::DeploymentMisconfigured
            }
        })?;
        let limit = self.time_limit(ask, deployment);
        let redactor = Redactor::new(credential);
        let exchange = self.exchange(&call, deployment, request, redactor, limit);
        let outcome = tokio::time::timeout_at(limit.next(), exchange).await;
        *waited += self.since(started);
        outcome.unwrap_or(Err(GatewayError::UpstreamTimeout))
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        deployment: &Deployment,
        request: http::Request<Bytes>,
        redactor: Redactor,
        limit: Limit,
    ) -> Result<(HeaderMap, UpstreamAnswer), GatewayError> {
        let provider = deployment.provider;
        let request =
            reqwest::Request::try_from(request).map_err(|_| GatewayError::DeploymentMisconfigured)?;
        let response = self.http.execute(request).await.map_err(|error| {
            // The URL is the operator's; a key never stands in it, but it is not ours to print.
            let detail = format!("deployment {}: {}", deployment.id, with_causes(&error.without_url()));
            self.warn("upstream unreachable", &detail);
            GatewayError::UpstreamUnreachable
        })?;
        let response = http::Response::<reqwest::Body>::from(response);
        let (head, body) = response.into_parts();
        let headers = provider.response_headers(call, &head.headers);
        if !head.status.is_success() {
            let body = read(body, MAX_ERROR_BYTES).await.unwrap_or_default();
            return Err(redactor.failure(provider.failure(call, &head, &body)));
        }
        if call.facts.stream {
            if !is_event_stream(&head) {
                return Err(GatewayError::UpstreamDoesNotStream);
            }
            let upstream = Upstream::open(body, provider.decoder(call, &head), redactor, limit).await?;
            return Ok((headers, UpstreamAnswer::Stream(Box::new(upstream))));
        }
        let body = read(body, MAX_ANSWER_BYTES).await?;
        let reply = provider.response(call, &head, body).map_err(|failure| redactor.failure(failure))?;
        Ok((headers, UpstreamAnswer::Whole(reply)))
    }
}

/// Where a credential comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The cache.
    Current,
    /// The store, because this one was refused.
    Refreshed(&'a Held),
    /// The store's version before.
    Previous,
}

impl Held {
    fn with(self, field: &'static str, secret: &SecretString) -> Self {
        Self { credential: self.credential.with(field, secret.clone()), ..self }
    }

    fn with_version(mut self, field: &'static str, reference: &SecretRef, secret: &Secret) -> Self {
        self.versions.push((reference.clone(), secret.version.clone()));
        self.with(field, &secret.value)
    }
}

fn reached(headers: HeaderMap, answer: UpstreamAnswer, held: &Held, healed: bool) -> Reached {
    Reached { headers, answer, version: held.version(), healed }
}

/// Whether an answer to a streamed request streams. Some compatible servers leave the content type out.
fn is_event_stream(head: &Parts) -> bool {
    let content_type = head.headers.get(http::header::CONTENT_TYPE);
    let expected = b"text/event-stream";
    content_type.is_none_or(|value| {
        value.as_bytes().get(..expected.len()).is_some_and(|found| found.eq_ignore_ascii_case(expected))
    })
}

/// Reads a body of at most `limit` bytes to its end.
async fn read(body: reqwest::Body, limit: usize) -> Result<Bytes, GatewayError> {
    let whole = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            GatewayError::UpstreamTooLong
        } else {
            GatewayError::UpstreamUnreachable
        }
    });
    whole.map(Collected::to_bytes)
}
