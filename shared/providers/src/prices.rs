//! What models cost, how long their answers may be and what they can do: LiteLLM's price table.
//!
//! The table is `data/prices.json` (its notice beside it); `build.rs` makes one line per model of it, sorted, and
//! a look-up parses only the line it finds.

mod rates;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::json::Count;
use crate::usage::Usage;
use rates::Rates;

static TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/prices.txt"));

/// One row of the price table.
#[derive(Debug, Clone)]
pub struct Price {
    /// The row's provider, in LiteLLM's spelling: `openai`, `anthropic`, `bedrock_converse`, …
    pub provider: &'static str,
    /// The longest prompt, in tokens.
    pub max_input_tokens: Option<u64>,
    /// The longest answer, in tokens.
    pub max_output_tokens: Option<u64>,
    /// What the model can do.
    pub abilities: Abilities,
    rates: Rates,
}

/// What a model can do, from the table's flags; named as there, without `supports_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the table has independent flags")]
pub struct Abilities {
    /// Thinks.
    pub reasoning: bool,
    /// Decides itself how long to think; others take a budget in tokens.
    pub adaptive_thinking: bool,
    /// Takes `temperature`, `top_p`, `top_k`. Absent in the table: true.
    pub sampling_params: bool,
    /// Can be forced to call a tool. Absent in the table: true.
    pub forced_tool_use: bool,
    /// Takes a JSON schema for its answer.
    pub native_structured_output: bool,
    /// Takes a system message in the middle of a conversation.
    pub mid_conversation_system: bool,
    /// Takes the effort `xhigh`.
    pub xhigh_reasoning_effort: bool,
    /// Takes the effort `max`.
    pub max_reasoning_effort: bool,
}

impl Abilities {
    /// A model that the table does not know: nothing is held back that most models take, and the upstream judges.
    pub const UNKNOWN: Self = Self { reasoning: true, native_structured_output: true, ..Self::LISTED };

    /// A row without flags.
    const LISTED: Self = Self {
        reasoning: false,
        adaptive_thinking: false,
        sampling_params: true,
        forced_tool_use: true,
        native_structured_output: false,
        mid_conversation_system: false,
        xhigh_reasoning_effort: false,
        max_reasoning_effort: false,
    };
}

impl Price {
    /// The operator's own rates, in US dollars per token, in the place of the table's. What they leave open stays as
    /// `listed` has it, and costs nothing when it is not listed.
    #[must_use]
    pub fn custom(listed: Option<Self>, input: Option<f64>, output: Option<f64>) -> Self {
        let mut price = listed.unwrap_or_else(Self::unlisted);
        price.rates.replace(input, output);
        price
    }

    fn unlisted() -> Self {
        Self {
            provider: "",
            max_input_tokens: None,
            max_output_tokens: None,
            abilities: Abilities::LISTED,
            rates: Rates::default(),
        }
    }

    /// US dollars for `usage`: its own [`Usage::cost`] where the upstream billed one, else by the table's rates.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> f64 {
        usage.cost.unwrap_or_else(|| {
            let (prompt, completion) = self.cost_parts(usage);
            prompt + completion
        })
    }

    /// US dollars for the prompt and for the answer, by the table's rates.
    #[must_use]
    pub fn cost_parts(&self, usage: &Usage) -> (f64, f64) {
        self.rates.cost(usage)
    }
}

/// US dollars for one request: as the upstream billed it, else by the table. `None`: the model has no price.
#[must_use]
pub fn cost(provider: &str, model: &str, usage: &Usage) -> Option<f64> {
    usage.cost.or_else(|| lookup(provider, model).map(|price| price.cost(usage)))
}

/// The row of a provider's model, by the names that LiteLLM tries: `provider/model`, the model itself, then both
/// without what does not change the price (a snapshot date, a Vertex version, a fine-tune's own part, a Bedrock
/// region). Case does not matter. A row of another provider is not taken.
#[must_use]
pub fn lookup(provider: &str, model: &str) -> Option<Price> {
    let model = model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
    let base = base_name(provider, model);
    let prefixed = |name: &str| format!("{provider}/{name}");
    [Cow::Owned(prefixed(model)), Cow::Borrowed(model), Cow::Owned(prefixed(&base)), Cow::Borrowed(&*base)]
        .into_iter()
        .filter_map(|name| row(&name.to_lowercase()))
        .filter_map(|json| serde_json::from_str::<Price>(json).ok())
        .find(|price| serves(provider, price.provider))
}

/// Who has a model of this name, in LiteLLM's spelling: for models that are named without a provider.
#[must_use]
pub fn provider_of(model: &str) -> Option<&'static str> {
    let price: Price = serde_json::from_str(row(&model.to_lowercase())?).ok()?;
    Some(price.provider)
}

