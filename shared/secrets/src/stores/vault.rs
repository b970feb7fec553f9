//! HashiCorp Vault or OpenBao, a KV engine of version 2: `vault:secret/litellm/providers#OPENAI_API_KEY`.
//!
//! Authentication: `HCP_VAULT_*` (`keyturn_vault`). `HCP_VAULT_REFRESH_INTERVAL`: from how many seconds on a value is
//! read again while it serves; LiteLLM's default of a day is not ours, which is the cache's. Naming: the engine's mount, then the document's path. A reference
//! is whole: `HCP_VAULT_PATH_PREFIX` is not put in front of it, since it is where LiteLLM's own names are. The mount is
//! the first segment; a mount of several segments can be meant if it is the one that `HCP_VAULT_MOUNT_NAME` names.
//!
//! The value of a document is its fields as a JSON object. LiteLLM keeps a secret that is one text as `{"key": text}`:
//! the value of a document that has this one field is the text, with `#key` and without.
//!
//! Stages: the fields of the document are the current version, for every reader. What else there is to know stands in
//! its field `keyturn`, which is nobody's value ([`document`]). Versions: the id that a rotation gave; before that, the
//! number that Vault gave and when.
//!
//! Permissions: `read` on `<mount>/data/<path>`. To rotate it also takes `update` there; to write new secrets, `create`
//! there and `read`, `update`, `delete`, `list` on `<mount>/metadata/<path>`.

mod connection;
mod document;
mod staged;

use std::time::Duration;

use async_trait::async_trait;
use keyturn_vault::{Vault, VaultError};

use super::Surroundings;
use super::refresh_interval::refresh_interval;
use crate::{Secret, SecretError, SecretStore, Stage};
pub(super) use connection::{Connection, failure};
use document::Loaded;

/// LiteLLM's variable.
const REFRESH_INTERVAL: &str = "HCP_VAULT_REFRESH_INTERVAL";

/// Vault as a store.
pub struct HashiCorpVault {
    connection: Connection,
}

/// Where one document is.
struct Place {
    vault: Vault,
    path: String,
    /// For errors.
    reference: String,
}

impl HashiCorpVault {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "vault";

    /// The store that the environment names. The environment is read at first use.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        Self { connection: Connection::new(found) }
    }

    fn place(&self, name: &str) -> Result<Place, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        let vault = self.connection.vault(&reference)?;
        refresh_interval(self.connection.env(), REFRESH_INTERVAL)
            .map_err(|problem| SecretError::denied(&*reference, &problem))?;
        let whole = name.strip_prefix(vault.mount()).and_then(|path| path.strip_prefix('/'));
        let (mount, path) = match whole {
            Some(path) => (vault.mount(), path),
            None => name
                .split_once('/')
                .ok_or_else(|| SecretError::not_found(&*reference, "expected mount/path"))?,
        };
        let vault = vault.at(mount).map_err(|error| failure(&reference, &error))?;
        Ok(Place { vault, path: path.to_owned(), reference })
    }
}

impl Place {
    /// Reads the document.
    async fn load(&self) -> Result<Loaded, SecretError> {
        let document = self.vault.get(&self.path).await.map_err(|error| self.failure(&error))?;
        Loaded::new(document).map_err(|what| SecretError::malformed(&*self.reference, what))
    }

    fn failure(&self, error: &VaultError) -> SecretError {
        failure(&self.reference, error)
    }

    fn not_found(&self, what: &str) -> SecretError {
        SecretError::not_found(&*self.reference, what)
    }
}

#[async_trait]
impl SecretStore for HashiCorpVault {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let place = self.place(name)?;
        let loaded = place.load().await?;
        let (version, fields) = match stage {
            Stage::Current => Some((&*loaded.state.version, &loaded.fields)),
            Stage::Previous => loaded.state.previous.as_ref().map(|kept| (&*kept.version, &kept.fields)),
            Stage::Pending => {
                let pending = loaded.state.pending.as_ref();
                pending.and_then(|made| Some((&*made.version, made.fields.as_ref()?)))
            }
            Stage::Named(_) => None,
        }
        .ok_or_else(|| place.not_found("no version has this stage"))?;
        document::secret(version, fields).map_err(|what| SecretError::malformed(place.reference, what))
    }

    fn soft_ttl(&self) -> Option<Duration> {
        refresh_interval(self.connection.env(), REFRESH_INTERVAL).ok().flatten()
    }
}
