//! How each provider speaks: translation between the client's format and the provider's. No I/O, no clock, no
//! AWS: bytes and values in, bytes and values out.
//!
//! [`Provider`] is the port. A provider is one file (or folder) here and one line in [`PROVIDERS`].

#![expect(clippy::result_large_err, reason = "a failure is an answer, made at most once a request")]

mod anthropic;
pub mod error_body;
pub mod inspect;
mod json;
pub mod mock;
mod openai;
mod passthrough;
mod port;
pub mod prices;
pub mod splice;
pub mod sse;
mod upstream;
pub mod usage;

pub use inspect::Facts;
pub use port::{
    BadRequest, Call, Credential, CredentialField, Decoder, Failure, Provider, ProviderError, Refusal, Reply,
    Surface, Target,
};
pub use prices::Price;
pub use usage::{ServiceTier, Usage};

/// Every provider, by the prefix of `litellm_params.model`.
pub static PROVIDERS: &[&dyn Provider] = &[&openai::OpenAi, &anthropic::Anthropic];

/// The provider with this prefix (`openai`, `anthropic`).
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}
