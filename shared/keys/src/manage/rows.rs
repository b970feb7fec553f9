//! Definitions and the rows that they are kept in.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::Limits;
use crate::owners::{Budget, Team, User};
use crate::store::{Definition, Index, Kind, Row, RowId, StoreFailure};
use crate::virtual_key::VirtualKey;

use super::ManageError;
use super::shares::shares_for;

/// Something that is kept as the definition of a row.
pub(crate) trait Document: Clone + PartialEq + Serialize + DeserializeOwned {
    /// What it is called in [`ManageError::NotFound`].
    const WHAT: &'static str;

    fn row_id(&self) -> RowId;
    fn index(&self) -> Index;
    fn limits(&self) -> &Limits;
    /// The budget that its limits come from.
    fn budget_id(&self) -> Option<&str>;
    /// Notes who changed it, and when.
    fn touch(&mut self, by: Option<&str>, now: Timestamp);
}

/// A row, and its definition read.
pub(crate) struct Loaded<D> {
    pub(crate) row: Row,
    pub(crate) value: D,
}

impl<D: Document> Loaded<D> {
    /// Reads the definition of a row. An error says where it breaks off, not what it holds.
    pub(crate) fn read(row: Row) -> Result<Self, ManageError> {
        match serde_json::from_str(&row.definition) {
            Ok(value) => Ok(Self { row, value }),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let message = format!("the definition of a {} breaks at {line}:{column}", D::WHAT);
                Err(StoreFailure::new(message).into())
            }
        }
    }

    /// The next definition of the row.
    pub(crate) fn next(
        &self,
        value: &D,
        limits: &Limits,
        spread: bool,
        now: Timestamp,
    ) -> Result<Definition, ManageError> {
        let rev = now.as_microsecond().max(self.row.rev.saturating_add(1));
        definition(value, rev, self.row.shares.max(shares_for(limits, spread)))
    }
}

/// The first definition of a row. `limits` are those that hold, the budget's included.
pub(crate) fn first<D: Document>(
    value: &D,
    limits: &Limits,
    spread: bool,
) -> Result<Definition, ManageError> {
    definition(value, value.index().created_at.as_microsecond(), shares_for(limits, spread))
}

fn definition<D: Document>(value: &D, rev: i64, shares: u16) -> Result<Definition, ManageError> {
    let text = serde_json::to_string(value)
        .map_err(|error| StoreFailure::new(format!("a {} cannot be written: {error}", D::WHAT)))?;
    Ok(Definition { id: value.row_id(), rev, text, index: value.index(), shares })
}

fn named(created_at: Timestamp) -> Index {
    Index { created_at, alias: None, team_id: None, user_id: None }
}

impl Document for VirtualKey {
    const WHAT: &'static str = "key";

    fn row_id(&self) -> RowId {
        RowId::key(&self.id)
    }

    fn index(&self) -> Index {
        Index {
            created_at: self.created_at,
            alias: self.key_alias.clone(),
            team_id: self.team_id.clone(),
            user_id: self.user_id.clone(),
        }
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn budget_id(&self) -> Option<&str> {
        self.budget_id.as_deref()
    }

    fn touch(&mut self, by: Option<&str>, now: Timestamp) {
        self.updated_by = by.map(str::to_owned);
        self.updated_at = now;
    }
}

impl Document for Team {
    const WHAT: &'static str = "team";

    fn row_id(&self) -> RowId {
        RowId::named(Kind::Team, &self.team_id)
    }

    fn index(&self) -> Index {
        named(self.created_at)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn budget_id(&self) -> Option<&str> {
        self.budget_id.as_deref()
    }

    fn touch(&mut self, _: Option<&str>, now: Timestamp) {
        self.updated_at = now;
    }
}

impl Document for User {
    const WHAT: &'static str = "user";

    fn row_id(&self) -> RowId {
        RowId::named(Kind::User, &self.user_id)
    }

    fn index(&self) -> Index {
        named(self.created_at)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn budget_id(&self) -> Option<&str> {
        self.budget_id.as_deref()
    }

    fn touch(&mut self, _: Option<&str>, now: Timestamp) {
        self.updated_at = now;
    }
}

impl Document for Budget {
    const WHAT: &'static str = "budget";

    fn row_id(&self) -> RowId {
        RowId::named(Kind::Budget, &self.budget_id)
    }

    fn index(&self) -> Index {
        named(self.created_at)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn budget_id(&self) -> Option<&str> {
        None
    }

    fn touch(&mut self, _: Option<&str>, now: Timestamp) {
        self.updated_at = now;
    }
}

/// Names the row only.
impl<D> fmt::Debug for Loaded<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.row.fmt(f)
    }
}
