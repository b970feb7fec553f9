//! The version that a rotation makes, and whose turn it is: a secret of its own beside the one that is rotated.
//!
//! In the secret itself the newest version is what every reader gets, and a disabled one gives them an error in its
//! place; so nothing that is not current yet can stand there. The newest version of this secret is the pending one,
//! unless it is disabled: then there is none. Its tags say the rest. It belongs to one current version: when there is
//! another one, it is over.

use jiff::Timestamp;
use secrecy::SecretString;

use super::AzureKeyVault;
use super::api::{Kept, Tags, VERSION};
use super::place::Place;
use crate::{Secret, SecretError, VersionId};

/// What its name ends in.
pub(super) const SUFFIX: &str = "--keyturn-pending";
/// The service's id of the current version that it is to take the place of.
const AFTER: &str = "keyturn-after";
/// Whether it has its value: `made`. A version cannot be without one.
const STATE: &str = "keyturn-state";
const MADE: &str = "made";
const HOLDER: &str = "keyturn-holder";
const UNTIL: &str = "keyturn-until";

/// Whose turn it is to rotate.
#[derive(Clone, PartialEq)]
pub(super) struct Turn {
    pub(super) holder: String,
    pub(super) until: Timestamp,
}

/// The version that is being made.
pub(super) struct Pending {
    /// The service's id of it.
    pub(super) id: String,
    pub(super) version: String,
    pub(super) is_made: bool,
    pub(super) turn: Option<Turn>,
    pub(super) value: Option<SecretString>,
}

impl Pending {
    pub(super) fn secret(self, place: &Place) -> Result<Secret, SecretError> {
        let version = VersionId::new(&self.version);
        Ok(Secret::new(self.value.ok_or_else(|| place.malformed("empty"))?, version))
    }
}

/// The tags of a pending version.
pub(super) fn tags(version: &str, after: &Kept, is_made: bool, turn: Option<&Turn>) -> Tags {
    let mut tags = Tags::from(
        [(VERSION, version), (AFTER, after.id()), (STATE, if is_made { MADE } else { "begun" })]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    if let Some(Turn { holder, until }) = turn {
        tags.insert(HOLDER.to_owned(), holder.clone());
        tags.insert(UNTIL.to_owned(), until.to_string());
    }
    tags
}

impl Place {
    /// The name of the secret with the pending version.
    pub(super) fn pending_name(&self) -> String {
        format!("{}{SUFFIX}", self.name)
    }
}

impl AzureKeyVault {
    /// What is under way to take the place of a current version, if anything is.
    pub(super) async fn pending(
        &self,
        place: &Place,
        current: &Kept,
    ) -> Result<Option<Pending>, SecretError> {
        let Some(newest) = self.newest(place, &place.pending_name()).await? else { return Ok(None) };
        let id = newest.id().to_owned();
        let Kept { value, mut tags, .. } = newest;
        let turn = tags
            .remove(HOLDER)
            .zip(tags.remove(UNTIL))
            .and_then(|(holder, until)| Some(Turn { holder, until: until.parse().ok()? }));
        let is_made = tags.get(STATE).is_some_and(|state| state == MADE);
        let after = tags.remove(AFTER);
        let version = tags.remove(VERSION).filter(|_| after.as_deref() == Some(current.id()));
        Ok(version.map(|version| Pending { id, version, is_made, turn, value }))
    }
}
