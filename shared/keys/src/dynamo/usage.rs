//! Lines of usage: sums for a day, key, model and set of tags.
//!
//! They are in the index of all under `spend#<day>#<first digit of the key's id>`, sorted by key. The index holds keys
//! only, so a line is written to it once, when it comes into being; the digit spreads those writes, which are many
//! when a day begins.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::hash::KeyHash;
use crate::store::{StoreFailure, Usage, UsageLine, UsageQuery};

use super::item::{CREATED_AT, Item, KIND, Key, TTL, integer, malformed, number, string, text};
use super::list::Query;
use super::schema::ALL;
use super::table::{Table, failure};

/// What stands for the master key, which has no id.
const MASTER: &str = "master";
/// Over how many items the lines of the master key are spread: nobody says how busy it is.
const MASTER_SHARES: u16 = 16;
/// What ids of keys begin with, and the master key.
const FIRST_DIGITS: &str = "0123456789abcdefm";
/// How many parts of the index are read side by side.
const SIDE_BY_SIDE: usize = 16;
/// The longest span that is read at once, in days.
const LONGEST_SPAN: usize = 1_100;

const DAY: &str = "day";
const KEY: &str = "key";
const TEAM: &str = "team";
const USER: &str = "user";
const MODEL: &str = "model";
const TAGS: &str = "tags";
const REQUESTS: &str = "requests";
const PROMPT_TOKENS: &str = "prompt_tokens";
const COMPLETION_TOKENS: &str = "completion_tokens";
const COST: &str = "cost";

/// Adds to a line, in one write. An answer that is lost may count twice, as with any counter.
pub(super) async fn log(
    table: &Table,
    line: &UsageLine,
    shares: u16,
    life: Option<SignedDuration>,
) -> Result<(), StoreFailure> {
    let owner = owner(line.key.as_ref());
    let share = match (line.key, shares) {
        (None, _) => fastrand::u16(..MASTER_SHARES),
        (Some(_), 0) => 0,
        (Some(_), shares) => fastrand::u16(1..=shares),
    };
    let tags = AttributeValue::L(line.tags.iter().map(|tag| string(tag)).collect());
    let set = [
        (KIND, Some(string(&partition(line.day, &owner)))),
        (CREATED_AT, Some(string(&owner))),
        (DAY, Some(string(&line.day.to_string()))),
        (KEY, line.key.map(|key| string(&key.to_string()))),
        (TEAM, line.team_id.as_deref().map(string)),
        (USER, line.user_id.as_deref().map(string)),
        (MODEL, Some(string(&line.model))),
        (TAGS, Some(tags)),
        (TTL, life.and_then(|life| end(line.day, life)).map(|end| integer(end.as_second()))),
    ];
    let add = [
        (REQUESTS, count(line.usage.requests)),
        (PROMPT_TOKENS, count(line.usage.prompt_tokens)),
        (COMPLETION_TOKENS, count(line.usage.completion_tokens)),
        (COST, integer(line.usage.cost)),
    ];
    let (mut names, mut values) = (HashMap::new(), Item::new());
    let mut terms = |name: &str, value: AttributeValue, sign: &str| {
        names.insert(format!("#{name}"), name.to_owned());
        values.insert(format!(":{name}"), value);
        format!("#{name} {sign} :{name}")
    };
    let set = set.into_iter().filter_map(|(name, value)| Some(terms(name, value?, "=")));
    let set = set.collect::<Vec<_>>().join(", ");
    let add = add.map(|(name, value)| terms(name, value, "")).join(", ");
    let request = table.client.update_item().table_name(&table.name);
    request
        .set_key(Some(key(line, &owner, share).item()))
        .update_expression(format!("SET {set} ADD {add}"))
        .set_expression_attribute_names(Some(names))
        .set_expression_attribute_values(Some(values))
        .send()
        .await
        .map_err(|error| failure(&error))?;
    Ok(())
}

