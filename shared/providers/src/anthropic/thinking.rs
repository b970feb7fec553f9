//! Whether and how a request thinks: the client's own `thinking`, or `reasoning_effort` in Anthropic's words. Which
//! words a model takes, its flags in the price table say.
//!
//! An effort is a hint. Where Anthropic would refuse to think, the request is sent without, so that what works with
//! OpenAI works here: a forced tool, and the history of a tool loop, come first. The client's own `thinking` is
//! passed on as it is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::{Limits, wrong};
use crate::json::{self, Text};
use crate::port::BadRequest;
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

/// The client's own `thinking`, in Anthropic's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    raw: &'a RawValue,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Budget,
    Adaptive,
    /// Disabled, or something that only the upstream knows.
    Other,
}

impl Own<'_> {
    /// Does it set a budget?
    pub(super) fn has_budget(&self) -> bool {
        self.mode == Mode::Budget
    }
}

/// Reads `thinking`.
pub(super) fn own(raw: &RawValue) -> Result<Own<'_>, BadRequest> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Text<'a>,
    }
    let typed: Typed<'_> =
        serde_json::from_str(raw.get()).map_err(|_| wrong("thinking", "must be an object with a type"))?;
    let mode = match &*typed.r#type.0 {
        "enabled" => Mode::Budget,
        "adaptive" => Mode::Adaptive,
        _ => Mode::Other,
    };
    Ok(Own { raw, mode })
}

/// What of the rest of a request bears on thinking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// The model must call a tool.
    pub(super) forced_tool: bool,
    /// The messages allow thinking by budget.
    pub(super) budget_allowed: bool,
    /// In tokens; a budget is less.
    pub(super) max_tokens: u64,
}

/// How a request thinks.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) thinking: Option<Thinking<'a>>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
    /// `thinking` is on, by budget or adaptively, which binds the sampling parameters.
    pub(super) thinks: bool,
    /// A budget was asked for and is not given.
    pub(super) gave_up: bool,
}

/// An effort in both of Anthropic's ways.
#[derive(Clone, Copy)]
struct Effort {
    word: &'static str,
    budget: u64,
}

/// Reads `reasoning_effort`; nothing for `none`.
fn read(raw: &RawValue, abilities: Abilities) -> Result<Option<Effort>, BadRequest> {
    const FIELD: &str = "reasoning_effort";
    let name = json::string(raw).ok_or_else(|| wrong(FIELD, "must be a string"))?;
    // Budgets are LiteLLM's.
    let (word, budget) = match &*name {
        "none" => return Ok(None),
        "minimal" | "low" => ("low", 1024),
        "medium" => ("medium", 2048),
        "high" => ("high", 4096),
        "xhigh" if abilities.xhigh_reasoning_effort => ("xhigh", 8192),
        "xhigh" => ("high", 8192),
        "max" if abilities.max_reasoning_effort => ("max", 16_384),
        "max" => ("high", 16_384),
        _ => return Err(wrong(FIELD, "must be none, minimal, low, medium, high, xhigh or max")),
    };
    Ok(Some(Effort { word, budget }))
}

/// The plan for the client's own `thinking` and its `reasoning_effort`.
pub(super) fn plan<'a>(
    own: Option<Own<'a>>,
    effort: Option<&RawValue>,
    around: Around,
    limits: Limits,
) -> Result<Plan<'a>, BadRequest> {
    let effort = effort.map(|raw| read(raw, limits.abilities)).transpose()?.flatten();
    if let Some(Own { raw, mode }) = own {
        // It wins over an effort, which beside adaptive thinking still says how hard to think.
        return Ok(Plan {
            thinking: Some(Thinking::Native(raw)),
            effort: effort.filter(|_| mode == Mode::Adaptive).map(|effort| effort.word),
            thinks: mode != Mode::Other,
            gave_up: false,
        });
    }
    let Some(effort) = effort else { return Ok(Plan::default()) };
    if !limits.abilities.reasoning {
        return Ok(limits.refuse("reasoning_effort", "is not supported by this model")?.unwrap_or_default());
    }
    if limits.abilities.adaptive_thinking {
        // Some models refuse a forced tool beside adaptive thinking. Without it the effort holds all the same, and
        // models that think by default still do.
        let thinks = !around.forced_tool;
        let thinking = Thinking::Adaptive { r#type: "adaptive", display: "summarized" };
        return Ok(Plan {
            thinking: thinks.then_some(thinking),
            effort: Some(effort.word),
            thinks,
            gave_up: false,
        });
    }
    let fits = around.max_tokens > MIN_BUDGET;
    if around.forced_tool || !around.budget_allowed || !fits {
        return Ok(Plan { gave_up: true, ..Plan::default() });
    }
    let budget_tokens = effort.budget.min(around.max_tokens - 1);
    Ok(Plan {
        thinking: Some(Thinking::Manual { r#type: "enabled", budget_tokens }),
        effort: None,
        thinks: true,
        gave_up: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(effort: &str, abilities: Abilities, max_tokens: u64) -> Result<Plan<'static>, BadRequest> {
        let effort = RawValue::from_string(format!("\"{effort}\"")).unwrap();
        let around = Around { forced_tool: false, budget_allowed: true, max_tokens };
        plan(None, Some(&effort), around, Limits { abilities, drop: false })
    }

    fn json(effort: &str, abilities: Abilities, max_tokens: u64) -> String {
        let plan = plan_of(effort, abilities, max_tokens).unwrap();
        assert_eq!(plan.thinks, plan.thinking.is_some());
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
        assert!(plan_of("enormous", Abilities::UNKNOWN, 9000).is_err());
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
