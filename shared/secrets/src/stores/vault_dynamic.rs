//! Credentials that HashiCorp Vault or OpenBao issues when it is asked: `vault-dynamic:database/creds/gateway#password`.
//!
//! Authentication: `HCP_VAULT_*` (`keyturn_vault`). Naming: the path of the credential, whole: the engine's mount, what the
//! engine calls it, the role. It is read (`vault read`); with parameters behind commas it is written (`vault write`):
//! `vault-dynamic:pki/issue/gateway,common_name=gateway.internal#private_key`. The value is the credential's fields as
//! a JSON object. Versions: one for each lease, from its id. Stages: the version before the current one, as long as its
//! lease lasts.
//!
//! A credential is good for as long as its lease, which ends with our token at the latest. When it is asked for again,
//! before its end, the lease is renewed. When that gives less than a third of what it lasted, which is so near the
//! longest life that the role allows, or when it cannot be renewed, another credential is issued while the former one
//! still serves. A lease that is over before its time, because somebody has revoked it, is found out at the next
//! question, for example after a provider has refused the credential; then another one is issued at once.
//!
//! A lease is never revoked from here: requests that are under way hold the former credential, and environments come
//! and go without a word. It ends by itself, so a role's life says how many credentials there are at a time: one for
//! each environment, and the former ones.
//!
//! Permissions: what the path takes (`read`; with parameters `create` and `update`), and `update` on
//! `sys/leases/renew` and `sys/leases/lookup`, which the policy `default` has. Without these each question has another
//! credential issued.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_vault::{Lease, Vault, VaultError};
use serde_json::Value;

use super::Surroundings;
use super::vault::{Connection, failure};
use crate::{Secret, SecretError, SecretStore, SecretValue, Stage, VersionId};

/// The least part of its longest life that a renewal must give: less, and another credential is due.
const USEFUL: u32 = 3;

/// Vault's engines that issue credentials, as a store.
pub struct VaultDynamic {
    connection: Connection,
    /// By name. The names are the configuration's, so there are few.
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// One name's credential. Whoever asks has the turn to ask Vault; who waits for it shares what comes of a question that
/// began after his own.
#[derive(Default)]
struct Slot {
    begun: AtomicU64,
    turn: tokio::sync::Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// What the last question came to, and its number.
    outcome: Option<(u64, Result<Secret, SecretError>)>,
    current: Option<Held>,
    former: Option<Held>,
}

/// A credential with its lease.
#[derive(Clone)]
struct Held {
    value: SecretValue,
    version: VersionId,
    lease: Lease,
    life: Life,
    /// The longest that the lease was ever granted for.
    longest: Duration,
}

impl Held {
    fn secret(&self) -> Secret {
        Secret { value: self.value.clone(), version: self.version.clone(), life: Some(self.life) }
    }

    /// The same for as long as its lease lasts from `now` on.
    fn lasting(&self, lease: Lease, now: Timestamp) -> Self {
        let life = Life::granted(now, lease.lasts());
        Self { life, longest: self.longest.max(lease.lasts()), lease, ..self.clone() }
    }
}

/// What is to be asked of Vault.
struct Place<'a> {
    vault: Vault,
    path: &'a str,
    parameters: Option<Value>,
    reference: String,
}

/// What became of a lease.
enum Standing {
    /// It lasts, for long enough.
    Good(Held),
    /// It lasts, but not for long.
    Ending(Held),
    /// It is over.
    Over,
}

impl VaultDynamic {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "vault-dynamic";

