//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::check::Check;
use crate::command::Key;
use crate::launch::Launch;
use crate::rotation::{Rotate, Rotation};
use crate::seal::{Seal, Unseal};

/// An LLM gateway with LiteLLM's configuration, keys and clients, and no server to keep up.
#[derive(Debug, Parser)]
#[command(name = "keyturn", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; `serve` when it is left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// `serve`'s own arguments.
    #[command(flatten)]
    pub serve: Serve,
}

/// What `keyturn` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gateway over HTTP (the default).
    Serve(Serve),
    /// Try a configuration: its secrets, and whether the providers take them.
    Check(Check),
    /// Start another program with a configuration's secrets in its environment.
    Env(Launch),
    /// Manage virtual keys of a running gateway.
    Key(Key),
    /// Rotate a secret: its four steps, from beginning to end.
    Rotate(Rotate),
    /// Look after rotations.
    Rotation(Rotation),
    /// Seal a secret: encrypt it, so that it may stand in a file that others read.
    Seal(Seal),
    /// Look at sealed secrets.
    Unseal(Unseal),
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The configuration, in LiteLLM's format: a path, or a secret reference (aws-secretsmanager:NAME).
    #[arg(long, short, env = "KEYTURN_CONFIG", default_value = "config.yaml")]
    pub config: String,
    /// The address to listen on.
    #[arg(long, env = "KEYTURN_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose.
    #[arg(long, short, env = "KEYTURN_PORT", default_value_t = 4000)]
    pub port: u16,
    /// Where keys are kept.
    #[arg(long, env = "KEYTURN_DATA_DIR", default_value = ".keyturn")]
    pub data_dir: PathBuf,
}

impl Arguments {
    /// What to do: `serve` when it is not spelled out.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}
