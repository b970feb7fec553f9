//! Reads usage out of chat completions that pass by, whole or streamed.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::errors;
use crate::json::Text;
use crate::passthrough::{Meter, Verdict};
use crate::port::{Failure, Surface};
use crate::upstream;
use crate::usage::{ServiceTier, Usage};

/// What matters of a completion or of one chunk of it.
#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    choices: Option<Choices>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
}

impl Completion<'_> {
    fn usage(&self) -> Option<Usage> {
        self.usage.and_then(|usage| Usage::from_openai(usage.get()))
    }

    fn tier(&self) -> Option<Option<ServiceTier>> {
        let tier = self.service_tier?;
        serde_json::from_str::<Text<'_>>(tier.get()).ok().map(|name| ServiceTier::named(&name.0))
    }
}

/// `choices`: only whether there are any.
struct Choices {
    empty: bool,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChoicesVisitor;
        impl<'de> Visitor<'de> for ChoicesVisitor {
            type Value = Choices;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("choices")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices, A::Error> {
                let mut empty = true;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    empty = false;
                }
                Ok(Choices { empty })
            }
        }
        deserializer.deserialize_seq(ChoicesVisitor)
    }
}

/// The usage of a whole completion.
pub(super) fn whole(surface: Surface, body: &[u8]) -> Result<Option<Usage>, Failure> {
    let completion: Completion<'_> = serde_json::from_slice(body)
        .map_err(|_| upstream::unreadable(surface, "The upstream's answer is not a chat completion."))?;
    if let Some(error) = completion.error {
        return Err(errors::inside(surface, error));
    }
    if completion.choices.is_none() {
        return Err(upstream::unreadable(surface, "The upstream's answer has no choices."));
    }
    let tier = completion.tier().flatten();
    Ok(completion.usage().map(|usage| Usage { service_tier: tier, ..usage }))
}

/// Meters a stream of chunks that ends with `[DONE]`.
#[derive(Debug)]
pub(crate) struct ChatMeter {
    surface: Surface,
    /// The client did not ask for the usage chunk; it is in the stream because the gateway did.
    strip: bool,
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
}

impl ChatMeter {
    pub(crate) fn new(surface: Surface, strip: bool) -> Self {
        Self { surface, strip, usage: None, tier: None }
    }
}

impl Meter for ChatMeter {
    fn see(&mut self, data: &[u8]) -> Result<Verdict, Failure> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(Verdict::Last);
        }
        let chunk: Completion<'_> = serde_json::from_slice(data).map_err(|_| {
            upstream::unreadable(self.surface, "The upstream sent an unreadable stream event.")
        })?;
        if let Some(error) = chunk.error {
            return Err(errors::inside(self.surface, error));
        }
        if let Some(tier) = chunk.tier() {
            self.tier = tier;
            if let Some(usage) = &mut self.usage {
                usage.service_tier = tier;
            }
        }
        let Some(usage) = chunk.usage() else { return Ok(Verdict::Forward) };
        self.usage = Some(Usage { service_tier: self.tier, ..usage });
        let usage_only = chunk.choices.is_some_and(|choices| choices.empty);
        Ok(if self.strip && usage_only { Verdict::Drop } else { Verdict::Forward })
    }

    fn not_a_stream(&self, body: &[u8]) -> Option<Failure> {
        let answer: Completion<'_> = serde_json::from_slice(body).ok()?;
        answer.error.map(|error| errors::inside(self.surface, error))
    }

    fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}
