//! `keyturn seal` and `keyturn unseal`: secrets that stand in files, encrypted (`sealed:1.AbCd…`).
//!
//! The salt keys are those of the environment (`KEYTURN_SALT_KEYS`, `KEYTURN_SALT_KEY`, `LITELLM_SALT_KEY`). No command
//! shows a value.

mod file;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use keyturn_ambient::{Clock, Env, with_causes};
use keyturn_sealed::{Sealed, Version};
use keyturn_secrets::stores::{SaltKeyError, SaltKeys, Surroundings};
use secrecy::SecretString;
use zeroize::Zeroizing;

pub(crate) use file::replace;
use file::{Report, Rewrapped, check, rewrap};

/// Seal a secret: read it from standard input, and print the reference that stands for it.
#[derive(Debug, Args)]
pub struct Seal {
    /// Instead, bring every sealed value in a file to the newest version of the salt key. The values are not opened; only
    /// their wrapped keys change.
    #[arg(long, value_name = "FILE")]
    rewrap: Option<PathBuf>,
}

/// Look at sealed values.
#[derive(Debug, Args)]
pub struct Unseal {
    /// Say which versions of the salt key the sealed values in a file need, and whether they open. No value is shown.
    #[arg(long, value_name = "FILE", required = true)]
    check: PathBuf,
}

/// What to do.
pub enum Ask {
    /// `keyturn seal`.
    Seal(Seal),
    /// `keyturn unseal`.
    Unseal(Unseal),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum SealCommandError {
    /// The HTTP client, for salt keys in other stores.
    #[error(transparent)]
    Client(#[from] keyturn_http::ClientError),
    /// The salt key.
    #[error(transparent)]
    SaltKey(#[from] SaltKeyError),
    /// Standard input.
    #[error("cannot read the secret from standard input")]
    StandardInput(#[source] std::io::Error),
    /// It is empty.
    #[error("standard input has no secret")]
    Nothing,
    /// It is sealed.
    #[error("the secret is sealed already; --rewrap FILE brings it to another version of the salt key")]
    Sealed,
    /// The file.
    #[error("cannot use {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A sealed value in the file. The file stays as it is.
    #[error(
        "{path}, line {line}: a sealed value cannot be brought to another version, so nothing was changed"
    )]
    Stuck {
        /// The file.
        path: PathBuf,
        /// Where the value is.
        line: usize,
        /// Why not.
        #[source]
        source: SaltKeyError,
    },
    /// What a check found.
    #[error("{0} of the sealed values would not open")]
    Closed(usize),
}

impl SealCommandError {
    /// Writes it and its causes to standard error; red on a terminal.
    pub fn complain(&self) {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        anstream::eprintln!("{red}error{red:#}: {}", with_causes(self));
        if matches!(self, Self::SaltKey(SaltKeyError::Unset)) {
            anstream::eprintln!(
                "  help: `export KEYTURN_SALT_KEY=sk-$(openssl rand -hex 24)` makes one; keep it well"
            );
        }
    }
}

/// Does it.
///
/// # Errors
///
/// [`SealCommandError`].
pub async fn run(ask: Ask, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<(), SealCommandError> {
    let http = keyturn_http::client_through_proxy(env.as_ref())?;
    let keys = SaltKeys::new(&Surroundings { env, http, clock });
    match ask {
        Ask::Seal(Seal { rewrap: None }) => {
            anstream::println!("{}", seal(&mut std::io::stdin(), &keys).await?);
        }
        Ask::Seal(Seal { rewrap: Some(path) }) => anstream::println!("{}", rewrapped(&path, &keys).await?),
        Ask::Unseal(Unseal { check: path }) => {
            let report = check(&path, &keys).await?;
            report.print(&path);
            let closed = report.closed.len();
            if closed > 0 {
                return Err(SealCommandError::Closed(closed));
            }
        }
    }
    Ok(())
}

/// Seals what a reader has, without the newlines at its end, as a shell's `$(…)` would take it.
async fn seal(from: &mut (impl Read + Send), keys: &SaltKeys) -> Result<Sealed, SealCommandError> {
    let key = keys.newest().await?.ok_or(SaltKeyError::Unset)?;
    let mut text = Zeroizing::new(String::new());
    from.read_to_string(&mut text).map_err(SealCommandError::StandardInput)?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(SealCommandError::Nothing);
    }
    if value.parse::<Sealed>().is_ok() {
        return Err(SealCommandError::Sealed);
    }
    Ok(Sealed::seal(&SecretString::from(value), &key).map_err(SaltKeyError::from)?)
}

/// Brings a file to the newest version, and says in words what was done.
async fn rewrapped(path: &Path, keys: &SaltKeys) -> Result<String, SealCommandError> {
    let Rewrapped { to, changed, already } = rewrap(path, keys).await?;
    let of: Vec<String> =
        changed.iter().map(|(version, count)| format!("{count} from version {version}")).collect();
    Ok(match (of.is_empty(), already) {
        (true, 0) => "There are no sealed values.".to_owned(),
        (true, already) => format!("All {already} have version {to} of the salt key already."),
        (false, already) => {
            format!("Brought to version {to} of the salt key: {}; {already} had it already.", of.join(", "))
        }
    })
}

impl Report {
    fn print(&self, path: &Path) {
        if self.open.is_empty() && self.closed.is_empty() {
            anstream::println!("There are no sealed values in {}.", path.display());
        }
        for (version, count) in &self.open {
            anstream::println!("version {version} of the salt key: {count} open");
        }
        let red = anstyle::AnsiColor::Red.on_default();
        for (line, error) in &self.closed {
            anstream::println!("{red}line {line}: does not open: {}{red:#}", with_causes(error));
        }
    }
}

/// How many values have which version.
type Counts = BTreeMap<Version, usize>;

#[cfg(test)]
mod tests;
