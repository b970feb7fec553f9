//! Names and contents of items.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{Definition, Kind, Row, RowId, StoreFailure};

/// An item: attribute name → value.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key: what the item is about.
pub(super) const PK: &str = "pk";
/// Sort key: which item of it.
pub(super) const SK: &str = "sk";
/// What a row is, in the index of all. A line of usage has its day there.
pub(super) const KIND: &str = "kind";
/// When a row was made: UTC to the microsecond, of one width, so that the indexes sort by time.
pub(super) const CREATED_AT: &str = "created_at";
/// A key's alias.
pub(super) const KEY_ALIAS: &str = "key_alias";
/// A key's team.
pub(super) const TEAM_ID: &str = "team_id";
/// A key's user.
pub(super) const USER_ID: &str = "user_id";
/// Epoch seconds after which DynamoDB deletes an item; only items that are no longer needed then have it.
pub(super) const TTL: &str = "ttl";
/// Revision of a row's definition; its accounts have it too.
pub(super) const REV: &str = "rev";
/// A row's definition, a JSON document as text.
pub(super) const DEFINITION: &str = "def";
/// How many shares a row has.
pub(super) const SHARES: &str = "shares";
/// The id of the key that a hash or an alias leads to.
pub(super) const LEADS_TO: &str = "leads_to";
/// The number of an item that holds but one.
pub(super) const NUMBER: &str = "n";

/// Sort key of a row, and of a pointer, which takes the place of a row.
const ROW: &str = "ROW";
/// Sort key of the counters of a row, and of each of its shares.
const ACCOUNT: &str = "ACCOUNT";
/// Sort key of the item that keeps an alias unique.
const ALIAS: &str = "ALIAS";
/// Sort key of a part of the number of rows of a kind.
const COUNT: &str = "COUNT";
/// Both keys of the item that counts finished rotations.
const GENERATION: &str = "GENERATION";

/// An item's primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Key {
    pub(super) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    /// A row.
    pub(super) fn row(id: &RowId) -> Self {
        Self::new(row_pk(id), ROW)
    }

    /// The row of the key that a hash may be the id of, or the pointer in its place.
    pub(super) fn hash(hash: &KeyHash) -> Self {
        Self::row(&RowId::key(hash))
    }

    /// Counters: the row's own for share 0. The others have partition keys of their own, so that they are not
    /// all in one partition.
    pub(super) fn account(id: &RowId, share: u16) -> Self {
        let pk = row_pk(id);
        Self::new(if share == 0 { pk } else { format!("SHARE#{share}#{pk}") }, ACCOUNT)
    }

    /// The item that keeps an alias unique.
    pub(super) fn alias(alias: &str) -> Self {
        Self::new(format!("ALIAS#{alias}"), ALIAS)
    }

    /// A part of the number of rows of a kind.
    pub(super) fn count(kind: Kind, part: u16) -> Self {
        Self::new(format!("COUNT#{}#{part}", kind_name(kind)), COUNT)
    }

    /// The item that counts finished rotations.
    pub(super) fn generation() -> Self {
        Self::new(GENERATION, GENERATION)
    }

    /// The key of an item that was read.
    pub(super) fn of(item: &Item) -> Result<Self, StoreFailure> {
        Ok(Self::new(text(item, PK)?, text(item, SK)?))
    }

    /// As attributes.
    pub(super) fn item(&self) -> Item {
        HashMap::from([(PK.to_owned(), string(&self.pk)), (SK.to_owned(), string(&self.sk))])
    }
}

fn row_pk(id: &RowId) -> String {
    format!("{}{}", prefix(id.kind), id.id)
}

fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Key => "KEY#",
        Kind::Team => "TEAM#",
        Kind::User => "USER#",
        Kind::Budget => "BUDGET#",
    }
}

/// The row that a key is of.
pub(super) fn row_id(kind: Kind, key: &Key) -> Result<RowId, StoreFailure> {
    let id = key.pk.strip_prefix(prefix(kind)).ok_or_else(|| malformed(PK))?;
    Ok(RowId::named(kind, id))
}

