//! `os.environ/NAME`: where the file's look-ups go.
//!
//! LiteLLM reads such a name from its key management system when one is configured and hosts the name, and from the
//! environment otherwise, in which `environment_variables` of the file count first.

use std::collections::BTreeMap;

use keyturn_ambient::Env;
use secrecy::ExposeSecret;

use crate::key_management::is_path;
use crate::reference::{RefError, SecretRef};
use crate::value::Value;

/// `general_settings.key_management_system` and `key_management_settings`, as far as reading goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyManagement {
    /// The environment (`local`, or nothing configured).
    #[default]
    Environment,
    /// `aws_secret_manager`, with an `access_mode` that reads.
    AwsSecretsManager {
        /// The names that the manager hosts; `None`: every name. The others are read from the environment.
        hosted_keys: Option<Vec<String>>,
        /// The one JSON secret that holds the names as fields; `None`: each name is a secret.
        primary_secret_name: Option<String>,
    },
    /// `hashicorp_vault`, with an `access_mode` that reads.
    HashicorpVault {
        /// As for AWS.
        hosted_keys: Option<Vec<String>>,
        /// The mount and the path above the documents, with a slash at the end.
        root: String,
    },
    /// `KEYTURN_PROVIDER_SECRET`, when the file names no key management system to read from: one secret that holds every
    /// name as a field. It lets the same file work on a laptop (from the environment) and in the cloud (from the secret).
    Document(SecretRef),
}

impl KeyManagement {
    fn hosts(&self, name: &str) -> bool {
        match self {
            Self::Environment => false,
            Self::Document(_) => true,
            Self::AwsSecretsManager { hosted_keys, .. } | Self::HashicorpVault { hosted_keys, .. } => {
                hosted_keys.as_ref().is_none_or(|hosted| hosted.iter().any(|key| key == name))
            }
        }
    }
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
    pub fn secret(&self, name: &str) -> Result<Value, RefError> {
        if self.key_management.hosts(name) {
            return self.hosted(name).map(Value::Reference);
        }
        match self.variables.get(name) {
            Some(value) => Ok(value.clone()),
            None => SecretRef::env(name).map(Value::Reference),
        }
    }

    /// Names have the characters of a secret's name in AWS Secrets Manager, and at most its 512
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
    fn hosted(&self, name: &str) -> Result<SecretRef, RefError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if name.is_empty() || name.len() > 512 || !name.bytes().all(plain) {
            return Err(RefError::BadName);
        }
        let of = |scheme: &str, secret: &str, field: Option<&str>| SecretRef {
            scheme: scheme.to_owned(),
            name: secret.to_owned(),
            field: field.map(str::to_owned),
            stage: None,
        };
        Ok(match &self.key_management {
            KeyManagement::Document(secret) => SecretRef { field: Some(name.to_owned()), ..secret.clone() },
            KeyManagement::AwsSecretsManager { primary_secret_name: Some(primary), .. } => {
                of("aws-secretsmanager", primary, Some(name))
            }
            KeyManagement::HashicorpVault { .. } if !is_path(name) => return Err(RefError::BadName),
            // The field that LiteLLM reads and writes.
            KeyManagement::HashicorpVault { root, .. } => of("vault", &format!("{root}{name}"), Some("key")),
            KeyManagement::AwsSecretsManager { .. } | KeyManagement::Environment => {
                of("aws-secretsmanager", name, None)
            }
        })
    }

    /// The text of `os.environ/NAME` in a field that bears no secret: from the environment, now.
    pub(crate) fn text(&self, name: &str, env: &dyn Env) -> Option<String> {
        match self.variables.get(name) {
            Some(Value::Literal(text)) => Some(text.expose_secret().to_owned()),
            Some(Value::Reference(reference)) if reference.scheme == "env" => env.var(&reference.name),
            Some(Value::Reference(_)) => None,
            None => env.var(name),
        }
    }
}
