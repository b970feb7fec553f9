//! What the rotators of the gateway's own keys share.
//!
//! A key may have several values at once, each with a name in the key table. A rotation adds one, named after the
//! secret and the rotation's token, and gives the present one a name of the secret's too, so that it can be ended
//! when its time is over. Values without a name of this secret's are never touched: those that another secret's
//! rotation added, and those of a regeneration. Adding gives no value an end.

use async_trait::async_trait;
use keyturn_keys::manage::{Caller, Naming, Whose};
use keyturn_keys::{KeyHash, ManageError, Manager};

use crate::settings::{OURS, SettingsError};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

/// In `updated_by` of keys.
const ROTATION: &str = "secret-rotation";

/// Values of one kind of key.
pub(super) struct OwnKeys {
    manager: Manager,
    whose: Whose,
}

impl OwnKeys {
    /// The values of keys in the key table.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn open(tools: &Tools, whose: Whose) -> Result<Self, SettingsError> {
        let manager = tools.keys.clone().ok_or_else(|| {
            SettingsError::new(
                format!("{OURS}rotator"),
                "needs the gateway's key table, and none is configured",
            )
        })?;
        Ok(Self { manager, whose })
    }
}

fn caller() -> Caller {
    Caller::admin(Some(ROTATION.to_owned()))
}

#[async_trait]
impl Rotator for OwnKeys {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let present = format!("{}first", ask.prefix);
        let naming = Naming { new: &ask.name, present: &present };
        let value = self.manager.add_value(&caller(), self.whose, ask.current.value()?, naming).await;
        Ok(Credential::of(value.map_err(failed)?).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        match self.manager.has_value(self.whose, credential.value()?).await.map_err(failed)? {
            true => Ok(()),
            false => Err(RotationError::Refused("the key table does not have it".to_owned())),
        }
    }

    async fn issued(&self, prefix: &str, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let current = current.value()?;
        let values = match self.manager.named_values(&caller(), current, prefix).await {
            // A master key that was never replaced.
            Err(ManageError::NotFound { .. })
                if self.whose == Whose::Master
                    && self.manager.has_value(self.whose, current).await.map_err(failed)? =>
            {
                Vec::new()
            }
            values => values.map_err(failed)?,
        };
        let issued = values.into_iter().map(|value| Issued {
            id: value.hash.to_string(),
            created_at: Some(value.name.since),
            ..Issued::default()
        });
        Ok(issued.collect())
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get("value").is_none_or(|value| KeyHash::of(value).to_string() == issued.id)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let Some(hash) = KeyHash::from_hex(&issued.id) else { return Ok(()) };
        self.manager.end_value(&caller(), &hash).await.map(drop).map_err(failed)
    }
}

fn failed(error: ManageError) -> RotationError {
    match error {
        ManageError::NotFound { .. } => {
            RotationError::Unfit("the current value is none of a key in the key table".to_owned())
        }
        ManageError::Invalid { field: "values", reason } => {
            RotationError::Full(format!("the key's values {reason}"))
        }
        ManageError::Invalid { field, reason } => RotationError::Unfit(format!("the {field} {reason}")),
        error => RotationError::Keys(error),
    }
}
