//! Pages of keys and of their aliases, as far as the store's indexes go.

use crate::hash::KeyHash;
use crate::store::{Filter, Kind, Listing, Row};
use crate::virtual_key::VirtualKey;

use super::rows::{Document, Loaded};
use super::{Caller, Info, KeyInfo, KeyRef, ManageError, Manager};

/// The most rows of a page, as LiteLLM has it.
pub(super) const MOST_ROWS: usize = 100;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// From 1 on. To skip pages costs reads of the index; `from` does not.
    pub page: usize,
    /// Rows, at most 100.
    pub size: usize,
    /// The `next` of the page before, instead of a number.
    pub from: Option<String>,
}

impl Default for Slice {
    fn default() -> Self {
        Self { page: 1, size: 10, from: None }
    }
}

/// What keys are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// When they were made.
    #[default]
    CreatedAt,
    /// Their aliases; only for a search, since other lists have keys without one.
    KeyAlias,
}

/// Which keys to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListKeys {
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only this team's.
    pub team_id: Option<String>,
    /// Only the one with this id, or that a value with this hash opens.
    pub key_hash: Option<KeyHash>,
    /// Only the one with this alias.
    pub key_alias: Option<String>,
    /// Only those whose alias begins so; sorted by alias.
    pub search: Option<String>,
    /// What to sort by; `None` = what the filter is sorted by anyway.
    pub sort_by: Option<SortBy>,
    /// The smallest first; by age the youngest is first otherwise.
    pub ascending: bool,
    /// Which page.
    pub slice: Slice,
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// How many there are on all pages.
    pub total: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// A page of teams, users or budgets.
#[derive(Debug, Clone, PartialEq)]
pub struct Items<T> {
    /// They.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// A page of aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasPage {
    /// The aliases.
    pub aliases: Vec<String>,
    /// How many there are on all pages.
    pub total: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

impl Slice {
    pub(crate) fn listing(&self, filter: Filter, descending: bool) -> Result<Listing, ManageError> {
        if self.page == 0 {
            return Err(ManageError::invalid("page", "must be at least 1"));
        }
        if !(1..=MOST_ROWS).contains(&self.size) {
            return Err(ManageError::invalid("size", "must be from 1 to 100"));
        }
        let skip = match self.from {
            Some(_) => 0,
            None => (self.page - 1).saturating_mul(self.size),
        };
        Ok(Listing { filter, descending, limit: self.size, skip, from: self.from.clone() })
    }
}

impl Manager {
    /// Lists keys.
    ///
    /// # Errors
    /// `Invalid` for what the indexes cannot do, naming the field; `Denied` for another user's keys; `Unavailable`.
    pub async fn list(&self, caller: &Caller, what: &ListKeys) -> Result<KeyPage, ManageError> {
        let mut what = what.clone();
        if let Some(user) = &caller.only_user {
            if what.user_id.as_ref().is_some_and(|other| other != user) {
                return Err(ManageError::Denied { field: "user_id" });
            }
            what.user_id = Some(user.clone());
        }
        if what.key_hash.is_some() || what.key_alias.is_some() {
            return self.list_one(&what).await;
        }
        let (filter, descending) = index(&what)?;
        let listing = what.slice.listing(filter, descending)?;
        if let (Filter::User(_), Some(team_id)) = (&listing.filter, &what.team_id) {
            return self.list_filtered(listing, team_id).await;
        }
        let total = self.store.count(&listing.filter).await?;
        let page = self.store.list(&listing).await?;
        Ok(KeyPage { keys: self.shown(page.rows).await?, total, next: page.next })
    }