/// May `provider` use a row of `owner`? As in LiteLLM.
fn serves(provider: &str, owner: &str) -> bool {
    provider == owner
        || (provider == "vertex_ai" && owner.starts_with("vertex_ai"))
        || (provider.starts_with("bedrock") && owner.starts_with("bedrock"))
        || (provider == "azure_ai" && matches!(owner, "azure" | "openai"))
}

/// The name without what LiteLLM strips before its second try.
fn base_name<'a>(provider: &str, model: &'a str) -> Cow<'a, str> {
    let digits =
        |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    match provider {
        "bedrock" | "bedrock_converse" => Cow::Borrowed(bedrock_base(model)),
        "vertex_ai" | "gemini" => match model.rsplit_once('-') {
            Some((head, tail)) if !tail.is_empty() && digits(tail, tail.len()) => Cow::Borrowed(head),
            _ => Cow::Borrowed(model),
        },
        // ft:gpt-4o-2024-08-06:org:suffix:id → ft:gpt-4o-2024-08-06
        _ if model.contains("ft:") => Cow::Borrowed(model.rsplitn(4, ':').nth(3).unwrap_or(model)),
        // gpt-4o-2024-08-06 → gpt-4o
        _ => {
            let mut parts = model.rsplitn(4, '-');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(day), Some(month), Some(year), Some(name))
                    if digits(day, 2) && digits(month, 2) && digits(year, 4) =>
                {
                    Cow::Borrowed(name)
                }
                _ => Cow::Borrowed(model),
            }
        }
    }
}

/// `converse/us.anthropic.claude-…`, `us-west-2/anthropic.claude-…`, an ARN → `anthropic.claude-…`.
fn bedrock_base(model: &str) -> &str {
    let mut name = model;
    for prefix in ["converse/", "invoke/"] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    // An ARN ends with the model; a region may stand before it as a path.
    if let Some((head, tail)) = name.rsplit_once('/')
        && (head.starts_with("arn:") || !head.contains('.'))
    {
        name = tail;
    }
    match name.split_once('.') {
        Some(("global" | "us" | "eu" | "apac" | "jp" | "au" | "us-gov", rest)) => rest,
        _ => name,
    }
}

/// The JSON of the line whose name is `name`, by binary search over the text.
fn row(name: &str) -> Option<&'static str> {
    let table = TABLE.as_bytes();
    let (mut low, mut high) = (0, table.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memchr::memrchr(b'\n', &table[low..middle]).map_or(low, |at| low + at + 1);
        let end = memchr::memchr(b'\n', &table[start..]).map_or(table.len(), |at| start + at);
        let (found, json) = TABLE.get(start..end)?.split_once('\t')?;
        match found.cmp(name) {
            std::cmp::Ordering::Equal => return Some(json),
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    None
}

impl<'de: 'static> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PriceVisitor;
        impl<'de: 'static> Visitor<'de> for PriceVisitor {
            type Value = Price;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of the price table")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Price, A::Error> {
                let mut price = Price::unlisted();
                while let Some(field) = map.next_key::<&'static str>()? {
                    let abilities = &mut price.abilities;
                    let flag = match field {
                        "litellm_provider" => {
                            price.provider = map.next_value()?;
                            continue;
                        }
                        "max_input_tokens" => {
                            price.max_input_tokens = Some(map.next_value::<Count>()?.0);
                            continue;
                        }
                        "max_output_tokens" => {
                            price.max_output_tokens = Some(map.next_value::<Count>()?.0);
                            continue;
                        }
                        "supports_reasoning" => &mut abilities.reasoning,
                        "supports_adaptive_thinking" => &mut abilities.adaptive_thinking,
                        "supports_sampling_params" => &mut abilities.sampling_params,
                        "supports_forced_tool_use" => &mut abilities.forced_tool_use,
                        "supports_native_structured_output" => &mut abilities.native_structured_output,
                        "supports_mid_conversation_system" => &mut abilities.mid_conversation_system,
                        "supports_xhigh_reasoning_effort" => &mut abilities.xhigh_reasoning_effort,
                        "supports_max_reasoning_effort" => &mut abilities.max_reasoning_effort,
                        rate => {
                            if !price.rates.add(rate, || map.next_value())? {
                                map.next_value::<IgnoredAny>()?;
                            }
                            continue;
                        }
                    };
                    *flag = map.next_value()?;
                }
                Ok(price)
            }
        }
        deserializer.deserialize_map(PriceVisitor)
    }
}

#[cfg(test)]
#[path = "prices_tests.rs"]
mod tests;
