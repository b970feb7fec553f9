//! A key's item: the record and its counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::hash::KeyHash;
use crate::money::{count, dollars, nanos};
use crate::port::KeyError;
use crate::virtual_key::VirtualKey;

use super::table::{Item, PK, SK, SK_KEY, key_pk, malformed};

/// Nano-dollars spent by settled requests.
pub(super) const SPEND: &str = "spend";
/// `spend` and all reservations (`rs#…`) together, in nano-dollars.
pub(super) const COMMITTED: &str = "committed";
/// Changes whenever anything but a counter does.
pub(super) const REV: &str = "rev";

/// A counter that exists once per time slot or minute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// Nano-dollars reserved in a slot and not settled.
    Reserved,
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
}

impl Counter {
    const ALL: [Self; 3] = [Self::Reserved, Self::Requests, Self::Tokens];

    fn prefix(self) -> &'static str {
        match self {
            Self::Reserved => "rs#",
            Self::Requests => "rq#",
            Self::Tokens => "tk#",
        }
    }

    /// The attribute of this counter for a slot or minute.
    pub(super) fn attribute(self, period: i64) -> String {
        format!("{}{period}", self.prefix())
    }

    /// Which counter, and of which slot or minute, an attribute is.
    fn parse(attribute: &str) -> Option<(Self, i64)> {
        Self::ALL.into_iter().find_map(|counter| {
            let period = attribute.strip_prefix(counter.prefix())?.parse().ok()?;
            Some((counter, period))
        })
    }
}

/// A key's item, read.
pub(super) struct Record {
    pub(super) key: Arc<VirtualKey>,
    /// The hashes that open the key, and until when; `None` = no end.
    values: HashMap<KeyHash, Option<Timestamp>>,
    pub(super) rev: i64,
    /// Nano-dollars, as [`COMMITTED`].
    pub(super) committed: i64,
    counters: Vec<(Counter, i64, i64)>,
}

impl Record {
    /// Reads an item that holds a key.
    pub(super) fn parse(item: &Item) -> Result<Self, KeyError> {
        let fields = Fields(item);
        let key = VirtualKey {
            id: fields.required("id", |value| KeyHash::from_hex(value.as_s().ok()?))?,
            key_name: fields.required("key_name", text)?,
            key_alias: fields.optional("key_alias", text)?,
            team_id: fields.optional("team_id", text)?,
            user_id: fields.optional("user_id", text)?,
            models: fields.optional("models", texts)?.unwrap_or_default(),
            aliases: fields.optional("aliases", text_map)?.unwrap_or_default(),
            metadata: fields.optional("metadata", text)?.unwrap_or_else(|| "{}".to_owned()),
            tags: fields.optional("tags", texts)?.unwrap_or_default(),
            max_budget: fields.optional("max_budget", number)?.map(dollars),
            rpm_limit: fields.optional("rpm_limit", unsigned)?,
            tpm_limit: fields.optional("tpm_limit", unsigned)?,
            blocked: fields.optional("blocked", |value| value.as_bool().ok().copied())?.unwrap_or(false),
            expires: fields.optional("expires", time)?,
            created_at: fields.required("created_at", time)?,
            spend: dollars(fields.required(SPEND, number)?),
        };
        let counters = item.iter().filter_map(|(name, value)| {
            let (counter, period) = Counter::parse(name)?;
            Some(number(value).map(|amount| (counter, period, amount)).ok_or_else(|| malformed(name)))
        });
        Ok(Self {
            key: Arc::new(key),
            values: fields.required("hashes", hashes)?,
            rev: fields.required(REV, number)?,
            committed: fields.required(COMMITTED, number)?,
            counters: counters.collect::<Result<_, _>>()?,
        })
    }

    /// Whether whoever presents `hash` may call `model` now, limits apart.
    pub(super) fn check(&self, hash: &KeyHash, model: &str, now: Timestamp) -> Result<(), KeyError> {
        self.check_open(hash, now)?;
        if !self.key.allows(model) {
            let allowed = self.key.models.clone();
            return Err(KeyError::ModelDenied { model: model.to_owned(), allowed });
        }
        Ok(())
    }

    /// Whether `hash` opens the key now.
    pub(super) fn check_open(&self, hash: &KeyHash, now: Timestamp) -> Result<(), KeyError> {
        match self.values.get(hash) {
            Some(None) => {}
            Some(Some(until)) if now < *until => {}
            _ => return Err(KeyError::NotFound),
        }
        if self.key.blocked {
            return Err(KeyError::Blocked);
        }
        if let Some(at) = self.key.expires.filter(|at| *at <= now) {
            return Err(KeyError::Expired { at });
        }
        Ok(())
    }

