//! The whole file.

use std::collections::BTreeMap;

use keyturn_ambient::Env;
use serde_json::Value as Json;

use crate::deployment::Deployment;
use crate::error::{ConfigError, Warning, shown_model};
use crate::fallback::Fallback;
use crate::general::{self, General};
use crate::key_management;
use crate::lookup::KeyManagement;
use crate::nearest::nearest;
use crate::reference::{SecretRef, listed};
use crate::router::{LiteLlm, Router};
use crate::section::{Field, Scope, Section};
use crate::table::{Table, Unknown, join};
use crate::value::Value;
use crate::yaml;

/// LiteLLM's `config.yaml`, checked. Its `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `model_list`, at least one, in the order of the file.
    pub deployments: Vec<Deployment>,
    /// `general_settings` and `environment_variables`.
    pub general: General,
    /// `litellm_settings`.
    pub litellm: LiteLlm,
    /// `router_settings`, with what `litellm_settings` adds to them.
    pub router: Router,
    /// What was ignored; to be logged once.
    pub warnings: Vec<Warning>,
}

#[rustfmt::skip]
const TABLE: Table = Table {
    supported: &["model_list", "general_settings", "litellm_settings", "router_settings", "environment_variables"],
    ignored: &[
        ("Keyturn logs one line a request and calls nobody back", &["callback_settings"]),
        ("Keyturn has no such endpoint", &[
            "assistant_settings", "files_settings", "finetune_settings", "mcp_servers", "mcp_tools", "mcp_semantic_tool_filter",
            "search_tools", "vector_store_registry", "agent_list",
        ]),
    ],
    refused: &[
        ("files that include others; write one file", &["include"]),
        ("guardrails and policies", &["guardrails", "policies", "policy_attachments"]),
        ("named credentials; write the credential or a reference to it in model_list", &["credential_list"]),
        ("prompts kept here", &["prompts"]),
        ("control of other instances", &["worker_registry"]),
        ("budgets of providers", &["provider_budget_config"]),
    ],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

impl Config {
    /// Reads a `config.yaml`. `os.environ/NAME` in a field that bears a secret becomes a reference, read when it is
    /// needed; in any other field it is the variable's value now.
    ///
    /// # Errors
    ///
    /// The file is not YAML, or a field is unknown, not supported, missing or malformed; the error names the place
    /// with its line, and repeats no value.
    pub fn parse(yaml: &str, env: &dyn Env) -> Result<Self, ConfigError> {
        Self::read(yaml, env).map_err(|error| error.in_file(yaml))
    }

    fn read(yaml: &str, env: &dyn Env) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let Json::Object(mut top) = yaml::parse(yaml)? else {
            return Err(ConfigError::invalid("the file", "must be a mapping with a model_list"));
        };
        TABLE.apply("", &mut top, &mut warnings)?;
        let mut take = |name: &str| top.remove(name).unwrap_or(Json::Null);
        let general = take("general_settings");
        let (lookup, managers) = general::lookup(
            general.as_object().map(|_| &general),
            take("environment_variables"),
            env,
            &mut warnings,
        )?;
        let scope = Scope { env, lookup };
        let mut models = Section::new("", serde_json::json!({ "model_list": take("model_list") }), &scope)?;
        let section = |name: &str, value: Json| Section::new(name, value, &scope);

        let general = General::read(section("general_settings", general)?, managers, &mut warnings)?;
        let litellm = LiteLlm::read(section("litellm_settings", take("litellm_settings"))?, &mut warnings)?;
        let router =
            Router::read(section("router_settings", take("router_settings"))?, &litellm, &mut warnings)?;
        let deployments = deployments(models.required("model_list")?, &mut warnings)?;
        let mut config = Self { deployments, general, litellm, router, warnings };
        config.check_names()?;
        Ok(config)
    }

    /// Every secret that the deployments and the master key refer to, each once, in the order of the file.
    #[must_use]
    pub fn references(&self) -> Vec<SecretRef> {
        let secrets = self
            .deployments
            .iter()
            .flat_map(|deployment| deployment.secrets.values().chain(deployment.fallback_api_key.as_ref()));
        let master_keys = self.general.master_key.iter().chain(&self.general.hosted_master_key);
        let mut references: Vec<SecretRef> = Vec::new();
        for reference in secrets.chain(master_keys).filter_map(Value::reference) {
            if !references.contains(reference) {
                references.push(reference.clone());
            }
        }
        references
    }

    /// Refuses references to a store that there is not, given the schemes of those that there are. Until then, a
    /// reference may be a literal that only begins like one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first such field, and a scheme that is close to what it begins with.
    pub fn check_stores(&self, schemes: &[&str]) -> Result<(), ConfigError> {
        let known = |reference: &SecretRef| schemes.contains(&reference.scheme.as_str());
        let problem = |reference: &SecretRef| {
            let hint = match nearest(&reference.scheme, schemes.iter().copied()) {
                Some(scheme) => format!("; did you mean {scheme}:?"),
                None => "; a literal that begins like this can stand in a variable or a file only".to_owned(),
            };
            format!("names a secret store that there is not: expected {}{hint}", listed(schemes))
        };
        let check = |value: &Value, path: &dyn Fn() -> String| match value.reference() {
            Some(reference) if !known(reference) => Err(ConfigError::invalid(path(), problem(reference))),
            _ => Ok(()),
        };
        let general = &self.general;
        match &general.lookup.key_management {
            KeyManagement::Document(secret) if !known(secret) => {
                return Err(ConfigError::Variable {
                    variable: "KEYTURN_PROVIDER_SECRET",
                    problem: problem(secret),
                });
            }
            KeyManagement::Manager { system, .. } if !schemes.contains(&system.scheme) => {
                let why = format!("is {}, which is not supported here", system.name);
                return Err(ConfigError::invalid("general_settings.key_management_system", why));
            }
            _ => {}
        }
        for deployment in &self.deployments {
            let params = format!("model_list[{}].litellm_params", deployment.index);
            for (name, value) in &deployment.secrets {
                check(value, &|| join(&params, name))?;
            }
            if let Some(value) = &deployment.fallback_api_key {
                check(value, &|| join(&params, "fallback_api_key"))?;
            }
        }
        for (name, value) in &general.lookup.variables {
            check(value, &|| join("environment_variables", name))?;
        }
        for (value, path) in [
            (&general.master_key, "general_settings.master_key".to_owned()),
            (&general.custom_token, join(key_management::SETTINGS, key_management::TOKEN)),
        ] {
            value.iter().try_for_each(|value| check(value, &|| path.clone()))?;
        }
        Ok(())
    }

    /// Whether a deployment, a wildcard or an alias serves `model`.
    fn serves(&self, model: &str) -> bool {
        self.router.model_group_alias.contains_key(model)
            || self.deployments.iter().any(|deployment| covers(&deployment.model_name, model))
    }

    /// Every name that fallbacks and aliases lead to must be a model's.
    fn check_names(&mut self) -> Result<(), ConfigError> {
        let aliases = &self.router.model_group_alias;
        if let Some(target) =
            aliases.values().find(|target| !self.serves(target) || aliases.contains_key(*target))
        {
            return Err(self.no_model("router_settings.model_group_alias", target));
        }
        let (router, litellm) = (&self.router, &self.litellm);
        let mut unused = Vec::new();
        for (name, fallbacks, other) in [
            ("fallbacks", &router.fallbacks, &litellm.fallbacks),
            ("context_window_fallbacks", &router.context_window_fallbacks, &litellm.context_window_fallbacks),
            ("content_policy_fallbacks", &router.content_policy_fallbacks, &litellm.content_policy_fallbacks),
        ] {
            let path = origin(name, other.as_ref() == Some(fallbacks));
            for Fallback { model, to } in fallbacks {
                if model != "*" && !self.serves(model) {
                    let why =
                        format!("model_list does not have {}, which has fallbacks here", shown_model(model));
                    unused.push(Warning { path: path.clone(), why });
                }
                if let Some(target) = to.iter().find(|target| !self.serves(target)) {
                    return Err(self.no_model(&path, target));
                }
            }
        }
        if let Some(target) = router.default_fallbacks.iter().find(|target| !self.serves(target)) {
            let elsewhere = litellm.default_fallbacks.as_ref() == Some(&router.default_fallbacks);
            return Err(self.no_model(&origin("default_fallbacks", elsewhere), target));
        }
        self.warnings.append(&mut unused);
        Ok(())
    }

    fn no_model(&self, path: &str, target: &str) -> ConfigError {
        let names = self.deployments.iter().map(|deployment| deployment.model_name.as_str());
        let hint = nearest(target, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        let target = shown_model(target);
        ConfigError::invalid(path, format!("leads to {target}, which model_list does not have{hint}"))
    }
}

fn origin(name: &str, litellm: bool) -> String {
    format!("{}.{name}", if litellm { "litellm_settings" } else { "router_settings" })
}

/// Whether a `model_name`, which may hold one `*`, stands for `model`.
fn covers(name: &str, model: &str) -> bool {
    match name.split_once('*') {
        None => name == model,
        Some((before, after)) => {
            model.len() >= before.len() + after.len() && model.starts_with(before) && model.ends_with(after)
        }
    }
}

fn deployments(list: Field<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<Deployment>, ConfigError> {
    let empty = list.problem("must have an entry");
    let mut alike: BTreeMap<(String, String, Option<String>), usize> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    let mut deployments = Vec::new();
    for (index, entry) in list.list()?.into_iter().enumerate() {
        let mut deployment = Deployment::read(index, entry, warnings)?;
        if deployment.id.is_empty() {
            let names =
                (deployment.model_name.clone(), deployment.model.clone(), deployment.api_base.clone());
            let earlier = alike.entry(names).or_default();
            deployment.id = deployment.hashed_id(*earlier);
            *earlier += 1;
        }
        if let Some(first) = ids.insert(deployment.id.clone(), index) {
            let path = format!("model_list[{index}].model_info.id");
            return Err(ConfigError::invalid(path, format!("is the same as model_list[{first}]'s")));
        }
        deployments.push(deployment);
    }
    if deployments.is_empty() { Err(empty) } else { Ok(deployments) }
}
