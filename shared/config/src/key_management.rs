//! `general_settings.key_management_system` and `key_management_settings`: which secret manager `os.environ/NAME` is
//! read from, and to which one the values of created keys are written.
//!
//! | system | reads `NAME` from | writes virtual keys to |
//! |---|---|---|
//! | `aws_secret_manager` | the secret `NAME`, or the field `NAME` of `primary_secret_name` | `{prefix}{alias}/{id}` |
//! | `hashicorp_vault` | the field `key` of the document `NAME`, under `HCP_VAULT_MOUNT_NAME` and `HCP_VAULT_PATH_PREFIX` | the same, there |
//! | `local`, none | the environment, or `KEYTURN_PROVIDER_SECRET` | – |
//!
//! An `access_mode` that is not written reads, and writes when `store_virtual_keys` is on: that is what LiteLLM does.

use std::collections::BTreeMap;

use keyturn_ambient::Env;
use serde_json::Value as Json;

use crate::error::{ConfigError, Warning};
use crate::lookup::KeyManagement;
use crate::section::{Field, Scope, Section};
use crate::settings;
use crate::table::{Group, Table, Unknown};

/// `store_virtual_keys: true`: where the values of created keys are written too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKeys {
    /// The scheme of the store: `aws-secretsmanager` or `vault`.
    pub scheme: &'static str,
    /// What the names of their secrets begin with, with a slash at its end: `prefix_for_stored_virtual_keys`; in
    /// Vault the mount and `HCP_VAULT_PATH_PREFIX` come before it.
    pub prefix: String,
    /// The description of their secrets. AWS only.
    pub description: Option<String>,
    /// The tags of their secrets.
    pub tags: BTreeMap<String, String>,
    /// The key that AWS encrypts them with; `None` is the account's `aws/secretsmanager`.
    pub kms_key_id: Option<String>,
}

/// What the settings come to.
pub(crate) struct KeyManagementSettings {
    pub(crate) reads: KeyManagement,
    pub(crate) stored_keys: Option<StoredKeys>,
}

const ROLE: Group = (
    "a role of its own for the secret manager; give the function's role the permission",
    &[
        "aws_role_name",
        "aws_session_name",
        "aws_external_id",
        "aws_profile_name",
        "aws_web_identity_token",
        "aws_sts_endpoint",
    ],
);
const PYTHON: Group = ("secret managers written in Python", &["custom_secret_manager"]);