    /// A counter's value in a slot or minute; 0 when it is missing.
    pub(super) fn counter(&self, counter: Counter, period: i64) -> i64 {
        let mut found = self.counters.iter().filter(|(c, p, _)| *c == counter && *p == period);
        found.next().map_or(0, |(_, _, amount)| *amount)
    }

    /// All slots or minutes of a counter with their values.
    pub(super) fn counters(&self, counter: Counter) -> impl Iterator<Item = (i64, i64)> {
        self.counters
            .iter()
            .filter(move |(c, ..)| *c == counter)
            .map(|(_, period, amount)| (*period, *amount))
    }
}

/// The item of a key that has just been made, opened by the hash that is its id.
pub(super) fn new_item(key: &VirtualKey) -> Item {
    let string = |text: &str| AttributeValue::S(text.to_owned());
    let strings = |texts: &[String]| AttributeValue::L(texts.iter().map(|text| string(text)).collect());
    let integer = |number: i64| AttributeValue::N(number.to_string());
    let id = key.id.to_string();
    let hashes = HashMap::from([(id.clone(), integer(0))]);
    let aliases = key.aliases.iter().map(|(name, model)| (name.clone(), string(model))).collect();
    let attributes = [
        (PK, Some(string(&key_pk(&key.id)))),
        (SK, Some(string(SK_KEY))),
        ("kind", Some(string("key"))),
        ("id", Some(string(&id))),
        ("hashes", Some(AttributeValue::M(hashes))),
        ("key_name", Some(string(&key.key_name))),
        ("key_alias", key.key_alias.as_deref().map(string)),
        ("team_id", key.team_id.as_deref().map(string)),
        ("user_id", key.user_id.as_deref().map(string)),
        ("models", Some(strings(&key.models))),
        ("aliases", Some(AttributeValue::M(aliases))),
        ("metadata", Some(string(&key.metadata))),
        ("tags", Some(strings(&key.tags))),
        ("max_budget", key.max_budget.map(|usd| integer(nanos(usd)))),
        ("rpm_limit", key.rpm_limit.map(|limit| integer(count(limit)))),
        ("tpm_limit", key.tpm_limit.map(|limit| integer(count(limit)))),
        ("blocked", Some(AttributeValue::Bool(key.blocked))),
        ("expires", key.expires.map(|at| string(&at.to_string()))),
        // Of one width, so that the indexes sort by time.
        ("created_at", Some(string(&format!("{:.6}", key.created_at)))),
        // A key that is deleted and made again with the same value must not look unchanged to whoever has the
        // former one in memory; the time of its making tells them apart.
        (REV, Some(integer(key.created_at.as_microsecond()))),
        (SPEND, Some(integer(0))),
        (COMMITTED, Some(integer(0))),
    ];
    attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// An item's attributes, read with a function that returns `None` for a wrong type.
struct Fields<'a>(&'a Item);

impl Fields<'_> {
    fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&AttributeValue) -> Option<T>,
    ) -> Result<Option<T>, KeyError> {
        self.0.get(name).map(|value| read(value).ok_or_else(|| malformed(name))).transpose()
    }

    fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(&AttributeValue) -> Option<T>,
    ) -> Result<T, KeyError> {
        self.optional(name, read)?.ok_or_else(|| malformed(name))
    }
}

fn text(value: &AttributeValue) -> Option<String> {
    value.as_s().ok().cloned()
}

fn texts(value: &AttributeValue) -> Option<Vec<String>> {
    value.as_l().ok()?.iter().map(text).collect()
}

fn text_map(value: &AttributeValue) -> Option<BTreeMap<String, String>> {
    value.as_m().ok()?.iter().map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// A whole number. DynamoDB's have 38 digits, so that absurd usage, added again and again, can go beyond 64
/// bits; the key then is over every limit, not broken.
fn number(value: &AttributeValue) -> Option<i64> {
    let number: i128 = value.as_n().ok()?.parse().ok()?;
    let beyond = if number < 0 { i64::MIN } else { i64::MAX };
    Some(i64::try_from(number).unwrap_or(beyond))
}

fn unsigned(value: &AttributeValue) -> Option<u64> {
    value.as_n().ok()?.parse().ok()
}

fn time(value: &AttributeValue) -> Option<Timestamp> {
    value.as_s().ok()?.parse().ok()
}

/// Hash → epoch seconds until which it is good; 0 = no end.
fn hashes(value: &AttributeValue) -> Option<HashMap<KeyHash, Option<Timestamp>>> {
    let entry = |(hash, until): (&String, &AttributeValue)| {
        let until = match number(until)? {
            0 => None,
            seconds => Some(Timestamp::from_second(seconds).ok()?),
        };
        Some((KeyHash::from_hex(hash)?, until))
    };
    value.as_m().ok()?.iter().map(entry).collect()
}
