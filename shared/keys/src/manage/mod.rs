//! What the management API does to keys, teams, users and budgets, on any store.
//!
//! Every change reads the row, changes its definition and writes it under the condition that it is still the one
//! that was read; when another change came first it starts over, a few times. Every call may be repeated.
//!
//! | what | where |
//! |---|---|
//! | keys | [`Manager::generate`], [`update`](Manager::update), [`delete`](Manager::delete), [`info`](Manager::info), [`list`](Manager::list), [`regenerate`](Manager::regenerate), [`reset_spend`](Manager::reset_spend) |
//! | values beside others | [`Manager::add_value`], [`named_values`](Manager::named_values), [`end_value`](Manager::end_value) |
//! | rotation | [`Manager::due_for_rotation`], [`rotate_due`](Manager::rotate_due), [`tidy_kept`](Manager::tidy_kept) |
//! | teams | [`Manager::new_team`], [`update_team`](Manager::update_team), [`delete_teams`](Manager::delete_teams), [`add_members`](Manager::add_members) |
//! | users, budgets | [`Manager::new_user`], [`new_budget`](Manager::new_budget) |
//! | reports | [`Manager::spend_by_day`], [`spend_by_tag`](Manager::spend_by_tag), [`spend_report`](Manager::spend_report) |

mod budgets;
mod caller;
mod check;
mod error;
mod fields;
mod kept;
mod keys;
mod list;
mod master;
mod members;
mod patch;
mod regenerate;
mod reports;
mod rotation;
mod rows;
mod shares;
mod spend;
mod teams;
mod users;
mod value;
mod values;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use keyturn_ambient::Clock;
use secrecy::SecretString;

use crate::limits::Limits;
use crate::owners::{Budget, Team, User};
use crate::period::Period;
use crate::store::{Edit, KeyStore, Kind, RowId};
use crate::virtual_key::VirtualKey;

pub use budgets::NewBudget;
pub use caller::Caller;
pub use error::ManageError;
pub use fields::{KeyFields, LimitFields};
pub use kept::{KeptKeys, KeptName, KeptPage};
pub use keys::{Created, KeyRef, NewKey};
pub use list::{AliasPage, Items, KeyPage, ListKeys, Slice, SortBy};
pub use members::MemberRef;
pub use patch::Patch;
pub use regenerate::{Regenerate, Regenerated};
pub use reports::{DaySpend, GroupBy, GroupSpend, ReportDay, ReportQuery, TagSpend};
pub use rotation::{DuePage, Rotated};
pub use spend::AccountSpend;
pub use teams::{NewTeam, TeamFields};
pub use users::{NewUser, UserFields};
pub use values::{NamedValue, Naming, Whose};

use error::Lost;
use rows::{Document, Loaded, first};
use spend::Move;

/// How often a change is tried before its callers hear that others are in the way.
const ATTEMPTS: usize = 8;

/// What manages keys. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    store: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    options: Arc<ManagerOptions>,
}

/// How keys are managed.
#[derive(Default)]
pub struct ManagerOptions {
    /// Where the values of keys are kept too.
    pub kept: Option<Arc<dyn KeptKeys>>,
    /// What regenerated values are derived from, together with the idempotency key and random bytes in the key's
    /// row, so that a repeat is answered with the same value. Whoever has all three can compute the value. `None` =
    /// a repeat is answered without the value.
    pub derivation: Option<SecretString>,
    /// How long former values work after a regeneration that does not say; `None` = not at all, as LiteLLM has it.
    pub grace: Option<Period>,
    /// How long former values work after a regeneration by the schedule; `None` = a day.
    pub rotation_grace: Option<Period>,
}

/// Something, and what it has spent.
#[derive(Debug, Clone, PartialEq)]
pub struct Info<T> {
    /// The definition.
    pub value: T,
    /// What it has spent.
    pub spend: AccountSpend,
}

/// A key and what it has spent.
pub type KeyInfo = Info<VirtualKey>;
/// A team and what its keys have spent.
pub type TeamInfo = Info<Team>;
/// A user and what its keys have spent.
pub type UserInfo = Info<User>;

/// A definition as it shall be, and what else has to change with it.
struct Revision<D> {
    value: D,
    /// Further edits, and which field has a duplicate when one does not fit; `None` = somebody was quicker.
    more: Vec<(Edit, Option<&'static str>)>,
}

impl Manager {
    /// A manager of the keys in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>, clock: Arc<dyn Clock>, options: ManagerOptions) -> Self {
        Self { store, clock, options: Arc::new(options) }
    }

