//! `general_settings.key_management_system` and `key_management_settings`: which secret manager `os.environ/NAME` is
//! read from, and to which one the values of created keys are written.
//!
//! | system | reads `NAME` from |
//! |---|---|
//! | `aws_secret_manager` | the secret `NAME`, or the field `NAME` of `primary_secret_name` |
//! | `hashicorp_vault` | the field `key` of the document `NAME`, under `HCP_VAULT_MOUNT_NAME` and `HCP_VAULT_PATH_PREFIX` |
//! | `azure_key_vault`, `google_secret_manager`, `cyberark`, `custom` | the secret `NAME` |
//! | `aws_kms`, `google_kms` | the environment variable `NAME`, which holds a ciphertext |
//! | `local`, none | the environment, or `KEYTURN_PROVIDER_SECRET` |
//!
//! An `access_mode` that is not written reads, and writes when `store_virtual_keys` is on: that is what LiteLLM does.
//! `use_azure_key_vault` and `use_google_kms` are LiteLLM's older way to name those two.
//!
//! What a store needs to know is a variable to it: it is laid over the environment that stores are built from.
//!
//! | setting | variable |
//! |---|---|
//! | `aws_region_name`, `aws_role_name`, `aws_session_name`, `aws_external_id`, `aws_web_identity_token`, `aws_sts_endpoint` | `KEYTURN_AWS_REGION_NAME`, `KEYTURN_AWS_ROLE_NAME`, … |
//! | `custom_secret_manager`, a URL; `custom_secret_manager_token`, which LiteLLM does not have | `KEYTURN_CUSTOM_SECRETS_URL`, `KEYTURN_CUSTOM_SECRETS_TOKEN`: a token or a reference to it |

mod stored;
mod systems;

use std::collections::BTreeMap;

use keyturn_ambient::Env;
use secrecy::ExposeSecret;
use serde_json::Value as Json;

use crate::deployment::endpoint;
use crate::error::{ConfigError, Warning};
use crate::lookup::KeyManagement;
use crate::section::{Field, Scope, Section};
use crate::settings;
use crate::table::{Table, Unknown};
use crate::value::Value;

pub use stored::StoredKeys;
pub use systems::System;
pub(crate) use systems::is_aws_name;
use systems::{SYSTEMS, is_path};

/// What the settings come to.
#[derive(Default)]
pub(crate) struct KeyManagementSettings {
    pub(crate) reads: KeyManagement,
    pub(crate) stored_keys: Option<StoredKeys>,
    /// What stores are to find in their environment.
    pub(crate) store_env: BTreeMap<String, String>,
    /// `custom_secret_manager_token`, which is in `store_env` too.
    pub(crate) custom_token: Option<Value>,
}

