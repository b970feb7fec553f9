//! `keyturn check`: whether a configuration can be used, and every secret that it names.
//!
//! | file | what it does |
//! |---|---|
//! | `rows` | what is to be looked at: every secret field, and who reads it |
//! | `look` | reads the secrets and asks the providers, side by side |
//! | `verdict` | what came of it |
//! | `show` | the table, and JSON |
//! | `explain` | where one value comes from, and why |

mod explain;
mod look;
mod rows;
mod show;
mod verdict;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use keyturn_ambient::{Clock, Env};
use keyturn_config::Names;
use keyturn_request::{LoadError, Source};

use look::Surroundings;

/// What is told below the options.
const AFTER: &str = "\
Values are never shown. Ends with 0 when all can be used, 1 when something cannot, 2 when the configuration
cannot be loaded (or the command line is wrong).";

/// Try a configuration: read every secret it names, and ask each provider whether it takes its credential.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Check {
    /// The configuration: a path, or a secret reference (aws-secretsmanager:NAME).
    #[arg(long, short, env = "KEYTURN_CONFIG", default_value = "config.yaml")]
    config: String,
    /// Read the secrets only: ask no provider.
    #[arg(long)]
    no_verify: bool,
    /// Say where this would come from, and why: a NAME, a reference, a field's path, or a model's name.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["no_verify", "metrics", "json"])]
    explain: Option<String>,
    /// Print what each store was asked, too.
    #[arg(long)]
    metrics: bool,
    /// Print JSON, for scripts.
    #[arg(long)]
    json: bool,
    /// How long a store or a provider may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    timeout: NonZeroU32,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] keyturn_http::ClientError),
    /// The name to explain. It is not repeated: it may be a key.
    #[error(
        "--explain: the configuration has no such name, reference, field or model, and it cannot be the name of a variable"
    )]
    Nothing,
}

/// Does it; whether all can be used.
///
/// # Errors
///
/// [`CheckError`]: the configuration cannot be loaded.
pub async fn run(check: Check, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<bool, CheckError> {
    let http = keyturn_http::client_through_proxy(env.as_ref())?;
    let source = Source::open(&env, &clock, &http, Some(&check.config)).await?;
    let loaded = source.load()?;
    let names = Names::read(source.text(), env.as_ref()).map_err(|error| source.error(error))?;
    let rows = rows::rows(&source.settings, &loaded, &names);
    let found = Surroundings {
        env: Arc::clone(&loaded.stores_env),
        http,
        clock: Arc::clone(&clock),
        credentials: loaded.credentials.clone(),
        timeout: Duration::from_secs(check.timeout.get().into()),
    };
    if let Some(asked) = &check.explain {
        return explain::explain(asked, &rows, &names, &found).await;
    }
    let seen = look::look(&rows, &loaded.upstreams, &found, !check.no_verify).await;
    let stats = loaded.credentials.stats();
    let shown = show::Shown {
        place: &source.place,
        rows: &rows,
        seen: &seen,
        warnings: &loaded.config.warnings,
        stats: check.metrics.then_some(&stats),
        now: clock.now(),
    };
    if check.json {
        shown.json();
    } else {
        shown.table();
    }
    Ok(seen.iter().all(|seen| seen.verdict.is_usable()))
}

impl CheckError {
    /// Writes it and its causes to standard error; red on a terminal.
    pub fn complain(&self) {
        let red = crate::look::RED.bold();
        anstream::eprintln!("{red}error{red:#}: {}", keyturn_ambient::with_causes(self));
    }
}
