//! What was spent, by day, tag, team, user or key: from the store's usage lines, which count per day, key, model and
//! set of tags.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::hash::KeyHash;
use crate::store::{Filter, Kind, Usage, UsageLine, UsageQuery};
use crate::virtual_key::VirtualKey;

use super::{Caller, KeyInfo, ManageError, Manager};

/// The longest report, in days: a leap year.
const MOST_DAYS: i32 = 366;

/// What to report on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportQuery {
    /// The first day, in UTC.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// Only this key, by its id.
    pub key: Option<KeyHash>,
    /// Only the keys that were this team's then.
    pub team_id: Option<String>,
    /// Only the keys that were this user's then.
    pub user_id: Option<String>,
}

/// A day's usage, and its parts in nano-dollars.
#[derive(Debug, Clone, PartialEq)]
pub struct DaySpend {
    /// The day, in UTC.
    pub day: Date,
    /// Everything.
    pub usage: Usage,
    /// By key; `None` is the master key.
    pub keys: BTreeMap<Option<KeyHash>, i64>,
    /// By user; `None` is no user.
    pub users: BTreeMap<Option<String>, i64>,
    /// By model group.
    pub models: BTreeMap<String, i64>,
}

/// A tag's usage.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSpend {
    /// The tag.
    pub tag: String,
    /// Everything that had it; what had two tags is in both.
    pub usage: Usage,
}

/// What the groups of a report are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// Teams.
    Team,
    /// Users.
    User,
    /// Keys.
    Key,
    /// Model groups.
    Model,
}

/// A day of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportDay {
    /// The day, in UTC.
    pub day: Date,
    /// The groups, by name.
    pub groups: Vec<GroupSpend>,
}

/// A group on one day.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpend {
    /// The team's, user's, key's or model's id; `None` for what has none.
    pub name: Option<String>,
    /// Everything.
    pub usage: Usage,
    /// By model group and key.
    pub parts: Vec<(String, Option<KeyHash>, Usage)>,
}

impl Manager {
    /// Keys with what they have spent, those that spent most first. All keys are read.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`.
    pub async fn spend_by_key(&self, caller: &Caller, most: usize) -> Result<Vec<KeyInfo>, ManageError> {
        let filter = match &caller.only_user {
            Some(user) => Filter::User(user.clone()),
            None => Filter::All(Kind::Key),
        };
        let mut keys = self.everything::<VirtualKey>(filter).await?;
        keys.sort_by(|one, other| other.spend.spend.total_cmp(&one.spend.spend));
        keys.truncate(most);
        Ok(keys)
    }

    /// What was spent on each day, days without usage left out.
    ///
    /// # Errors
    /// `Invalid` of `end_date`; `Denied` for who may not see everything and does not ask for itself; `Unavailable`.
    pub async fn spend_by_day(
        &self,
        caller: &Caller,
        query: &ReportQuery,
    ) -> Result<Vec<DaySpend>, ManageError> {
        let mut days: BTreeMap<Date, DaySpend> = BTreeMap::new();
        for line in self.lines(caller, query).await? {
            let day = days.entry(line.day).or_insert_with(|| DaySpend {
                day: line.day,
                usage: Usage::default(),
                keys: BTreeMap::new(),
                users: BTreeMap::new(),
                models: BTreeMap::new(),
            });
            let cost = line.usage.cost;
            add(&mut day.usage, &line.usage);
            add_cost(day.keys.entry(line.key).or_default(), cost);
            add_cost(day.users.entry(line.user_id).or_default(), cost);
            add_cost(day.models.entry(line.model).or_default(), cost);
        }
        Ok(days.into_values().collect())
    }

    /// What was spent for each tag, by name.
    ///
    /// # Errors
    /// As [`Manager::spend_by_day`].
    pub async fn spend_by_tag(
        &self,
        caller: &Caller,
        query: &ReportQuery,
    ) -> Result<Vec<TagSpend>, ManageError> {
        let mut tags: BTreeMap<String, Usage> = BTreeMap::new();
        for line in self.lines(caller, query).await? {
            for tag in line.tags {
                add(tags.entry(tag).or_default(), &line.usage);
            }
        }
        Ok(tags.into_iter().map(|(tag, usage)| TagSpend { tag, usage }).collect())
    }

    /// What was spent on each day by each group.
    ///
    /// # Errors
    /// As [`Manager::spend_by_day`].
    pub async fn spend_report(
        &self,
        caller: &Caller,
        query: &ReportQuery,
        by: GroupBy,
    ) -> Result<Vec<ReportDay>, ManageError> {
        type Parts = BTreeMap<(String, Option<KeyHash>), Usage>;
        let mut days: BTreeMap<Date, BTreeMap<Option<String>, Parts>> = BTreeMap::new();
        for line in self.lines(caller, query).await? {
            let name = match by {
                GroupBy::Team => line.team_id,
                GroupBy::User => line.user_id,
                GroupBy::Key => line.key.map(|key| key.to_string()),
                GroupBy::Model => Some(line.model.clone()),
            };
            let parts = days.entry(line.day).or_default().entry(name).or_default();
            add(parts.entry((line.model, line.key)).or_default(), &line.usage);
        }
        let group = |(name, parts): (Option<String>, Parts)| {
            let mut usage = Usage::default();
            for part in parts.values() {
                add(&mut usage, part);
            }
            let parts = parts.into_iter().map(|((model, key), usage)| (model, key, usage)).collect();
            GroupSpend { name, usage, parts }
        };
        let day = |(day, groups): (Date, BTreeMap<_, _>)| ReportDay {
            day,
            groups: groups.into_iter().map(group).collect(),
        };
        Ok(days.into_iter().map(day).collect())
    }

    /// The lines that a report is about.
    async fn lines(&self, caller: &Caller, query: &ReportQuery) -> Result<Vec<UsageLine>, ManageError> {
        if let Some(user) = &caller.only_user
            && query.user_id.as_ref() != Some(user)
        {
            return Err(ManageError::Denied { field: "user_id" });
        }
        if query.to < query.from {
            return Err(ManageError::invalid("end_date", "must not be before start_date"));
        }
        if (query.to - query.from).get_days() >= MOST_DAYS {
            return Err(ManageError::invalid("end_date", "must be within a year of start_date"));
        }
        let asked = UsageQuery { from: query.from, to: query.to, key: query.key };
        let mut lines = self.store.usage(&asked).await?;
        let fits = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        lines.retain(|line| fits(&query.team_id, &line.team_id) && fits(&query.user_id, &line.user_id));
        Ok(lines)
    }
}

fn add(sum: &mut Usage, usage: &Usage) {
    sum.requests = sum.requests.saturating_add(usage.requests);
    sum.prompt_tokens = sum.prompt_tokens.saturating_add(usage.prompt_tokens);
    sum.completion_tokens = sum.completion_tokens.saturating_add(usage.completion_tokens);
    add_cost(&mut sum.cost, usage.cost);
}

fn add_cost(sum: &mut i64, cost: i64) {
    *sum = sum.saturating_add(cost);
}
