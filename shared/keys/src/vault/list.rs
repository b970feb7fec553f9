//! Lists: a row has a marker, an empty document, in each list that it is in. Its name says all that a list is sorted
//! by: `by/<list>/<time or alias>.<id>.<mark>`. Vault tells all names of a list at once, so that a page costs one such
//! call, whatever is in the rows, and a read of each of its rows.
//!
//! A marker is made before its row and deleted after it; `mark` says which ones a row has. Markers that a broken
//! change left over are not counted among the rows of a page, and deleted when they are met.

use std::collections::HashSet;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::store::{Filter, Kind, Listing, Page, Row, RowId, StoreFailure};

use super::READS_AT_A_TIME;
use super::documents::{Documents, Entry};
use super::due::is_settled;
use super::names;

/// How many markers that were left over one page deletes, at most.
const SOME: usize = 20;

/// A marker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Marker {
    /// The time of creation, or the alias.
    sort: String,
    id: String,
    mark: i64,
}

impl Marker {
    fn read(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (sort, id, mark) = (parts.next()?, parts.next()?, parts.next()?);
        let marker = Self { sort: names::text(sort)?, id: names::text(id)?, mark: mark.parse().ok()? };
        parts.next().is_none().then_some(marker)
    }

    fn name(&self) -> String {
        format!("{}.{}.{}", names::part(&self.sort), names::part(&self.id), self.mark)
    }
}

/// The markers of a list, in its order.
async fn markers(documents: &Documents, filter: &Filter) -> Result<Vec<Marker>, StoreFailure> {
    let names = documents.list(&names::list(filter)).await?;
    let mut markers: Vec<_> = names.iter().filter_map(|name| Marker::read(name)).collect();
    if let Filter::Alias(prefix) = filter {
        markers.retain(|marker| marker.sort.starts_with(prefix));
    }
    markers.sort_unstable();
    Ok(markers)
}

/// How many rows there are, and what broken changes left over.
pub(super) async fn count(documents: &Documents, filter: &Filter) -> Result<u64, StoreFailure> {
    let markers = markers(documents, filter).await?;
    let ids: HashSet<_> = markers.iter().map(|marker| &marker.id).collect();
    Ok(ids.len() as u64)
}

/// A page.
pub(super) async fn list(documents: &Documents, listing: &Listing) -> Result<Page, StoreFailure> {
    if listing.limit == 0 {
        return Ok(Page::default());
    }
    let mut markers = markers(documents, &listing.filter).await?;
    if listing.descending {
        markers.reverse();
    }
    if let Some(from) = &listing.from {
        let from = Marker::read(from).ok_or_else(StoreFailure::bad_place)?;
        let place = |marker: &Marker| (&marker.sort, &marker.id).cmp(&(&from.sort, &from.id));
        markers
            .retain(|marker| if listing.descending { place(marker).is_lt() } else { place(marker).is_gt() });
    }
    let kind = names::listed(&listing.filter);
    let rest = markers.into_iter().skip(listing.skip);
    let reads = rest.map(|marker| row(documents, kind, marker)).collect::<Vec<_>>();
    // One row more than the page has says whether there is another page.
    let at_a_time = READS_AT_A_TIME.min(listing.limit.saturating_add(1));
    let mut reads = stream::iter(reads).buffered(at_a_time);
    let (mut page, mut last, mut left_over) = (Page::default(), None, Vec::new());
    while let Some((marker, row)) = reads.try_next().await? {
        match row {
            None => left_over.push(marker),
            Some(_) if page.rows.len() == listing.limit => {
                page.next = last;
                break;
            }
            Some(row) => {
                last = Some(marker.name());
                page.rows.push(row);
            }
        }
    }
    drop(reads);
    clean(documents, &listing.filter, &left_over).await;
    Ok(page)
}

/// A marker and its row, if that has this marker.
async fn row(
    documents: &Documents,
    kind: Kind,
    marker: Marker,
) -> Result<(Marker, Option<Row>), StoreFailure> {
    let id = RowId { kind, id: marker.id.clone() };
    let found = documents.get::<Entry>(&names::row(&id)).await?.map(|(entry, _)| entry);
    let found = found.filter(|entry| entry.stored().is_some_and(|row| row.mark == marker.mark));
    Ok((marker, found.and_then(|entry| entry.row(&id))))
}

/// Deletes markers without a row, unless the row may be about to come. What fails of it is met again.
async fn clean(documents: &Documents, filter: &Filter, markers: &[Marker]) {
    let now = documents.now();
    let is_old =
        |marker: &&Marker| Timestamp::from_microsecond(marker.mark).is_ok_and(|made| is_settled(made, now));
    for marker in markers.iter().filter(is_old).take(SOME) {
        let _ = documents.delete(&format!("{}/{}", names::list(filter), marker.name())).await;
    }
}
