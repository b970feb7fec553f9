//! Changes of counters, in one account or in several.

use futures_util::future::{join, try_join_all};
use serde::{Deserialize, Serialize};

use crate::ledger::{Change, Counters};
use crate::store::{Charge, Charged, Refused, StoreFailure};

use super::commit::{Lanes, State};
use super::documents::{Entry, Stored};
use super::names;

/// A row's document, as one that counts.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Account(Entry);

/// What can be done to an account.
pub(super) enum Operation {
    /// A change under its conditions.
    Make(Change),
    /// Says whether a change would be made.
    Check(Change),
    /// Takes a change back that was made.
    Undo(Undo),
}

/// What takes a change back.
pub(super) struct Undo {
    change: Change,
    /// Counters that were not there before; they go when nothing is left in them.
    new: Vec<String>,
}

/// What came of it.
pub(super) enum Outcome {
    Made {
        after: Counters,
        undo: Undo,
    },
    Refused(Refused),
    /// It would be made, or was taken back.
    Well,
}

impl State for Account {
    type Operation = Operation;
    type Outcome = Outcome;

    fn apply(state: &mut Option<Self>, operation: &Operation) -> (Outcome, bool) {
        let row = match state {
            Some(Self(Entry::Row(row))) => &mut **row,
            _ => return (Outcome::Refused(Refused::Missing), false),
        };
        match operation {
            Operation::Make(change) | Operation::Check(change) if !change.fits(row.rev, &row.counters) => {
                (Outcome::Refused(Refused::Unfit(row.rev, row.counters.clone())), false)
            }
            Operation::Check(_) => (Outcome::Well, false),
            Operation::Make(change) => {
                let undo = undo(change, row);
                change.apply(&mut row.counters);
                (Outcome::Made { after: row.counters.clone(), undo }, !change.is_empty())
            }
            Operation::Undo(undo) => {
                undo.change.apply(&mut row.counters);
                for name in &undo.new {
                    if row.counters.get(name) == 0 {
                        row.counters.remove(name);
                    }
                }
                (Outcome::Well, !undo.change.is_empty())
            }
        }
    }
}

/// What takes `change` back once it has been made to `row`.
fn undo(change: &Change, row: &Stored) -> Undo {
    let mut undo = Undo { change: Change::default(), new: Vec::new() };
    for (name, amount) in &change.add {
        undo.change.add(name, amount.saturating_neg());
        if !row.counters.contains(name) {
            undo.new.push(name.clone());
        }
    }
    for name in &change.remove {
        undo.change.add(name, row.counters.get(name));
    }
    undo
}

/// Makes all changes or none.
pub(super) async fn charge(accounts: &Lanes<Account>, charges: &[Charge]) -> Result<Charged, StoreFailure> {
    if charges.iter().any(|charge| charge.account.share != 0) {
        return Err(StoreFailure::new("accounts in Vault have no shares"));
    }
    let mut counters = Vec::with_capacity(charges.len());
    let mut made = Vec::with_capacity(charges.len());
    let mut rest = charges.iter();
    let refused = loop {
        let Some(charge) = rest.next() else { return Ok(Charged::Done(counters)) };
        let path = names::row(&charge.account.row);
        match accounts.submit(&path, Operation::Make(charge.change.clone())).await {
            Ok(Outcome::Made { after, undo }) => {
                counters.push(Some(after));
                made.push((path, undo));
            }
            Ok(Outcome::Refused(refused)) => break refused,
            Ok(Outcome::Well) => break Refused::Fits,
            Err(failure) => {
                take_back(accounts, made).await;
                return Err(failure);
            }
        }
    };
    // What else stands in the way is told too: a definition may have changed.
    let checks = rest.map(|charge| async {
        let path = names::row(&charge.account.row);
        match accounts.submit(&path, Operation::Check(charge.change.clone())).await? {
            Outcome::Refused(refused) => Ok(refused),
            Outcome::Made { .. } | Outcome::Well => Ok(Refused::Fits),
        }
    });
    let mut all: Vec<_> = counters.iter().map(|_| Refused::Fits).collect();
    let (checked, ()) = join(try_join_all(checks), take_back(accounts, made)).await;
    all.push(refused);
    all.extend(checked?);
    Ok(Charged::Refused(all))
}

/// Takes back what was made. If that fails, a reservation ends with its slot, and a rate with its minute.
async fn take_back(accounts: &Lanes<Account>, made: Vec<(String, Undo)>) {
    for (path, undo) in made.into_iter().rev() {
        let _ = accounts.submit(&path, Operation::Undo(undo)).await;
    }
}
