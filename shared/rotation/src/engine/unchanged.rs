//! What a rotator asks before it lets go of something that it cannot have back.

use async_trait::async_trait;
use keyturn_secrets::{SecretError, Stage, VersionId};

use super::Rotation;
use crate::{RotationError, Unchanged};

/// A rotation, and the version that was the current one when it was looked at.
pub(super) struct Watch<'a> {
    pub(super) rotation: &'a Rotation<'a>,
    pub(super) current: &'a VersionId,
}

#[async_trait]
impl Unchanged for Watch<'_> {
    async fn confirm(&self) -> Result<(), RotationError> {
        let Rotation { store, name, token, .. } = self.rotation;
        let seen = store.describe(name).await?;
        let same = seen.at(&Stage::Current) == Some(self.current);
        let ours = seen.at(&Stage::Pending).is_none_or(|pending| pending == token);
        let open = match store.version(name, token).await {
            Err(SecretError::NotFound { .. }) => true,
            Ok(_) => false,
            Err(error) => return Err(error.into()),
        };
        if same && ours && open {
            return Ok(());
        }
        Err(RotationError::Unavailable(
            "somebody else goes on with this rotation, or began another".to_owned(),
        ))
    }
}
