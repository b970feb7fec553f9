//! OpenAI, and every upstream that speaks its chat completions (`api_base`).
//!
//! - Authentication: `Authorization: Bearer <api_key>`; `OpenAI-Organization`, `OpenAI-Project`.
//! - URL: `{api_base}/chat/completions`, by default `https://api.openai.com/v1/chat/completions`.
//! - The client's bytes pass, `model` and `stream_options` spliced. The answer's bytes pass unchanged; in
//!   particular its `model` is the upstream's name (LiteLLM writes the requested name over it).

mod errors;
mod meter;

use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::response::Parts;

pub(crate) use meter::ChatMeter;

use crate::passthrough::Passthrough;
use crate::port::{
    Call, Credential, CredentialField, Decoder, Failure, Provider, ProviderError, Reply, Surface, Target,
};
use crate::splice::splice;
use crate::upstream;

const API_BASE: &str = "https://api.openai.com/v1";
const CHAT: &str = "/chat/completions";

/// The provider.
#[derive(Debug)]
pub(crate) struct OpenAi;

impl OpenAi {
    fn authorise(
        headers: &mut HeaderMap,
        target: &Target,
        credential: &Credential,
    ) -> Result<(), ProviderError> {
        match credential.get("api_key") {
            Some(key) => {
                headers.insert(AUTHORIZATION, upstream::secret_header("Bearer ", key)?);
            }
            // A server of one's own may ask for no key; OpenAI's does.
            None if target.api_base.is_some() => {}
            None => return Err(ProviderError::Misconfigured("api_key is missing")),
        }
        for (param, header) in [("organization", "openai-organization"), ("project", "openai-project")] {
            if let Some(value) = target.params.get(param) {
                upstream::insert(headers, header, upstream::param_header(value)?);
            }
        }
        Ok(())
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn surfaces(&self) -> &'static [Surface] {
        &[Surface::ChatCompletions]
    }

    fn credential_fields(&self) -> &'static [CredentialField] {
        &[CredentialField { name: "api_key", default_env: Some("OPENAI_API_KEY") }]
    }

    fn params(&self) -> &'static [&'static str] {
        &["organization", "project"]
    }

    fn request(
        &self,
        call: &Call<'_>,
        credential: &Credential,
    ) -> Result<http::Request<Bytes>, ProviderError> {
        if call.surface != Surface::ChatCompletions {
            return Err(ProviderError::Misconfigured("openai serves chat completions only"));
        }
        let uri = upstream::endpoint(call.target.api_base.as_deref().unwrap_or(API_BASE), CHAT)?;
        let mut request = upstream::post(uri, splice(call.body, call.facts, &call.target.model));
        Self::authorise(request.headers_mut(), call.target, credential)?;
        Ok(request)
    }

    fn response(&self, call: &Call<'_>, _: &Parts, body: Bytes) -> Result<Reply, Failure> {
        let usage = meter::whole(call.surface, &body)?;
        Ok(Reply { body, usage })
    }

    fn decoder(&self, call: &Call<'_>, _: &Parts) -> Box<dyn Decoder> {
        Box::new(Passthrough::new(call.surface, ChatMeter::new(call.surface, !call.facts.include_usage)))
    }

    fn failure(&self, call: &Call<'_>, head: &Parts, body: &[u8]) -> Failure {
        let mut failure = errors::failure(call.surface, head.status, body);
        failure.headers.extend(self.response_headers(call, &head.headers));
        failure
    }

    fn response_headers(&self, _: &Call<'_>, headers: &HeaderMap) -> HeaderMap {
        upstream::copy_headers(headers, |name| {
            name.starts_with("x-ratelimit-") || name == "x-request-id" || upstream::is_retry_header(name)
        })
    }

    fn verify(
        &self,
        target: &Target,
        credential: &Credential,
        _now: i64,
    ) -> Result<http::Request<Bytes>, ProviderError> {
        let base = target.api_base.as_deref().unwrap_or(API_BASE);
        let mut request = upstream::get(upstream::endpoint(&base.replacen(CHAT, "", 1), "/models")?);
        Self::authorise(request.headers_mut(), target, credential)?;
        Ok(request)
    }
}