const TABLE: Table = Table {
    supported: &["hosted_keys", "primary_secret_name", "access_mode", "aws_region_name", STORE],
    ignored: &[(
        "store_virtual_keys is off",
        &["prefix_for_stored_virtual_keys", "description", "tags", "kms_key_id", "replica_regions"],
    )],
    refused: &[ROLE, PYTHON],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

/// With `store_virtual_keys`.
const STORING: Table = Table {
    supported: &[
        "hosted_keys",
        "primary_secret_name",
        "access_mode",
        "aws_region_name",
        STORE,
        "prefix_for_stored_virtual_keys",
        "description",
        "tags",
        "kms_key_id",
    ],
    ignored: &[],
    refused: &[ROLE, PYTHON, ("copies of virtual keys in other regions", &["replica_regions"])],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

/// What only AWS has.
const AWS_ONLY: Table = Table {
    supported: &["hosted_keys", "access_mode", "prefix_for_stored_virtual_keys", "tags"],
    ignored: &[],
    refused: &[(
        "a setting of aws_secret_manager; key_management_system is hashicorp_vault",
        &["primary_secret_name", "aws_region_name", "description", "kms_key_id"],
    )],
    refused_unless_true: &[],
    refused_parts: &[],
    unknown: Unknown::Refused,
};

const SYSTEM: &str = "key_management_system";
const STORE: &str = "store_virtual_keys";
/// The longest prefix, in bytes: with a slash and the 64 digits of an id, most of the 512 that AWS allows are left to
/// the alias.
const MAX_PREFIX: usize = 200;

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
    let system = Section::new("general_settings", serde_json::json!({ SYSTEM: of(SYSTEM) }), &plain)?
        .read(SYSTEM, |field| Ok((field.problem(SYSTEMS), field.text()?)))?;
    let path = "general_settings.key_management_settings";
    let mut manager = Section::new(path, of("key_management_settings"), &plain)?;
    let store = manager.read(STORE, |field| Ok((field.problem(NEEDS_SYSTEM), field.boolean()?)))?;
    let unstorable = store.and_then(|(problem, on)| on.then_some(problem));
    let table = if unstorable.is_some() { &STORING } else { &TABLE };
    let manager = manager.sorted_by(table, warnings)?;
    let none =
        || Ok(settings::provider_secret(env)?.map_or(KeyManagement::Environment, KeyManagement::Document));
    match (system, unstorable) {
        (Some((_, system)), problem) if system == "aws_secret_manager" => {
            aws(manager, problem.is_some(), env, none)
        }
        (Some((_, system)), problem) if system == "hashicorp_vault" => {
            vault(manager.sorted_by(&AWS_ONLY, warnings)?, problem.is_some(), env, none)
        }
        (Some((wrong, system)), _) if system != "local" => Err(wrong),
        (_, Some(problem)) => Err(problem),
        (None, None) => Ok(KeyManagementSettings { reads: none()?, stored_keys: None }),
        (Some(_), None) => Ok(KeyManagementSettings { reads: KeyManagement::Environment, stored_keys: None }),
    }
}

const SYSTEMS: &str = "must be aws_secret_manager, hashicorp_vault or local: no other one is supported";
const TAG: &str = "cannot be a tag: names have 1 to 128 characters and do not begin with aws: or keyturn:, \
     values have at most 256";
const NEEDS_SYSTEM: &str = "needs key_management_system: aws_secret_manager or hashicorp_vault";

fn aws(
    mut settings: Section<'_>,
    stores: bool,
    env: &dyn Env,
    otherwise: impl FnOnce() -> Result<KeyManagement, ConfigError>,
) -> Result<KeyManagementSettings, ConfigError> {
    settings.read("aws_region_name", |field| {
        let wrong = field.problem("must be the region that the function runs in (AWS_REGION)");
        let region = field.text()?;
        let own = env.var("AWS_REGION").or_else(|| env.var("AWS_DEFAULT_REGION"));
        if own.is_none_or(|own| own == region) { Ok(()) } else { Err(wrong) }
    })?;
    let hosted_keys = settings.read("hosted_keys", Field::texts)?;
    let primary_secret_name = settings.read("primary_secret_name", Field::text)?;
    let reads = if reads(&mut settings, stores)? {
        KeyManagement::AwsSecretsManager { hosted_keys, primary_secret_name }
    } else {
        otherwise()?
    };
    let stored_keys = stores.then(|| stored_keys(settings, "aws-secretsmanager", "")).transpose()?;
    Ok(KeyManagementSettings { reads, stored_keys })
}

fn vault(
    mut settings: Section<'_>,
    stores: bool,
    env: &dyn Env,
    otherwise: impl FnOnce() -> Result<KeyManagement, ConfigError>,
) -> Result<KeyManagementSettings, ConfigError> {
    let mut root = segments(env, "HCP_VAULT_MOUNT_NAME")?.unwrap_or_else(|| "secret/".to_owned());
    root.push_str(&segments(env, "HCP_VAULT_PATH_PREFIX")?.unwrap_or_default());
    let hosted_keys = settings.read("hosted_keys", Field::texts)?;
    let reads = if reads(&mut settings, stores)? {
        KeyManagement::HashicorpVault { hosted_keys, root: root.clone() }
    } else {
        otherwise()?
    };
    let stored_keys = stores.then(|| stored_keys(settings, "vault", &root)).transpose()?;
    Ok(KeyManagementSettings { reads, stored_keys })
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

fn stored_keys(
    mut settings: Section<'_>,
    scheme: &'static str,
    root: &str,
) -> Result<StoredKeys, ConfigError> {
    let prefix = settings.read("prefix_for_stored_virtual_keys", |field| {
        let wrong = field.problem("must be a path of letters, digits and _+=.@-, at most 200 characters");
        let text = field.text()?;
        let text = text.strip_suffix('/').unwrap_or(&text);
        if is_path(text) && text.len() < MAX_PREFIX { Ok(format!("{text}/")) } else { Err(wrong) }
    })?;
    let tags = settings.read("tags", |field| {
        let many = field.problem("must be at most 40");
        let tags = field.section()?.rest().map(|(name, field)| {
            let wrong = field.problem(TAG);
            let text = field.scalar()?;
            let reserved = ["aws:", "keyturn:"].iter().any(|prefix| name.to_lowercase().starts_with(prefix));
            let fits = (1..=128).contains(&name.chars().count()) && text.chars().count() <= 256;
            if fits && !reserved { Ok((name, text)) } else { Err(wrong) }
        });
        let tags: BTreeMap<_, _> = tags.collect::<Result<_, _>>()?;
        if tags.len() <= 40 { Ok(tags) } else { Err(many) }
    })?;
    Ok(StoredKeys {
        scheme,
        prefix: format!("{root}{}", prefix.as_deref().unwrap_or("litellm/")),
        description: settings.read("description", Field::text)?,
        tags: tags.unwrap_or_default(),
        kms_key_id: settings.read("kms_key_id", Field::text)?,
    })
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

/// Whether a text is a path of the characters that AWS allows in a secret's name, and each part of it names something
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
pub(crate) fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=.@-".contains(&byte);
    text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        for table in [TABLE, STORING, AWS_ONLY] {
            table.assert_consistent();
        }
    }
}
