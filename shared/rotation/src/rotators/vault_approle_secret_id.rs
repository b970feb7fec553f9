//! `vault_approle_secret_id`: a secret id of an AppRole in HashiCorp Vault or OpenBao.
//!
//! **Strategy.** Several secret ids. A new one is a random value of ours (`custom-secret-id`), not one of Vault's: so
//! its hash can stand in its metadata beside its name, and the secret needs nothing but the value to recognise it by.
//! The former one is destroyed after the overlap; tokens that were got with it go on until they end. Secret ids that
//! this did not make are never touched, so destroy the first one yourself.
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `role` | the role's name | required |
//! | `mount` | where the method is mounted, without `auth/` | `approle` |
//! | `expires_in` | when Vault itself ends a new one, at the role's own limit at the latest: at least a day | that limit |
//!
//! **Needs** a login to Vault by the variables that `keyturn_vault` lists (`HCP_VAULT_ADDR` and those of a login), with
//! this policy. The metadata of every secret id of the role is read, so give machines with thousands of them a role of
//! their own.
//!
//! ```hcl
//! path "auth/MOUNT/role/ROLE/custom-secret-id"           { capabilities = ["update"] }
//! path "auth/MOUNT/role/ROLE/secret-id"                  { capabilities = ["list"] }
//! path "auth/MOUNT/role/ROLE/secret-id/lookup"           { capabilities = ["update"] }
//! path "auth/MOUNT/role/ROLE/secret-id-accessor/lookup"  { capabilities = ["update"] }
//! path "auth/MOUNT/role/ROLE/secret-id-accessor/destroy" { capabilities = ["update"] }
//! ```
//!
//! It is tested by looking it up, not by a login: that would use one of the times that a role may limit it to, and
//! come from another address than its clients'.
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/approle>

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::SignedDuration;
use keyturn_vault::{AppRole, Outage, Vault, VaultError};
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{hints, lifetimes};
use crate::settings::{OURS, Settings, SettingsError, optional_duration};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

/// Random bytes in a secret id; Vault's own have 16.
const BYTES: usize = 32;
/// How many secret ids are looked up at a time.
const AT_A_TIME: usize = 8;
/// What the metadata holds.
const NAME: &str = "name";
const SHA256: &str = "sha256";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    role: String,
    #[serde(default = "usual_mount")]
    mount: String,
    #[serde(default, deserialize_with = "optional_duration")]
    expires_in: Option<SignedDuration>,
}

fn usual_mount() -> String {
    "approle".to_owned()
}

struct SecretIds {
    vault: Vault,
    role: AppRole,
    life: Option<Duration>,
    tools: Tools,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let wrong = |name: &str, problem: String| SettingsError::new(format!("{OURS}{name}"), problem);
    let expires_in = lifetimes::checked(own.expires_in, None)?;
    let role = AppRole::new(&own.mount, &own.role)
        .map_err(|_| wrong("role", "and mount do not make the path of a role".to_owned()))?;
    let vault = Vault::from_env(&*tools.env, &tools.http, tools.clock.clone())
        .map_err(|error| wrong("rotator", format!("needs a login to Vault: {error}")))?;
    Ok(Box::new(SecretIds {
        vault,
        role,
        life: expires_in.map(SignedDuration::unsigned_abs),
        tools: tools.clone(),
    }))
}

#[async_trait]
impl Rotator for SecretIds {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(&mut *bytes).map_err(|_| RotationError::Unavailable("no random bytes".to_owned()))?;
        let value = SecretString::from(URL_SAFE_NO_PAD.encode(*bytes));
        let metadata =
            BTreeMap::from([(NAME.to_owned(), ask.name.clone()), (SHA256.to_owned(), hints::sha256(&value))]);
        match self.vault.add_secret_id(&self.role, &value, &metadata, self.life).await {
            Ok(()) => Ok(Credential::of(value).into()),
            Err(VaultError::NotFound) => Err(RotationError::Unfit("Vault has no such role".to_owned())),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let found = self
            .vault
            .find_secret_id(&self.role, credential.value()?)
            .await
            .map_err(|error| failed(&error))?;
        let refused = |why: &str| Err(RotationError::Refused(why.to_owned()));
        match found {
            None => refused("Vault does not know the secret id"),
            Some(id) if id.expires.is_some_and(|end| end <= self.tools.now()) => {
                refused("the secret id has expired")
            }
            Some(_) => Ok(()),
        }
    }

    async fn issued(&self, prefix: &str, _: &Credential) -> Result<Vec<Issued>, RotationError> {
        let accessors = self.vault.secret_ids(&self.role).await.map_err(|error| failed(&error))?;
        let found = stream::iter(accessors);
        let found = found.map(|accessor| async move { self.vault.secret_id(&self.role, &accessor).await });
        let found: Vec<_> = found.buffered(AT_A_TIME).try_collect().await.map_err(|error| failed(&error))?;
        let ours = found.into_iter().flatten().filter_map(|mut id| {
            id.metadata.get(NAME).is_some_and(|name| name.starts_with(prefix)).then(|| Issued {
                id: id.accessor,
                hint: id.metadata.remove(SHA256),
                created_at: Some(id.created),
                ..Issued::default()
            })
        });
        Ok(ours.collect())
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_none_or(|value| hints::may_be(issued.hint.as_deref(), value))
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        self.vault.destroy_secret_id(&self.role, &issued.id).await.map_err(|error| failed(&error))
    }
}

/// None of Vault's own words are in its errors.
fn failed(error: &VaultError) -> RotationError {
    let text = error.to_string();
    match error {
        VaultError::Denied(_) => RotationError::Denied(text),
        VaultError::Unavailable(Outage::Malformed) => RotationError::Malformed(text),
        VaultError::Unavailable(Outage::Status(400..=499)) | VaultError::BadPath => {
            RotationError::Unfit(text)
        }
        VaultError::Unavailable(_) | VaultError::NotFound | VaultError::CasMismatch => {
            RotationError::Unavailable(text)
        }
    }
}