    /// The time, to the microsecond: revisions are made of it.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    async fn load<D: Document>(&self, id: &RowId) -> Result<Option<Loaded<D>>, ManageError> {
        let row = self.store.read(std::slice::from_ref(id)).await?.into_iter().next().flatten();
        row.map(Loaded::read).transpose()
    }

    async fn required<D: Document>(&self, id: &RowId) -> Result<Loaded<D>, ManageError> {
        self.load(id).await?.ok_or(ManageError::NotFound { what: D::WHAT })
    }

    async fn found<D: Document>(&self, loaded: Loaded<D>) -> Result<Info<D>, ManageError> {
        let spend = self.spend_of(&loaded).await?;
        Ok(Info { value: loaded.value, spend })
    }

    /// The limits that hold for a definition that is about to be written; its budget must be there.
    async fn future_limits<D: Document>(&self, value: &D) -> Result<Limits, ManageError> {
        let Some(id) = value.budget_id() else { return Ok(value.limits().clone()) };
        match self.load::<Budget>(&RowId::named(Kind::Budget, id)).await? {
            Some(budget) => Ok(value.limits().or(&budget.value.limits)),
            None => Err(ManageError::invalid("budget_id", "is not the id of a budget")),
        }
    }

    /// Where the value of a key is kept, if anywhere. A master key is kept by whoever configures it.
    fn kept(&self, key: &VirtualKey) -> Option<(&dyn KeptKeys, KeptName)> {
        let kept = self.options.kept.as_deref().filter(|_| !master::is_master(key))?;
        Some((kept, kept.name(&key.id, key.key_alias.as_deref())))
    }

    /// The edit that makes a row.
    async fn creation<D: Document>(&self, value: &D) -> Result<Edit, ManageError> {
        let limits = self.future_limits(value).await?;
        let mut definition = first(value, &limits, self.store.shares())?;
        definition.shares = definition.shares.max(self.shares_for_keys(&definition.id).await?);
        self.spread_owners(&definition).await?;
        Ok(Edit::Create(definition))
    }

    /// Tries to make a revision of what was read. `None` when there is nothing to change.
    async fn attempt<D: Document>(
        &self,
        before: &Loaded<D>,
        mut revision: Revision<D>,
        by: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Lost> {
        if revision.value == before.value && revision.more.is_empty() {
            return Ok(());
        }
        revision.value.touch(by, now);
        // A budget that is gone must not keep its former users from being changed.
        let after = match revision.value.budget_id() == before.value.budget_id() {
            true => self.limits_of(&revision.value).await,
            false => self.future_limits(&revision.value).await,
        }
        .map_err(Lost::For)?;
        let limits = self.limits_of(&before.value).await.map_err(Lost::For)?;
        let turn = self.turn(before, &limits, &after, now).await.map_err(Lost::For)?;
        let to = before.next(&revision.value, &after, self.store.shares(), now).map_err(Lost::For)?;
        let owners = |value: &D| {
            let index = value.index();
            (index.team_id, index.user_id)
        };
        if to.shares > before.row.shares || owners(&revision.value) != owners(&before.value) {
            self.spread_owners(&to).await.map_err(Lost::For)?;
        }
        let mut edits = vec![Edit::Replace { from: before.row.rev, to }];
        let (more, fields): (Vec<_>, Vec<_>) = revision.more.into_iter().unzip();
        edits.extend(more);
        match self.store.edit(&edits).await.map_err(Lost::from) {
            Ok(()) => {}
            Err(Lost::Race(at)) => {
                let field = at.checked_sub(1).and_then(|at| fields.get(at).copied().flatten());
                return Err(field.map_or(Lost::Race(at), |field| Lost::For(ManageError::Duplicate { field })));
            }
            Err(lost) => return Err(lost),
        }
        if turn != Move::None {
            self.move_spend::<D>(&before.row.id, turn, now).await.map_err(Lost::For)?;
        }
        Ok(())
    }

    /// Changes a definition, whoever else does at the same time. With `spend`, sets what was spent.
    async fn revise<D: Document>(
        &self,
        id: &RowId,
        caller: &Caller,
        spend: Option<f64>,
        mut make: impl FnMut(&mut D, Timestamp) -> Result<(), ManageError>,
    ) -> Result<Info<D>, ManageError> {
        for _ in 0..ATTEMPTS {
            let loaded = self.required::<D>(id).await?;
            let now = self.now();
            let mut value = loaded.value.clone();
            make(&mut value, now)?;
            let revision = Revision { value, more: Vec::new() };
            match self.attempt(&loaded, revision, caller.name.as_deref(), now).await {
                Ok(()) => {
                    self.set_spend::<D>(id, spend).await?;
                    return self.found(self.required(id).await?).await;
                }
                Err(Lost::Race(_)) => {}
                Err(Lost::For(error)) => return Err(error),
            }
        }
        Err(ManageError::Conflict)
    }

    /// Sets what was spent, in US dollars.
    async fn set_spend<D: Document>(&self, id: &RowId, spend: Option<f64>) -> Result<(), ManageError> {
        match spend {
            None => Ok(()),
            Some(spend) => self.move_spend::<D>(id, Move::Set(crate::money::nanos(spend)), self.now()).await,
        }
    }

    /// Deletes a row; true when it was there.
    async fn remove<D: Document>(&self, id: &RowId) -> Result<bool, ManageError> {
        for _ in 0..ATTEMPTS {
            let Some(loaded) = self.load::<D>(id).await? else { return Ok(false) };
            let Loaded { row, .. } = loaded;
            match self.store.edit(&[Edit::Delete { id: row.id, rev: row.rev, shares: row.shares }]).await {
                Ok(()) => return Ok(true),
                Err(error) => match error.into() {
                    Lost::Race(_) => {}
                    Lost::For(error) => return Err(error),
                },
            }
        }
        Err(ManageError::Conflict)
    }
}

/// An id for something whose maker did not choose one.
fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Says nothing of what it holds.
impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}
