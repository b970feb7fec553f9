//! Settlement: the actual usage instead of the reservation.

use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::money::{count, nanos};
use crate::port::{Admission, KeyError, Reservation, Spent};

use super::DynamoKeyStore;
use super::plan::minute;
use super::record::{COMMITTED, Counter, REV, Record, SPEND};
use super::table::Item;
use super::update::{Update, Written};

/// What a settlement changes.
#[derive(Clone, Copy)]
struct Change {
    /// Nano-dollars spent.
    actual: i64,
    /// Nano-dollars to give back and the slot they are booked in.
    reserved: Option<(i64, i64)>,
    /// The minute whose tokens are corrected, and by how much.
    tokens: Option<(i64, i64)>,
}

impl DynamoKeyStore {
    pub(super) async fn settle_key(&self, admission: &Admission, spent: &Spent) -> Result<(), KeyError> {
        let now = self.clock.now();
        let id = &admission.key.id;
        let reservation = admission.reservation.as_ref();
        let change = Change {
            actual: nanos(spent.cost),
            reserved: reservation.and_then(|r| r.budget).filter(|(cost, _)| *cost != 0),
            tokens: reservation.and_then(|r| token_correction(r, spent, now)),
        };
        if change.actual == 0 && change.reserved.is_none() && change.tokens.is_none() {
            return Ok(());
        }
        let mut written = change.update().send(&self.table, id).await?;
        if change.reserved.is_some() && matches!(written, Written::Refused(Some(_))) {
            // The slot has ended: what was reserved in it has been given back already.
            let change = Change { reserved: None, ..change };
            written = change.update().send(&self.table, id).await?;
        }
        match written {
            Written::Done(item) => {
                self.remember(id, &item, now);
                Ok(())
            }
            Written::Refused(_) => Err(KeyError::NotFound),
        }
    }

    /// Keeps the counters of a key with limits, so that its next admission asks for the right thing. A key
    /// without limits is not kept: when its time is over it has to be read together with the generation.
    fn remember(&self, id: &KeyHash, item: &Item, now: Timestamp) {
        // The usage is recorded; that the item cannot be read is for the next admission to report.
        if let Ok(record) = Record::parse(item)
            && record.key.limited()
        {
            self.keep(id, record, now);
        }
    }
}

impl Change {
    fn update(&self) -> Update {
        let mut update = Update::default();
        // A write would bring a deleted key back as a torso.
        update.require_present(REV);
        update.add(SPEND, self.actual);
        let mut committed = self.actual;
        if let Some((cost, slot)) = self.reserved {
            let attribute = Counter::Reserved.attribute(slot);
            update.require_present(&attribute);
            update.add(&attribute, -cost);
            committed -= cost;
        }
        update.add(COMMITTED, committed);
        if let Some((minute, correction)) = self.tokens {
            update.add(&Counter::Tokens.attribute(minute), correction);
        }
        update
    }
}

/// The window and what to add to its tokens; `None` once the window is over, since nobody asks it any more.
fn token_correction(reservation: &Reservation, spent: &Spent, now: Timestamp) -> Option<(i64, i64)> {
    let correction = count(spent.tokens) - reservation.tokens?;
    (correction != 0 && reservation.minute == minute(now)).then_some((reservation.minute, correction))
}
