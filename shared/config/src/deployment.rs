//! One entry of `model_list`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{ConfigError, Warning, shown};
use crate::federation;
use crate::model_info::{ModelInfo, OTHER_PRICE};
use crate::nearest::nearest;
use crate::section::{Field, Section};
use crate::table::{Table, Unknown};
use crate::value::Value;

/// One entry of `model_list`. Its `Debug` shows names only where a value may be a secret.
#[derive(Clone, Default)]
pub struct Deployment {
    /// Its place in `model_list`, from 0.
    pub index: usize,
    /// `model_info.id`, else 32 hex digits that stay the same as long as the names in the entry do.
    pub id: String,
    /// The model group; may hold one `*`.
    pub model_name: String,
    /// `litellm_params.model` as written: `openai/gpt-4o`, `openai/*`, `gpt-4o`.
    pub model: String,
    /// The provider, where `model` has no prefix that says.
    pub custom_llm_provider: Option<String>,
    /// The endpoint, `http` or `https`, without trailing slash, user, query or fragment.
    pub api_base: Option<String>,
    /// The secret-bearing `litellm_params`, by name. That of a federated credential stands where the provider reads it.
    pub secrets: BTreeMap<String, Value>,
    /// The key that serves when no token of a federated credential can be had.
    pub fallback_api_key: Option<Value>,
    /// The further `litellm_params`, scalars as text; the provider decides what it takes.
    pub params: BTreeMap<String, String>,
    /// The time limit of a request.
    pub timeout: Option<Duration>,
    /// The time limit of a streamed request.
    pub stream_timeout: Option<Duration>,
    /// `num_retries`, else `max_retries`.
    pub num_retries: Option<u32>,
    /// The share of requests that simple-shuffle gives it, relative to its group's other deployments.
    pub weight: Option<f64>,
    /// Requests a minute; simple-shuffle takes it for the weight when there is none.
    pub rpm: Option<u64>,
    /// Tokens a minute; simple-shuffle takes it for the weight when there is neither weight nor rpm.
    pub tpm: Option<u64>,
    /// Drop request fields that the provider does not know; overrides `litellm_settings.drop_params`.
    pub drop_params: Option<bool>,
    /// The answer to give without any upstream.
    pub mock_response: Option<String>,
    /// What the operator knows of the model.
    pub info: ModelInfo,
}

