//! Changes of definitions. Vault changes one document at a time, so a change of several is made in an order in which
//! a process that dies on the way leaves nothing that stays for ever:
//!
//! 1. All documents are read and all conditions checked; most refusals happen here, with nothing written.
//! 2. Markers: of the lists that rows will be in, and of documents to be looked at a quarter of an hour later.
//! 3. Aliases and hashes that are taken.
//! 4. Rows. From here on a key works, or works no more.
//! 5. Aliases and hashes that are given back.
//! 6. The markers of lists that rows are no longer in.
//!
//! Every write of 3 to 5 is conditional, and undone when a later one is refused or fails. What a death leaves:
//!
//! | after | left | put right |
//! |---|---|---|
//! | 2 | markers without rows | [`super::list`] passes over them and deletes them after a quarter of an hour |
//! | 3 | an alias or a hash that leads to a key which does not know it; it opens nothing | [`super::due`], or the next who wants it, after a quarter of an hour |
//! | in 4 | of several rows, some are changed | the change is made again: what is done already is passed over |
//! | 4, 5 | an alias that its key no longer has | as after 3 |
//!
//! To make a change again is always possible: what it finds done counts as done.

use std::time::Duration;

use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{Definition, Edit, EditError, Index, RowId, StoreFailure};

use super::documents::{Documents, Entry, SETTLED, Stored};
use super::due::{self, is_left_over, is_settled};
use super::names;

/// How often to try while others write the same document.
const TRIES: u32 = 60;

/// The wait before another try.
const PAUSE: Duration = Duration::from_millis(50);

/// What an edit comes to, for the document as it is.
enum Verdict {
    /// It becomes this.
    Write(Entry),
    /// It is so already.
    Done,
    /// It does not fit.
    Conflict,
    /// The document is just being deleted.
    Wait,
}

/// A write that was made.
struct Made {
    path: String,
    before: Option<Entry>,
    after: Entry,
}

/// The markers that a change makes and deletes.
#[derive(Default)]
struct Markers {
    /// With their row and mark.
    new: Vec<(String, RowId, i64)>,
    old: Vec<String>,
}

/// Makes all edits, or none.
pub(super) async fn edit(documents: &Documents, edits: &[Edit]) -> Result<(), EditError> {
    let work = Work { documents, now: documents.now() };
    let mut markers = Markers::default();
    for (place, edit) in edits.iter().enumerate() {
        let (current, _) = work.get(&path(edit)).await?;
        if matches!(work.judge(edit, current.as_ref()).await?, Verdict::Conflict) {
            return Err(EditError::Conflict(place));
        }
        work.markers(edit, current.as_ref(), &mut markers);
    }
    for (marker, ..) in &markers.new {
        documents.mark(marker).await?;
    }
    for (path, at) in edits.iter().flat_map(|edit| work.due(edit)) {
        due::plan(documents, &path, at).await?;
    }
    let mut made = Vec::new();
    for phase in [Phase::Take, Phase::Rows, Phase::Give] {
        for (place, edit) in edits.iter().enumerate().filter(|(_, edit)| Phase::of(edit) == phase) {
            let failure = match work.make(edit).await {
                Ok(Some(write)) => {
                    made.extend(write);
                    continue;
                }
                Ok(None) => EditError::Conflict(place),
                Err(failure) => failure.into(),
            };
            work.undo(made, markers.new).await;
            return Err(failure);
        }
    }
    // What of this fails is put right later.
    for marker in &markers.old {
        let _ = documents.delete(marker).await;
    }
    if documents.may_sweep() {
        let _ = due::sweep(documents).await;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Take,
    Rows,
    Give,
}

impl Phase {
    fn of(edit: &Edit) -> Self {
        match edit {
            Edit::Claim { .. } | Edit::Point { .. } => Self::Take,
            Edit::Create(_) | Edit::Replace { .. } | Edit::Delete { .. } => Self::Rows,
            Edit::Release { .. } | Edit::Unpoint { .. } => Self::Give,
        }
    }
}

/// The document that an edit changes.
fn path(edit: &Edit) -> String {
    match edit {
        Edit::Create(to) | Edit::Replace { to, .. } => names::row(&to.id),
        Edit::Delete { id, .. } => names::row(id),
        Edit::Claim { alias, .. } | Edit::Release { alias, .. } => names::alias(alias),
        Edit::Point { hash, .. } | Edit::Unpoint { hash } => names::pointer(hash),
    }
}

/// One change.
struct Work<'a> {
    documents: &'a Documents,
    now: Timestamp,
}

