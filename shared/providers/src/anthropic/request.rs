//! A chat completion request as a Messages request.
//!
//! Text, schemas and other values that both formats share are passed on as the bytes they are. Fields that have
//! no counterpart are a 400 that names them, or dropped where the deployment says so (`drop_params`); those that
//! would not change the answer's meaning are always dropped.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::messages::{self, Block, Turn};
use super::thinking::{self, Around, Thinking};
use super::tools::{self, Tool, ToolChoice};
use crate::json::{self, Text};
use crate::port::{BadRequest, Call, ProviderError};
use crate::prices::{self, Abilities};

/// Without a figure for the model: an answer length that every Claude since version 4 takes.
const DEFAULT_MAX_TOKENS: u64 = 32_000;

/// Dropped without a word: hints, bookkeeping, and preferences that Anthropic has no dial for.
const DROPPED: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "store",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// Anthropic's own fields, which LiteLLM's clients send beside OpenAI's: passed on.
const NATIVE: &[&str] =
    &["cache_control", "container", "context_management", "inference_geo", "mcp_servers", "speed"];

type Fields<'a> = BTreeMap<Text<'a>, &'a RawValue>;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(flatten)]
    native: BTreeMap<&'static str, &'a RawValue>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a RawValue,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OutputConfig<'a> {
    Native(&'a RawValue),
    Ours {
        #[serde(skip_serializing_if = "Option::is_none")]
        effort: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<Format<'a>>,
    },
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    schema: &'a RawValue,
}

/// What of a request the model and the deployment allow.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) abilities: Abilities,
    /// Drop what is not supported instead of refusing it.
    pub(super) drop: bool,
}

impl Limits {
    /// Nothing, when what is unsupported is to be dropped.
    ///
    /// # Errors
    ///
    /// The refusal that names the field.
    pub(super) fn refuse<T>(self, field: &str, why: &str) -> Result<Option<T>, BadRequest> {
        if self.drop {
            return Ok(None);
        }
        Err(BadRequest {
            message: format!(
                "`{field}` {why}. Set `drop_params` on the deployment to leave such fields out."
            ),
            param: Some(field.to_owned()),
            code: Some("unsupported_parameter"),
        })
    }
}

/// A 400 for a field that is wrong in itself.
pub(super) fn wrong(field: &str, why: &str) -> BadRequest {
    BadRequest { message: format!("`{field}` {why}."), param: Some(field.to_owned()), code: None }
}

