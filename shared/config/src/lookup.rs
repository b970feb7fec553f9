//! `os.environ/NAME`: where the file's look-ups go.
//!
//! LiteLLM reads such a name from its key management system when one is configured and hosts the name, and from the
//! environment otherwise, in which `environment_variables` of the file count first. What AWS KMS encrypted may stand in
//! the environment too (`decrypt_env_var` in `litellm/secret_managers/aws_secret_manager.py`): a value that begins
//! `aws_kms/`, and with `USE_AWS_KMS=True` the variable `LITELLM_SECRET_AWS_KMS_NAME`, which counts before `NAME`.

use std::collections::BTreeMap;

use keyturn_ambient::Env;
use secrecy::ExposeSecret;

use crate::key_management::{System, is_aws_name};
use crate::reference::{RefError, SecretRef};
use crate::value::{AWS_KMS, Value};

/// `general_settings.key_management_system` and `key_management_settings`, as far as reading goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyManagement {
    /// The environment (`local`, or nothing configured).
    #[default]
    Environment,
    /// A manager, with an `access_mode` that reads.
    Manager {
        /// Which one.
        system: &'static System,
        /// The names that it hosts; `None`: every name. The others are read from the environment.
        hosted_keys: Option<Vec<String>>,
        /// What comes before the names, with a slash at the end: Vault's mount, and the path above the documents.
        root: String,
        /// The one JSON secret that holds the names as fields; `None`: each name is a secret.
        primary: Option<String>,
    },
    /// `KEYTURN_PROVIDER_SECRET`, when the file names no key management system to read from: one secret that holds every
    /// name as a field. It lets the same file work on a laptop (from the environment) and in the cloud (from the secret).
    Document(SecretRef),
}

/// Resolves the names of `os.environ/NAME`. Its `Debug` shows names only.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// The key management system.
    pub key_management: KeyManagement,
    /// `environment_variables`: they count as environment for this file's look-ups and for the variables that stand
    /// for an absent credential, and win over the process environment. Nothing is set in the process.
    pub variables: BTreeMap<String, Value>,
}

impl Lookup {
    /// The secret that `os.environ/NAME` means, unread. Also the one to ask for a credential whose field is absent
    /// (`OPENAI_API_KEY` for `openai/`).
    ///
    /// # Errors
    ///
    /// `name` cannot be a name in the place it would be read from.
    pub fn secret(&self, name: &str, env: &dyn Env) -> Result<Value, RefError> {
        let hosted = match &self.key_management {
            KeyManagement::Manager { system, hosted_keys, root, primary } if hosts(hosted_keys, name) => {
                system.hosted(name, root, primary.as_deref())
            }
            KeyManagement::Document(secret) => {
                is_aws_name(name).then(|| SecretRef { field: Some(name.to_owned()), ..secret.clone() })
            }
            KeyManagement::Manager { .. } | KeyManagement::Environment => {
                return match self.variables.get(name) {
                    Some(value) => Ok(value.clone()),
                    None => variable(name, env).map(Value::Reference),
                };
            }
        };
        hosted.map(Value::Reference).ok_or(RefError::BadName)
    }

    /// The secret of a name that `hosted_keys` says the manager hosts.
    pub(crate) fn hosted(&self, name: &str, env: &dyn Env) -> Option<Value> {
        match &self.key_management {
            KeyManagement::Manager { hosted_keys: named @ Some(_), .. } if hosts(named, name) => {
                self.secret(name, env).ok()
            }
            _ => None,
        }
    }

    /// The text of `os.environ/NAME` in a field that bears no secret: from the environment, now.
    pub(crate) fn text(&self, name: &str, env: &dyn Env) -> Option<String> {
        match self.variables.get(name) {
            Some(value) => now(value, env),
            None => env.var(name),
        }
    }

    /// The variables as stores find them. One that is a secret of a store cannot be had now: it is as if it were unset,
    /// and the environment's is not taken for it.
    pub(crate) fn store_env(&self, env: &dyn Env) -> BTreeMap<String, String> {
        let text = |value| now(value, env).unwrap_or_default();
        self.variables.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

fn hosts(hosted_keys: &Option<Vec<String>>, name: &str) -> bool {
    hosted_keys.as_ref().is_none_or(|hosted| hosted.iter().any(|key| key == name))
}

/// A value that needs no store.
fn now(value: &Value, env: &dyn Env) -> Option<String> {
    match value {
        Value::Literal(text) => Some(text.expose_secret().to_owned()),
        Value::Reference(reference) if reference.scheme == "env" => env.var(&reference.name),
        Value::Reference(_) => None,
    }
}

/// A variable of the environment, which may hold what AWS KMS encrypted.
pub(crate) fn variable(name: &str, env: &dyn Env) -> Result<SecretRef, RefError> {
    let plain = SecretRef::env(name)?;
    let encrypted = |variable: &str| SecretRef {
        scheme: "aws-kms".to_owned(),
        name: format!("env/{variable}"),
        field: None,
        stage: None,
    };
    let theirs = format!("LITELLM_SECRET_AWS_KMS_{name}");
    if env.var("USE_AWS_KMS").is_some_and(|on| on == "True") && env.var(&theirs).is_some() {
        return Ok(encrypted(&theirs));
    }
    match env.var(name) {
        Some(value) if value.starts_with(AWS_KMS) => Ok(encrypted(name)),
        _ => Ok(plain),
    }
}
