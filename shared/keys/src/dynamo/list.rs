//! Lists, from the indexes: keys of items first, then the items of a page.

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::Select;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::store::{Filter, Kind, Listing, Page, RowId, StoreFailure};

use super::item::{Item, Key, NUMBER, kind_name, number, row_id, string, text};
use super::schema::{ALIAS, ALL, Index, TEAM, USER};
use super::table::{Table, failure};

/// Over how many items the number of rows of a kind is spread: transactions that change the same one cancel each
/// other.
pub(super) const COUNT_PARTS: u16 = 16;

/// What an index has under a partition key, in the order of the sort key.
pub(super) struct Query {
    pub(super) index: Index,
    pub(super) hash: String,
    /// What the sort key begins with.
    pub(super) prefix: String,
}

/// An item in an index.
pub(super) struct Found {
    pub(super) key: Key,
    /// The index's sort key.
    range: String,
}

impl Query {
    fn of(filter: &Filter) -> (Self, Kind) {
        let (index, hash, prefix, kind) = match filter {
            Filter::All(kind) => (ALL, kind_name(*kind), "", *kind),
            Filter::Team(team) => (TEAM, team.as_str(), "", Kind::Key),
            Filter::User(user) => (USER, user.as_str(), "", Kind::Key),
            Filter::Alias(prefix) => (ALIAS, kind_name(Kind::Key), prefix.as_str(), Kind::Key),
        };
        (Self { index, hash: hash.to_owned(), prefix: prefix.to_owned() }, kind)
    }

    /// The next items, `limit` at most.
    pub(super) async fn keys(
        &self,
        table: &Table,
        descending: bool,
        limit: usize,
        mut from: Option<Item>,
    ) -> Result<Vec<Found>, StoreFailure> {
        let mut found = Vec::new();
        while found.len() < limit {
            let reply = self.send(table, descending, false, limit - found.len(), from).await?;
            for item in reply.items() {
                let range = text(item, self.index.range)?.to_owned();
                found.push(Found { key: Key::of(item)?, range });
            }
            from = reply.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Where to go on behind the next `skip` items; `None` when there are no more.
    async fn skip(
        &self,
        table: &Table,
        descending: bool,
        mut skip: usize,
        mut from: Option<Item>,
    ) -> Result<Option<Item>, StoreFailure> {
        while skip > 0 {
            let reply = self.send(table, descending, true, skip, from).await?;
            skip = skip.saturating_sub(usize::try_from(reply.count).unwrap_or(0));
            from = reply.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(from)
    }

    /// How many items there are.
    async fn count(&self, table: &Table) -> Result<u64, StoreFailure> {
        let mut count = 0;
        let mut from = None;
        loop {
            let reply = self.send(table, false, true, usize::MAX, from).await?;
            count += u64::try_from(reply.count).unwrap_or(0);
            from = reply.last_evaluated_key;
            if from.is_none() {
                return Ok(count);
            }
        }
    }

    /// One call; DynamoDB reads 1 MB at most in it, some thousand keys.
    async fn send(
        &self,
        table: &Table,
        descending: bool,
        only_count: bool,
        limit: usize,
        from: Option<Item>,
    ) -> Result<QueryOutput, StoreFailure> {
        let mut condition = "#hash = :hash".to_owned();
        let mut request = table.client.query().table_name(&table.name).index_name(self.index.name);
        if !self.prefix.is_empty() {
            condition.push_str(" AND begins_with(#range, :prefix)");
            request = request
                .expression_attribute_names("#range", self.index.range)
                .expression_attribute_values(":prefix", string(&self.prefix));
        }
        request
            .key_condition_expression(condition)
            .expression_attribute_names("#hash", self.index.hash)
            .expression_attribute_values(":hash", string(&self.hash))
            .scan_index_forward(!descending)
            .set_limit(i32::try_from(limit).ok())
            .set_exclusive_start_key(from)
            .set_select(only_count.then_some(Select::Count))
            .send()
            .await
            .map_err(|error| failure(&error))
    }

    /// Where an item is, as a cursor.
    fn cursor(&self, found: &Found) -> String {
        let place = serde_json::json!([found.key.pk, found.key.sk, found.range]);
        URL_SAFE_NO_PAD.encode(place.to_string())
    }

    /// Where a cursor points to.
    fn start(&self, cursor: &str) -> Result<Item, StoreFailure> {
        let place = URL_SAFE_NO_PAD.decode(cursor).ok();
        let place = place.and_then(|place| serde_json::from_slice::<(String, String, String)>(&place).ok());
        let (pk, sk, range) = place.ok_or_else(StoreFailure::bad_place)?;
        let mut item = Key::new(pk, sk).item();
        item.insert(self.index.hash.to_owned(), string(&self.hash));
        item.insert(self.index.range.to_owned(), string(&range));
        Ok(item)
    }
}

/// A page: the keys of its items and one more, which tells whether there is a next one, then the items.
pub(super) async fn list(table: &Table, listing: &Listing) -> Result<Page, StoreFailure> {
    let (query, kind) = Query::of(&listing.filter);
    // An index holds no empty keys.
    if listing.limit == 0 || query.hash.is_empty() {
        return Ok(Page::default());
    }
    let mut from = listing.from.as_deref().map(|cursor| query.start(cursor)).transpose()?;
    if listing.skip > 0 {
        from = query.skip(table, listing.descending, listing.skip, from).await?;
        if from.is_none() {
            return Ok(Page::default());
        }
    }
    let mut found = query.keys(table, listing.descending, listing.limit.saturating_add(1), from).await?;
    let more = found.len() > listing.limit;
    found.truncate(listing.limit);
    let next = found.last().filter(|_| more).map(|last| query.cursor(last));
    let ids = found.iter().map(|found| row_id(kind, &found.key)).collect::<Result<Vec<RowId>, _>>()?;
    // An index is a little behind the table: what has just been deleted is left out.
    let rows = table.rows(&ids).await?.into_iter().flatten().collect();
    Ok(Page { rows, next })
}

/// How many rows a filter finds. That of all rows of a kind is kept up to date; others are counted in their index.
pub(super) async fn count(table: &Table, filter: &Filter) -> Result<u64, StoreFailure> {
    if let Filter::All(kind) = filter {
        let parts = table.get((0..COUNT_PARTS).map(|part| Key::count(*kind, part)).collect()).await?;
        let parts = parts.values().map(|part| number(part, NUMBER)).collect::<Result<Vec<_>, _>>()?;
        return Ok(u64::try_from(parts.iter().sum::<i64>()).unwrap_or(0));
    }
    let (query, _) = Query::of(filter);
    if query.hash.is_empty() { Ok(0) } else { query.count(table).await }
}
