//! `store_virtual_keys: true`: where the values of created keys are written too.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::key_management::systems::{System, is_path};
use crate::section::{Field, Section};

/// Where the values of created keys are written too.
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
    /// The further regions that AWS copies their secrets to.
    pub replica_regions: Vec<String>,
}

/// The settings that only matter here.
pub(super) const SETTINGS: &[&str] =
    &["prefix_for_stored_virtual_keys", "description", "tags", "kms_key_id", "replica_regions"];

/// The longest prefix, in bytes: with a slash and the 64 digits of an id, most of the 512 that AWS allows are left to
/// the alias.
const MAX_PREFIX: usize = 200;
const TAG: &str = "cannot be a tag: names have 1 to 128 characters and do not begin with aws: or keyturn:, \
     values have at most 256";

/// Reads the settings; `root` comes before the prefix.
pub(super) fn read(
    settings: &mut Section<'_>,
    system: &System,
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
        scheme: system.scheme,
        prefix: format!("{root}{}", prefix.as_deref().unwrap_or("litellm/")),
        description: settings.read("description", Field::text)?,
        tags: tags.unwrap_or_default(),
        kms_key_id: settings.read("kms_key_id", Field::text)?,
        replica_regions: settings.read("replica_regions", Field::texts)?.unwrap_or_default(),
    })
}
