//! Who may call what.
//!
//! | who | may |
//! |---|---|
//! | the master key, a `management` key, a key of a `proxy_admin` | everything |
//! | a `read_only` key, a key of a `proxy_admin_viewer` | read everything |
//! | a key of an `internal_user` | manage its user's keys, read about its user; as an admin of a team, manage the team's keys and members |
//! | a key of an `internal_user_viewer` | read about its user |
//! | every other key | read its own `/key/info` and `/key/health` |
//!
//! An `llm_api` key is never more than the last, whoever its user is. A key with `allowed_routes` may call only those,
//! and its own `/key/info`.

use std::sync::Arc;

use http::HeaderMap;
use keyturn_entry::{Door, Presented};
use keyturn_keys::manage::Caller;
use keyturn_keys::{Identity, KeyType, Keys, UserRole, VirtualKey};

use crate::error::Refusal;
use crate::routes::Access;

/// What LiteLLM calls the holder of the master key in `created_by`.
const MASTER_NAME: &str = "default_user_id";

/// Whose request it is.
pub(crate) struct Who {
    /// The key; `None` = the master key.
    pub(crate) key: Option<Arc<VirtualKey>>,
    rank: Rank,
}

enum Rank {
    /// May do all that this caller may.
    Full(Caller),
    /// May read all that this caller may.
    Reads(Caller),
    /// May read its own key.
    Own,
}

impl Who {
    /// Finds out whose request it is.
    ///
    /// # Errors
    ///
    /// 401 without a key that works; 503 when the store cannot say.
    pub(crate) async fn of(headers: &HeaderMap, door: &Door, keys: &Keys) -> Result<Self, Refusal> {
        let hash = match door.presented(headers).map_err(Refusal::NoKey)? {
            Presented::Virtual(hash) => hash,
            Presented::Master(hash) => {
                // Once it has been replaced, the table says how long it still works.
                match keys.replaced_master(&hash).await {
                    Ok(false) => return Ok(Self::master()),
                    Ok(true) => hash,
                    Err(error) => return Err(Refusal::Key(hash, Box::new(error))),
                }
            }
        };
        let identity = keys.authenticate(&hash).await.map_err(|error| Refusal::Key(hash, Box::new(error)))?;
        Ok(Self { rank: rank(&identity), key: Some(identity.key) })
    }

    fn master() -> Self {
        Self { key: None, rank: Rank::Full(Caller::admin(Some(MASTER_NAME.to_owned()))) }
    }

    /// The name for the log: the key's id, which is no secret.
    pub(crate) fn name(&self) -> String {
        self.key.as_ref().map_or_else(|| "master".to_owned(), |key| key.id.to_string())
    }

    /// As whom the manager is asked; `None` = only about the key itself.
    ///
    /// # Errors
    ///
    /// 403 when the key may not call the route.
    pub(crate) fn may(&self, access: Access, path: &str) -> Result<Option<Caller>, Refusal> {
        let listed = self.key.as_ref().is_none_or(|key| key.allowed_routes.is_empty() || key.may_call(path));
        let caller = match &self.rank {
            Rank::Full(caller) => Some(caller),
            Rank::Reads(caller) if access != Access::Write => Some(caller),
            Rank::Reads(_) | Rank::Own => None,
        };
        match caller.filter(|_| listed) {
            Some(caller) => Ok(Some(caller.clone())),
            None if access == Access::Own => Ok(None),
            None => Err(Refusal::Denied),
        }
    }
}

fn rank(identity: &Identity) -> Rank {
    let key = &identity.key;
    let user = identity.user.as_ref();
    let name = || Some(key.user_id.clone().unwrap_or_else(|| key.id.to_string()));
    match (key.key_type, user.map(|user| user.user_role)) {
        (KeyType::LlmApi, _) => Rank::Own,
        (KeyType::Management, _) => Rank::Full(Caller::admin(name())),
        (KeyType::ReadOnly, _) | (KeyType::Default, Some(UserRole::ProxyAdminViewer)) => {
            Rank::Reads(Caller::admin(name()))
        }
        (KeyType::Default, Some(UserRole::ProxyAdmin)) => Rank::Full(Caller::admin(name())),
        (KeyType::Default, Some(UserRole::InternalUser)) => {
            user.map_or(Rank::Own, |user| Rank::Full(Caller::user(&user.user_id)))
        }
        (KeyType::Default, Some(UserRole::InternalUserViewer)) => {
            user.map_or(Rank::Own, |user| Rank::Reads(Caller::user(&user.user_id)))
        }
        (KeyType::Default, None) => Rank::Own,
    }
}