#[rustfmt::skip]
const ENTRY: Table = Table {
    supported: &["model_name", "litellm_params", "model_info"],
    ignored: &[],
    refused: &[("switching a model off here; take it out of model_list", &["blocked"])],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

/// The fields of `litellm_params` that bear a secret. Others whose names say so count as well, see [`bears_secret`].
#[rustfmt::skip]
const SECRETS: &[&str] = &[
    "api_key", "azure_ad_token", "client_secret", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
    "aws_web_identity_token", "vertex_credentials", "auth_token", "fallback_api_key",
];

#[rustfmt::skip]
const PARAMS: Table = Table {
    supported: &[
        "model", "custom_llm_provider", "api_base", "timeout", "stream_timeout", "num_retries", "max_retries", "weight",
        "rpm", "tpm", "drop_params", "mock_response", "input_cost_per_token", "output_cost_per_token",
        "api_key", "azure_ad_token", "client_secret", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
        "aws_web_identity_token", "vertex_credentials", "auth_token", "fallback_api_key",
        "identity_provider_id", "service_account_id", "federation_rule_id", "organization_id", "workspace_id",
        "federation_policy_id", "aws_region_name",
    ],
    ignored: &[
        ("Keyturn logs one line a request and never a body", &["litellm_trace_id", "no-log"]),
        ("Keyturn has no such endpoint", &[
            "max_file_size_mb", "gcs_bucket_name", "bucket_name", "s3_bucket_name", "s3_endpoint_url", "s3_region_name",
            "s3_encryption_key_id", "s3_bucket_owner", "s3_output_bucket_name", "aws_batch_role_arn",
            "vector_store_id", "vector_bucket_name", "index_name", "embedding_model",
        ]),
    ],
    refused: &[
        ("budgets of deployments", &["max_budget", "budget_duration"]),
        ("routing by tag", &["tags", "tag_regex"]),
        ("routing order and limits of a deployment", &[
            "order", "max_parallel_requests", "itpm", "otpm", "default_api_key_tpm_limit", "default_api_key_rpm_limit",
            "provider_affinity_header", "cooldown_time",
        ]),
        ("named credentials; write the credential or a reference to it in this entry", &["litellm_credential_name"]),
        ("credentials and endpoints chosen by the client", &["configurable_clientside_auth_params"]),
        ("pass-through endpoints", &["use_in_pass_through"]),
        ("another way to reach the provider", &[
            "use_litellm_proxy", "use_chat_completions_api", "use_xai_oauth", "ssl_verify", "aws_profile_name",
            "azure_username", "azure_password",
        ]),
        ("additions to every request; the client's own bytes are passed on", &[
            "temperature", "top_p", "top_k", "n", "stop", "seed", "max_tokens", "max_completion_tokens",
            "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "response_format", "reasoning_effort",
            "thinking", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "stream",
            "stream_options", "user", "metadata", "service_tier", "modalities", "extra_body", "extra_headers",
            "headers", "default_headers", "additional_drop_params", "allowed_openai_params",
            "merge_reasoning_content_in_choices", "cache_control_injection_points", "prompt_id", "prompt_variables",
            "guardrails", "custom_prompt_dict", "roles", "initial_prompt_value", "final_prompt_value",
        ]),
        ("object storage", &["s3_access_key_id", "s3_secret_access_key"]),
        ("heartbeats in a stream", &["keepalive_seconds", "allow_client_keepalive_override"]),
        ("mocks other than mock_response", &[
            "mock_tool_calls", "mock_timeout", "mock_delay", "mock_testing_fallbacks",
            "mock_testing_context_fallbacks", "mock_testing_content_policy_fallbacks",
        ]),
        ("metadata here; move it to this entry's model_info", &["model_info"]),
    ],
    refused_unless_true: &[],
    refused_parts: &[
        (OTHER_PRICE, "cost"),
        ("routers that choose a model", "_router_"),
        ("vector stores", "milvus_"),
        ("vector stores", "valkey_"),
    ],
    unknown: Unknown::Kept,
};

impl Deployment {
    /// Reads `model_list[index]`. Its `id` stays empty unless `model_info` has one.
    pub(crate) fn read(
        index: usize,
        entry: Field<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ConfigError> {
        let mut entry = entry.section()?.sorted_by(&ENTRY, warnings)?;
        let model_name = entry.required("model_name")?;
        let at_name = model_name.problem("may hold one * only");
        let model_name = model_name.text()?;
        let params = match entry.take("litellm_params") {
            Some(field) => field.section()?,
            None => return Err(ConfigError::invalid(entry.path(), "has no litellm_params")),
        };
        let mut params = params.sorted_by(&PARAMS, warnings)?;
        let model = params.required("model")?;
        let at_model = model.problem("may hold one * only");
        let at_star = model.problem("holds a *, but model_name does not");
        let model = model.text()?;
        match (stars(&model_name), stars(&model)) {
            (2.., _) => return Err(at_name),
            (_, 2..) => return Err(at_model),
            (0, 1) => return Err(at_star),
            _ => {}
        }
        let info = match entry.take("model_info") {
            Some(field) => field.section()?,
            None => Section::new("", serde_json::Value::Null, entry.scope())?,
        };
        let (mut info, id) = ModelInfo::read(info, warnings)?;
        if let Some(price) = params.read("input_cost_per_token", Field::number)? {
            info.input_cost_per_token = Some(price);
        }
        if let Some(price) = params.read("output_cost_per_token", Field::number)? {
            info.output_cost_per_token = Some(price);
        }
        let num_retries = params.read("num_retries", Field::whole)?;
        let max_retries = params.read("max_retries", Field::whole)?;
        let mut deployment = Self {
            index,
            id: id.unwrap_or_default(),
            model_name,
            model,
            custom_llm_provider: params.read("custom_llm_provider", Field::text)?,
            api_base: params.read("api_base", endpoint)?,
            timeout: params.read("timeout", Field::time_limit)?,
            stream_timeout: params.read("stream_timeout", Field::time_limit)?,
            num_retries: num_retries.or(max_retries),
            weight: params.read("weight", Field::number)?,
            rpm: params.read("rpm", Field::whole)?,
            tpm: params.read("tpm", Field::whole)?,
            drop_params: params.read("drop_params", Field::boolean)?,
            mock_response: params.read("mock_response", Field::text)?,
            info,
            ..Self::default()
        };
        for (name, field) in params.rest() {
            if bears_secret(&name) {
                deployment.secrets.insert(name, field.secret_document()?);
            } else {
                deployment.params.insert(name, field.scalar()?);
            }
        }
        federation::wire(&mut deployment)?;
        Ok(deployment)
    }

    /// The id of an entry without `model_info.id`: a hash of its names, and of how many entries before it have the
    /// same ones. No secret is in it, so it neither leaks one nor changes with a rotation.
    pub(crate) fn hashed_id(&self, earlier: usize) -> String {
        let mut hash = Sha256::new();
        for part in [&self.model_name, &self.model, self.api_base.as_deref().unwrap_or_default()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(earlier.to_string());
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Refuses what the deployment's provider does not read, given the names of the parameters and of the secret
    /// fields that it does.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unknown`] names the first other one, and a known name that is close to it.
    pub fn accept(&self, params: &[&str], secrets: &[&str]) -> Result<(), ConfigError> {
        let other = self
            .secrets
            .keys()
            .find(|name| !secrets.contains(&name.as_str()))
            .or_else(|| self.params.keys().find(|name| !params.contains(&name.as_str())));
        let Some(name) = other else { return Ok(()) };
        let mut known: Vec<&str> = PARAMS.names().collect();
        known.extend(params);
        known.extend(secrets);
        known.retain(|known| known != name);
        Err(ConfigError::Unknown {
            path: format!("model_list[{}].litellm_params.{}", self.index, shown(name)),
            suggestion: nearest(name, known).map(str::to_owned),
        })
    }
}

fn stars(name: &str) -> usize {
    name.matches('*').count()
}

/// Whether a field of `litellm_params` bears a secret. A provider may name fields that this crate has never heard of,
/// so the name decides.
pub(crate) fn bears_secret(name: &str) -> bool {
    let words = ["key", "secret", "password", "token", "credential", "credentials"];
    SECRETS.contains(&name) || name.split(['_', '-']).any(|word| words.contains(&word))
}

/// An address without anything that may be a credential.
pub(crate) fn endpoint(field: Field<'_>) -> Result<String, ConfigError> {
    let wrong = field.problem("must be an http:// or https:// URL");
    let secret = field.problem("must not hold a user or password: put the credential in a field of its own");
    let query = field.problem("must not hold a query or a fragment");
    let text = field.text()?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let Some(authority) = authority.filter(|authority| !authority.is_empty()) else { return Err(wrong) };
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(wrong);
    }
    if authority.contains('@') {
        return Err(secret);
    }
    if text.contains(['?', '#']) {
        return Err(query);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<&String> = self.params.keys().collect();
        f.debug_struct("Deployment")
            .field("index", &self.index)
            .field("id", &self.id)
            .field("model_name", &self.model_name)
            .field("model", &self.model)
            .field("custom_llm_provider", &self.custom_llm_provider)
            .field("api_base", &self.api_base)
            .field("secrets", &self.secrets)
            .field("fallback_api_key", &self.fallback_api_key)
            .field("params", &params)
            .field("timeout", &self.timeout)
            .field("stream_timeout", &self.stream_timeout)
            .field("num_retries", &self.num_retries)
            .field("weight", &self.weight)
            .field("rpm", &self.rpm)
            .field("tpm", &self.tpm)
            .field("drop_params", &self.drop_params)
            .field("mock_response", &self.mock_response.is_some())
            .field("info", &self.info)
            .finish()
    }
}

/// Whether a name is one of those that [`PARAMS`] reads.
#[cfg(test)]
pub(crate) fn knows(name: &str) -> bool {
    PARAMS.supported.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        ENTRY.assert_consistent();
        PARAMS.assert_consistent();
        crate::model_info::TABLE.assert_consistent();
        for name in SECRETS {
            assert!(PARAMS.supported.contains(name), "{name}");
        }
    }

    #[test]
    fn knows_a_secret_by_its_name() {
        for name in
            ["api_key", "vertex_credentials", "aws_session_token", "zen_api_key", "token", "watsonx_token"]
        {
            assert!(bears_secret(name), "{name}");
        }
        for name in ["organization", "api_version", "max_tokens", "aws_region_name", "vertex_project"] {
            assert!(!bears_secret(name), "{name}");
        }
    }

    #[test]
    fn the_provider_has_the_last_word() {
        let mut deployment = Deployment { index: 2, ..Deployment::default() };
        deployment.params.insert("api_bse".to_owned(), "https://example.com".to_owned());
        assert_eq!(
            deployment.accept(&["organization"], &["api_key"]).unwrap_err().to_string(),
            "model_list[2].litellm_params.api_bse is not a known setting; did you mean api_base?"
        );
        deployment.params.clear();
        deployment.params.insert("organization".to_owned(), "org".to_owned());
        deployment.accept(&["organization"], &["api_key"]).unwrap();
        deployment.secrets.insert("azure_ad_token".to_owned(), Value::read("x").unwrap());
        assert_eq!(
            deployment.accept(&["organization"], &["api_key"]).unwrap_err().to_string(),
            "model_list[2].litellm_params.azure_ad_token is not a known setting"
        );
    }
}
