//! `keyturn key …`: virtual keys of a running gateway, over its management API.

mod client;
mod show;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use keyturn_ambient::{Clock, Env};
use serde_json::{Map, Value, json};

use client::Client;
pub use client::CommandError;

/// Manage virtual keys of a running gateway.
#[derive(Debug, Args)]
pub struct Key {
    /// The gateway.
    #[arg(long, env = "KEYTURN_URL", default_value = "http://127.0.0.1:4000", global = true)]
    url: String,
    /// Where `keyturn serve` keeps its master key, which is used unless KEYTURN_API_KEY is set.
    #[arg(long, env = "KEYTURN_DATA_DIR", default_value = ".keyturn", global = true)]
    data_dir: PathBuf,
    /// Print the gateway's own JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key. Its value is shown this once.
    Generate(Box<Fields>),
    /// List keys, the youngest first.
    List(List),
    /// Show a key and what it has spent.
    Info(Which),
    /// Change a key: what is not named stays.
    Update {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        fields: Box<Fields>,
        /// Fields to clear, by the API's names: max_budget,rpm_limit.
        #[arg(long, value_delimiter = ',')]
        clear: Vec<String>,
    },
    /// Refuse a key's requests.
    Block(Which),
    /// Refuse a key's requests no longer.
    Unblock(Which),
    /// Give a key a new value, which is shown this once.
    Regenerate {
        #[command(flatten)]
        which: Which,
        /// How long the former value goes on working (30s, 5m, 2h, 7d, 1w, 1mo); without it, not at all.
        #[arg(long)]
        grace_period: Option<String>,
    },
    /// Delete keys.
    Delete {
        /// Their hashes or aliases; `-` reads values from standard input, one on each line.
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// Which key.
#[derive(Debug, Args)]
struct Which {
    /// Its hash or its alias; `-` reads its value from standard input, so that no list of processes shows it.
    key: String,
}

/// What a key may do.
#[derive(Debug, Args)]
struct Fields {
    /// A name for people, unique among all keys.
    #[arg(long)]
    alias: Option<String>,
    /// The team it belongs to.
    #[arg(long)]
    team: Option<String>,
    /// The user it belongs to.
    #[arg(long)]
    user: Option<String>,
    /// The models it may call, by name or pattern: gpt-4o,claude-*.
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// How long it works (30s, 5m, 2h, 7d, 1w, 1mo).
    #[arg(long)]
    duration: Option<String>,
    /// US dollars.
    #[arg(long)]
    max_budget: Option<f64>,
    /// How long a budget's window is (1d, 1mo); without it, for ever.
    #[arg(long)]
    budget_duration: Option<String>,
    /// The budget that its limits come from.
    #[arg(long)]
    budget_id: Option<String>,
    /// Requests in a minute.
    #[arg(long)]
    rpm: Option<u64>,
    /// Tokens in a minute.
    #[arg(long)]
    tpm: Option<u64>,
    /// Requests under way at once.
    #[arg(long)]
    parallel: Option<u64>,
    /// What it is for.
    #[arg(long = "type", value_parser = ["default", "llm_api", "management", "read_only"])]
    key_type: Option<String>,
    /// Labels for spend reports: web,prod.
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
}

/// Which keys.
#[derive(Debug, Args)]
struct List {
    /// Only this team's.
    #[arg(long)]
    team: Option<String>,
    /// Only this user's.
    #[arg(long)]
    user: Option<String>,
    /// Only those whose alias begins so.
    #[arg(long)]
    search: Option<String>,
    /// From 1 on.
    #[arg(long, default_value_t = 1)]
    page: u32,
    /// Keys on a page, at most 100.
    #[arg(long, default_value_t = 25)]
    size: u32,
}

impl Fields {
    /// The body of a request: what was not said is left out.
    fn body(self) -> Map<String, Value> {
        let list = |list: Vec<String>| if list.is_empty() { Value::Null } else { json!(list) };
        let all = [
            ("key_alias", json!(self.alias)),
            ("team_id", json!(self.team)),
            ("user_id", json!(self.user)),
            ("models", list(self.models)),
            ("duration", json!(self.duration)),
            ("max_budget", json!(self.max_budget)),
            ("budget_duration", json!(self.budget_duration)),
            ("budget_id", json!(self.budget_id)),
            ("rpm_limit", json!(self.rpm)),
            ("tpm_limit", json!(self.tpm)),
            ("max_parallel_requests", json!(self.parallel)),
            ("key_type", json!(self.key_type)),
            ("tags", list(self.tags)),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Does what a command line says.
///
/// # Errors
///
/// [`CommandError`] says why not.
pub async fn run(key: Key, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<(), CommandError> {
    let now = clock.now();
    let Key { url, data_dir, json: as_json, action } = key;
    let client = Client::new(&url, &data_dir, env, clock).await?;
    let answer = match action {
        Action::Generate(fields) => {
            let answer = client.post("/key/generate", &Value::Object(fields.body())).await?;
            shown(as_json, &answer, |answer| {
                show::new_key(answer, "It is not shown again: keep it now.", now);
            });
            return Ok(());
        }
        Action::List(list) => {
            let answer = client.get(&list.path()).await?;
            shown(as_json, &answer, |answer| show::keys(answer, now));
            return Ok(());
        }
        Action::Info(which) => {
            let key = client.find(&which.key).await?;
            let answer = client.get(&format!("/key/info?key={}", client::encoded(&key))).await?;
            shown(as_json, &answer, |answer| show::key(&answer["info"], now));
            return Ok(());
        }
        Action::Update { which, fields, clear } => {
            let mut body = fields.body();
            body.extend(clear.into_iter().map(|field| (field, Value::Null)));
            body.insert("key".to_owned(), client.find(&which.key).await?.into());
            let mut answer = client.post("/key/update", &Value::Object(body)).await?;
            // A value from standard input is not repeated.
            answer["key"] = answer["token"].clone();
            answer
        }
        Action::Block(which) => {
            client.post("/key/block", &json!({"key": client.find(&which.key).await?})).await?
        }
        Action::Unblock(which) => {
            client.post("/key/unblock", &json!({"key": client.find(&which.key).await?})).await?
        }
        Action::Regenerate { which, grace_period } => {
            let mut body = json!({"key": client.find(&which.key).await?});
            if let Some(grace) = &grace_period {
                body["grace_period"] = json!(grace);
            }
            let answer = client.post("/key/regenerate", &body).await?;
            let former = match grace_period {
                Some(grace) => {
                    format!("It is not shown again: keep it now. The former one works for {grace} more.")
                }
                None => "It is not shown again: keep it now. The former one has ended.".to_owned(),
            };
            shown(as_json, &answer, |answer| show::new_key(answer, &former, now));
            return Ok(());
        }
        Action::Delete { keys } => {
            let mut found = Vec::with_capacity(keys.len());
            for key in values(keys)? {
                found.push(client.find(&key).await?);
            }
            let answer = client.post("/key/delete", &json!({"keys": found})).await?;
            shown(as_json, &answer, show::deleted);
            return Ok(());
        }
    };
    shown(as_json, &answer, |answer| show::key(answer, now));
    Ok(())
}

/// Replaces `-` by the lines of standard input.
fn values(keys: Vec<String>) -> Result<Vec<String>, CommandError> {
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        match key.as_str() {
            "-" => values.extend(standard_input()?.split_whitespace().map(str::to_owned)),
            _ => values.push(key),
        }
    }
    Ok(values)
}

fn standard_input() -> Result<String, CommandError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(CommandError::StandardInput)?;
    Ok(text)
}

/// Prints an answer: as it came, or for people.
fn shown(as_json: bool, answer: &Value, show: impl FnOnce(&Value)) {
    if as_json { anstream::println!("{answer:#}") } else { show(answer) }
}

impl List {
    fn path(&self) -> String {
        let mut path = format!("/key/list?return_full_object=true&page={}&size={}", self.page, self.size);
        for (name, value) in [("team_id", &self.team), ("user_id", &self.user), ("search", &self.search)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", client::encoded(value)));
            }
        }
        path
    }
}
