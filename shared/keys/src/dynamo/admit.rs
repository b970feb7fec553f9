//! Admission: authenticate, authorise, reserve.

use std::sync::Arc;

use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::port::{Admission, Ask, KeyError, Reservation, StoreFailure};
use crate::virtual_key::VirtualKey;

use super::plan::Plan;
use super::record::Record;
use super::table::points_to;
use super::update::Written;
use super::{DynamoKeyStore, UNKNOWN_LIFE, within};

/// How often a reservation is tried: once, and again when the key turns out to have been changed, or a slot of
/// reservations ended.
const ATTEMPTS: usize = 3;

impl DynamoKeyStore {
    pub(super) async fn admit_key(&self, hash: &KeyHash, ask: &Ask<'_>) -> Result<Admission, KeyError> {
        let now = self.clock.now();
        if let Some(record) = self.cached(hash, ask.model, now) {
            record.check(hash, ask.model, now)?;
            if !record.key.limited() {
                return Ok(self.admission(&record, None, Vec::new()));
            }
            // The reservation does not bring the generation along; when it is due, it is read meanwhile.
            let (admission, ()) = tokio::join!(self.reserve(hash, record, ask), self.refresh_generation(now));
            return admission
                .map(|admission| Admission { generation: self.generation().number, ..admission });
        }
        let record = self.unless_unknown(hash, now).await?;
        record.check(hash, ask.model, now)?;
        if !record.key.limited() {
            return Ok(self.admission(&record, None, Vec::new()));
        }
        self.reserve(hash, record, ask).await
    }

    pub(super) async fn authenticate_key(&self, hash: &KeyHash) -> Result<Arc<VirtualKey>, KeyError> {
        let now = self.clock.now();
        let record = match self.known.get(hash).filter(|known| self.fresh(known.read_at, now)) {
            Some(known) => known.record,
            None => self.unless_unknown(hash, now).await?,
        };
        record.check_open(hash, now)?;
        Ok(Arc::clone(&record.key))
    }

    /// What is in memory, if it may be used: while it is fresh. A key with limits may also be used later,
    /// because the reservation proves that nothing has changed; but no such proof comes with a refusal.
    fn cached(&self, hash: &KeyHash, model: &str, now: Timestamp) -> Option<Arc<Record>> {
        let known = self.known.get(hash)?;
        let usable = self.fresh(known.read_at, now)
            || (known.record.key.limited() && known.record.check(hash, model, now).is_ok());
        usable.then_some(known.record)
    }

    fn is_unknown(&self, hash: &KeyHash, now: Timestamp) -> bool {
        let life = UNKNOWN_LIFE.min(self.cache_life);
        self.unknown.get(hash).is_some_and(|asked_at| within(life, asked_at, now))
    }

    /// Reads the key, unless it was found to be unknown a moment ago.
    async fn unless_unknown(&self, hash: &KeyHash, now: Timestamp) -> Result<Arc<Record>, KeyError> {
        if self.is_unknown(hash, now) {
            return Err(KeyError::NotFound);
        }
        self.read(hash, now).await
    }

    /// Reads the key that `hash` opens, following a pointer, and the generation.
    async fn read(&self, hash: &KeyHash, now: Timestamp) -> Result<Arc<Record>, KeyError> {
        let found = self.table.look_up(hash).await?;
        if let Some(generation) = found.generation {
            self.keep_generation(generation, now);
        }
        let mut item = found.item;
        if let Some(id) = item.as_ref().map(points_to).transpose()?.flatten() {
            item = self.table.get(&id).await?;
        }
        let Some(item) = item else {
            self.known.remove(hash);
            self.unknown.insert(*hash, now);
            return Err(KeyError::NotFound);
        };
        Ok(self.keep(hash, Record::parse(&item)?, now))
    }

    /// Reserves what the request asks for, in one conditional write.
    async fn reserve(
        &self,
        hash: &KeyHash,
        mut record: Arc<Record>,
        ask: &Ask<'_>,
    ) -> Result<Admission, KeyError> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let plan = Plan::new(ask, now);
            match plan.update(&record).send(&self.table, &record.key.id).await? {
                Written::Done(item) => {
                    let record = self.keep(hash, Record::parse(&item)?, now);
                    let headers = plan.rate_headers(&record);
                    return Ok(self.admission(&record, Some(plan.reservation(&record)), headers));
                }
                Written::Refused(None) => {
                    self.known.remove(hash);
                    return Err(KeyError::NotFound);
                }
                Written::Refused(Some(item)) => {
                    record = self.keep(hash, Record::parse(&item)?, now);
                    record.check(hash, ask.model, now)?;
                    if !record.key.limited() {
                        return Ok(self.admission(&record, None, Vec::new()));
                    }
                    if let Some(refusal) = plan.refusal(&record) {
                        return Err(refusal);
                    }
                }
            }
        }
        Err(KeyError::Unavailable(StoreFailure::new("the key changed at every attempt to reserve")))
    }

    /// Reads the generation when it is due. It only hastens the refresh of provider credentials, so a failure
    /// costs nothing but another attempt at the next admission.
    async fn refresh_generation(&self, now: Timestamp) {
        let due = self.generation().read_at.is_none_or(|read_at| !self.fresh(read_at, now));
        if due && let Ok(number) = self.table.generation().await {
            self.keep_generation(number, now);
        }
    }

    fn admission(
        &self,
        record: &Record,
        reservation: Option<Reservation>,
        rate_headers: Vec<(&'static str, String)>,
    ) -> Admission {
        let generation = self.generation().number;
        Admission { key: Arc::clone(&record.key), generation, reservation, rate_headers }
    }
}
