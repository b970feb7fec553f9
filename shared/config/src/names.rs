//! The names that a file looks up: every `NAME` of `os.environ/NAME` in a field that bears a secret, what
//! `environment_variables` sets, and `hosted_keys`.
//!
//! It is for who starts another program with these names in its environment, or asks where one comes from. So it is
//! not [`Config::parse`](crate::Config::parse): the file may have fields that Keyturn does not support, and names count
//! in any of its sections. What it means by a name has to be clear all the same: wrong settings of the key management
//! system are refused as ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyturn_ambient::{Env, Overlay};
use serde_json::Value as Json;

use crate::deployment::bears_secret;
use crate::error::{ConfigError, shown};
use crate::general;
use crate::lookup::Lookup;
use crate::section::PREFIX;
use crate::table::join;
use crate::value::Value;
use crate::yaml;

/// A name and what it means.
#[derive(Debug, Clone)]
pub struct Named {
    /// The field that it stands in: `model_list[0].litellm_params.api_key`.
    pub path: String,
    /// The name: `OPENAI_API_KEY`.
    pub name: String,
    /// What it means.
    pub value: Value,
}

/// An entry of `model_list`, as far as it says which credentials it does without.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `model_list[0]`.
    pub path: String,
    /// `litellm_params.model`.
    pub model: String,
    /// `litellm_params.custom_llm_provider`.
    pub custom_llm_provider: Option<String>,
    /// The names of its `litellm_params`.
    pub fields: Vec<String>,
}

/// The names of a file.
#[derive(Clone)]
pub struct Names {
    /// How it looks names up.
    pub lookup: Lookup,
    /// `general_settings.key_management_system`, as it is written.
    pub system: Option<String>,
    /// `hosted_keys`, if there are any.
    pub hosted_keys: Option<Vec<String>>,
    /// Every name: lists in the order of the file, fields by their names. One that stands in several fields is there
    /// several times.
    pub named: Vec<Named>,
    /// `model_list`.
    pub entries: Vec<Entry>,
    /// What the file says of stores, as variables of theirs.
    store_env: BTreeMap<String, String>,
}

impl Names {
    /// Reads them out of a `config.yaml`.
    ///
    /// # Errors
    ///
    /// The file is not YAML, the settings by which names are looked up are wrong, or a name cannot be one where it
    /// would be read from.
    pub fn read(yaml: &str, env: &dyn Env) -> Result<Self, ConfigError> {
        let file = yaml::parse(yaml)?;
        if !file.is_object() {
            return Err(ConfigError::invalid("the file", "must be a mapping with a model_list"));
        }
        let general = file.get("general_settings").filter(|general| general.is_object());
        let variables = file.get("environment_variables").cloned().unwrap_or_default();
        let (lookup, settings) = general::lookup(general, variables, env, &mut Vec::new())?;
        let system = general.and_then(|general| general.get("key_management_system"));
        let hosted = general.and_then(|general| general.get("key_management_settings"));
        let hosted = hosted.and_then(|settings| settings.get("hosted_keys")).and_then(Json::as_array);
        let hosted = hosted.map(|names| names.iter().filter_map(Json::as_str).map(str::to_owned).collect());
        let mut names = Self {
            lookup,
            system: system.and_then(Json::as_str).map(str::to_owned),
            hosted_keys: hosted,
            store_env: settings.store_env,
            named: Vec::new(),
            entries: entries(&file),
        };
        names.add_variables();
        names.add_hosted(env)?;
        for (section, value) in file.as_object().into_iter().flatten() {
            if section != "environment_variables" {
                names.walk(section, section, value, env)?;
            }
        }
        Ok(names)
    }

    /// What a name means that the file does not have.
    ///
    /// # Errors
    ///
    /// It cannot be a name where it would be read from.
    pub fn meaning(&self, name: &str, env: &dyn Env) -> Result<Value, ConfigError> {
        self.lookup.secret(name, env).map_err(|error| ConfigError::invalid(shown(name), error.to_string()))
    }

    /// The environment that stores are built from: this one, with what the file says of stores over it.
    #[must_use]
    pub fn stores_env(&self, env: &Arc<dyn Env>) -> Arc<dyn Env> {
        Overlay::over(&self.store_env, env)
    }

    fn add_variables(&mut self) {
        for (name, value) in &self.lookup.variables {
            let path = format!("environment_variables.{name}");
            self.named.push(Named { path, name: name.clone(), value: value.clone() });
        }
    }

    /// A manager that only writes reads no name.
    fn add_hosted(&mut self, env: &dyn Env) -> Result<(), ConfigError> {
        for name in self.hosted_keys.iter().flatten() {
            let path = "general_settings.key_management_settings.hosted_keys".to_owned();
            let value = self
                .lookup
                .secret(name, env)
                .map_err(|error| ConfigError::invalid(&*path, error.to_string()))?;
            if value.reference().is_some_and(|reference| reference.scheme != "env") {
                self.named.push(Named { path, name: name.clone(), value });
            }
        }
        Ok(())
    }

