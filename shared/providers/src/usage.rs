//! What a request cost in tokens, as the upstream counted it.

use serde::Deserialize;

use crate::json::Count;

/// The price class a request was served in, as the upstream's answer names it. The standard class is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    /// `priority` (OpenAI, Anthropic), `fast` (OpenAI).
    Priority,
    /// `flex` (OpenAI).
    Flex,
    /// `ultrafast` (OpenAI).
    Ultrafast,
}

impl ServiceTier {
    /// The class of a `service_tier` field; `None` for `default`, `standard`, `auto` and unknown names, which are
    /// billed at standard rates.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "priority" | "fast" => Some(Self::Priority),
            "flex" => Some(Self::Flex),
            "ultrafast" => Some(Self::Ultrafast),
            _ => None,
        }
    }
}

/// Token counts of one request, in OpenAI's sense: cached tokens and cache writes lie inside the prompt's count,
/// reasoning inside the completion's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the whole prompt, cached ones and cache writes included.
    pub prompt_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached_tokens: u64,
    /// Prompt tokens written to the provider's cache, whatever their life.
    pub cache_write_tokens: u64,
    /// The part of `cache_write_tokens` that lives one hour.
    pub cache_write_1h_tokens: u64,
    /// Answer tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// The price class, from the answer.
    pub service_tier: Option<ServiceTier>,
    /// US dollars as the upstream billed them (OpenRouter's `usage.cost`).
    pub cost: Option<f64>,
}

impl Usage {
    /// Prompt and completion together.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// Reads OpenAI's `usage` object. `None` when it is no such object.
    #[must_use]
    pub fn from_openai(json: &str) -> Option<Self> {
        let wire: OpenAiUsage = serde_json::from_str(json).ok()?;
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        Some(Self {
            prompt_tokens: wire.prompt_tokens.0,
            completion_tokens: wire.completion_tokens.0,
            cached_tokens: prompt.cached_tokens.0,
            cache_write_tokens: prompt.cache_write_tokens.0,
            cache_write_1h_tokens: prompt.cache_write_1h_tokens.0,
            reasoning_tokens: wire.completion_tokens_details.unwrap_or_default().reasoning_tokens.0,
            service_tier: None,
            cost: wire.cost.filter(|cost| *cost >= 0.0),
        })
    }

    /// Writes OpenAI's `usage` object.
    #[must_use]
    pub fn to_openai(&self) -> String {
        let mut out = format!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"cache_write_tokens":{}}}"#,
            self.prompt_tokens,
            self.completion_tokens,
            self.total_tokens(),
            self.cached_tokens,
            self.cache_write_tokens,
        );
        if self.reasoning_tokens > 0 {
            out.push_str(&format!(
                r#","completion_tokens_details":{{"reasoning_tokens":{}}}"#,
                self.reasoning_tokens
            ));
        }
        out.push('}');
        out
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct OpenAiUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    cost: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    #[serde(alias = "cache_creation_tokens")]
    cache_write_tokens: Count,
    cache_write_1h_tokens: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

/// Anthropic's running `usage`: later values overlay earlier ones and are never added, since they are cumulative.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AnthropicUsage {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: u64,
    output: u64,
    thinking: u64,
    tier: Option<ServiceTier>,
}

#[derive(Deserialize)]
struct AnthropicWire<'a> {
    input_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<CacheCreation>,
    output_tokens: Option<Count>,
    output_tokens_details: Option<OutputDetails>,
    #[serde(borrow)]
    service_tier: Option<crate::json::Text<'a>>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: Option<Count>,
}

#[derive(Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<Count>,
}

impl AnthropicUsage {
    /// Takes what `json`, a `usage` object, says; what it leaves out stays. False when it is no such object.
    pub(crate) fn overlay(&mut self, json: &str) -> bool {
        let Ok(wire) = serde_json::from_str::<AnthropicWire<'_>>(json) else { return false };
        let take = |field: &mut u64, count: Option<Count>| {
            if let Some(count) = count {
                *field = count.0;
            }
        };
        take(&mut self.input, wire.input_tokens);
        take(&mut self.cache_read, wire.cache_read_input_tokens);
        take(&mut self.cache_write, wire.cache_creation_input_tokens);
        take(&mut self.cache_write_1h, wire.cache_creation.and_then(|it| it.ephemeral_1h_input_tokens));
        take(&mut self.output, wire.output_tokens);
        take(&mut self.thinking, wire.output_tokens_details.and_then(|it| it.thinking_tokens));
        if let Some(tier) = wire.service_tier {
            self.tier = ServiceTier::named(&tier.0);
        }
        true
    }

    /// In OpenAI's sense: Anthropic's `input_tokens` is the part that is neither read from nor written to the
    /// cache.
    pub(crate) fn to_usage(self) -> Usage {
        Usage {
            prompt_tokens: self.input.saturating_add(self.cache_read).saturating_add(self.cache_write),
            completion_tokens: self.output,
            cached_tokens: self.cache_read,
            cache_write_tokens: self.cache_write,
            cache_write_1h_tokens: self.cache_write_1h,
            reasoning_tokens: self.thinking,
            service_tier: self.tier,
            cost: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anthropic_usage_overlays() {
        let mut running = AnthropicUsage::default();
        assert!(running.overlay(r#"{"input_tokens":25,"output_tokens":1,"cache_read_input_tokens":100}"#));
        assert!(running.overlay(r#"{"output_tokens":15}"#));
        assert!(running.overlay(r#"{"output_tokens":20,"input_tokens":26,"service_tier":"priority"}"#));
        let usage = running.to_usage();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (126, 20, 100));
        assert_eq!(usage.service_tier, Some(ServiceTier::Priority));
        assert!(!running.overlay("[]"));
        assert_eq!(running.to_usage(), usage);
    }

    #[test]
    fn openai_usage_survives_a_round_trip_and_absurd_numbers() {
        let usage = Usage {
            prompt_tokens: 30,
            completion_tokens: 9,
            cached_tokens: 10,
            cache_write_tokens: 4,
            reasoning_tokens: 2,
            ..Usage::default()
        };
        assert_eq!(Usage::from_openai(&usage.to_openai()), Some(usage));
        let absurd = Usage::from_openai(r#"{"prompt_tokens":18446744073709551615,"completion_tokens":-1}"#);
        assert_eq!(absurd.map(|usage| usage.total_tokens()), Some(u64::MAX));
        let huge = Usage::from_openai(
            r#"{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615,"cost":-1}"#,
        );
        assert_eq!(huge.as_ref().map(Usage::total_tokens), Some(u64::MAX));
        assert_eq!(huge.and_then(|usage| usage.cost), None);
        assert_eq!(Usage::from_openai("null"), None);
    }
}
