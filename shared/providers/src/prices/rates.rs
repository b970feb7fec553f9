//! Rates per token and the sum over them, as LiteLLM's `generic_cost_per_token` does it.

use crate::usage::{ServiceTier, Usage};

/// What a rate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Input,
    Output,
    Reasoning,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
}

/// The table's name of each kind; a name that another one starts with comes after it.
const KINDS: &[(&str, Kind)] = &[
    ("input_cost_per_token", Kind::Input),
    ("output_cost_per_token", Kind::Output),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("cache_read_input_token_cost", Kind::CacheRead),
    ("cache_creation_input_token_cost_above_1hr", Kind::CacheWrite1h),
    ("cache_creation_input_token_cost", Kind::CacheWrite),
];

/// US dollars per token.
#[derive(Debug, Clone, Copy)]
struct Rate {
    kind: Kind,
    /// Holds for prompts of more tokens than this; 0: for every prompt.
    above: u64,
    tier: Option<ServiceTier>,
    dollars: f64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Rates(Vec<Rate>);

impl Rates {
    /// Adds the rate that `field` names. False, and `value` is not read, when it names none.
    pub(super) fn add<E>(&mut self, field: &str, value: impl FnOnce() -> Result<f64, E>) -> Result<bool, E> {
        let Some((kind, above, tier)) = parse(field) else { return Ok(false) };
        self.0.push(Rate { kind, above, tier, dollars: value()? });
        Ok(true)
    }

    /// Puts one rate in the place of all that there are for prompts, and one for answers.
    pub(super) fn replace(&mut self, input: Option<f64>, output: Option<f64>) {
        for (kind, dollars) in [(Kind::Input, input), (Kind::Output, output)] {
            if let Some(dollars) = dollars {
                self.0.retain(|rate| rate.kind != kind);
                self.0.push(Rate { kind, above: 0, tier: None, dollars });
            }
        }
    }

    /// US dollars for the prompt and for the answer.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts far below 2^53; money here is a float, as in LiteLLM"
    )]
    pub(super) fn cost(&self, usage: &Usage) -> (f64, f64) {
        let tier = usage.service_tier;
        let rate = |kind| self.find(kind, usage.prompt_tokens, tier);
        let tokens = |count: u64| count as f64;

        let input = rate(Kind::Input).unwrap_or(0.0);
        let write = rate(Kind::CacheWrite).unwrap_or(input);
        let long_lived = usage.cache_write_1h_tokens.min(usage.cache_write_tokens);
        let uncached =
            usage.prompt_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens);
        let prompt = tokens(uncached) * input
            + tokens(usage.cached_tokens) * rate(Kind::CacheRead).unwrap_or(input)
            + (tokens(usage.cache_write_tokens - long_lived) * write
                + tokens(long_lived) * rate(Kind::CacheWrite1h).unwrap_or(write));

        let output = rate(Kind::Output).unwrap_or(0.0);
        let text = usage.completion_tokens.saturating_sub(usage.reasoning_tokens);
        let completion =
            tokens(text) * output + tokens(usage.reasoning_tokens) * self.reasoning(tier).unwrap_or(output);
        (prompt, completion)
    }

    /// The rate of the highest threshold that the prompt crosses; at each, the tier's own before the standard one.
    fn find(&self, kind: Kind, prompt_tokens: u64, tier: Option<ServiceTier>) -> Option<f64> {
        self.0
            .iter()
            .filter(|rate| rate.kind == kind && (rate.tier.is_none() || rate.tier == tier))
            .filter(|rate| rate.above == 0 || prompt_tokens > rate.above)
            .max_by_key(|rate| (rate.above, rate.tier.is_some()))
            .map(|rate| rate.dollars)
    }

    /// Reasoning's own rate. In a tier that prices its output apart, the standard reasoning rate does not hold.
    fn reasoning(&self, tier: Option<ServiceTier>) -> Option<f64> {
        let exact =
            |kind, tier| self.0.iter().find(|rate| rate.kind == kind && rate.above == 0 && rate.tier == tier);
        match tier {
            None => exact(Kind::Reasoning, None),
            Some(_) => exact(Kind::Reasoning, tier).or_else(|| {
                if exact(Kind::Output, tier).is_some() { None } else { exact(Kind::Reasoning, None) }
            }),
        }
        .map(|rate| rate.dollars)
    }
}

/// `input_cost_per_token_above_272k_tokens_flex` → (input, 272000, flex).
fn parse(field: &str) -> Option<(Kind, u64, Option<ServiceTier>)> {
    let (rest, kind) = KINDS.iter().find_map(|(name, kind)| Some((field.strip_prefix(name)?, *kind)))?;
    let (above, rest) = match rest.strip_prefix("_above_").and_then(|rest| rest.split_once("k_tokens")) {
        Some((thousands, rest)) => (thousands.parse::<u64>().ok()?.checked_mul(1000)?, rest),
        None => (0, rest),
    };
    let tier = match rest {
        "" => None,
        tier => Some(ServiceTier::named(tier.strip_prefix('_')?)?),
    };
    Some((kind, above, tier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(parse("input_cost_per_token"), Some((Kind::Input, 0, None)));
        assert_eq!(
            parse("cache_creation_input_token_cost_above_1hr_above_200k_tokens"),
            Some((Kind::CacheWrite1h, 200_000, None))
        );
        assert_eq!(
            parse("output_cost_per_token_above_272k_tokens_flex"),
            Some((Kind::Output, 272_000, Some(ServiceTier::Flex)))
        );
        for other in ["input_cost_per_token_batches", "input_cost_per_audio_token", "mode", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