    /// Adds the names under `path`; `field` is the last part of it that is no index.
    fn walk(&mut self, path: &str, field: &str, value: &Json, env: &dyn Env) -> Result<(), ConfigError> {
        match value {
            Json::Object(fields) => {
                for (name, value) in fields {
                    self.walk(&join(path, name), name, value, env)?;
                }
            }
            Json::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    self.walk(&format!("{path}[{index}]"), field, value, env)?;
                }
            }
            Json::String(text) if bears_secret(field) => {
                if let Some(name) = text.strip_prefix(PREFIX) {
                    let value = self.lookup.secret(name, env);
                    let value = value.map_err(|error| ConfigError::invalid(path, error.to_string()))?;
                    self.named.push(Named { path: path.to_owned(), name: name.to_owned(), value });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn entries(file: &Json) -> Vec<Entry> {
    let list = file.get("model_list").and_then(Json::as_array);
    let entry = |(index, entry): (usize, &Json)| {
        let params = entry.get("litellm_params")?.as_object()?;
        let text = |name: &str| params.get(name).and_then(Json::as_str).map(str::to_owned);
        Some(Entry {
            path: format!("model_list[{index}]"),
            model: text("model")?,
            custom_llm_provider: text("custom_llm_provider"),
            fields: params
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, _)| name.clone())
                .collect(),
        })
    };
    list.into_iter().flatten().enumerate().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const FILE: &str = "
model_list:
  - model_name: a
    litellm_params: {model: openai/a, api_key: os.environ/A_KEY, api_base: os.environ/NOT_SECRET}
  - model_name: b
    litellm_params: {model: b, custom_llm_provider: anthropic, api_key: vault:secret/b#B}
litellm_settings:
  cache_params: {type: redis, password: os.environ/REDIS_PASSWORD}
  callbacks: [unheard-of]
general_settings:
  master_key: os.environ/MASTER
  key_management_system: aws_secret_manager
  key_management_settings:
    hosted_keys: [A_KEY, DATABASE_URL]
    primary_secret_name: prod/litellm
environment_variables:
  LITERAL: text
  REFERENCE: os.environ/A_KEY
guardrails: []
";

    fn read(yaml: &str) -> Result<Names, ConfigError> {
        Names::read(yaml, &HashMap::new())
    }

    #[test]
    fn every_name_is_found_whatever_else_the_file_has() {
        let names = read(FILE).unwrap();
        let found: Vec<_> = names
            .named
            .iter()
            .map(|named| {
                let reference = named.value.reference().map(ToString::to_string).unwrap_or_default();
                (named.path.as_str(), named.name.as_str(), reference)
            })
            .collect();
        let in_manager = "aws-secretsmanager:prod/litellm#A_KEY".to_owned();
        let hosted = "general_settings.key_management_settings.hosted_keys";
        assert_eq!(
            found,
            [
                ("environment_variables.LITERAL", "LITERAL", String::new()),
                ("environment_variables.REFERENCE", "REFERENCE", "env:A_KEY".to_owned()),
                (hosted, "A_KEY", in_manager.clone()),
                (hosted, "DATABASE_URL", "aws-secretsmanager:prod/litellm#DATABASE_URL".to_owned()),
                ("general_settings.master_key", "MASTER", "env:MASTER".to_owned()),
                ("litellm_settings.cache_params.password", "REDIS_PASSWORD", "env:REDIS_PASSWORD".to_owned()),
                ("model_list[0].litellm_params.api_key", "A_KEY", in_manager),
            ]
        );
        let entry = &names.entries[1];
        assert_eq!((entry.model.as_str(), entry.custom_llm_provider.as_deref()), ("b", Some("anthropic")));
        assert_eq!(entry.fields, ["api_key", "custom_llm_provider", "model"]);
        assert_eq!(
            names.meaning("OTHER", &HashMap::new()).unwrap().reference().unwrap().to_string(),
            "env:OTHER"
        );
    }

    #[test]
    fn what_a_name_means_has_to_be_clear() {
        for (yaml, part) in [
            ("general_settings: {key_management_system: nonesuch}", "key_management_system"),
            ("general_settings: {master_key: os.environ/sk-1234}", "general_settings.master_key is not"),
            ("[]", "the file must be a mapping"),
        ] {
            let error = read(yaml).err().unwrap().to_string();
            assert!(error.contains(part) && !error.contains("1234"), "{error}");
        }
        let writes = FILE.replace("hosted_keys", "access_mode: write_only\n    hosted_keys");
        let writes = read(&writes).unwrap();
        assert!(writes.named.iter().all(|named| !named.path.ends_with("hosted_keys")));
    }
}
