//! Over how many shares an account is spread: by what it promises, and a team or a user by what its keys promise
//! together, too.

use crate::limits::Limits;
use crate::owners::{Team, User};
use crate::store::{Definition, Edit, Filter, Kind, Listing, RowId};

use super::error::Lost;
use super::list::MOST_ROWS;
use super::rows::{Document, Loaded};
use super::{ATTEMPTS, ManageError, Manager};

/// What one item of DynamoDB's carries is about 1,000 writes a second. Less than half of it leaves room for chance, since
/// requests pick their shares at random, and for refusals: a request that finds no room asks a second share too.
const WRITES_PER_SHARE: u64 = 400;
/// An admission and a settlement.
const WRITES_PER_REQUEST: u64 = 2;
/// All shares get a new revision in one transaction, which has room for 100 items.
const MOST: u64 = 64;

/// The number of shares that the requests a minute call for: none, or a power of two up to 64.
pub(crate) fn shares_for(limits: &Limits, spread: bool) -> u16 {
    if !spread {
        return 0;
    }
    // Without a limit of its own it may still promise something to single models.
    let models = limits.model_rpm_limit.values().fold(0_u64, |sum, limit| sum.saturating_add(*limit));
    let requests = limits.rpm_limit.unwrap_or(models);
    let writes = (requests / 60).saturating_mul(WRITES_PER_REQUEST);
    let shares = writes.div_ceil(WRITES_PER_SHARE).min(MOST).next_power_of_two();
    if shares < 2 { 0 } else { u16::try_from(shares).unwrap_or(0) }
}

impl Manager {
    /// Sees to it that the team and the user of a busy key, as it is about to be written, have as many shares as all
    /// their busy keys together, up to 64: each request is counted in their accounts too, whether those have limits or
    /// not. Before the key, so that a process that dies in between leaves too many shares and not too few.
    ///
    /// Keys that are not busy do not count; lists may lack a key that was made a moment ago. For a team whose load comes
    /// from either, an `rpm_limit` of its own says how much it carries.
    pub(super) async fn spread_owners(&self, key: &Definition) -> Result<(), ManageError> {
        if key.shares == 0 {
            return Ok(());
        }
        if let Some(id) = &key.index.team_id {
            self.spread_owner::<Team>(&RowId::named(Kind::Team, id), key).await?;
        }
        match &key.index.user_id {
            Some(id) => self.spread_owner::<User>(&RowId::named(Kind::User, id), key).await,
            None => Ok(()),
        }
    }

    async fn spread_owner<D: Document>(&self, id: &RowId, key: &Definition) -> Result<(), ManageError> {
        for _ in 0..ATTEMPTS {
            // One without a row gets its shares when it is made.
            let Some(owner) = self.load::<D>(id).await? else { return Ok(()) };
            if u64::from(owner.row.shares) >= MOST {
                return Ok(());
            }
            let others = self.shares_of_keys(id, Some(&key.id)).await?;
            let shares = together(others.saturating_add(u64::from(key.shares)));
            if owner.row.shares >= shares {
                return Ok(());
            }
            match self.widen(&owner, shares).await {
                Ok(()) => return Ok(()),
                Err(Lost::Race(_)) => {}
                Err(Lost::For(error)) => return Err(error),
            }
        }
        Err(ManageError::Conflict)
    }

    async fn widen<D: Document>(&self, owner: &Loaded<D>, shares: u16) -> Result<(), Lost> {
        let same = owner.next(&owner.value, owner.value.limits(), true, self.now()).map_err(Lost::For)?;
        let edit = Edit::Replace { from: owner.row.rev, to: Definition { shares, ..same } };
        self.store.edit(&[edit]).await.map_err(Lost::from)
    }

    /// The shares that a new row of this name needs for keys that are there already.
    pub(super) async fn shares_for_keys(&self, id: &RowId) -> Result<u16, ManageError> {
        Ok(if self.store.shares() { together(self.shares_of_keys(id, None).await?) } else { 0 })
    }

    /// How many shares the keys of a team or a user have, but for one of them; it is not counted further than to the
    /// most that an account can have.
    async fn shares_of_keys(&self, owner: &RowId, but: Option<&RowId>) -> Result<u64, ManageError> {
        let filter = match owner.kind {
            Kind::Team => Filter::Team(owner.id.clone()),
            Kind::User => Filter::User(owner.id.clone()),
            Kind::Key | Kind::Budget => return Ok(0),
        };
        let mut listing = Listing { filter, descending: false, limit: MOST_ROWS, skip: 0, from: None };
        let mut sum = 0_u64;
        loop {
            let page = self.store.list(&listing).await?;
            let rows = page.rows.iter().filter(|row| Some(&row.id) != but);
            sum = rows.fold(sum, |sum, row| sum.saturating_add(u64::from(row.shares)));
            listing.from = page.next;
            if listing.from.is_none() || sum >= MOST {
                return Ok(sum);
            }
        }
    }
}

/// The shares of an account that has the load of so many.
fn together(shares: u64) -> u16 {
    if shares == 0 { 0 } else { u16::try_from(shares.min(MOST).next_power_of_two()).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_with_the_promise() {
        for (rpm, shares) in [
            (0, 0),
            (1_000, 0),
            (12_000, 0),
            (12_060, 2),
            (24_000, 2),
            (60_000, 8),
            (600_000, 64),
            (u64::MAX, 64),
        ] {
            let limits = Limits { rpm_limit: Some(rpm), ..Limits::default() };
            assert_eq!(shares_for(&limits, true), shares, "{rpm}");
            assert_eq!(shares_for(&limits, false), 0, "{rpm}");
        }
        assert_eq!(shares_for(&Limits::default(), true), 0);
        let models = [("a".to_owned(), 20_000), ("b".to_owned(), 20_000)].into();
        assert_eq!(shares_for(&Limits { model_rpm_limit: models, ..Limits::default() }, true), 4);
    }
}
