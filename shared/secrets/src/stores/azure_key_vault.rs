//! Azure Key Vault: `azure-keyvault:openai-key`, `azure-keyvault:my-vault.vault.azure.net/openai-key`.
//!
//! Authentication: a token of Microsoft Entra ([`keyturn_identity::entra`], `AZURE_*`). It is sent to Azure's own vaults
//! and to the one of `AZURE_KEY_VAULT_URI`, and nowhere else.
//!
//! Naming: `NAME` is in the vault that `AZURE_KEY_VAULT_URI` names; `HOST/NAME`, or the secret's identifier
//! `https://HOST/secrets/NAME`, may be in another one. An identifier may end in a version, which is then what is read.
//! `_` in a name is written `-`, as LiteLLM does, since names are letters, digits and dashes.
//!
//! Stages: the newest version is the current one, for every reader. Which one came before it is told by its tags, and
//! the version that a rotation makes is in a secret of its own, `NAME--keyturn-pending` ([`pending`]). Versions: the id
//! that a rotation gave; else the one that the service gave.
//!
//! Permissions: `secrets/get`. To rotate it also takes `secrets/set`; to write new secrets `secrets/recover`; to remove
//! and list them `secrets/delete`, `secrets/purge`, `secrets/list`. A value has 25,600 bytes at most.
//!
//! <https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups>, version 2025-07-01.

mod api;
mod pending;
mod place;
mod staged;
mod writes;

use std::collections::HashMap;
use std::sync::{Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use keyturn_identity::entra::Entra;

use super::Surroundings;
use crate::{Secret, SecretError, SecretStore, Stage};
use api::Kept;
use place::Place;

/// How long is waited for a secret that is just being deleted or recovered: the service takes some seconds.
const WAITS: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Azure Key Vault as a store.
pub struct AzureKeyVault {
    found: Surroundings,
    entra: Entra,
    /// By secret, held by whoever changes it: there is no check-and-set.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    waits: [Duration; WAITS.len()],
}

impl AzureKeyVault {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "azure-keyvault";

    /// The store that the environment names.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let entra = Entra::from_env(&found.env, &found.http, &found.clock);
        Self { found: found.clone(), entra, turns: Mutex::default(), waits: WAITS }
    }

    fn place(&self, name: &str) -> Result<Place, SecretError> {
        Place::of(&self.found, name)
    }

    /// The version before a current one, if that is known.
    async fn previous(&self, place: &Place, current: &Kept) -> Result<Option<Kept>, SecretError> {
        match current.previous() {
            None => Ok(None),
            Some((id, _)) => self.read(place, &place.name, Some(id)).await.map(Some),
        }
    }
}

#[async_trait]
impl SecretStore for AzureKeyVault {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let place = self.place(name)?;
        if let (Some(version), Stage::Current) = (&place.version, stage) {
            return self.read(&place, &place.name, Some(version)).await?.secret(&place);
        }
        let current = self.read(&place, &place.name, None).await?;
        let there = match stage {
            _ if place.version.is_some() => None,
            Stage::Current => return current.secret(&place),
            Stage::Previous => self.previous(&place, &current).await?,
            Stage::Pending => {
                let pending = self.pending(&place, &current).await?;
                return match pending.filter(|pending| pending.is_made) {
                    Some(pending) => pending.secret(&place),
                    None => Err(place.not_found("no version has this stage")),
                };
            }
            Stage::Named(_) => None,
        };
        there.ok_or_else(|| place.not_found("no version has this stage"))?.secret(&place)
    }
}

#[cfg(test)]
mod tests;