    /// The store that the environment names. The environment is read at first use.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        Self { connection: Connection::new(found), slots: Mutex::default() }
    }

    fn place<'a>(&self, name: &'a str) -> Result<Place<'a>, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        let mut parts = name.split(',');
        let path = parts.next().unwrap_or_default();
        let parameters: Option<Vec<_>> = parts.map(|part| part.split_once('=')).collect();
        let Some(parameters) = parameters.filter(|_| path.contains('/')) else {
            return Err(SecretError::not_found(reference, "expected mount/path[,parameter=value]"));
        };
        let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        let parameters = Some(parameters.collect()).filter(|some: &serde_json::Map<_, _>| !some.is_empty());
        let vault = self.connection.vault(&reference)?;
        Ok(Place { vault, path, parameters: parameters.map(Value::Object), reference })
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(name.to_owned()).or_default())
    }

    /// The credential to use now, and the one that it replaces.
    async fn ask(&self, place: &Place<'_>, kept: &Kept) -> Result<(Held, Option<Held>), SecretError> {
        let now = self.connection.clock().now();
        let held = kept.current.as_ref().filter(|held| held.life.serves(now));
        let standing = match held {
            Some(held) => place.standing(held, now).await?,
            None => Standing::Over,
        };
        match standing {
            Standing::Good(held) => Ok((held, kept.former.clone())),
            Standing::Over => Ok((place.issue(now).await?, None)),
            Standing::Ending(held) => match place.issue(now).await {
                Ok(new) => Ok((new, Some(held))),
                // What there is has been prolonged a little, so that it can be tried again.
                Err(_) if kept.current.as_ref().is_some_and(|old| old.life.ends_at < held.life.ends_at) => {
                    Ok((held, kept.former.clone()))
                }
                Err(error) => Err(error),
            },
        }
    }
}

impl Place<'_> {
    async fn issue(&self, now: Timestamp) -> Result<Held, SecretError> {
        let issued = self.vault.issue(self.path, self.parameters.as_ref()).await;
        let issued = issued.map_err(|error| failure(&self.reference, &error))?;
        let lease = issued.lease.filter(|lease| !lease.lasts().is_zero());
        let lease = lease.ok_or_else(|| {
            let what = "Vault gives it without a lease, so it is not known how long it is good for";
            SecretError::malformed(&*self.reference, what)
        })?;
        Ok(Held {
            value: issued.data.into(),
            version: VersionId::of_value(lease.id()),
            life: Life::granted(now, lease.lasts()),
            longest: lease.lasts(),
            lease,
        })
    }

    async fn standing(&self, held: &Held, now: Timestamp) -> Result<Standing, SecretError> {
        if !held.lease.is_renewable() {
            return match self.vault.has_lease(&held.lease).await {
                Ok(false) => Ok(Standing::Over),
                Ok(true) if !held.life.is_due(now) => Ok(Standing::Good(held.clone())),
                // What is not allowed to be asked cannot be known.
                Ok(true) | Err(VaultError::Denied(_)) => Ok(Standing::Ending(held.clone())),
                Err(error) => Err(failure(&self.reference, &error)),
            };
        }
        match self.vault.renew(&held.lease).await {
            Ok(None) => Ok(Standing::Over),
            Ok(Some(lease)) => {
                let held = held.lasting(lease, now);
                let is_useful = held.lease.lasts() > held.longest / USEFUL;
                Ok(if is_useful { Standing::Good(held) } else { Standing::Ending(held) })
            }
            Err(VaultError::Denied(_)) => Ok(Standing::Ending(held.clone())),
            Err(error) => Err(failure(&self.reference, &error)),
        }
    }
}

#[async_trait]
impl SecretStore for VaultDynamic {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let place = self.place(name)?;
        let slot = self.slot(name);
        let asked = slot.begun.load(Ordering::SeqCst);
        let mut kept = slot.turn.lock().await;
        match stage {
            Stage::Current => {}
            Stage::Previous => {
                let now = self.connection.clock().now();
                let former = kept.former.as_ref().filter(|held| held.life.serves(now));
                let former = former.map(|held| {
                    // It is not renewed any more.
                    let life = Life { renew_at: held.life.ends_at, ..held.life };
                    Secret { life: Some(life), ..held.secret() }
                });
                return former.ok_or_else(|| {
                    SecretError::not_found(place.reference, "no credential before this one lasts")
                });
            }
            Stage::Pending | Stage::Named(_) => {
                return Err(SecretError::not_found(place.reference, "what is issued has no such stage"));
            }
        }
        if let Some((number, outcome)) = &kept.outcome
            && *number > asked
        {
            return outcome.clone();
        }
        let number = slot.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = self.ask(&place, &kept).await;
        let answer = outcome.map(|(current, former)| {
            let secret = current.secret();
            (kept.current, kept.former) = (Some(current), former);
            secret
        });
        kept.outcome = Some((number, answer.clone()));
        answer
    }
}
