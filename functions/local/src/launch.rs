//! `keyturn env`: starts another program with a configuration's secrets in its environment.
//!
//! | file | what it does |
//! |---|---|
//! | `variables` | which variables there are, and what each means |
//! | `values` | reads them |
//! | `watch` | looks after the program: signals, changed values, its end |
//! | `process` | the program itself, and the signals of this one |
//!
//! Without `--watch` this process becomes the program. With it, it stays in front: signals go on to the program, and it
//! ends as the program does. Values are in the program's environment and nowhere else.

mod process;
mod values;
mod variables;
mod watch;

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use comfy_table::Table;
use keyturn_ambient::{Clock, Env, with_causes};
use keyturn_config::{ConfigError, Names, SecretRef};
use keyturn_request::{LoadError, Source};
use tokio::sync::mpsc;

use crate::look::{RED, RULED, YELLOW, short};
use process::Launcher;
use values::{Missing, Reader, Values};
use watch::{OnChange, Watched};

/// How often values are looked at, at most. What is younger than the soft TTL is answered from memory, so this is how
/// late a changed file can be noticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is told below the options.
const AFTER: &str = "\
The variables are those that the configuration looks up: every NAME of os.environ/NAME in a field that
bears a secret, environment_variables, hosted_keys, and the variable of a provider whose credential is not
written down. A secret that cannot be read is named, and nothing is started.

Ends as the command does (128 and the number of a signal that ended it); with 125 when it could not begin,
126 when the command cannot be run, 127 when there is no such command.";

/// Start another program with a configuration's secrets in its environment.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Launch {
    /// The configuration: a path, or a secret reference (aws-secretsmanager:NAME).
    #[arg(long, short, env = "KEYTURN_CONFIG", default_value = "config.yaml")]
    config: String,
    /// When a value changes: restart the command, or send it a signal (HUP).
    #[arg(long, value_name = "restart|signal[=NAME]", value_parser = OnChange::read)]
    watch: Option<OnChange>,
    /// How long the command may take to end before it is killed, when it is restarted.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u32,
    /// Of the configuration's variables, these only: OPENAI_API_KEY,ANTHROPIC_API_KEY.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// One more variable: DATABASE_URL=vault:secret/database#url.
    #[arg(long, value_name = "NAME=REFERENCE", value_parser = Also)]
    also: Vec<(String, SecretRef)>,
    /// List the variables and where they come from, and start nothing.
    #[arg(long)]
    dry_run: bool,
    /// The command and its arguments.
    #[arg(last = true, required_unless_present = "dry_run", value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Reads `NAME=REFERENCE`. clap's own parser would repeat a text that is none, and that may be a key.
#[derive(Clone)]
struct Also;

impl TypedValueParser for Also {
    type Value = (String, SecretRef);

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<(String, SecretRef), clap::Error> {
        let read = || {
            let (name, reference) = value.to_str()?.split_once('=')?;
            SecretRef::env(name).ok()?;
            Some((name.to_owned(), SecretRef::explicit(reference).ok().flatten()?))
        };
        read().ok_or_else(|| {
            let which = argument.map(ToString::to_string).unwrap_or_default();
            let problem = "must be the name of a variable and a secret reference: NAME=scheme:name[#field]";
            clap::Error::raw(ErrorKind::ValueValidation, format!("{which} {problem}\n")).with_cmd(command)
        })
    }
}

/// Why nothing was started. No value is in it.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] keyturn_http::ClientError),
    /// A name that the configuration does not look up.
    #[error("--only: the configuration does not look up {0}")]
    NoSuchName(String),
    /// Secrets that cannot be had.
    #[error("nothing was started: {} cannot be read", count(.0.len()))]
    Missing(Vec<Missing>),
    /// Signals.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
    /// The command.
    #[error("cannot run {command}")]
    Command {
        /// Its name.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn count(missing: usize) -> String {
    if missing == 1 { "a secret".to_owned() } else { format!("{missing} secrets") }
}

impl LaunchError {
    /// The code to end with, as `env` and `timeout` do.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Command { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            Self::Load(_) | Self::Client(_) | Self::NoSuchName(_) | Self::Missing(_) | Self::Signals(_) => {
                125
            }
        }
    }

    /// Writes it and its causes to standard error; red on a terminal.
    pub fn complain(&self) {
        let red = RED.bold();
        anstream::eprintln!("{red}error{red:#}: {}", with_causes(self));
        if let Self::Missing(missing) = self {
            for one in missing {
                anstream::eprintln!("  {one}");
            }
        }
    }
}

/// Does it. It returns the code to end with, or not at all: without `--watch` this process becomes the command.
///
/// # Errors
///
/// [`LaunchError`]: nothing was started.
pub async fn run(launch: Launch, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<u8, LaunchError> {
    let http = keyturn_http::client_through_proxy(env.as_ref())?;
    let source = Source::open(&env, &clock, &http, Some(&launch.config)).await?;
    let unusable = |error: ConfigError| source.error(error);
    let names = Names::read(source.text(), env.as_ref()).map_err(unusable)?;
    let variables =
        variables::variables(&names, &*env, &launch.only, launch.also).map_err(|wrong| match wrong {
            variables::Wrong::Config(error) => unusable(error).into(),
            variables::Wrong::NoSuchName(name) => LaunchError::NoSuchName(name),
        })?;
    let credentials = source.credentials(&names.stores_env(&env));
    let reader = Reader::new(variables, credentials);
    let soft_ttl = source.settings.credential_soft_ttl;
    // What else the configuration holds is not needed any more.
    drop((source, names));
    let first = reader.read_first().await;
    if launch.dry_run {
        return dry_run(&reader, first);
    }
    let values = first.map_err(LaunchError::Missing)?;
    let launcher = Launcher::new(launch.command);
    let failed = |source| LaunchError::Command { command: launcher.name(), source };
    let Some(on_change) = launch.watch else {
        return Err(failed(launcher.become_it(&values)));
    };
    let mut signals = process::signals().map_err(LaunchError::Signals)?;
    let (sender, mut changes) = mpsc::channel(1);
    let every = soft_ttl.clamp(Duration::from_secs(1), LOOK_EVERY);
    let follow = watch::follow(reader, values.clone(), every, sender, warn);
    let follow = tokio::spawn(follow);
    let watched = Watched { on_change, grace: Duration::from_secs(launch.grace.into()), tell: warn };
    let code = watched.run(&launcher, values, &mut signals, &mut changes).await.map_err(failed);
    follow.abort();
    code
}

/// A line for who started this.
fn warn(text: &str) {
    anstream::eprintln!("{YELLOW}keyturn{YELLOW:#}: {text}");
}

fn dry_run(reader: &Reader, first: Result<Values, Vec<Missing>>) -> Result<u8, LaunchError> {
    let mut table = Table::new();
    table.load_style(RULED);
    table.set_header(["variable", "reference", "version", "written"]);
    for variable in reader.variables() {
        let version = first.as_ref().map(|values| values.version(&variable.name)).unwrap_or_default();
        table.add_row([
            variable.name.clone(),
            variable.origin(),
            version.map_or_else(|| "–".to_owned(), |version| short(version.as_str())),
            variable.path.clone(),
        ]);
    }
    for line in table.to_string().lines() {
        anstream::println!("{}", line.trim_end());
    }
    first.map(|_| 0).map_err(LaunchError::Missing)
}
