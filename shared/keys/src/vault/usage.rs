//! Lines of usage: a document for each month and key, so that a report of a month reads the keys used in it only.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::hash::KeyHash;
use crate::store::{StoreFailure, Usage, UsageLine, UsageQuery};

use super::READS_AT_A_TIME;
use super::commit::State;
use super::documents::Documents;

/// How many lines a month of a key has before lines with tags are counted without them: clients may invent tags, and
/// a document of Vault's takes at most 1 MB (512 KB with Consul).
const LINES: usize = 2_000;

/// Where lines of the master key are.
const MASTER: &str = "master";

/// A month of a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Month(Vec<Line>);

/// What was used on a day. The names are short, since they are repeated in every line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(rename = "d")]
    day: Date,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    team_id: Option<String>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(rename = "m")]
    model: String,
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// Requests, tokens of prompts, tokens of answers.
    #[serde(rename = "n")]
    numbers: (u64, u64, u64),
    /// Nano-dollars.
    #[serde(rename = "c")]
    cost: i64,
}

impl Line {
    fn is_same(&self, line: &UsageLine, tags: &[String]) -> bool {
        self.day == line.day
            && self.model == line.model
            && self.team_id == line.team_id
            && self.user_id == line.user_id
            && self.tags == tags
    }
}

impl State for Month {
    type Operation = UsageLine;
    type Outcome = ();

    fn apply(state: &mut Option<Self>, line: &UsageLine) -> ((), bool) {
        let Self(lines) = state.get_or_insert_default();
        let mut tags = line.tags.as_slice();
        if lines.len() >= LINES && !lines.iter().any(|known| known.is_same(line, tags)) {
            tags = &[];
        }
        let place = lines.iter().position(|known| known.is_same(line, tags)).unwrap_or_else(|| {
            lines.push(Line {
                day: line.day,
                team_id: line.team_id.clone(),
                user_id: line.user_id.clone(),
                model: line.model.clone(),
                tags: tags.to_vec(),
                numbers: (0, 0, 0),
                cost: 0,
            });
            lines.len() - 1
        });
        if let Some(known) = lines.get_mut(place) {
            let (requests, prompt, completion) = &mut known.numbers;
            *requests = requests.saturating_add(line.usage.requests);
            *prompt = prompt.saturating_add(line.usage.prompt_tokens);
            *completion = completion.saturating_add(line.usage.completion_tokens);
            known.cost = known.cost.saturating_add(line.usage.cost);
        }
        ((), true)
    }
}

/// Where a line is counted.
pub(super) fn path(line: &UsageLine) -> String {
    document(&month(line.day), line.key.as_ref())
}

fn month(day: Date) -> String {
    format!("{:04}-{:02}", day.year(), day.month())
}

fn document(month: &str, key: Option<&KeyHash>) -> String {
    let key = key.map_or_else(|| MASTER.to_owned(), ToString::to_string);
    format!("usage/{month}/{key}")
}

/// Reads lines.
pub(super) async fn read(documents: &Documents, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
    if query.from > query.to {
        return Ok(Vec::new());
    }
    let months =
        query.from.first_of_month().series(1.month()).take_while(|month| *month <= query.to).map(month);
    let mut paths: Vec<(String, Option<KeyHash>)> = Vec::new();
    for month in months {
        match query.key {
            Some(key) => paths.push((document(&month, Some(&key)), Some(key))),
            None => {
                let mut keys = documents.list(&format!("usage/{month}")).await?;
                keys.sort_unstable();
                let known = keys.iter().filter_map(|name| match KeyHash::from_hex(name) {
                    Some(key) => Some(Some(key)),
                    None => (name == MASTER).then_some(None),
                });
                paths.extend(known.map(|key| (document(&month, key.as_ref()), key)));
            }
        }
    }
    let reads = paths
        .into_iter()
        .map(|(path, key)| async move { Ok::<_, StoreFailure>((key, documents.get::<Month>(&path).await?)) });
    let reads = reads.collect::<Vec<_>>();
    let found: Vec<_> = stream::iter(reads).buffered(READS_AT_A_TIME).try_collect().await?;
    let lines = found.into_iter().flat_map(|(key, month)| {
        let Month(lines) = month.map(|(month, _)| month).unwrap_or_default();
        lines.into_iter().map(move |line| (key, line))
    });
    let asked = lines.filter(|(_, line)| (query.from..=query.to).contains(&line.day));
    let line = |(key, line): (Option<KeyHash>, Line)| {
        let (requests, prompt_tokens, completion_tokens) = line.numbers;
        UsageLine {
            day: line.day,
            key,
            team_id: line.team_id,
            user_id: line.user_id,
            model: line.model,
            tags: line.tags,
            usage: Usage { requests, prompt_tokens, completion_tokens, cost: line.cost },
        }
    };
    Ok(asked.map(line).collect())
}