/// The body for Anthropic.
pub(super) fn translate(call: &Call<'_>) -> Result<Bytes, ProviderError> {
    let target = call.target;
    let price = prices::lookup("anthropic", target.base_model.as_deref().unwrap_or(&target.model));
    let limits = Limits {
        abilities: price.as_ref().map_or(Abilities::UNKNOWN, |price| price.abilities),
        drop: target.drop_params,
    };
    let default_max = target
        .max_output_tokens
        .or(price.and_then(|price| price.max_output_tokens))
        .unwrap_or(DEFAULT_MAX_TOKENS);

    let mut fields: Fields<'_> =
        serde_json::from_slice(call.body).map_err(|_| wrong("request_body", "could not be read"))?;
    fields.retain(|_, value| value.get() != "null");
    let mut take = |name: &'static str| fields.remove(&Text(Cow::Borrowed(name)));

    let answer = take("max_completion_tokens");
    let older = take("max_tokens");
    let max_tokens =
        match answer.map(|raw| (raw, "max_completion_tokens")).or(older.map(|raw| (raw, "max_tokens"))) {
            Some((raw, name)) => raw.get().parse().map_err(|_| wrong(name, "must be a whole number"))?,
            None => default_max,
        };

    let own = take("thinking").map(thinking::own).transpose()?;
    let own_budget = own.as_ref().is_some_and(thinking::Own::has_budget);
    let mut names = tools::names(take("tools"))?;
    let choice =
        tools::choice(take("tool_choice"), take("parallel_tool_calls"), &mut names, limits, own_budget)?;
    let messages = take("messages").ok_or_else(|| wrong("messages", "is missing"))?;
    let (system, mut messages) = messages::translate(messages.get(), &mut names, limits)?;

    let around = Around {
        forced_tool: choice.as_ref().is_some_and(ToolChoice::forces),
        budget_allowed: messages::may_take_budget(&messages),
        max_tokens,
    };
    let plan = thinking::plan(own, take("reasoning_effort"), around, limits)?;
    if plan.gave_up {
        messages::forget_thoughts(&mut messages);
    }
    let (temperature, top_p, top_k) =
        sampling(take("temperature"), take("top_p"), take("top_k"), limits, plan.thinks)?;

    let output_config = output_config(take("output_config"), take("response_format"), plan.effort, limits)?;
    let user = take("user");
    let user = user.or(take("safety_identifier")).filter(|raw| json::is_string(raw));
    let stop_sequences = stop(take("stop"))?;
    let service_tier = service_tier(take("service_tier"), limits)?;
    refuse_several(take("n"), take("logprobs"), take("top_logprobs"), take("modalities"), limits)?;
    let native = NATIVE.iter().filter_map(|name| Some((*name, take(name)?))).collect();

    if let Some(name) = fields.keys().find(|name| !DROPPED.contains(&&*name.0)) {
        limits.refuse::<()>(&name.0, "is not supported by this provider")?;
    }

    let body = Body {
        model: &target.model,
        max_tokens,
        system,
        messages,
        temperature,
        top_p,
        top_k,
        stop_sequences,
        metadata: user.map(|user_id| Metadata { user_id }),
        service_tier,
        stream: call.facts.stream,
        tools: names.into_tools(),
        tool_choice: choice,
        thinking: plan.thinking,
        output_config,
        native,
    };
    let mut out = Vec::with_capacity(call.body.len() + 512);
    serde_json::to_writer(&mut out, &body).map_err(|_| wrong("request_body", "could not be translated"))?;
    Ok(out.into())
}

type Sampling<'a> = (Option<f64>, Option<f64>, Option<&'a RawValue>);

/// Sampling parameters are preferences: those that the model would answer with a 400 are left out.
///
/// - A model without sampling parameters gets none.
/// - While it thinks, by budget or adaptively, only a `top_p` from 0.95 on is taken beside the default temperature.
/// - Since Opus 4.1 `temperature` and `top_p` exclude each other. The one at its default, 1, says nothing and
///   goes; when both say something, `temperature` stays, as Anthropic advises to alter only that.
fn sampling<'a>(
    temperature: Option<&'a RawValue>,
    top_p: Option<&'a RawValue>,
    top_k: Option<&'a RawValue>,
    limits: Limits,
    thinks: bool,
) -> Result<Sampling<'a>, BadRequest> {
    let number = |raw: Option<&RawValue>, field| {
        raw.map(|raw| serde_json::from_str::<f64>(raw.get()).map_err(|_| wrong(field, "must be a number")))
            .transpose()
    };
    let mut temperature = number(temperature, "temperature")?;
    let top_p = number(top_p, "top_p")?;
    if !limits.abilities.sampling_params {
        return Ok((None, None, None));
    }
    if thinks {
        return Ok((None, top_p.filter(|p| *p >= 0.95), None));
    }
    if temperature.is_some_and(|temperature| temperature > 1.0) {
        temperature =
            limits.refuse("temperature", "must be between 0 and 1 for this provider")?.or(Some(1.0));
    }
    Ok(match (temperature, top_p) {
        (Some(1.0), Some(p)) if p < 1.0 => (None, Some(p), top_k),
        (Some(temperature), _) => (Some(temperature), None, top_k),
        (None, top_p) => (None, top_p, top_k),
    })
}

