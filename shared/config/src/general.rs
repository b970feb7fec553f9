//! `general_settings`, and `environment_variables`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use keyturn_ambient::{Env, Overlay};
use serde_json::Value as Json;

use crate::error::{ConfigError, Warning};
use crate::key_management::{self, KeyManagementSettings, StoredKeys};
use crate::lookup::Lookup;
use crate::reference::is_variable;
use crate::section::{Field, Scope, Section};
use crate::table::{Table, Unknown};
use crate::value::Value;

/// `general_settings`, and how `os.environ/NAME` is resolved. Its `Debug` shows no secret.
#[derive(Clone, Default)]
pub struct General {
    /// `master_key`. The environment wins over it, see [`crate::Settings::master_key`].
    pub master_key: Option<Value>,
    /// The header that virtual keys come in, in the place of LiteLLM's list of headers.
    pub litellm_key_header_name: Option<String>,
    /// No usage is written down for reports; limits hold and spend is counted all the same.
    pub disable_spend_logs: bool,
    /// How `os.environ/NAME` is resolved: the key management system and `environment_variables`.
    pub lookup: Lookup,
    /// `key_management_settings.store_virtual_keys`.
    pub stored_keys: Option<StoredKeys>,
    /// The variables that stores are to find besides those of the environment: `environment_variables`, and what
    /// `key_management_settings` say of them. They win; an empty one unsets.
    pub store_env: BTreeMap<String, String>,
    /// The secret `LITELLM_MASTER_KEY`, where `hosted_keys` says that the manager has it: what the environment has
    /// under this name is another thing then, a ciphertext for example.
    pub(crate) hosted_master_key: Option<Value>,
    /// `custom_secret_manager_token`, which is in `store_env` too.
    pub(crate) custom_token: Option<Value>,
}

