//! Fields and parameters of LiteLLM's that Keyturn knows and does not have. Null, false and empty values of them are
//! accepted, since LiteLLM's clients send them; anything else is refused by name, so that nobody relies on what is
//! not there. The names are those of `litellm/proxy/_types.py`.

/// Of requests that make or change keys.
pub(crate) const KEY: &[&str] = &[
    "access_group_ids",
    "agent_id",
    "allowed_cache_controls",
    "allowed_passthrough_routes",
    "allowed_vector_store_indexes",
    "budget_limits",
    "config",
    "disable_global_guardrails",
    "enforced_batch_output_expires_after",
    "enforced_file_expires_after",
    "enforced_params",
    "guardrails",
    "object_permission",
    "organization_id",
    "policies",
    "project_id",
    "prompts",
    "router_settings",
    "rpm_limit_type",
    "send_invite_email",
    "tpm_limit_type",
];

/// Of requests that make or change teams.
pub(crate) const TEAM: &[&str] = &[
    "access_group_ids",
    "admins",
    "allowed_passthrough_routes",
    "allowed_vector_store_indexes",
    "default_team_member_models",
    "disable_global_guardrails",
    "enforced_batch_output_expires_after",
    "enforced_file_expires_after",
    "guardrails",
    "members",
    "model_aliases",
    "object_permission",
    "organization_id",
    "policies",
    "prompts",
    "router_settings",
    "rpm_limit_type",
    "secret_manager_settings",
    "team_member_budget",
    "team_member_budget_duration",
    "team_member_key_duration",
    "team_member_permissions",
    "team_member_rpm_limit",
    "team_member_tpm_limit",
    "tpm_limit_type",
];

/// Of requests that make or change members of teams.
pub(crate) const MEMBER: &[&str] =
    &["allowed_models", "budget_duration", "max_budget_in_team", "rpm_limit", "tpm_limit"];

/// Of requests that make or change users.
pub(crate) const USER: &[&str] = &[
    "agent_id",
    "allowed_cache_controls",
    "config",
    "guardrails",
    "object_permission",
    "organization_id",
    "organizations",
    "password",
    "policies",
    "prompts",
    "send_invite_email",
    "sso_user_id",
];

/// Of requests that make or change budgets.
pub(crate) const BUDGET: &[&str] = &["allowed_models", "budget_reset_at"];

/// Parameters of `/key/list`.
pub(crate) const KEY_LIST: &[&str] = &[
    "agent_id",
    "expand",
    "include_created_by_keys",
    "include_team_keys",
    "organization_id",
    "project_id",
    "substring_matching",
];

/// Parameters of `/team/list`.
pub(crate) const TEAM_LIST: &[&str] = &["organization_id", "status"];

/// Parameters of `/user/list`.
pub(crate) const USER_LIST: &[&str] =
    &["organization_ids", "role", "sort_by", "sort_order", "sso_user_ids", "team", "user_email", "user_ids"];

/// Parameters of reports.
pub(crate) const REPORT: &[&str] = &["customer_id", "request_id", "tags"];
