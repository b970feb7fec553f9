//! Settlement: what a request has used, in the accounts of the key, its team and its user, and for the report.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::admission::{Admission, KeyError, SettleError, Spent};
use crate::ledger::settle::{Held, Used};
use crate::money::{count, nanos};
use crate::store::{Charge, Charged, Refused, StoreFailure, Usage, UsageLine};
use crate::virtual_key::VirtualKey;

use super::Keys;

/// How often a settlement is tried: again when a slot of reservations has ended.
const ATTEMPTS: usize = 4;

impl Keys {
    /// Records what an admitted request has used and gives back what was reserved too much. An admission is settled
    /// once, since it is used up by it.
    ///
    /// # Errors
    ///
    /// [`SettleError`] says what is missing; everything else is done.
    pub async fn settle(&self, admission: Admission, spent: &Spent) -> Result<(), SettleError> {
        let now = self.clock.now();
        let used = Used { cost: nanos(spent.cost), tokens: count(spent.tokens()) };
        let accounts = admission.reservation.held.iter().map(|held| self.settle_account(held, used, now));
        let (counted, reported) = tokio::join!(
            join_all(accounts),
            self.report(Some(&admission.key), admission.reservation.shares, spent, now)
        );
        counted.into_iter().collect::<Result<(), _>>().map_err(SettleError::NotCounted)?;
        reported.map_err(SettleError::NotReported)
    }

    /// Records what a request with the master key has used, which has no account.
    ///
    /// # Errors
    ///
    /// [`SettleError::NotReported`].
    pub async fn settle_master(&self, spent: &Spent) -> Result<(), SettleError> {
        self.report(None, 0, spent, self.clock.now()).await.map_err(SettleError::NotReported)
    }

    async fn settle_account(&self, held: &Held, used: Used, now: Timestamp) -> Result<(), KeyError> {
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            let change = held.change(used, now, refused.as_deref());
            if change.is_empty() {
                return Ok(());
            }
            let charges = [Charge { account: held.account.clone(), change }];
            match self.store.charge(&charges).await? {
                Charged::Done(counters) => {
                    self.note(&charges, counters);
                    return Ok(());
                }
                Charged::Refused(states) => match states.into_iter().next() {
                    Some(Refused::Missing) => return Err(KeyError::NotFound),
                    Some(Refused::Unfit(_, counters)) => {
                        let counters = Arc::new(counters);
                        self.counters.insert(held.account.clone(), Arc::clone(&counters));
                        refused = Some(counters);
                    }
                    Some(Refused::Fits) | None => {}
                },
            }
        }
        Err(KeyError::Unavailable(StoreFailure::new("an account changed at every attempt to settle")))
    }

    async fn report(
        &self,
        key: Option<&VirtualKey>,
        shares: u16,
        spent: &Spent,
        now: Timestamp,
    ) -> Result<(), StoreFailure> {
        let usage = Usage {
            requests: 1,
            prompt_tokens: spent.prompt_tokens,
            completion_tokens: spent.completion_tokens,
            cost: nanos(spent.cost),
        };
        let Some(gathered) = self.usage.as_ref().filter(|_| spent.tokens() != 0 || usage.cost != 0) else {
            return Ok(());
        };
        let mut tags: Vec<String> =
            key.into_iter().flat_map(|key| &key.tags).chain(&spent.tags).cloned().collect();
        tags.sort();
        tags.dedup();
        let line = UsageLine {
            day: TimeZone::UTC.to_datetime(now).date(),
            key: key.map(|key| key.id),
            team_id: key.and_then(|key| key.team_id.clone()),
            user_id: key.and_then(|key| key.user_id.clone()),
            model: spent.model.clone(),
            tags,
            usage,
        };
        self.write(gathered.add(line, shares, now)).await
    }

    /// Writes the usage that was gathered, before the process ends.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub async fn write_usage(&self) -> Result<(), StoreFailure> {
        match &self.usage {
            Some(gathered) => self.write(gathered.take(self.clock.now())).await,
            None => Ok(()),
        }
    }

    async fn write(&self, lines: Vec<(UsageLine, u16)>) -> Result<(), StoreFailure> {
        let written = join_all(lines.iter().map(|(line, shares)| self.store.log_usage(line, *shares))).await;
        written.into_iter().collect()
    }
}