    /// The one key with a hash or an alias, if it fits the other filters.
    async fn list_one(&self, what: &ListKeys) -> Result<KeyPage, ManageError> {
        what.slice.listing(Filter::All(Kind::Key), false)?;
        let key = match (&what.key_hash, &what.key_alias) {
            (Some(hash), _) => KeyRef::Hash(*hash),
            (None, alias) => KeyRef::Alias(alias.clone().unwrap_or_default()),
        };
        let found = match self.resolve(&key).await {
            Ok(id) => self.load::<VirtualKey>(&id).await?,
            Err(ManageError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let found = found.filter(|Loaded { value: key, .. }| {
            let fits = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
            fits(&what.user_id, &key.user_id)
                && fits(&what.team_id, &key.team_id)
                && fits(&what.key_alias, &key.key_alias)
        });
        let total = u64::from(found.is_some());
        let keys = match found {
            Some(found) if what.slice.page == 1 => vec![self.found(found).await?],
            _ => Vec::new(),
        };
        Ok(KeyPage { keys, total, next: None })
    }

    /// The keys that a user has in one team. No index has both, so all the user's keys are read.
    async fn list_filtered(&self, listing: Listing, team_id: &str) -> Result<KeyPage, ManageError> {
        let Listing { filter, descending, limit, skip, from } = listing;
        if from.is_some() {
            return Err(ManageError::invalid(
                "from",
                "must be left out when both user_id and team_id are given",
            ));
        }
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let all = Listing { filter: filter.clone(), descending, limit: MOST_ROWS, skip: 0, from };
            let page = self.store.list(&all).await?;
            for row in page.rows {
                let loaded = Loaded::<VirtualKey>::read(row)?;
                if loaded.value.team_id.as_deref() == Some(team_id) {
                    rows.push(loaded.row);
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let rows = rows.into_iter().skip(skip).take(limit).collect();
        Ok(KeyPage { keys: self.shown(rows).await?, total, next: None })
    }

    /// Lists aliases that begin with `search`, in their order.
    ///
    /// # Errors
    /// `Denied` for who may not see all keys; `Invalid`; `Unavailable`.
    pub async fn aliases(
        &self,
        caller: &Caller,
        search: &str,
        slice: &Slice,
    ) -> Result<AliasPage, ManageError> {
        caller.must_be_admin("key")?;
        let listing = slice.listing(Filter::Alias(search.to_owned()), false)?;
        let total = self.store.count(&listing.filter).await?;
        let page = self.store.list(&listing).await?;
        let mut aliases = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            aliases.extend(Loaded::<VirtualKey>::read(row)?.value.key_alias);
        }
        Ok(AliasPage { aliases, total, next: page.next })
    }

    /// A page of all rows of a kind, the youngest first.
    pub(crate) async fn items<D: Document>(
        &self,
        kind: Kind,
        slice: &Slice,
    ) -> Result<Items<Info<D>>, ManageError> {
        let listing = slice.listing(Filter::All(kind), true)?;
        let total = self.store.count(&listing.filter).await?;
        let page = self.store.list(&listing).await?;
        Ok(Items { items: self.shown(page.rows).await?, total, next: page.next })
    }

    /// Definitions and spend of rows.
    pub(crate) async fn shown<D: Document>(&self, rows: Vec<Row>) -> Result<Vec<Info<D>>, ManageError> {
        let loaded = rows.into_iter().map(Loaded::read).collect::<Result<Vec<_>, _>>()?;
        let spends = self.spends(&loaded).await?;
        Ok(loaded
            .into_iter()
            .zip(spends)
            .map(|(loaded, spend)| Info { value: loaded.value, spend })
            .collect())
    }

    /// Everything of a filter.
    pub(crate) async fn everything<D: Document>(&self, filter: Filter) -> Result<Vec<Info<D>>, ManageError> {
        let mut all = Vec::new();
        let mut from = None;
        loop {
            let listing =
                Listing { filter: filter.clone(), descending: false, limit: MOST_ROWS, skip: 0, from };
            let page = self.store.list(&listing).await?;
            all.extend(self.shown(page.rows).await?);
            from = page.next;
            if from.is_none() {
                return Ok(all);
            }
        }
    }
}

/// The index that has the list, and whether it is read backwards.
fn index(what: &ListKeys) -> Result<(Filter, bool), ManageError> {
    if let Some(search) = &what.search {
        for (field, given) in [("user_id", what.user_id.is_some()), ("team_id", what.team_id.is_some())] {
            if given {
                return Err(ManageError::invalid(field, "must be left out of a search"));
            }
        }
        return match what.sort_by {
            Some(SortBy::CreatedAt) => Err(ManageError::invalid("sort_by", "must be key_alias in a search")),
            Some(SortBy::KeyAlias) => Ok((Filter::Alias(search.clone()), !what.ascending)),
            None => Ok((Filter::Alias(search.clone()), false)),
        };
    }
    if what.sort_by == Some(SortBy::KeyAlias) {
        return Err(ManageError::invalid("sort_by", "can only be key_alias in a search"));
    }
    let filter = match (&what.user_id, &what.team_id) {
        (Some(user), _) => Filter::User(user.clone()),
        (None, Some(team)) => Filter::Team(team.clone()),
        (None, None) => Filter::All(Kind::Key),
    };
    Ok((filter, !what.ascending))
}
