//! `router_settings`, and the part of `litellm_settings` that Keyturn reads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{ConfigError, Warning};
use crate::fallback::Fallback;
use crate::section::{Field, Section};
use crate::table::{Table, Unknown};

/// `litellm_settings` as written. What the router's settings also name is merged in [`Router`]: read it there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiteLlm {
    /// Drop request fields that a provider does not know, instead of refusing the request.
    pub drop_params: bool,
    /// The time limit of a request.
    pub request_timeout: Option<Duration>,
    /// Retries of a request.
    pub num_retries: Option<u32>,
    /// Failures a minute that a deployment may have before it cools down.
    pub allowed_fails: Option<u32>,
    /// How long it cools down.
    pub cooldown_time: Option<Duration>,
    /// The most fallbacks of a request.
    pub max_fallbacks: Option<u32>,
    /// Fallbacks after any failure.
    pub fallbacks: Option<Vec<Fallback>>,
    /// Fallbacks after a prompt that is too long.
    pub context_window_fallbacks: Option<Vec<Fallback>>,
    /// Fallbacks after a refusal by the provider's content policy.
    pub content_policy_fallbacks: Option<Vec<Fallback>>,
    /// The model groups to try when a model has no fallbacks of its own.
    pub default_fallbacks: Option<Vec<String>>,
}

/// How a deployment of a group is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoutingStrategy {
    /// At random, by weight.
    #[default]
    SimpleShuffle,
}

/// The router's settings in effect: `router_settings`, else `litellm_settings`, else LiteLLM's defaults
/// (`litellm/router.py`).
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// How a deployment of a group is chosen.
    pub routing_strategy: RoutingStrategy,
    /// Retries of a request within its group: 2.
    pub num_retries: u32,
    /// Failures a minute that a deployment may have before it cools down: 3.
    pub allowed_fails: u32,
    /// How long it cools down: 5 s. Zero: never.
    pub cooldown_time: Duration,
    /// The time limit of a request; `None`: the caller's own.
    pub timeout: Option<Duration>,
    /// The time limit of a streamed request; `None`: as `timeout`.
    pub stream_timeout: Option<Duration>,
    /// Fallbacks after any failure.
    pub fallbacks: Vec<Fallback>,
    /// Fallbacks after a prompt that is too long.
    pub context_window_fallbacks: Vec<Fallback>,
    /// Fallbacks after a refusal by the provider's content policy.
    pub content_policy_fallbacks: Vec<Fallback>,
    /// The model groups to try when a model has no fallbacks of its own.
    pub default_fallbacks: Vec<String>,
    /// The most fallbacks of a request: 5.
    pub max_fallbacks: u32,
    /// Other names of model groups.
    pub model_group_alias: BTreeMap<String, String>,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            routing_strategy: RoutingStrategy::SimpleShuffle,
            num_retries: 2,
            allowed_fails: 3,
            cooldown_time: Duration::from_secs(5),
            timeout: None,
            stream_timeout: None,
            fallbacks: Vec::new(),
            context_window_fallbacks: Vec::new(),
            content_policy_fallbacks: Vec::new(),
            default_fallbacks: Vec::new(),
            max_fallbacks: 5,
            model_group_alias: BTreeMap::new(),
        }
    }
}

const RETRY_POLICIES: &str = "retries and cooldowns by kind of failure";