#[rustfmt::skip]
const TABLE: Table = Table {
    supported: &[
        "master_key", "litellm_key_header_name", "disable_spend_logs", "key_management_system", "key_management_settings",
        "use_azure_key_vault", "use_google_kms",
    ],
    ignored: &[
        ("Keyturn keeps its data in DynamoDB", &[
            "database_url", "database_type", "database_args", "database_connection_pool_limit",
            "database_connection_timeout", "database_connect_timeout", "database_socket_timeout",
            "database_extra_connection_params", "database_disable_prepared_statements", "disable_prisma_schema_update",
            "supported_db_objects", "proxy_batch_write_at", "proxy_batch_polling_interval",
            "proxy_budget_rescheduler_min_time", "proxy_budget_rescheduler_max_time", "scheduled_job_stagger",
            "proxy_config_reload_interval_seconds", "coordination_redis", "use_redis_transaction_buffer",
            "disable_adding_master_key_hash_to_db",
        ]),
        ("Keyturn reports usage by day, key, model and tags; it keeps no log of single requests", &[
            "store_prompts_in_spend_logs", "disable_error_logs", "use_spend_logs_partitioning",
            "maximum_spend_logs_retention_period", "maximum_spend_logs_retention_interval",
            "maximum_spend_logs_cleanup_batch_size", "maximum_spend_logs_cleanup_max_batches",
            "maximum_spend_logs_cleanup_run_budget", "maximum_spend_logs_cleanup_batch_timeout",
            "maximum_autorouter_session_retention_period", "maximum_health_check_retention_period",
            "spend_report_frequency",
        ]),
        ("Keyturn sends no alerts", &[
            "alerting", "alerting_threshold", "alerting_args", "alert_types", "alert_to_webhook_url", "otel",
        ]),
        ("Keyturn has no admin pages", &[
            "ui_access_mode", "enable_public_model_hub", "disable_master_key_return", "control_plane_url", "plugins",
            "allow_cli_sso_verification_uri_complete", "custom_sso", "custom_ui_sso_sign_in_handler",
            "trusted_proxy_ranges",
        ]),
        ("Keyturn makes no background health checks", &[
            "background_health_checks", "health_check_interval", "health_check_concurrency", "health_check_details",
            "health_check_skip_disabled_background_models", "background_health_check_model_groups",
            "model_list_healthy_only",
        ]),
        ("Keyturn has no such endpoint", &[
            "image_generation_model", "embedding_model", "moderation_model", "max_batch_file_size_mb",
            "disable_responses_id_security", "user_mcp_management_mode", "mcp_internal_ip_ranges",
            "mcp_trusted_proxy_ranges", "mcp_xff_num_trusted_hops", "mcp_required_fields",
            "pass_through_request_timeout", "disable_auto_add_proxy_admin_to_teams",
        ]),
        ("Keyturn fetches no URLs for its callers", &[
            "user_url_validation", "user_url_allowed_hosts", "provider_url_destination_allowed_hosts",
        ]),
        ("Keyturn always stops the upstream call of a client that has gone", &["cancel_on_disconnect"]),
        ("its licence is LiteLLM's own", &["litellm_license"]),
    ],
    refused: &[
        ("authentication by another means than virtual keys", &[
            "custom_auth", "custom_auth_settings", "custom_auth_run_common_checks", "enable_jwt_auth", "litellm_jwtauth",
            "enable_oauth2_auth", "enable_oauth2_proxy_auth", "oauth2_config_mappings", "allow_user_auth",
            "use_client_credentials_pass_through_routes",
        ]),
        ("serving requests while keys cannot be checked; Keyturn fails closed", &["allow_requests_on_db_unavailable"]),
        ("models kept in a database; this file is the only place for models", &["store_model_in_db"]),
        ("limits on routes and callers", &[
            "allowed_routes", "public_routes", "admin_only_routes", "allowed_ips", "use_x_forwarded_for",
            "max_request_size_mb", "max_response_size_mb", "max_parallel_requests", "global_max_parallel_requests",
            "disable_retry_on_max_parallel_request_limit_error",
        ]),
        ("a default model", &["completion_model", "infer_model_from_keys"]),
        ("demands on request bodies", &[
            "enforce_user_param", "enforced_params", "reject_clientside_metadata_tags", "service_account_settings",
        ]),
        ("end users named by a header", &["user_header_name", "user_header_mappings"]),
        ("passing the client's headers or credentials on", &[
            "forward_client_headers_to_llm_api", "forward_openai_org_id", "forward_llm_provider_auth_headers",
            "allow_client_side_credentials",
        ]),
        ("pass-through endpoints", &["pass_through_endpoints"]),
        ("rules for making keys", &["custom_key_generate", "custom_key_update", "default_team_disabled"]),
        ("budgets that are not enforced", &[
            "disable_spend_updates", "disable_budget_reservation", "disable_reset_budget",
        ]),
        ("budgets of users over team keys", &["apply_user_budget_to_team_keys"]),
        ("a setting of the file; set KEYTURN_KEY_CACHE_SECONDS", &["user_api_key_cache_ttl"]),
        ("guardrails", &["guardrails"]),
    ],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

/// How the file resolves `os.environ/NAME`, and the rest of what it says about managers. It is read before everything
/// else, from copies: the rest depends on it.
pub(crate) fn lookup(
    general: Option<&Json>,
    variables: Json,
    env: &dyn Env,
    warnings: &mut Vec<Warning>,
) -> Result<(Lookup, KeyManagementSettings), ConfigError> {
    // The settings of the look-up are looked up in the environment alone.
    let plain = Scope { env, lookup: Lookup::default() };
    let mut lookup = Lookup::default();
    for (name, field) in Section::new("environment_variables", variables, &plain)?.rest() {
        if !is_variable(&name) {
            return Err(field.problem("is not the name of an environment variable"));
        }
        lookup.variables.insert(name, field.variable()?);
    }
    let mut settings = key_management::read(general, env, warnings)?;
    lookup.key_management = std::mem::take(&mut settings.reads);
    // What is said of a store in so many words wins.
    let said = std::mem::replace(&mut settings.store_env, lookup.store_env(env));
    settings.store_env.extend(said);
    Ok((lookup, settings))
}

impl General {
    pub(crate) fn read(
        section: Section<'_>,
        settings: KeyManagementSettings,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ConfigError> {
        let mut section = section.sorted_by(&TABLE, warnings)?;
        let scope = section.scope();
        Ok(Self {
            master_key: section.read("master_key", Field::secret)?,
            litellm_key_header_name: section.read("litellm_key_header_name", header_name)?,
            disable_spend_logs: section.read("disable_spend_logs", Field::boolean)?.unwrap_or_default(),
            lookup: scope.lookup.clone(),
            stored_keys: settings.stored_keys,
            store_env: settings.store_env,
            hosted_master_key: scope.lookup.hosted("LITELLM_MASTER_KEY", scope.env),
            custom_token: settings.custom_token,
        })
    }

    /// The environment that stores are built from: this one, with [`General::store_env`] over it.
    #[must_use]
    pub fn stores_env(&self, env: &Arc<dyn Env>) -> Arc<dyn Env> {
        Overlay::over(&self.store_env, env)
    }
}

impl fmt::Debug for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("General")
            .field("master_key", &self.master_key)
            .field("litellm_key_header_name", &self.litellm_key_header_name)
            .field("disable_spend_logs", &self.disable_spend_logs)
            .field("lookup", &self.lookup)
            .field("stored_keys", &self.stored_keys)
            .field("store_env", &self.store_env.keys())
            .field("hosted_master_key", &self.hosted_master_key)
            .field("custom_token", &self.custom_token)
            .finish()
    }
}

/// The characters of a header's name: `token` of RFC 9110, section 5.6.2.
fn header_name(field: Field<'_>) -> Result<String, ConfigError> {
    let wrong = field.problem("is not the name of a header");
    let name = field.text()?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.bytes().all(token) { Ok(name) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        TABLE.assert_consistent();
    }
}
