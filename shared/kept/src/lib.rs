//! LiteLLM's `store_virtual_keys`: the values of created keys in a secret manager.
//!
//! [`KeptSecrets`] is [`KeptKeys`], which the management of keys writes to, over [`StagedStore`]. It is a crate of its
//! own so that the request function, which reads keys and secrets, has nothing in it that writes them.
//!
//! A key's secret is `{prefix}{alias}/{id}`, or `{prefix}virtual-key/{id}` without an alias: `litellm/prod/web/9f86…`.
//! The id is the hash of the key's first value, 64 hexadecimal digits, and never changes. Of the alias, characters that
//! AWS does not allow in a name are `_`, and the first 247 are used. Who may read `litellm/prod/web/*` finds the key of
//! this alias without knowing its id. The value is the key itself.
//!
//! | tag | value |
//! |---|---|
//! | `keyturn:key-id` | the key's id |
//! | `keyturn:key-store` | the gateway that the key belongs to, named by its key store |
//!
//! A secret is the gateway's own, and removed when its key is gone, only with both. Secrets of LiteLLM's, and those of
//! other gateways, are never touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyturn_config::StoredKeys;
use keyturn_keys::KeyHash;
use keyturn_keys::manage::{KeptKeys, KeptName, KeptPage};
use keyturn_keys::store::StoreFailure;
use keyturn_secrets::stores::open_staged;
use keyturn_secrets::{About, SecretError, Stage, StagedStore};
use secrecy::SecretString;

pub use keyturn_secrets::stores::Surroundings;

/// The tag with a key's id.
pub const KEY_ID: &str = "keyturn:key-id";
/// The tag with the key store.
pub const KEY_STORE: &str = "keyturn:key-store";
/// The most characters of an alias in a name: what is left of the 512 that AWS allows after a prefix of 200, a slash
/// and an id (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
const MAX_ALIAS: usize = 247;
/// The most characters of a tag's value
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Tag.html>).
const MAX_TAG: usize = 256;

/// The values of keys as secrets of a manager.
pub struct KeptSecrets {
    store: Arc<dyn StagedStore>,
    prefix: String,
    about: About,
}

/// The manager is none that can be written.
#[derive(Debug, thiserror::Error)]
#[error("general_settings.key_management_system: virtual keys cannot be stored in {0}")]
pub struct NotWritable(&'static str);

/// Builds the place for the values of created keys; it connects to nothing. `key_store` is the setting that names the
/// key store, and tells gateways apart that write to the same manager; to a table's name its region is added.
///
/// # Errors
///
/// [`NotWritable`].
pub fn open(
    settings: &StoredKeys,
    key_store: &str,
    found: &Surroundings,
) -> Result<Arc<dyn KeptKeys>, NotWritable> {
    let store = open_staged(settings.scheme, found).ok_or(NotWritable(settings.scheme))?;
    let region = found.env.var("AWS_REGION").or_else(|| found.env.var("AWS_DEFAULT_REGION"));
    let key_store = match region.filter(|_| key_store.starts_with("dynamodb:")) {
        Some(region) => format!("{key_store}@{region}"),
        None => key_store.to_owned(),
    };
    Ok(Arc::new(KeptSecrets::new(store, settings, &key_store)))
}

impl KeptSecrets {
    /// Keeps values in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn StagedStore>, settings: &StoredKeys, key_store: &str) -> Self {
        let mut tags = settings.tags.clone();
        tags.insert(KEY_STORE.to_owned(), plain(key_store, "_.:/=+-@").take(MAX_TAG).collect());
        let about = About {
            description: settings.description.clone(),
            tags,
            kms_key: settings.kms_key_id.clone(),
            replica_regions: settings.replica_regions.clone(),
        };
        Self { store, prefix: settings.prefix.clone(), about }
    }

    /// The id at the end of a name of ours.
    fn id_in(&self, name: &str) -> Option<KeyHash> {
        let (_, id) = name.strip_prefix(&self.prefix)?.rsplit_once('/')?;
        KeyHash::from_hex(id)
    }

    fn is_ours(&self, tags: &BTreeMap<String, String>, id: &KeyHash) -> bool {
        tags.get(KEY_ID).is_some_and(|tag| *tag == id.to_string())
            && tags.get(KEY_STORE) == self.about.tags.get(KEY_STORE)
    }
}

#[async_trait]
impl KeptKeys for KeptSecrets {
    fn name(&self, id: &KeyHash, alias: Option<&str>) -> KeptName {
        let alias: String = plain(alias.unwrap_or_default(), "/_+=.@-").take(MAX_ALIAS).collect();
        // In Vault, empty parts of a path name nothing, and `.` and `..` something else.
        let parts = alias.split('/').filter(|part| !part.trim_matches('.').is_empty());
        let alias = parts.collect::<Vec<_>>().join("/");
        let alias = if alias.is_empty() { "virtual-key" } else { &alias };
        KeptName { id: *id, name: format!("{}{alias}/{id}", self.prefix) }
    }

    async fn write(&self, name: &KeptName, value: &SecretString) -> Result<(), StoreFailure> {
        let mut about = self.about.clone();
        about.tags.insert(KEY_ID.to_owned(), name.id.to_string());
        self.store.write(&name.name, value, &about).await.map(drop).map_err(|error| failure(&error))
    }

    async fn read(&self, name: &KeptName) -> Result<Option<SecretString>, StoreFailure> {
        let Some(known) = found(self.store.describe(&name.name).await)? else { return Ok(None) };
        let Some(current) = known.at(&Stage::Current) else { return Ok(None) };
        let secret = found(self.store.version(&name.name, current).await)?;
        Ok(secret.map(|secret| SecretString::from(secret.value.expose())))
    }

    async fn remove(&self, name: &KeptName) -> Result<(), StoreFailure> {
        self.store.remove(&name.name).await.map_err(|error| failure(&error))
    }

    async fn list(&self, from: Option<&str>) -> Result<KeptPage, StoreFailure> {
        let page = self.store.list(&self.prefix, from).await.map_err(|error| failure(&error))?;
        let mut names = Vec::new();
        for listed in page.secrets {
            let Some(id) = self.id_in(&listed.name) else { continue };
            let (mut tags, mut written) = (listed.tags, listed.changed);
            // Vault's list has names only.
            if tags.is_empty() || written.is_none() {
                let Some(known) = found(self.store.describe(&listed.name).await)? else { continue };
                tags.extend(known.tags);
                written = written.or(known.current_since);
            }
            if self.is_ours(&tags, &id) {
                names.push((KeptName { id, name: listed.name }, written));
            }
        }
        Ok(KeptPage { names, next: page.next })
    }
}

/// The characters of a text; those that are no ASCII letter or digit and not in `others` are `_`.
fn plain(text: &str, others: &str) -> impl Iterator<Item = char> {
    text.chars().map(move |c| if c.is_ascii_alphanumeric() || others.contains(c) { c } else { '_' })
}

/// What is there, or nothing.
fn found<T>(result: Result<T, SecretError>) -> Result<Option<T>, StoreFailure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(SecretError::NotFound { .. }) => Ok(None),
        Err(error) => Err(failure(&error)),
    }
}

/// Names the secret and what the manager said; a manager's errors hold no value.
fn failure(error: &SecretError) -> StoreFailure {
    StoreFailure::from_error(error)
}