/// A kind in the index of all.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Key => "key",
        Kind::Team => "team",
        Kind::User => "user",
        Kind::Budget => "budget",
    }
}

/// The attributes of a row besides its key; `None` = it must not be there. Text that is empty cannot be in an
/// index.
pub(super) fn row_attributes(definition: &Definition) -> [(&'static str, Option<AttributeValue>); 8] {
    let index = &definition.index;
    let is_key = definition.id.kind == Kind::Key;
    let indexed =
        |text: &Option<String>| text.as_deref().filter(|text| is_key && !text.is_empty()).map(string);
    [
        (REV, Some(integer(definition.rev))),
        (DEFINITION, Some(string(&definition.text))),
        (SHARES, Some(integer(definition.shares.into()))),
        (KIND, Some(string(kind_name(definition.id.kind)))),
        (CREATED_AT, Some(string(&format!("{:.6}", index.created_at)))),
        (KEY_ALIAS, indexed(&index.alias)),
        (TEAM_ID, indexed(&index.team_id)),
        (USER_ID, indexed(&index.user_id)),
    ]
}

/// A row and its own counters.
pub(super) fn row(id: &RowId, item: &Item, account: &Item) -> Result<Row, StoreFailure> {
    let (_, counters) = account_of(account)?;
    Ok(Row {
        id: id.clone(),
        rev: number(item, REV)?,
        definition: Arc::from(text(item, DEFINITION)?),
        shares: u16::try_from(number(item, SHARES)?).map_err(|_| malformed(SHARES))?,
        counters,
    })
}

/// The revision and the counters of an account: every other attribute is one.
pub(super) fn account_of(item: &Item) -> Result<(i64, Counters), StoreFailure> {
    let counters = item.iter().filter(|(name, _)| ![PK, SK, REV].contains(&name.as_str()));
    let counters = counters.map(|(name, value)| Ok((name.clone(), whole(name, value)?)));
    Ok((number(item, REV)?, counters.collect::<Result<_, StoreFailure>>()?))
}

/// Where a pointer or an alias leads to; `None` when the item is a row.
pub(super) fn leads_to(item: &Item) -> Result<Option<KeyHash>, StoreFailure> {
    if !item.contains_key(LEADS_TO) {
        return Ok(None);
    }
    KeyHash::from_hex(text(item, LEADS_TO)?).map(Some).ok_or_else(|| malformed(LEADS_TO))
}

/// The number of an item that holds but one; 0 when there is none yet.
pub(super) fn single_number(item: Option<&Item>) -> Result<u64, StoreFailure> {
    let Some(item) = item else { return Ok(0) };
    u64::try_from(number(item, NUMBER)?).map_err(|_| malformed(NUMBER))
}

/// A string attribute that must be there.
pub(super) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, StoreFailure> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| malformed(name))
}

/// A whole number that must be there.
pub(super) fn number(item: &Item, name: &str) -> Result<i64, StoreFailure> {
    whole(name, item.get(name).ok_or_else(|| malformed(name))?)
}

/// A whole number. DynamoDB's have 38 digits, so that absurd usage, added again and again, can go beyond 64
/// bits; the account then is over every limit, not broken.
fn whole(name: &str, value: &AttributeValue) -> Result<i64, StoreFailure> {
    let number = value.as_n().ok().and_then(|number| number.parse::<i128>().ok());
    let number = number.ok_or_else(|| malformed(name))?;
    let beyond = if number < 0 { i64::MIN } else { i64::MAX };
    Ok(i64::try_from(number).unwrap_or(beyond))
}

/// The table holds what we did not write.
pub(super) fn malformed(attribute: &str) -> StoreFailure {
    StoreFailure::new(format!("malformed attribute {attribute} in the key table"))
}

/// A string.
pub(super) fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// A number.
pub(super) fn integer(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