fn output_config<'a>(
    native: Option<&'a RawValue>,
    response_format: Option<&'a RawValue>,
    effort: Option<&'static str>,
    limits: Limits,
) -> Result<Option<OutputConfig<'a>>, BadRequest> {
    let format = format(response_format, limits)?;
    match native {
        Some(_) if effort.is_some() || format.is_some() => {
            Err(wrong("output_config", "cannot be combined with reasoning_effort or response_format"))
        }
        Some(native) => Ok(Some(OutputConfig::Native(native))),
        None if effort.is_none() && format.is_none() => Ok(None),
        None => Ok(Some(OutputConfig::Ours { effort, format })),
    }
}

fn format<'a>(
    response_format: Option<&'a RawValue>,
    limits: Limits,
) -> Result<Option<Format<'a>>, BadRequest> {
    #[derive(serde::Deserialize)]
    struct ResponseFormat<'a> {
        #[serde(borrow)]
        r#type: Text<'a>,
        #[serde(borrow)]
        json_schema: Option<JsonSchema<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct JsonSchema<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    const FIELD: &str = "response_format";
    let Some(raw) = response_format else { return Ok(None) };
    let asked: ResponseFormat<'a> =
        serde_json::from_str(raw.get()).map_err(|_| wrong(FIELD, "is not a response format"))?;
    match &*asked.r#type.0 {
        "text" | "json_object" => Ok(None),
        "json_schema" if !limits.abilities.native_structured_output => {
            limits.refuse(FIELD, "with a schema is not supported by this model")
        }
        "json_schema" => {
            let schema = asked.json_schema.and_then(|json_schema| json_schema.schema);
            let schema = schema.ok_or_else(|| wrong(FIELD, "has no json_schema.schema"))?;
            Ok(Some(Format { r#type: "json_schema", schema }))
        }
        _ => limits.refuse(FIELD, "has a type that this provider does not know"),
    }
}

/// `stop`, a string or several; Anthropic refuses one of white space only.
fn stop(raw: Option<&RawValue>) -> Result<Vec<&RawValue>, BadRequest> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let all = if json::is_string(raw) {
        vec![raw]
    } else {
        serde_json::from_str::<Vec<&RawValue>>(raw.get())
            .ok()
            .filter(|all| all.iter().all(|stop| json::is_string(stop)))
            .ok_or_else(|| wrong("stop", "must be a string or an array of strings"))?
    };
    Ok(all.into_iter().filter(|stop| !json::is_blank(stop)).collect())
}

fn service_tier(raw: Option<&RawValue>, limits: Limits) -> Result<Option<&'static str>, BadRequest> {
    match raw.map(RawValue::get) {
        None => Ok(None),
        Some("\"auto\"") => Ok(Some("auto")),
        Some("\"default\"" | "\"standard_only\"") => Ok(Some("standard_only")),
        Some(_) => limits.refuse("service_tier", "must be auto or default for this provider"),
    }
}

/// The fields that mean nothing at their usual value and cannot be served at any other.
fn refuse_several(
    n: Option<&RawValue>,
    logprobs: Option<&RawValue>,
    top_logprobs: Option<&RawValue>,
    modalities: Option<&RawValue>,
    limits: Limits,
) -> Result<(), BadRequest> {
    if n.is_some_and(|n| n.get() != "1") {
        limits.refuse::<()>("n", "must be 1 for this provider")?;
    }
    if logprobs.is_some_and(|logprobs| logprobs.get() != "false") {
        limits.refuse::<()>("logprobs", "is not supported by this provider")?;
    }
    if top_logprobs.is_some_and(|top| top.get() != "0") {
        limits.refuse::<()>("top_logprobs", "is not supported by this provider")?;
    }
    if modalities.is_some_and(|all| json::compact(all.get()) != r#"["text"]"#) {
        limits.refuse::<()>("modalities", "must be text for this provider")?;
    }
    Ok(())
}
