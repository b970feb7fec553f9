//! `reasoning_effort` in Anthropic's words. Which words a model takes, its flags in the price table say.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::prices::Abilities;

/// The least budget that Anthropic takes.
const MIN_BUDGET: u64 = 1024;

/// The `thinking` field.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Thinking<'a> {
    /// The client's own.
    Native(&'a RawValue),
    Adaptive {
        r#type: &'static str,
        /// Without it the text of the thoughts is left out.
        display: &'static str,
    },
    Manual {
        r#type: &'static str,
        budget_tokens: u64,
    },
}

/// How a request thinks.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) thinking: Option<Thinking<'a>>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
    /// Thinking by budget, which rules out `temperature` and a forced tool.
    pub(super) manual: bool,
}

/// The plan for an effort; `None` when there is no such effort.
pub(super) fn plan<'a>(effort: &str, abilities: Abilities, max_tokens: u64) -> Option<Plan<'a>> {
    if effort == "none" {
        return Some(Plan::default());
    }
    // Budgets are LiteLLM's.
    let (adaptive, budget) = match effort {
        "minimal" | "low" => ("low", 1024),
        "medium" => ("medium", 2048),
        "high" => ("high", 4096),
        "xhigh" if abilities.xhigh_reasoning_effort => ("xhigh", 8192),
        "xhigh" => ("high", 8192),
        "max" if abilities.max_reasoning_effort => ("max", 16_384),
        "max" => ("high", 16_384),
        _ => return None,
    };
    if abilities.adaptive_thinking {
        return Some(Plan {
            thinking: Some(Thinking::Adaptive { r#type: "adaptive", display: "summarized" }),
            effort: Some(adaptive),
            manual: false,
        });
    }
    if max_tokens <= MIN_BUDGET {
        return Some(Plan::default()); // no budget fits
    }
    Some(Plan {
        thinking: Some(Thinking::Manual { r#type: "enabled", budget_tokens: budget.min(max_tokens - 1) }),
        effort: None,
        manual: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(effort: &str, abilities: Abilities, max_tokens: u64) -> String {
        let plan = plan(effort, abilities, max_tokens).unwrap();
        format!("{} {}", serde_json::to_string(&plan.thinking).unwrap(), plan.effort.unwrap_or("-"))
    }

    #[test]
    fn budgets() {
        for (effort, max_tokens, budget) in [
            ("minimal", 9000, 1024),
            ("low", 9000, 1024),
            ("medium", 9000, 2048),
            ("high", 9000, 4096),
            ("xhigh", 9000, 8192),
            ("max", 99_000, 16_384),
            ("max", 9000, 8999),
            ("medium", 1025, 1024),
        ] {
            let expected = format!(r#"{{"type":"enabled","budget_tokens":{budget}}} -"#);
            assert_eq!(json(effort, Abilities::UNKNOWN, max_tokens), expected, "{effort} {max_tokens}");
        }
        for (effort, max_tokens) in [("high", 1024), ("high", 0), ("none", 9000)] {
            assert_eq!(json(effort, Abilities::UNKNOWN, max_tokens), "null -");
        }
        assert!(plan("enormous", Abilities::UNKNOWN, 9000).is_none());
    }

    #[test]
    fn efforts() {
        let plain = Abilities { adaptive_thinking: true, ..Abilities::UNKNOWN };
        let full = Abilities { xhigh_reasoning_effort: true, max_reasoning_effort: true, ..plain };
        for (effort, abilities, word) in [
            ("minimal", plain, "low"),
            ("low", plain, "low"),
            ("medium", plain, "medium"),
            ("high", plain, "high"),
            ("xhigh", plain, "high"),
            ("max", plain, "high"),
            ("xhigh", full, "xhigh"),
            ("max", full, "max"),
        ] {
            let expected = format!(r#"{{"type":"adaptive","display":"summarized"}} {word}"#);
            assert_eq!(json(effort, abilities, 100), expected, "{effort}");
        }
        assert_eq!(json("none", full, 9000), "null -");
    }
}