/// The lines of some days, those of several shares put together.
pub(super) async fn read(table: &Table, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
    let days: Vec<Date> = query
        .from
        .series(jiff::Span::new().days(1))
        .take_while(|day| *day <= query.to)
        .take(LONGEST_SPAN + 1)
        .collect();
    if days.len() > LONGEST_SPAN {
        return Err(StoreFailure::new("too many days of usage at once"));
    }
    let prefix = query.key.map(|key| key.to_string()).unwrap_or_default();
    let owners: Vec<_> = match &query.key {
        Some(key) => vec![owner(Some(key))],
        None => FIRST_DIGITS.chars().map(String::from).collect(),
    };
    let parts: Vec<_> =
        days.iter().flat_map(|day| owners.iter().map(|owner| partition(*day, owner))).collect();
    let mut parts = parts.into_iter();
    let mut reads = JoinSet::new();
    let mut lines = BTreeMap::new();
    loop {
        while reads.len() < SIDE_BY_SIDE
            && let Some(hash) = parts.next()
        {
            let (table, prefix) = (table.clone(), prefix.clone());
            reads.spawn(async move { read_part(&table, Query { index: ALL, hash, prefix }).await });
        }
        let Some(read) = reads.join_next().await else { break };
        for line in read.map_err(|error| StoreFailure::from_error(&error))?? {
            let UsageLine { day, key, team_id, user_id, model, tags, usage } = line;
            let sum: &mut Usage = lines.entry((day, key, team_id, user_id, model, tags)).or_default();
            sum.requests = sum.requests.saturating_add(usage.requests);
            sum.prompt_tokens = sum.prompt_tokens.saturating_add(usage.prompt_tokens);
            sum.completion_tokens = sum.completion_tokens.saturating_add(usage.completion_tokens);
            sum.cost = sum.cost.saturating_add(usage.cost);
        }
    }
    let lines = lines.into_iter().map(|((day, key, team_id, user_id, model, tags), usage)| UsageLine {
        day,
        key,
        team_id,
        user_id,
        model,
        tags,
        usage,
    });
    Ok(lines.collect())
}

async fn read_part(table: &Table, query: Query) -> Result<Vec<UsageLine>, StoreFailure> {
    let found = query.keys(table, false, usize::MAX, None).await?;
    let items = table.get(found.into_iter().map(|found| found.key).collect()).await?;
    items.values().map(line).collect()
}

fn line(item: &Item) -> Result<UsageLine, StoreFailure> {
    let optional = |name| item.contains_key(name).then(|| text(item, name).map(str::to_owned)).transpose();
    let unsigned = |name| number(item, name).map(|number| u64::try_from(number).unwrap_or(0));
    let key = optional(KEY)?.map(|key| KeyHash::from_hex(&key).ok_or_else(|| malformed(KEY))).transpose()?;
    let tags = item.get(TAGS).and_then(|tags| tags.as_l().ok()).ok_or_else(|| malformed(TAGS))?;
    let tags = tags.iter().map(|tag| tag.as_s().cloned()).collect::<Result<_, _>>();
    Ok(UsageLine {
        day: text(item, DAY)?.parse().map_err(|_| malformed(DAY))?,
        key,
        team_id: optional(TEAM)?,
        user_id: optional(USER)?,
        model: text(item, MODEL)?.to_owned(),
        tags: tags.map_err(|_| malformed(TAGS))?,
        usage: Usage {
            requests: unsigned(REQUESTS)?,
            prompt_tokens: unsigned(PROMPT_TOKENS)?,
            completion_tokens: unsigned(COMPLETION_TOKENS)?,
            cost: number(item, COST)?,
        },
    })
}

/// Whose line it is.
fn owner(key: Option<&KeyHash>) -> String {
    key.map_or_else(|| MASTER.to_owned(), ToString::to_string)
}

/// The part of the index that a day's lines of an owner are in.
fn partition(day: Date, owner: &str) -> String {
    format!("spend#{day}#{}", owner.get(..1).unwrap_or_default())
}

/// A line's own key: everything by which lines are told apart, of a length that no name can exceed.
fn key(line: &UsageLine, owner: &str, share: u16) -> Key {
    let labels = serde_json::json!([line.model, line.team_id, line.user_id, line.tags]).to_string();
    let digest = hex::encode(Sha256::digest(labels.as_bytes()));
    let pk = if share == 0 { format!("SPEND#{owner}") } else { format!("SPEND#{owner}#{share}") };
    Key::new(pk, format!("{}#{digest}", line.day))
}

/// When a line may be forgotten; `None` = never, beyond the end of the calendar.
fn end(day: Date, life: SignedDuration) -> Option<Timestamp> {
    let day_is_over = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    day_is_over.checked_add(life).ok()
}

/// A count, the largest of 64 bits at most.
fn count(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