impl Work<'_> {
    async fn get(&self, path: &str) -> Result<(Option<Entry>, u64), StoreFailure> {
        Ok(match self.documents.get(path).await? {
            Some((entry, version)) => (Some(entry), version),
            None => (None, 0),
        })
    }

    /// What an edit makes of a document.
    async fn judge(&self, edit: &Edit, current: Option<&Entry>) -> Result<Verdict, StoreFailure> {
        if let Some(Entry::Gone { swept: Some(swept), .. }) = current
            && !is_settled(*swept, self.documents.now())
        {
            return Ok(Verdict::Wait);
        }
        let current = current.filter(|entry| !matches!(entry, Entry::Gone { .. }));
        let gone = || Verdict::Write(Entry::Gone { at: self.documents.now(), swept: None });
        Ok(match (edit, current) {
            (Edit::Create(to), None) => {
                let row = Stored::new(to, self.mark(None), Counters::default());
                Verdict::Write(Entry::Row(Box::new(row)))
            }
            (Edit::Create(to) | Edit::Replace { to, .. }, Some(Entry::Row(row))) if is_made(row, to) => {
                Verdict::Done
            }
            (Edit::Replace { from, to }, Some(Entry::Row(row))) if row.rev == *from => {
                let mark = if row.index() == to.index { row.mark } else { self.mark(Some(row)) };
                Verdict::Write(Entry::Row(Box::new(Stored::new(to, mark, row.counters.clone()))))
            }
            (Edit::Delete { rev, .. }, Some(Entry::Row(row))) if row.rev == *rev => gone(),
            (Edit::Create(_) | Edit::Replace { .. } | Edit::Delete { .. }, _) => Verdict::Conflict,

            // One's own is written too: its age says that it is in use.
            (Edit::Claim { id, alias }, holder) => match holder {
                Some(Entry::Alias { of, .. }) if of == id => Verdict::Write(self.alias(id)),
                Some(holder) if !self.is_left_over(&names::alias(alias), holder).await? => Verdict::Conflict,
                Some(_) | None => Verdict::Write(self.alias(id)),
            },
            (Edit::Point { hash, id, until }, holder) => {
                let pointer = Entry::Pointer { to: *id, until: *until, at: self.now };
                match holder {
                    Some(Entry::Pointer { to, .. }) if to == id => Verdict::Write(pointer),
                    Some(holder) if !self.is_left_over(&names::pointer(hash), holder).await? => {
                        Verdict::Conflict
                    }
                    Some(_) | None => Verdict::Write(pointer),
                }
            }

            (Edit::Release { id, .. }, Some(Entry::Alias { of, .. })) if of == id => gone(),
            (Edit::Unpoint { .. }, Some(Entry::Pointer { .. })) => gone(),
            (Edit::Release { .. } | Edit::Unpoint { .. }, None) => Verdict::Done,
            (Edit::Release { .. } | Edit::Unpoint { .. }, Some(_)) => Verdict::Conflict,
        })
    }

    fn alias(&self, of: &KeyHash) -> Entry {
        Entry::Alias { of: *of, at: self.now }
    }

    async fn is_left_over(&self, path: &str, entry: &Entry) -> Result<bool, StoreFailure> {
        is_left_over(self.documents, path, entry, self.now).await
    }

    /// What the new markers of a row end with.
    fn mark(&self, before: Option<&Stored>) -> i64 {
        let now = self.now.as_microsecond();
        before.map_or(now, |row| now.max(row.mark.saturating_add(1)))
    }

    /// Collects the markers that an edit makes and deletes.
    fn markers(&self, edit: &Edit, current: Option<&Entry>, markers: &mut Markers) {
        let row = current.and_then(Entry::stored);
        let mut made = |id: &RowId, index: &Index, mark| {
            let names = names::markers(id, index, mark).into_iter();
            markers.new.extend(names.map(|marker| (marker, id.clone(), mark)));
        };
        match (edit, row) {
            (Edit::Create(to), None) => made(&to.id, &to.index, self.mark(None)),
            (Edit::Replace { from, to }, Some(row)) if row.rev == *from && row.index() != to.index => {
                made(&to.id, &to.index, self.mark(Some(row)));
                markers.old.extend(names::markers(&to.id, &row.index(), row.mark));
            }
            (Edit::Delete { id, .. }, Some(row)) => {
                markers.old.extend(names::markers(id, &row.index(), row.mark));
            }
            _ => {}
        }
    }

    /// When the document of an edit is to be looked at.
    fn due(&self, edit: &Edit) -> Vec<(String, Timestamp)> {
        let mut times = match edit {
            Edit::Create(_) | Edit::Replace { .. } => Vec::new(),
            Edit::Delete { .. }
            | Edit::Claim { .. }
            | Edit::Release { .. }
            | Edit::Point { .. }
            | Edit::Unpoint { .. } => vec![self.now + SETTLED],
        };
        if let Edit::Point { until: Some(until), .. } = edit {
            times.push(*until);
        }
        times.into_iter().map(|at| (path(edit), at)).collect()
    }

    /// Makes an edit: the write, or none if it was so already. `None` when it does not fit.
    async fn make(&self, edit: &Edit) -> Result<Option<Option<Made>>, StoreFailure> {
        let path = path(edit);
        for _ in 0..TRIES {
            let (before, version) = self.get(&path).await?;
            match self.judge(edit, before.as_ref()).await? {
                Verdict::Done => return Ok(Some(None)),
                Verdict::Conflict => return Ok(None),
                Verdict::Write(after) => {
                    if self.documents.put(&path, &after, version).await?.is_some() {
                        return Ok(Some(Some(Made { path, before, after })));
                    }
                    // A request was counted in the row, or somebody else changed it: look again.
                }
                Verdict::Wait => {}
            }
            tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
        }
        Err(StoreFailure::new("others wrote the document at every attempt"))
    }

    /// Takes back what was made, the last first. What fails of it is put right later.
    async fn undo(&self, made: Vec<Made>, markers: Vec<(String, RowId, i64)>) {
        for write in made.into_iter().rev() {
            let _ = self.take_back(&write).await;
        }
        for (marker, id, mark) in markers {
            let row = self.get(&names::row(&id)).await;
            let has_it = |(entry, _): &(Option<Entry>, u64)| {
                entry.as_ref().and_then(Entry::stored).is_some_and(|row| row.mark == mark)
            };
            if row.is_ok_and(|row| !has_it(&row)) {
                let _ = self.documents.delete(&marker).await;
            }
        }
    }

    async fn take_back(&self, made: &Made) -> Result<(), StoreFailure> {
        for _ in 0..TRIES {
            let (current, version) = self.get(&made.path).await?;
            let Some(restored) = current.and_then(|current| restored(made, current, self.documents.now()))
            else {
                return Ok(());
            };
            if self.documents.put(&made.path, &restored, version).await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
        }
        Ok(())
    }
}