const TABLE: Table = Table {
    supported: &[
        "hosted_keys",
        "primary_secret_name",
        "access_mode",
        STORE,
        "prefix_for_stored_virtual_keys",
        "description",
        "tags",
        "kms_key_id",
        "replica_regions",
        "aws_region_name",
        "aws_role_name",
        "aws_session_name",
        "aws_external_id",
        "aws_web_identity_token",
        "aws_sts_endpoint",
        URL,
        TOKEN,
    ],
    ignored: &[],
    refused: &[(
        "profiles of AWS's configuration files; give the function's role the permission, or name an aws_role_name",
        &["aws_profile_name"],
    )],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

/// Settings that are a text, and the variables that their store reads.
const VARIABLES: &[(&str, &str)] = &[
    ("aws_region_name", "KEYTURN_AWS_REGION_NAME"),
    ("aws_role_name", "KEYTURN_AWS_ROLE_NAME"),
    ("aws_session_name", "KEYTURN_AWS_SESSION_NAME"),
    ("aws_external_id", "KEYTURN_AWS_EXTERNAL_ID"),
    ("aws_web_identity_token", "KEYTURN_AWS_WEB_IDENTITY_TOKEN"),
    ("aws_sts_endpoint", "KEYTURN_AWS_STS_ENDPOINT"),
];

const SYSTEM: &str = "key_management_system";
const STORE: &str = "store_virtual_keys";
const URL: &str = "custom_secret_manager";
pub(crate) const TOKEN: &str = "custom_secret_manager_token";
/// The place of the settings.
pub(crate) const SETTINGS: &str = "general_settings.key_management_settings";

/// LiteLLM's older flags, and the systems that they mean (`load_from_azure_key_vault` and `load_google_kms` in
/// `litellm/proxy`). For AWS it never had one.
const FLAGS: &[(&str, &str)] =
    &[("use_azure_key_vault", "azure_key_vault"), ("use_google_kms", "google_kms")];

/// Reads both settings; they are looked up in the environment alone.
///
/// # Errors
///
/// [`ConfigError`] names the setting.
pub(crate) fn read(
    general: Option<&Json>,
    env: &dyn Env,
    warnings: &mut Vec<Warning>,
) -> Result<KeyManagementSettings, ConfigError> {
    let plain = Scope { env, lookup: crate::Lookup::default() };
    let of = |name: &str| general.and_then(|general| general.get(name)).cloned().unwrap_or(Json::Null);
    let mut flags = serde_json::json!({ SYSTEM: of(SYSTEM) });
    for (flag, _) in FLAGS {
        flags[*flag] = of(flag);
    }
    let system = system(Section::new("general_settings", flags, &plain)?)?;
    let mut settings = Section::new(SETTINGS, of("key_management_settings"), &plain)?;
    let is_written = !settings.is_empty();
    let stores = settings.read(STORE, |field| {
        let wrong = match system {
            Some(system) if system.writes => None,
            Some(system) => Some(format!("cannot be used with {}: it is for {}", system.name, writable())),
            None => Some(format!("needs {SYSTEM}: {}", writable())),
        };
        let wrong = wrong.map(|wrong| field.problem(wrong));
        match (field.boolean()?, wrong) {
            (true, Some(wrong)) => Err(wrong),
            (stores, _) => Ok(stores),
        }
    })?;
    let stores = stores.unwrap_or_default();
    let settings = settings.sorted_by(&TABLE, warnings)?;
    let named = !of(SYSTEM).is_null();
    match system {
        Some(system) => of_system(settings, system, stores, env, warnings),
        None => {
            if is_written {
                let why = "no manager is named by key_management_system".to_owned();
                warnings.push(Warning { path: SETTINGS.to_owned(), why });
            }
            let reads = if named { KeyManagement::Environment } else { unmanaged(env)? };
            Ok(KeyManagementSettings { reads, ..KeyManagementSettings::default() })
        }
    }
}

fn writable() -> String {
    System::names(|system| system.writes, &[])
}

/// What names are read from without a manager.
fn unmanaged(env: &dyn Env) -> Result<KeyManagement, ConfigError> {
    Ok(settings::provider_secret(env)?.map_or(KeyManagement::Environment, KeyManagement::Document))
}

/// The system that is named; `None`: `local`, or none.
fn system(mut section: Section<'_>) -> Result<Option<&'static System>, ConfigError> {
    let mut named = section.read(SYSTEM, |field| {
        let wrong = field.problem(format!("must be {}", System::names(|_| true, &["local"])));
        match field.text()?.as_str() {
            "local" => Ok(None),
            name => System::find(name).map(Some).ok_or(wrong),
        }
    })?;
    for (flag, name) in FLAGS {
        let problem = format!("is the older form of {SYSTEM}: {name}, and another one is named");
        let flag = section.read(flag, |field| Ok((field.problem(problem), field.boolean()?)))?;
        let (Some((odd, true)), Some(system)) = (flag, System::find(name)) else { continue };
        match named {
            Some(other) if other != Some(system) => return Err(odd),
            _ => named = Some(Some(system)),
        }
    }
    Ok(named.flatten())
}

fn of_system(
    mut settings: Section<'_>,
    system: &'static System,
    stores: bool,
    env: &dyn Env,
    warnings: &mut Vec<Warning>,
) -> Result<KeyManagementSettings, ConfigError> {
    for owner in SYSTEMS {
        let foreign = owner.settings.iter().filter(|setting| !system.settings.contains(setting));
        for setting in foreign {
            if let Some(field) = settings.take(setting)
                && !field.is_off()
            {
                let (owner, name) = (owner.name, system.name);
                return Err(field.problem(format!("is a setting of {owner}; {SYSTEM} is {name}")));
            }
        }
    }
    let mut store_env = BTreeMap::new();
    for (setting, variable) in VARIABLES {
        if let Some(text) = settings.read(setting, Field::text)? {
            store_env.insert((*variable).to_owned(), text);
        }
    }
    let custom_token = custom(&mut settings, &mut store_env)?;
    let root = if system.scheme == "vault" { vault_root(env)? } else { String::new() };
    let hosted_keys = settings.read("hosted_keys", Field::texts)?;
    let primary = settings.read("primary_secret_name", Field::text)?;
    let reads = if reads(&mut settings, stores)? {
        KeyManagement::Manager { system, hosted_keys, root: root.clone(), primary }
    } else {
        unmanaged(env)?
    };
    let stored_keys = stores.then(|| stored::read(&mut settings, system, &root)).transpose()?;
    for setting in stored::SETTINGS {
        if let Some(field) = settings.take(setting)
            && !field.is_off()
        {
            let why = format!("{STORE} is off");
            warnings.push(Warning { path: field.path().to_owned(), why });
        }
    }
    Ok(KeyManagementSettings { reads, stored_keys, store_env, custom_token })
}

/// The service that LiteLLM's users have as a class in Python.
fn custom(
    settings: &mut Section<'_>,
    store_env: &mut BTreeMap<String, String>,
) -> Result<Option<Value>, ConfigError> {
    let url = settings.read(URL, |field| {
        let why = "secret managers written in Python; give the URL of a service that returns JSON";
        let class = ConfigError::Unsupported { path: field.path().to_owned(), why };
        match field.resolved()? {
            field if field.is_url() => endpoint(field),
            _ => Err(class),
        }
    })?;
    let token = settings.read(TOKEN, Field::secret)?;
    let text = token.as_ref().map(|token| match token {
        Value::Reference(reference) => reference.to_string(),
        Value::Literal(literal) => literal.expose_secret().to_owned(),
    });
    let variables = [("KEYTURN_CUSTOM_SECRETS_URL", url), ("KEYTURN_CUSTOM_SECRETS_TOKEN", text)];
    let given = variables.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
    store_env.extend(given);
    Ok(token)
}

/// The mount and the path above the documents, with a slash at the end.
fn vault_root(env: &dyn Env) -> Result<String, ConfigError> {
    let mut root = segments(env, "HCP_VAULT_MOUNT_NAME")?.unwrap_or_else(|| "secret/".to_owned());
    root.push_str(&segments(env, "HCP_VAULT_PATH_PREFIX")?.unwrap_or_default());
    Ok(root)
}

/// `access_mode`: whether names are read from the manager.
fn reads(settings: &mut Section<'_>, stores: bool) -> Result<bool, ConfigError> {
    let read = settings.read("access_mode", |field| {
        let wrong = field.problem("must be read_only, read_and_write or write_only");
        let writes_nothing =
            field.problem("must be read_and_write or write_only with store_virtual_keys, which writes");
        match field.text()?.as_str() {
            "read_only" if stores => Err(writes_nothing),
            "read_only" | "read_and_write" => Ok(true),
            "write_only" => Ok(false),
            _ => Err(wrong),
        }
    })?;
    Ok(read.unwrap_or(true))
}

/// The path in a variable, with a slash at its end.
fn segments(env: &dyn Env, variable: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(text) = env.var(variable) else { return Ok(None) };
    let text = text.trim_matches('/');
    if !is_path(text) {
        let problem = "must be a path of letters, digits and _+=.@-".to_owned();
        return Err(ConfigError::Variable { variable, problem });
    }
    Ok(Some(format!("{text}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        TABLE.assert_consistent();
        let known = |name: &str| TABLE.supported.contains(&name);
        assert!(stored::SETTINGS.iter().all(|name| known(name)));
        assert!(VARIABLES.iter().all(|(name, _)| known(name)));
        assert!(FLAGS.iter().all(|(_, system)| System::find(system).is_some()));
    }
}
