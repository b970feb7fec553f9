//! Reports of what was spent.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use keyturn_keys::manage::{GroupBy, GroupSpend, KeyRef, ReportQuery};
use keyturn_keys::store::Usage;
use keyturn_keys::{KeyHash, ManageError};
use secrecy::{ExposeSecret, SecretString};

use super::{named, ok};
use crate::error::Refusal;
use crate::query;
use crate::routes::{Answer, Call};
use crate::types::key_row::KeyRow;
use crate::types::spend::{
    CustomerGroup, CustomersDay, GroupedReport, KeyLine, ModelDetail, ModelGroup, ModelsDay, Part, Report,
    ReportLine, SpendDay, SpendKeys, SpendTag, TeamGroup, TeamsDay,
};

/// Days of a report that does not say when it begins.
const DEFAULT_DAYS: i64 = 30;

/// Keys, those that spent most first
#[utoipa::path(get, path = "/spend/keys", tag = "spend", params(SpendKeys),
    responses((status = 200, description = "The keys.", body = Vec<KeyRow>)))]
pub(crate) async fn keys(call: Call<'_>) -> Answer {
    let SpendKeys { limit } = query::read(call.query)?;
    if !(1..=10_000).contains(&limit) {
        return Err(Refusal::field("limit", "must be from 1 to 10,000"));
    }
    let keys = call.manager.spend_by_key(call.caller()?, limit).await?;
    Ok(ok(&keys.into_iter().map(KeyRow::from).collect::<Vec<_>>()))
}

/// What was spent on each day
#[utoipa::path(get, path = "/spend/logs", tag = "spend", params(Report),
    responses((status = 200, description = "The days with any usage.", body = Vec<SpendDay>)))]
pub(crate) async fn logs(call: Call<'_>) -> Answer {
    let asked = asked(&call, query::read(call.query)?).await?;
    let days = call.manager.spend_by_day(call.caller()?, &asked).await?;
    let days = days.into_iter().map(|day| SpendDay {
        start_time: day.day,
        spend: dollars(day.usage.cost),
        users: by_name(day.users.into_iter().map(|(user, cost)| (user.unwrap_or_default(), cost))),
        models: by_name(day.models),
        api_requests: day.usage.requests,
        prompt_tokens: day.usage.prompt_tokens,
        completion_tokens: day.usage.completion_tokens,
        keys: by_name(day.keys.into_iter().map(|(key, cost)| (key_name(key), cost))),
    });
    Ok(ok(&days.collect::<Vec<_>>()))
}

/// What was spent for each tag
#[utoipa::path(get, path = "/spend/tags", tag = "spend", params(Report),
    responses((status = 200, description = "The tags; what had two is in both.", body = Vec<SpendTag>)))]
pub(crate) async fn tags(call: Call<'_>) -> Answer {
    let asked = asked(&call, query::read(call.query)?).await?;
    let tags = call.manager.spend_by_tag(call.caller()?, &asked).await?;
    let tags = tags.into_iter().map(|tag| SpendTag {
        individual_request_tag: tag.tag,
        log_count: tag.usage.requests,
        total_spend: dollars(tag.usage.cost),
    });
    Ok(ok(&tags.collect::<Vec<_>>()))
}

/// What was spent on each day by each team, user or model, or in all by each key
#[utoipa::path(get, path = "/global/spend/report", tag = "spend", params(GroupedReport),
    responses((status = 200, description = "The report.", body = Vec<ReportLine>)))]
