//! `model_list[].model_info`: what the operator knows of a model.

use crate::error::{ConfigError, Warning};
use crate::section::{Field, Section};
use crate::table::{Table, Unknown};

/// What the operator knows of a model; it wins over the price table. LiteLLM's `ModelInfo`
/// (`litellm/types/router.py`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelInfo {
    /// The model that prices and limits are looked up for, where the deployment's name does not say.
    pub base_model: Option<String>,
    /// `chat`, `embedding`, …
    pub mode: Option<String>,
    /// USD for a prompt token.
    pub input_cost_per_token: Option<f64>,
    /// USD for a completion token.
    pub output_cost_per_token: Option<f64>,
    /// The most tokens the model answers with, in older files.
    pub max_tokens: Option<u64>,
    /// The most tokens of a prompt.
    pub max_input_tokens: Option<u64>,
    /// The most tokens the model answers with.
    pub max_output_tokens: Option<u64>,
}

/// Why prices that are not read are refused: the cost that is billed would be wrong.
pub(crate) const OTHER_PRICE: &str = "prices other than input_cost_per_token and output_cost_per_token";

#[rustfmt::skip]
pub(crate) const TABLE: Table = Table {
    supported: &[
        "id", "base_model", "mode", "input_cost_per_token", "output_cost_per_token", "max_tokens",
        "max_input_tokens", "max_output_tokens",
    ],
    ignored: &[
        ("abilities come from the provider and the price table", &[
            "supports_function_calling", "supports_parallel_function_calling", "supports_vision", "supports_reasoning",
            "supports_response_schema", "supports_system_messages", "supports_tool_choice", "supports_prompt_caching",
            "supports_pdf_input", "supports_audio_input", "supports_audio_output", "supports_web_search",
            "supports_url_context", "supports_native_streaming", "supports_assistant_prefill", "supports_computer_use",
            "supported_openai_params", "supported_endpoints", "supported_modalities", "litellm_provider",
        ]),
        ("Keyturn makes no background health checks", &[
            "disable_background_health_check", "health_check_model", "health_check_timeout", "health_check_voice",
            "health_check_max_tokens",
        ]),
        ("it is LiteLLM's own record", &[
            "db_model", "created_at", "created_by", "updated_at", "updated_by", "key", "description",
        ]),
    ],
    refused: &[
        ("access groups of models", &["access_groups", "access_windows"]),
        ("models of one team", &["team_id", "team_public_model_name", "member_auto_router"]),
        ("switching a model off here; take it out of model_list", &["blocked", "supported_environments"]),
        ("routing by tag or tier", &["tier", "allow_fail_open", "enable_tag_filtering"]),
        ("prices of reserved capacity", &["ptu_count", "ptu_effective_from", "ptu_effective_to"]),
    ],
    refused_unless_true: &[("hiding a model from the list of models", &["discoverable"])],
    refused_parts: &[(OTHER_PRICE, "cost")],
    unknown: Unknown::Ignored,
};

impl ModelInfo {
    /// Reads the section; the second value is `id`.
    pub(crate) fn read(
        section: Section<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Self, Option<String>), ConfigError> {
        let mut section = section.sorted_by(&TABLE, warnings)?;
        let id = section.read("id", |field| {
            let empty = field.problem("must not be empty");
            let id = field.scalar()?;
            if id.is_empty() { Err(empty) } else { Ok(id) }
        })?;
        let info = Self {
            base_model: section.read("base_model", Field::text)?,
            mode: section.read("mode", Field::text)?,
            input_cost_per_token: section.read("input_cost_per_token", Field::number)?,
            output_cost_per_token: section.read("output_cost_per_token", Field::number)?,
            max_tokens: section.read("max_tokens", Field::whole)?,
            max_input_tokens: section.read("max_input_tokens", Field::whole)?,
            max_output_tokens: section.read("max_output_tokens", Field::whole)?,
        };
        Ok((info, id))
    }
}
