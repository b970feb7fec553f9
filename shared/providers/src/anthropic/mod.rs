//! Anthropic's Messages API.
//!
//! - Authentication: `x-api-key: <api_key>`, or `Authorization: Bearer <auth_token>` and the beta that such tokens
//!   need; the same for an `api_key` that is an OAuth access token (`sk-ant-oat…`). `anthropic-version`.
//! - URL: `https://api.anthropic.com/v1/messages`, or `api_base` with or without `/v1` or `/v1/messages`.
//! - Chat completions are translated both ways. Messages are passed on, `model` spliced, with the client's
//!   `anthropic-version` and `anthropic-beta`.

mod errors;
mod headers;
mod messages;
mod names;
mod native;
mod parts;
mod request;
mod response;
mod stream;
mod thinking;
mod tools;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::response::Parts;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use crate::passthrough::Passthrough;
use crate::port::{
    Call, Credential, CredentialField, Decoder, Failure, Provider, ProviderError, Reply, Surface, Target,
};
use crate::splice::splice;
use crate::upstream;

const API_BASE: &str = "https://api.anthropic.com";
const MESSAGES: &str = "/v1/messages";
const VERSION: &str = "anthropic-version";
const BETA: &str = "anthropic-beta";
/// The API version that the translation is written for.
const DEFAULT_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// The beta that an OAuth access token needs.
const OAUTH_BETA: &str = "oauth-2025-04-20";
/// What LiteLLM reads in the place of an absent key.
const DEFAULT_KEY: &str = "ANTHROPIC_API_KEY";

/// The provider.
#[derive(Debug)]
pub(crate) struct Anthropic;

/// The part of `api_base` before `/v1`.
fn root(target: &Target) -> &str {
    let base = target.api_base.as_deref().unwrap_or(API_BASE).trim_end_matches('/');
    base.strip_suffix(MESSAGES).or_else(|| base.strip_suffix("/v1")).unwrap_or(base)
}

fn authorise(headers: &mut HeaderMap, credential: &Credential) -> Result<(), ProviderError> {
    let key = credential.get("api_key");
    let access_token = key.filter(|key| key.expose_secret().starts_with("sk-ant-oat"));
    match (credential.get("auth_token").or(access_token), key) {
        (Some(token), _) => {
            headers.insert(AUTHORIZATION, upstream::secret_header("Bearer ", token)?);
            if !headers.get_all(BETA).iter().any(|betas| names(betas, OAUTH_BETA)) {
                headers.append(BETA, HeaderValue::from_static(OAUTH_BETA));
            }
        }
        (None, Some(key)) => _ = headers.insert("x-api-key", upstream::secret_header("", key)?),
        (None, None) => return Err(ProviderError::Misconfigured("api_key is missing")),
    }
    Ok(())
}

/// Whether a list of betas, with commas between, has this one.
fn names(betas: &HeaderValue, beta: &str) -> bool {
    betas.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii() == beta.as_bytes())
}

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn surfaces(&self) -> &'static [Surface] {
        &[Surface::ChatCompletions, Surface::Messages]
    }

    fn credential_fields(&self) -> &'static [CredentialField] {
        &[
            CredentialField { name: "api_key", default_env: Some(DEFAULT_KEY) },
            CredentialField { name: "auth_token", default_env: None },
        ]
    }

    fn params(&self) -> &'static [&'static str] {
        &[]
    }

    fn request(
        &self,
        call: &Call<'_>,
        credential: &Credential,
    ) -> Result<http::Request<Bytes>, ProviderError> {
        let uri = upstream::endpoint(root(call.target), MESSAGES)?;
        let body = match call.surface {
            Surface::ChatCompletions => request::translate(call)?,
            Surface::Messages => splice(call.body, call.facts, &call.target.model),
        };
        let mut request = upstream::post(uri, body);
        let headers = request.headers_mut();
        // A version changes the format, so only a client that speaks the format itself may choose it.
        let version = Some(call.headers).filter(|_| call.surface == Surface::Messages);
        let version = version.and_then(|headers| headers.get(VERSION)).cloned();
        headers.insert(VERSION, version.unwrap_or(DEFAULT_VERSION));
        for beta in call.headers.get_all(BETA) {
            headers.append(BETA, beta.clone());
        }
        authorise(headers, credential)?;
        Ok(request)
    }

    fn response(&self, call: &Call<'_>, _: &Parts, body: Bytes) -> Result<Reply, Failure> {
        match call.surface {
            Surface::ChatCompletions => response::translate(call, &body),
            Surface::Messages => native::whole(body),
        }
    }

    fn decoder(&self, call: &Call<'_>, _: &Parts) -> Box<dyn Decoder> {
        match call.surface {
            Surface::ChatCompletions => Box::new(stream::ChatDecoder::new(call)),
            Surface::Messages => Box::new(Passthrough::new(call.surface, native::MessagesMeter::default())),
        }
    }

    fn failure(&self, call: &Call<'_>, head: &Parts, body: &[u8]) -> Failure {
        let mut failure = errors::failure(call.surface, head.status, body);
        let mut headers = self.response_headers(call, &head.headers);
        headers.extend(std::mem::take(&mut failure.headers)); // the failure's own words win
        failure.headers = headers;
        failure
    }

    fn response_headers(&self, call: &Call<'_>, upstream: &HeaderMap) -> HeaderMap {
        headers::for_client(call, upstream)
    }

    fn verify(
        &self,
        target: &Target,
        credential: &Credential,
        _now: i64,
    ) -> Result<http::Request<Bytes>, ProviderError> {
        let mut request = upstream::get(upstream::endpoint(root(target), "/v1/models")?);
        request.headers_mut().insert(VERSION, DEFAULT_VERSION);
        authorise(request.headers_mut(), credential)?;
        Ok(request)
    }
}