pub(crate) async fn report(call: Call<'_>) -> Answer {
    let grouped: GroupedReport = query::read(call.query)?;
    let by = match grouped.group_by.as_deref() {
        None | Some("team") => GroupBy::Team,
        Some("customer") => GroupBy::User,
        Some("api_key") => GroupBy::Key,
        Some("model") => GroupBy::Model,
        Some(_) => return Err(Refusal::field("group_by", "must be team, customer, api_key or model")),
    };
    let GroupedReport { start_date, end_date, api_key, internal_user_id, team_id, .. } = grouped;
    let report = Report { start_date, end_date, api_key, user_id: internal_user_id, team_id };
    let asked = asked(&call, report).await?;
    let days = call.manager.spend_report(call.caller()?, &asked, by).await?;
    let mut keys: BTreeMap<Option<String>, Vec<GroupSpend>> = BTreeMap::new();
    let mut lines = Vec::new();
    for day in days {
        let (group_by_day, groups) = (day.day, day.groups.into_iter());
        match by {
            GroupBy::Team => {
                let team = |group: GroupSpend| TeamGroup {
                    total_spend: dollars(group.usage.cost),
                    metadata: parts(&group),
                    team_name: group.name,
                };
                lines.push(ReportLine::Teams(TeamsDay { group_by_day, teams: groups.map(team).collect() }));
            }
            GroupBy::User => {
                let customer = |group: GroupSpend| CustomerGroup {
                    total_spend: dollars(group.usage.cost),
                    metadata: parts(&group),
                    customer: group.name,
                };
                let customers = groups.map(customer).collect();
                lines.push(ReportLine::Customers(CustomersDay { group_by_day, customers }));
            }
            GroupBy::Model => {
                let model = |group: GroupSpend| ModelGroup {
                    total_spend: dollars(group.usage.cost),
                    metadata: parts(&group),
                    model: group.name,
                };
                lines.push(ReportLine::Models(ModelsDay {
                    group_by_day,
                    models: groups.map(model).collect(),
                }));
            }
            GroupBy::Key => groups.for_each(|group| keys.entry(group.name.clone()).or_default().push(group)),
        }
    }
    lines.extend(keys.into_iter().map(|(api_key, days)| ReportLine::Key(key_line(api_key, &days))));
    Ok(ok(&lines))
}

fn parts(group: &GroupSpend) -> Vec<Part> {
    let part = |(model, key, usage): &(String, Option<KeyHash>, Usage)| Part {
        model: model.clone(),
        spend: dollars(usage.cost),
        total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        api_key: key.map(|key| key.to_string()),
    };
    group.parts.iter().map(part).collect()
}

fn key_line(api_key: Option<String>, days: &[GroupSpend]) -> KeyLine {
    let mut models: BTreeMap<&str, Usage> = BTreeMap::new();
    let mut all = Usage::default();
    for (model, _, usage) in days.iter().flat_map(|day| &day.parts) {
        add(&mut all, usage);
        add(models.entry(model).or_default(), usage);
    }
    let detail = |(model, usage): (&str, Usage)| ModelDetail {
        model: model.to_owned(),
        total_cost: dollars(usage.cost),
        total_input_tokens: usage.prompt_tokens,
        total_output_tokens: usage.completion_tokens,
    };
    KeyLine {
        api_key,
        total_cost: dollars(all.cost),
        total_input_tokens: all.prompt_tokens,
        total_output_tokens: all.completion_tokens,
        model_details: models.into_iter().map(detail).collect(),
    }
}

fn add(sum: &mut Usage, usage: &Usage) {
    sum.cost = sum.cost.saturating_add(usage.cost);
    sum.prompt_tokens = sum.prompt_tokens.saturating_add(usage.prompt_tokens);
    sum.completion_tokens = sum.completion_tokens.saturating_add(usage.completion_tokens);
}

/// What the manager is asked for. A user that asks for nothing in particular asks for itself.
async fn asked(call: &Call<'_>, report: Report) -> Result<ReportQuery, Refusal> {
    let to = report.end_date.unwrap_or_else(|| today(call.now));
    let from = match report.start_date {
        Some(from) => from,
        None => to.saturating_sub(Span::new().days(DEFAULT_DAYS)),
    };
    let key = match report.api_key.filter(|key| !key.expose_secret().is_empty()) {
        None => None,
        Some(key) => Some(key_id(call, &key).await?),
    };
    let user_id = query::text(report.user_id)
        .or_else(|| call.caller.as_ref().and_then(|caller| caller.only_user.clone()));
    Ok(ReportQuery { from, to, key, team_id: query::text(report.team_id), user_id })
}

/// The id of a key; a hash of one that is gone is its id, if it is any's.
async fn key_id(call: &Call<'_>, key: &SecretString) -> Result<KeyHash, Refusal> {
    let reference = named(key)?;
    match call.manager.info(call.caller()?, &reference).await {
        Ok(info) => Ok(info.value.id),
        Err(ManageError::NotFound { .. }) => Ok(match reference {
            KeyRef::Hash(hash) => hash,
            KeyRef::Value(value) => KeyHash::of(&value),
            KeyRef::Alias(_) => return Err(ManageError::NotFound { what: "key" }.into()),
        }),
        Err(error) => Err(error.into()),
    }
}

fn today(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}

fn key_name(key: Option<KeyHash>) -> String {
    key.map_or_else(|| "master_key".to_owned(), |key| key.to_string())
}

fn by_name(costs: impl IntoIterator<Item = (String, i64)>) -> BTreeMap<String, f64> {
    costs.into_iter().map(|(name, cost)| (name, dollars(cost))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "exact up to nine million dollars")]
fn dollars(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