#[rustfmt::skip]
const LITELLM: Table = Table {
    supported: &[
        "drop_params", "request_timeout", "num_retries", "allowed_fails", "cooldown_time", "max_fallbacks", "fallbacks",
        "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks", "callbacks",
    ],
    ignored: &[
        ("Keyturn logs one line a request and calls nobody back", &[
            "success_callback", "failure_callback", "service_callback", "service_callbacks", "input_callback",
            "turn_off_message_logging", "redact_messages_in_exceptions", "redact_user_api_key_info",
            "log_raw_request_response", "langfuse_default_tags", "langsmith_batch_size", "argilla_batch_size",
            "argilla_transformation_object", "s3_callback_params", "datadog_params", "datadog_use_v1",
            "datadog_llm_observability_params", "gcs_pub_sub_use_v1", "generic_api_use_v1", "generic_logger_headers",
            "aws_sqs_callback_params", "cold_storage_custom_logger", "logged_real_time_event_types",
            "custom_prometheus_metadata_labels", "custom_prometheus_tags", "prometheus_metrics_config",
            "prometheus_initialize_budget_metrics", "require_auth_for_metrics_endpoint", "store_audit_logs",
            "disable_streaming_logging", "disable_end_user_cost_tracking_prometheus_only",
            "enable_end_user_cost_tracking_prometheus_only", "allow_dynamic_callback_disabling", "logging",
        ]),
        ("logs are JSON, and KEYTURN_LOG_LEVEL sets their level", &[
            "set_verbose", "json_logs", "suppress_debug_info", "telemetry", "debug",
        ]),
        ("Keyturn caches no answers", &[
            "cache", "cache_params", "caching", "caching_with_models", "default_in_memory_ttl", "default_redis_ttl",
            "default_redis_batch_cache_expiry", "enable_caching_on_provider_specific_optional_params",
            "enable_redis_auth_cache",
        ]),
        ("Keyturn has its own HTTP client", &[
            "force_ipv4", "use_aiohttp_transport", "disable_aiohttp_transport", "disable_aiohttp_trust_env",
            "ssl_ecdh_curve", "use_client", "safe_memory_mode", "disable_token_counter", "disable_hf_tokenizer_download",
            "in_memory_llm_clients_cache",
        ]),
        ("Keyturn has no admin pages", &[
            "max_ui_session_budget", "public_model_groups", "public_agent_groups", "public_mcp_servers",
            "public_model_groups_links", "default_soft_budget", "disable_end_user_cost_tracking",
        ]),
        ("Keyturn has no such endpoint", &["mcp_aliases", "enable_loadbalancing_on_batch_endpoints"]),
        ("it changes nothing here", &[
            "enable_preview_features", "return_response_headers", "disable_copilot_system_to_assistant",
            "disable_add_transform_inline_image_block", "disable_add_user_agent_to_request_tags",
            "extra_spend_tag_headers", "use_chat_completions_url_for_anthropic_messages", "model_cost_map_url",
            "email", "token",
        ]),
    ],
    refused: &[
        ("guardrails and moderation", &[
            "guardrails", "guardrail_name_config_map", "llamaguard_model_name", "llamaguard_unsafe_content_categories",
            "openai_moderations_model_name", "presidio_ad_hoc_recognizers", "google_moderation_confidence_threshold",
            "blocked_user_list", "banned_keywords_list", "llm_guard_mode", "output_parse_pii", "pre_call_rules",
            "post_call_rules",
        ]),
        ("budgets over all keys", &[
            "max_budget", "budget_duration", "max_user_budget", "max_internal_user_budget",
            "default_max_internal_user_budget", "internal_user_budget_duration", "tag_budget_config",
            "max_end_user_budget", "max_end_user_budget_id", "cost_discount_config", "cost_margin_config",
            "priority_reservation", "priority_reservation_settings",
        ]),
        ("rules for making keys", &[
            "default_key_generate_params", "upperbound_key_generate_params", "key_generation_settings",
            "default_internal_user_params", "default_team_params", "default_team_settings",
            "enable_key_alias_format_validation",
        ]),
        ("changes to requests and answers", &[
            "modify_params", "add_function_to_prompt", "custom_prompt_dict", "prompt_name_config_map",
            "disable_add_prefix_to_prompt", "include_cost_in_streaming_usage", "enable_json_schema_validation",
            "vertex_ai_safety_settings", "add_user_information_to_llm_headers", "forward_traceparent_to_llm_provider",
            "headers", "filter_invalid_headers", "global_disable_no_log_param",
        ]),
        ("other names of models; use router_settings.model_group_alias", &[
            "model_alias_map", "model_fallbacks", "model_group_settings",
        ]),
        ("credentials and endpoints for all models; write them in model_list", &[
            "api_key", "api_base", "api_version", "organization", "project", "vertex_project", "vertex_location",
            "openai_key", "azure_key", "anthropic_key", "groq_key", "cohere_key", "replicate_key", "openrouter_key",
            "databricks_key", "huggingface_key", "togetherai_api_key", "credential_list", "use_litellm_proxy",
            "enable_azure_ad_token_refresh", "secret_manager_client",
        ]),
        ("another way to reach providers", &[
            "ssl_security_level", "ssl_certificate", "aiohttp_trust_env", "client_session", "aclient_session",
        ]),
        (RETRY_POLICIES, &["num_retries_per_request", "retry_policy", "allowed_fails_policy"]),
    ],
    refused_unless_true: &[
        ("connections without a check of the certificate", &["ssl_verify"]),
        ("switching retries off here; set num_retries: 0", &["retry"]),
    ],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

/// The names in `callbacks` that only log (LiteLLM's list, `litellm/__init__.py`). The others may change or refuse
/// a request.
#[rustfmt::skip]
const LOGGING_CALLBACKS: &[&str] = &[
    "agentops", "argilla", "arize", "arize_phoenix", "aws_sqs", "azure_sentinel", "azure_storage", "braintrust",
    "cloudzero", "custom_callback_api", "datadog", "datadog_cost_management", "datadog_llm_observability", "deepeval",
    "galileo", "gcs_bucket", "gcs_pubsub", "generic_api", "helicone", "humanloop", "lago", "langfuse", "langfuse_otel",
    "langsmith", "langtrace", "literalai", "logfire", "lunary", "mlflow", "openmeter", "opik", "otel", "pagerduty",
    "posthog", "prometheus", "resend_email", "s3", "s3_v2", "sentry", "slack", "smtp_email", "supabase", "traceloop",
    "wandb", "weave_otel",
];

#[rustfmt::skip]
const ROUTER: Table = Table {
    supported: &[
        "routing_strategy", "num_retries", "max_retries", "allowed_fails", "cooldown_time", "disable_cooldowns",
        "timeout", "stream_timeout", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
        "default_fallbacks", "max_fallbacks", "model_group_alias",
    ],
    ignored: &[
        ("Keyturn keeps its counters in DynamoDB", &[
            "redis_url", "redis_host", "redis_port", "redis_password", "redis_db", "redis_ssl", "redis_username",
        ]),
        ("Keyturn caches no answers", &["cache_responses", "cache_kwargs", "caching_groups"]),
        ("Keyturn has its own HTTP client", &["client_ttl"]),
        ("Keyturn never sleeps before a retry: a function is billed while it waits", &["retry_after"]),
        ("an invalid deployment is always an error", &["ignore_invalid_deployments"]),
        ("logs are JSON, and KEYTURN_LOG_LEVEL sets their level", &["set_verbose", "debug_level"]),
        ("Keyturn sends no alerts", &["alerting_config"]),
        ("it only counts beside a setting that is not supported", &[
            "routing_strategy_args", "tag_filtering_match_any", "tag_routing_prefix", "deployment_affinity_ttl_seconds",
            "polling_interval", "health_check_staleness_threshold", "health_check_ignore_transient_errors",
            "router_general_settings",
        ]),
        ("Keyturn has no such endpoint", &["assistants_config", "search_tools"]),
    ],
    refused: &[
        ("checks before a call", &["enable_pre_call_check", "enable_pre_call_checks", "optional_pre_call_checks"]),
        ("routing by tag, group or health", &[
            "enable_tag_filtering", "routing_groups", "model_group_affinity_config", "enable_health_check_routing",
            "enable_weighted_failover", "weights",
        ]),
        (RETRY_POLICIES, &["retry_policy", "model_group_retry_policy", "allowed_fails_policy"]),
        ("additions to every request; the client's own bytes are passed on", &["default_litellm_params"]),
        ("limits of parallel requests and priorities", &["default_max_parallel_requests", "default_priority"]),
        ("budgets of providers", &["provider_budget_config"]),
        ("guardrails", &["guardrail_list"]),
    ],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

impl LiteLlm {
    pub(crate) fn read(section: Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self, ConfigError> {
        let mut section = section.sorted_by(&LITELLM, warnings)?;
        section.read("callbacks", |field| callbacks(field, warnings))?;
        Ok(Self {
            drop_params: section.read("drop_params", Field::boolean)?.unwrap_or_default(),
            request_timeout: section.read("request_timeout", Field::time_limit)?,
            num_retries: section.read("num_retries", Field::whole)?,
            allowed_fails: section.read("allowed_fails", Field::whole)?,
            cooldown_time: section.read("cooldown_time", Field::seconds)?,
            max_fallbacks: section.read("max_fallbacks", Field::whole)?,
            fallbacks: section.read("fallbacks", Fallback::read_list)?,
            context_window_fallbacks: section.read("context_window_fallbacks", Fallback::read_list)?,
            content_policy_fallbacks: section.read("content_policy_fallbacks", Fallback::read_list)?,
            default_fallbacks: section.read("default_fallbacks", Field::texts)?,
        })
    }
}

fn callbacks(field: Field<'_>, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
    let path = field.path().to_owned();
    for (index, name) in field.texts()?.iter().enumerate() {
        if !LOGGING_CALLBACKS.contains(&name.as_str()) {
            let path = format!("{path}[{index}]");
            return Err(ConfigError::Unsupported { path, why: "a callback that may do more than log" });
        }
    }
    warnings.push(Warning { path, why: "Keyturn logs one line a request and calls nobody back".to_owned() });
    Ok(())
}

impl Router {
    pub(crate) fn read(
        section: Section<'_>,
        litellm: &LiteLlm,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ConfigError> {
        let mut section = section.sorted_by(&ROUTER, warnings)?;
        let default = Self::default();
        let num_retries = section.read("num_retries", Field::whole)?;
        let max_retries = section.read("max_retries", Field::whole)?;
        let cooldown_time = section.read("cooldown_time", Field::seconds)?;
        let never_cools = section.read("disable_cooldowns", Field::boolean)?.unwrap_or_default();
        let mut fallbacks = |name: &str, other: &Option<Vec<Fallback>>| {
            let own = section.read(name, Fallback::read_list)?;
            Ok::<_, ConfigError>(own.or_else(|| other.clone()).unwrap_or_default())
        };
        Ok(Self {
            fallbacks: fallbacks("fallbacks", &litellm.fallbacks)?,
            context_window_fallbacks: fallbacks(
                "context_window_fallbacks",
                &litellm.context_window_fallbacks,
            )?,
            content_policy_fallbacks: fallbacks(
                "content_policy_fallbacks",
                &litellm.content_policy_fallbacks,
            )?,
            routing_strategy: section.read("routing_strategy", strategy)?.unwrap_or_default(),
            num_retries: num_retries.or(max_retries).or(litellm.num_retries).unwrap_or(default.num_retries),
            allowed_fails: section
                .read("allowed_fails", Field::whole)?
                .or(litellm.allowed_fails)
                .unwrap_or(default.allowed_fails),
            cooldown_time: if never_cools {
                Duration::ZERO
            } else {
                cooldown_time.or(litellm.cooldown_time).unwrap_or(default.cooldown_time)
            },
            timeout: section.read("timeout", Field::time_limit)?.or(litellm.request_timeout),
            stream_timeout: section.read("stream_timeout", Field::time_limit)?,
            default_fallbacks: section
                .read("default_fallbacks", Field::texts)?
                .or_else(|| litellm.default_fallbacks.clone())
                .unwrap_or_default(),
            max_fallbacks: section
                .read("max_fallbacks", Field::whole)?
                .or(litellm.max_fallbacks)
                .unwrap_or(default.max_fallbacks),
            model_group_alias: section.read("model_group_alias", aliases)?.unwrap_or_default(),
        })
    }
}

fn strategy(field: Field<'_>) -> Result<RoutingStrategy, ConfigError> {
    let wrong = field.problem("must be simple-shuffle: no other strategy is supported");
    if field.text()? == "simple-shuffle" { Ok(RoutingStrategy::SimpleShuffle) } else { Err(wrong) }
}

/// `{alias: model}`, or `{alias: {model: model, hidden: false}}`.
fn aliases(field: Field<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let hides = field.problem("hides an alias from the list of models, which is not supported");
    let wrong = field.problem("must be a mapping of an alias to a model");
    let mut aliases = BTreeMap::new();
    for (alias, target) in field.section()?.rest() {
        let model = if target.is_mapping() {
            let mut item = target.section()?;
            if item.read("hidden", Field::boolean)?.unwrap_or_default() {
                return Err(hides);
            }
            item.read("model", Field::text)?.ok_or_else(|| wrong.clone())?
        } else {
            target.text().map_err(|_| wrong.clone())?
        };
        aliases.insert(alias, model);
    }
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        LITELLM.assert_consistent();
        ROUTER.assert_consistent();
    }
}
