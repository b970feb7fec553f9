//! Reports of what was spent.

use std::collections::BTreeMap;

use jiff::civil::Date;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::query::Params;
use crate::unsupported;

/// How many keys.
#[derive(Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpendKeys {
    /// The most keys of the answer.
    #[param(minimum = 1, maximum = 10_000)]
    pub(crate) limit: usize,
}

impl Default for SpendKeys {
    fn default() -> Self {
        Self { limit: 100 }
    }
}

impl Params for SpendKeys {}

/// What a report is about.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Report {
    /// The first day, in UTC; 30 days before the last when left out.
    #[param(value_type = Option<String>, format = Date)]
    pub(crate) start_date: Option<Date>,
    /// The last day, in UTC; today when left out.
    #[param(value_type = Option<String>, format = Date)]
    pub(crate) end_date: Option<Date>,
    /// Only this key: its value or hash.
    #[param(value_type = Option<String>)]
    pub(crate) api_key: Option<SecretString>,
    /// Only the keys that were this user's then.
    pub(crate) user_id: Option<String>,
    /// Only the keys that were this team's then.
    pub(crate) team_id: Option<String>,
}

impl Params for Report {
    const UNSUPPORTED: &'static [&'static str] = unsupported::REPORT;
}

/// What a report is about and how it is grouped.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GroupedReport {
    /// The first day, in UTC; 30 days before the last when left out.
    #[param(value_type = Option<String>, format = Date)]
    pub(crate) start_date: Option<Date>,
    /// The last day, in UTC; today when left out.
    #[param(value_type = Option<String>, format = Date)]
    pub(crate) end_date: Option<Date>,
    /// `team`, `customer` (users), `api_key` or `model`; `team` when left out.
    #[param(pattern = "^(team|customer|api_key|model)$")]
    pub(crate) group_by: Option<String>,
    /// Only this key: its value or hash.
    #[param(value_type = Option<String>)]
    pub(crate) api_key: Option<SecretString>,
    /// Only the keys that were this user's then.
    pub(crate) internal_user_id: Option<String>,
    /// Only the keys that were this team's then.
    pub(crate) team_id: Option<String>,
}

impl Params for GroupedReport {
    const UNSUPPORTED: &'static [&'static str] = unsupported::REPORT;
}

/// A day's usage.
#[derive(Serialize, ToSchema)]
pub(crate) struct SpendDay {
    /// The day, in UTC.
    #[serde(rename = "startTime")]
    #[schema(value_type = String, format = Date)]
    pub(crate) start_time: Date,
    /// US dollars.
    pub(crate) spend: f64,
    /// US dollars by user; empty = no user.
    pub(crate) users: BTreeMap<String, f64>,
    /// US dollars by model group.
    pub(crate) models: BTreeMap<String, f64>,
    /// Requests.
    pub(crate) api_requests: u64,
    /// Tokens of prompts.
    pub(crate) prompt_tokens: u64,
    /// Tokens of answers.
    pub(crate) completion_tokens: u64,
    /// US dollars by key, under the key's id; `master_key` = the master key.
    #[serde(flatten)]
    pub(crate) keys: BTreeMap<String, f64>,
}

/// A tag's usage.
#[derive(Serialize, ToSchema)]
pub(crate) struct SpendTag {
    /// The tag.
    pub(crate) individual_request_tag: String,
    /// Requests.
    pub(crate) log_count: u64,
    /// US dollars.
    pub(crate) total_spend: f64,
}

/// A line of a report: a day with its teams, users or models, or a key.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ReportLine {
    /// A day with its teams.
    Teams(TeamsDay),
    /// A day with its users.
    Customers(CustomersDay),
    /// A day with its models.
    Models(ModelsDay),
    /// A key, all days together.
    Key(KeyLine),
}

/// A day with its teams.
#[derive(Serialize, ToSchema)]
pub(crate) struct TeamsDay {
    /// The day, in UTC.
    #[schema(value_type = String, format = Date)]
    pub(crate) group_by_day: Date,
    /// The teams.
    pub(crate) teams: Vec<TeamGroup>,
}

/// A team on a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct TeamGroup {
    /// Its id; null = no team.
    pub(crate) team_name: Option<String>,
    /// US dollars.
    pub(crate) total_spend: f64,
    /// By model group and key.
    pub(crate) metadata: Vec<Part>,
}

/// A day with its users.
#[derive(Serialize, ToSchema)]
pub(crate) struct CustomersDay {
    /// The day, in UTC.
    #[schema(value_type = String, format = Date)]
    pub(crate) group_by_day: Date,
    /// The users.
    pub(crate) customers: Vec<CustomerGroup>,
}

/// A user on a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct CustomerGroup {
    /// Its id; null = no user.
    pub(crate) customer: Option<String>,
    /// US dollars.
    pub(crate) total_spend: f64,
    /// By model group and key.
    pub(crate) metadata: Vec<Part>,
}

/// A day with its model groups.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelsDay {
    /// The day, in UTC.
    #[schema(value_type = String, format = Date)]
    pub(crate) group_by_day: Date,
    /// The model groups.
    pub(crate) models: Vec<ModelGroup>,
}

/// A model group on a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelGroup {
    /// Its name.
    pub(crate) model: Option<String>,
    /// US dollars.
    pub(crate) total_spend: f64,
    /// By key.
    pub(crate) metadata: Vec<Part>,
}

/// A part of a group.
#[derive(Serialize, ToSchema)]
pub(crate) struct Part {
    /// The model group.
    pub(crate) model: String,
    /// US dollars.
    pub(crate) spend: f64,
    /// Tokens.
    pub(crate) total_tokens: u64,
    /// The key's id; null = the master key.
    pub(crate) api_key: Option<String>,
}

/// A key, all days together.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyLine {
    /// Its id; null = the master key.
    pub(crate) api_key: Option<String>,
    /// US dollars.
    pub(crate) total_cost: f64,
    /// Tokens of prompts.
    pub(crate) total_input_tokens: u64,
    /// Tokens of answers.
    pub(crate) total_output_tokens: u64,
    /// By model group.
    pub(crate) model_details: Vec<ModelDetail>,
}

/// A model group of a key.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelDetail {
    /// The model group.
    pub(crate) model: String,
    /// US dollars.
    pub(crate) total_cost: f64,
    /// Tokens of prompts.
    pub(crate) total_input_tokens: u64,
    /// Tokens of answers.
    pub(crate) total_output_tokens: u64,
}
