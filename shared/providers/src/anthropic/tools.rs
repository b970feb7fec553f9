//! Tools and the choice among them.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::names::{self, Renames};
use super::request::{Limits, wrong};
use crate::json::{self, Text};
use crate::port::BadRequest;

/// A JSON value: the client's bytes, or ours.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Token<'a> {
    Raw(&'a RawValue),
    Own(Box<RawValue>),
}

impl Token<'_> {
    /// `json`, which must be valid.
    pub(super) fn own(json: String) -> Option<Self> {
        RawValue::from_string(json).ok().map(Self::Own)
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Tool<'a> {
    /// A tool of Anthropic's own (`web_search_…`, `bash_…`), as the client wrote it.
    Native(&'a RawValue),
    Function {
        name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a RawValue>,
        input_schema: Token<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct ToolChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

impl ToolChoice<'_> {
    /// Must the model call a tool?
    pub(super) fn forces(&self) -> bool {
        matches!(self.r#type, "any" | "tool")
    }
}

/// A request's tools under their new names, and the ids of its tool calls.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    tools: Vec<Tool<'a>>,
    renames: Renames<'a>,
    ids: Renames<'a>,
}

impl<'a> Names<'a> {
    pub(super) fn into_tools(self) -> Vec<Tool<'a>> {
        self.tools
    }

    /// The name of a tool, also of one that is called in the history but no longer offered.
    pub(super) fn tool(&mut self, name: &Cow<'a, str>) -> Cow<'a, str> {
        self.renames.of(name)
    }

    /// The id of a tool call.
    pub(super) fn id(&mut self, id: &Cow<'a, str>) -> Cow<'a, str> {
        self.ids.of(id)
    }
}

#[derive(Deserialize)]
struct WireTool<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<WireFunction<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

/// Reads `tools`.
pub(super) fn names(tools: Option<&RawValue>) -> Result<Names<'_>, BadRequest> {
    let Some(tools) = tools else { return Ok(Names::default()) };
    let raw: Vec<&RawValue> =
        serde_json::from_str(tools.get()).map_err(|_| wrong("tools", "must be an array"))?;
    let mut wire = Vec::with_capacity(raw.len());
    for (at, tool) in raw.iter().enumerate() {
        let tool: WireTool<'_> =
            serde_json::from_str(tool.get()).map_err(|_| wrong(&format!("tools[{at}]"), "is not a tool"))?;
        wire.push(tool);
    }
    let functions = wire.iter().filter_map(|tool| Some(tool.function.as_ref()?.name.0.clone()));
    let mut renames = names::of_tools(functions);
    let mut tools = Vec::with_capacity(wire.len());
    for (at, (wire, raw)) in wire.into_iter().zip(raw).enumerate() {
        let Some(function) = wire.function else {
            match wire.r#type.as_ref().map(|kind| &*kind.0) {
                None | Some("function" | "custom") => {
                    return Err(wrong(&format!("tools[{at}]"), "must be a function for this provider"));
                }
                Some(_) => tools.push(Tool::Native(raw)),
            }
            continue;
        };
        tools.push(Tool::Function {
            name: renames.of(&function.name.0),
            description: function.description,
            input_schema: schema(function.parameters)
                .ok_or_else(|| wrong(&format!("tools[{at}].function.parameters"), "must be an object"))?,
            strict: function.strict,
            cache_control: wire.cache_control.or(function.cache_control),
        });
    }
    Ok(Names { tools, renames, ids: Renames::default() })
}

/// A schema with the `type` that Anthropic requires; `None` for what is no object.
fn schema(parameters: Option<&RawValue>) -> Option<Token<'_>> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: Option<IgnoredAny>,
    }
    const EMPTY: &str = r#"{"type":"object","properties":{}}"#;
    let Some(raw) = parameters else { return Token::own(EMPTY.to_owned()) };
    let members = raw.get().strip_prefix('{')?.trim_start();
    if members == "}" {
        return Token::own(EMPTY.to_owned());
    }
    match serde_json::from_str::<Typed>(raw.get()) {
        Ok(Typed { r#type: None }) => Token::own([r#"{"type":"object","#, members].concat()),
        _ => Some(Token::Raw(raw)),
    }
}

/// Reads `tool_choice` and `parallel_tool_calls`. `own_budget`: the client set a thinking budget itself, beside
/// which Anthropic refuses a forced tool.
pub(super) fn choice<'a>(
    choice: Option<&'a RawValue>,
    parallel: Option<&'a RawValue>,
    names: &mut Names<'a>,
    limits: Limits,
    own_budget: bool,
) -> Result<Option<ToolChoice<'a>>, BadRequest> {
    const FIELD: &str = "tool_choice";
    let one_at_a_time = match parallel.map(RawValue::get) {
        None | Some("true") => false,
        Some("false") => true,
        Some(_) => return Err(wrong("parallel_tool_calls", "must be true or false")),
    };
    let (kind, name) = match choice {
        None => (None, None),
        Some(raw) => {
            let (kind, name) = read_choice(raw, names, limits)?;
            (kind, name)
        }
    };
    if names.tools.is_empty() {
        return match kind {
            Some("any" | "tool") => Err(wrong(FIELD, "is only allowed with tools")),
            _ => Ok(None),
        };
    }
    let refusal = if !limits.abilities.forced_tool_use {
        Some("cannot force a tool with this model")
    } else if own_budget {
        Some("cannot force a tool beside a thinking budget (`thinking`)")
    } else {
        None
    };
    let (kind, name) = match (kind, refusal) {
        (Some("any" | "tool"), Some(why)) => {
            limits.refuse::<()>(FIELD, why)?;
            (Some("auto"), None)
        }
        (kind, _) => (kind, name),
    };
    Ok(match kind {
        Some("none") => Some(ToolChoice { r#type: "none", name: None, disable_parallel_tool_use: false }),
        Some(kind) => Some(ToolChoice { r#type: kind, name, disable_parallel_tool_use: one_at_a_time }),
        None if one_at_a_time => {
            Some(ToolChoice { r#type: "auto", name: None, disable_parallel_tool_use: true })
        }
        None => None,
    })
}

type Choice<'a> = (Option<&'static str>, Option<Cow<'a, str>>);

fn read_choice<'a>(
    raw: &'a RawValue,
    names: &mut Names<'a>,
    limits: Limits,
) -> Result<Choice<'a>, BadRequest> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        function: Function<'a>,
    }
    #[derive(Deserialize)]
    struct Function<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    if let Some(word) = json::string(raw) {
        return match &*word {
            "auto" => Ok((Some("auto"), None)),
            "required" => Ok((Some("any"), None)),
            "none" => Ok((Some("none"), None)),
            _ => Err(wrong("tool_choice", "must be auto, required, none or a function")),
        };
    }
    match serde_json::from_str::<Named<'a>>(raw.get()) {
        Ok(named) => Ok((Some("tool"), Some(names.tool(&named.function.name.0)))),
        Err(_) => {
            limits.refuse::<()>(
                "tool_choice",
                "must be auto, required, none or a function for this provider",
            )?;
            Ok((None, None))
        }
    }
}