/// What a document was before a write; `None` when somebody else has changed it since.
fn restored(made: &Made, current: Entry, now: Timestamp) -> Option<Entry> {
    let mut before = made.before.clone();
    match (&made.after, current) {
        // Requests may have been counted since.
        (Entry::Row(after), Entry::Row(current)) if after.rev == current.rev => {
            if let Some(Entry::Row(before)) = &mut before {
                before.counters = current.counters;
            }
        }
        (after, current) if *after == current => {}
        _ => return None,
    }
    Some(before.unwrap_or(Entry::Gone { at: now, swept: None }))
}

/// Whether a row is what a definition says: a revision belongs to one change only.
fn is_made(row: &Stored, definition: &Definition) -> bool {
    row.rev == definition.rev && row.definition == definition.text
}

#[cfg(test)]
mod tests {
    use crate::store::Kind;

    use super::*;

    fn row(rev: i64, spend: i64) -> Entry {
        let index = Index { created_at: Timestamp::UNIX_EPOCH, alias: None, team_id: None, user_id: None };
        let id = RowId::named(Kind::Team, "t");
        let definition = Definition { id, rev, text: "{}".to_owned(), index, shares: 0 };
        let counters = [("spend".to_owned(), spend)].into_iter().collect();
        Entry::Row(Box::new(Stored::new(&definition, 0, counters)))
    }

    #[test]
    fn what_was_counted_since_stays_and_what_others_changed_too() {
        let now = Timestamp::UNIX_EPOCH;
        let made = |before, after| Made { path: String::new(), before, after };
        let gone = || Entry::Gone { at: now, swept: None };
        let replaced = made(Some(row(1, 5)), row(2, 5));
        assert_eq!(restored(&replaced, row(2, 7), now), Some(row(1, 7)));
        assert_eq!(restored(&replaced, row(3, 7), now), None);
        assert_eq!(restored(&made(None, row(1, 0)), row(1, 7), now), Some(gone()));
        let deleted = made(Some(row(1, 5)), gone());
        assert_eq!(restored(&deleted, gone(), now), Some(row(1, 5)));
        assert_eq!(restored(&deleted, row(2, 0), now), None);
    }
}
