//! `keyturn rotate` and `keyturn rotation …`: what the rotation function does, from a terminal, with the operator's own
//! credentials (`AWS_*`, `HCP_VAULT_*`).

mod status;

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, Subcommand};
use keyturn_ambient::{Clock, Env};
use keyturn_config::{RefError, SecretRef};
use keyturn_rotation::{Diagnostic, Outcome, Retired, Step};
use keyturn_rotation_function::{Handler, LoadError, load};
use keyturn_secrets::{SecretError, StagedStore};

/// The scheme of the store that AWS's variables are for.
const AWS: &str = "aws-secretsmanager";

/// Rotate a secret: its four steps, from beginning to end.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The secret: aws-secretsmanager:prod/providers#OPENAI_API_KEY, vault:secret/providers. The field is the
    /// credential to rotate, where a secret has several; without it, the one that was replaced longest ago.
    #[arg(value_parser = Reference)]
    secret: SecretRef,
    /// Try the current credential, and say what a rotation would do and what would stop it. Nothing is changed.
    #[arg(long)]
    dry_run: bool,
}

/// Look after rotations.
#[derive(Debug, Args)]
pub struct Rotation {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List secrets, their stages and ages, and what is still to be taken back.
    Status {
        /// The secrets; without any, all that KEYTURN_ROTATED_SECRETS names, or that have the tag keyturn:rotator.
        #[arg(value_parser = Reference)]
        secrets: Vec<SecretRef>,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Give up a rotation that broke off, so that a new one can begin. The current version stays what it is.
    Abandon {
        /// The secret.
        #[arg(value_parser = Reference)]
        secret: SecretRef,
    },
    /// Take back the former credentials that nobody can hold any more.
    Retire {
        /// The secret.
        #[arg(value_parser = Reference)]
        secret: SecretRef,
    },
}

/// Reads a secret's reference. clap's own parser would repeat a text that is none, and that may be a key.
#[derive(Clone)]
struct Reference;

impl TypedValueParser for Reference {
    type Value = SecretRef;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<SecretRef, clap::Error> {
        let problem = match value.to_str().map(SecretRef::explicit) {
            Some(Ok(Some(reference))) if reference.stage.is_none() => return Ok(reference),
            Some(Ok(Some(_))) => "names a stage: a rotation is of the whole secret".to_owned(),
            Some(Err(wrong)) => wrong.to_string(),
            Some(Ok(None)) | None => RefError::NoScheme.to_string(),
        };
        let which = argument.map(ToString::to_string).unwrap_or_default();
        Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{which} {problem}\n")).with_cmd(command))
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum RotationCommandError {
    /// A setting.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What is needed to reach AWS.
    #[error(
        "{0} is not set; `aws configure export-credentials --format env` prints what a profile's credentials are"
    )]
    Missing(&'static str),
    /// The list of secrets.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A rotation.
    #[error(transparent)]
    Rotation(#[from] Diagnostic),
    /// What the dry run found.
    #[error("a rotation would not work now")]
    Obstacles,
    /// A credential that could not be taken back, or a secret without a status.
    #[error("{0} did not work, as said above")]
    Some(usize),
}

/// What to do.
pub enum Ask {
    /// `keyturn rotate`.
    Rotate(Rotate),
    /// `keyturn rotation`.
    Rotation(Rotation),
}

/// A store, if the environment says how to reach it: of what is missing, AWS's SDK tells in words about itself.
fn find(
    handler: &Handler,
    env: &dyn Env,
    scheme: &str,
) -> Result<Arc<dyn StagedStore>, RotationCommandError> {
    const NEEDED: [&[&str]; 3] =
        [&["AWS_REGION", "AWS_DEFAULT_REGION"], &["AWS_ACCESS_KEY_ID"], &["AWS_SECRET_ACCESS_KEY"]];
    let store = handler.stores.find(scheme)?;
    let is_missing = |names: &&&[&str]| names.iter().all(|name| env.var(name).is_none());
    match NEEDED.iter().find(is_missing) {
        Some([name, ..]) if scheme == AWS => Err(RotationCommandError::Missing(name)),
        _ => Ok(store),
    }
}

/// Does it.
///
/// # Errors
///
/// [`RotationCommandError`].
pub async fn run(ask: Ask, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<(), RotationCommandError> {
    // What a person sees is printed here; the function's log would repeat it.
    let handler = load(&env, &clock, |_| {}).await?;
    let store = |scheme: &str| find(&handler, &*env, scheme);
    match ask {
        Ask::Rotate(Rotate { secret, dry_run: true }) => {
            rehearse(&handler, &*store(&secret.scheme)?, &secret).await
        }
        Ask::Rotate(Rotate { secret, dry_run: false }) => {
            rotate(&handler, &*store(&secret.scheme)?, &secret).await
        }
        Ask::Rotation(Rotation { action }) => match action {
            Action::Status { secrets, json } => {
                let secrets = if secrets.is_empty() {
                    handler.listed.iter().try_for_each(|listed| store(&listed.scheme).map(drop))?;
                    handler.rotated().await?
                } else {
                    secrets
                };
                status::status(&handler, store, &secrets, json, clock.now()).await
            }
            Action::Abandon { secret } => {
                let store = store(&secret.scheme)?;
                match handler.engine.abandon(&*store, &secret.name).await? {
                    None => anstream::println!("No rotation is under way."),
                    Some(version) => anstream::println!(
                        "Given up: version {version}. What was issued for it is taken back by the next `keyturn \
                         rotation retire`, or by the schedule."
                    ),
                }
                Ok(())
            }
            Action::Retire { secret } => {
                let store = store(&secret.scheme)?;
                let retired = handler.engine.retire(&*store, &secret.name).await?;
                if retired.is_empty() {
                    anstream::println!("Nothing is to be taken back now.");
                }
                told(&retired)
            }
        },
    }
}

async fn rehearse(
    handler: &Handler,
    store: &dyn StagedStore,
    secret: &SecretRef,
) -> Result<(), RotationCommandError> {
    let found = handler.engine.rehearse(store, &secret.name, secret.field.as_deref()).await?;
    let which = found.field.as_deref().map_or_else(String::new, |field| format!(" of {field}"));
    anstream::println!("{}:{}: the credential{which}, by {}", secret.scheme, secret.name, found.rotator);
    if let Some(version) = found.pending {
        anstream::println!("A rotation that broke off would be gone on with: version {version}");
    }
    if found.obstacles.is_empty() {
        anstream::println!("The current credential works, and nothing would stop a rotation.");
        return Ok(());
    }
    for obstacle in found.obstacles {
        anstream::println!("  {}", red(&obstacle));
    }
    Err(RotationCommandError::Obstacles)
}

async fn rotate(
    handler: &Handler,
    store: &dyn StagedStore,
    secret: &SecretRef,
) -> Result<(), RotationCommandError> {
    let holder = uuid::Uuid::new_v4().to_string();
    let mut failed = 0;
    // A person sees the step that is under way; a pipe reads those that are done.
    let waits = std::io::stdout().is_terminal();
    let under_way = |step: Option<&Step>| {
        if waits && let Some(step) = step {
            anstream::print!("  … {step}\r");
            let _ = std::io::Write::flush(&mut std::io::stdout());
        }
    };
    under_way(Step::ALL.first());
    let mut tell = |step: Step, outcome: &Outcome| {
        let which = outcome.field.as_deref().map_or_else(String::new, |field| format!(" ({field})"));
        anstream::println!("  {} {step:<13} {}{which}", green("✓"), outcome.did);
        failed += usize::from(told(&outcome.retired).is_err());
        under_way(Step::ALL.iter().skip_while(|other| **other != step).nth(1));
    };
    let field = secret.field.as_deref();
    let version = handler.engine.rotate(store, &secret.name, field, &holder, &mut tell).await?;
    anstream::println!("{}:{} is at version {version}", secret.scheme, secret.name);
    if failed > 0 { Err(RotationCommandError::Some(failed)) } else { Ok(()) }
}

/// Prints what became of former credentials.
fn told(retired: &[Retired]) -> Result<(), RotationCommandError> {
    let mut failed = 0;
    for one in retired {
        match one {
            Retired::Disabled { id } => anstream::println!("    former credential {id}: disabled"),
            Retired::Deleted { id } => anstream::println!("    former credential {id}: deleted"),
            Retired::StillUsed { id } => {
                anstream::println!("    former credential {id}: {}", red("still used by somebody, and kept"));
            }
            Retired::Failed { id, error } => {
                failed += 1;
                let which = id.as_deref().unwrap_or("(unknown)");
                let why = keyturn_ambient::with_causes(error);
                anstream::println!(
                    "    former credential {which}: {}",
                    red(&format!("not taken back: {why}"))
                );
            }
        }
    }
    if failed > 0 { Err(RotationCommandError::Some(failed)) } else { Ok(()) }
}

fn red(text: &str) -> String {
    let style = Style::new().fg_color(Some(AnsiColor::Red.into()));
    format!("{style}{text}{style:#}")
}

fn green(text: &str) -> String {
    let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
    format!("{style}{text}{style:#}")
}

impl RotationCommandError {
    /// Writes it and its causes to standard error; red on a terminal.
    pub fn complain(&self) {
        let red = AnsiColor::Red.on_default().bold();
        anstream::eprintln!("{red}error{red:#}: {}", keyturn_ambient::with_causes(self));
    }
}
