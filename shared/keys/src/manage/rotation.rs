//! What a schedule does to keys: regenerate those that are due, and tidy up what died half-way.

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::hash::KeyHash;
use crate::period::Period;
use crate::store::{Filter, Kind, Listing, RowId};
use crate::virtual_key::VirtualKey;

use super::rows::Loaded;
use super::{Caller, KeyRef, ManageError, Manager, Patch, Regenerate};

/// Rows read at a time; DynamoDB gives 100 in one call.
const PAGE: usize = 100;
/// How long former values work after a rotation by the schedule, unless the options say otherwise, in seconds: a day.
/// Nobody waits for it, so clients must have time to read the new value.
const GRACE_SECONDS: u32 = 86_400;
/// How long a kept value may be without its key: a key that is being made right now is left alone.
const BEING_MADE: SignedDuration = SignedDuration::from_hours(1);
/// In `updated_by` of rotated keys.
const SCHEDULE: &str = "rotation-schedule";

/// Keys that are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuePage {
    /// Their ids.
    pub keys: Vec<KeyHash>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// What a run of the schedule came to.
#[derive(Debug, Default)]
pub struct Rotated {
    /// Keys with new values.
    pub done: Vec<KeyHash>,
    /// Keys that stay due.
    pub failed: Vec<(KeyHash, ManageError)>,
    /// Where the next run goes on; `None` when all keys were looked at.
    pub next: Option<String>,
}

impl Manager {
    /// The keys on a page of all keys that are due to be regenerated at `now`. All keys have to be looked at, a
    /// hundred in each page.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn due_for_rotation(
        &self,
        now: Timestamp,
        from: Option<String>,
    ) -> Result<DuePage, ManageError> {
        let filter = Filter::All(Kind::Key);
        let listing = Listing { filter, descending: false, limit: PAGE, skip: 0, from };
        let page = self.store.list(&listing).await?;
        let mut keys = Vec::new();
        for row in page.rows {
            let key = Loaded::<VirtualKey>::read(row)?.value;
            if is_due(&key, now) {
                keys.push(key.id);
            }
        }
        Ok(DuePage { keys, next: page.next })
    }

    /// Regenerates the keys that are due, from `from` on, until all pages are done or `go_on` says no. A key that
    /// fails does not keep the others from it.
    ///
    /// # Errors
    /// `Unavailable` when the keys cannot be listed.
    pub async fn rotate_due(
        &self,
        from: Option<String>,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<Rotated, ManageError> {
        let mut rotated = Rotated { next: from, ..Rotated::default() };
        loop {
            let page = self.due_for_rotation(self.now(), rotated.next.take()).await?;
            for id in page.keys {
                match Box::pin(self.rotate(&id)).await {
                    Ok(true) => rotated.done.push(id),
                    Ok(false) => {}
                    Err(error) => rotated.failed.push((id, error)),
                }
            }
            rotated.next = page.next;
            if rotated.next.is_none() || !go_on() {
                return Ok(rotated);
            }
        }
    }

    /// Regenerates a key if it is due; false when somebody else did.
    async fn rotate(&self, id: &KeyHash) -> Result<bool, ManageError> {
        let key = self.required::<VirtualKey>(&RowId::key(id)).await?.value;
        if !is_due(&key, self.now()) {
            return Ok(false);
        }
        if self.options.kept.is_none() {
            let reason = "needs store_virtual_keys: nobody would learn the new value";
            return Err(ManageError::invalid("auto_rotate", reason));
        }
        // Two runs of the schedule at once are one regeneration.
        let number = key.rotation_count;
        let grace = self.options.rotation_grace.or_else(|| Period::from_seconds(GRACE_SECONDS));
        let how = Regenerate {
            grace: grace.map_or(Patch::Clear, Patch::Set),
            idempotency_key: Some(SecretString::from(format!("{SCHEDULE} {number}"))),
            ..Regenerate::default()
        };
        let caller = Caller::admin(Some(SCHEDULE.to_owned()));
        let regenerated = self.regenerate(&caller, &KeyRef::Hash(*id), &how).await?;
        Ok(!regenerated.repeated)
    }

    /// Removes kept values whose keys are not there or have another name by now, on one page of what is kept; how
    /// many it removed, and where the next page is. What was written less than an hour ago stays, as does what was
    /// written nobody knows when.
    ///
    /// # Errors
    /// `Unavailable`, `KeptUnavailable`.
    pub async fn tidy_kept(&self, from: Option<&str>) -> Result<(usize, Option<String>), ManageError> {
        let Some(kept) = &self.options.kept else { return Ok((0, None)) };
        let page = kept.list(from).await.map_err(ManageError::KeptUnavailable)?;
        let now = self.now();
        let mut removed = 0;
        for (name, written) in page.names {
            if written.is_none_or(|written| now.duration_since(written) < BEING_MADE) {
                continue;
            }
            let key = self.load::<VirtualKey>(&RowId::key(&name.id)).await?;
            let due = key.and_then(|key| self.kept(&key.value)).map(|(_, due)| due);
            if due.as_ref() != Some(&name) {
                kept.remove(&name).await.map_err(ManageError::KeptUnavailable)?;
                removed += 1;
            }
        }
        Ok((removed, page.next))
    }
}

/// Whether a key is to be regenerated. One that is blocked or over would only get a value that nobody may use.
fn is_due(key: &VirtualKey, now: Timestamp) -> bool {
    key.auto_rotate
        && !key.blocked
        && key.expires.is_none_or(|expires| now < expires)
        && key.key_rotation_at.is_some_and(|at| at <= now)
}
