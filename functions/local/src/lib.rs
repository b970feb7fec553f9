//! `keyturn`: the functions' own handlers behind plain HTTP, with an embedded DynamoDB, in one process.
//!
//! | file | what it does |
//! |---|---|
//! | `arguments` | the command line |
//! | `start` | puts it all together |
//! | `server` | HTTP in front of the gateway and the management API; draining on Ctrl-C |
//! | `told` | what lets the gateway see a changed key at once |
//! | `command` | `keyturn key …`, against any gateway |
//! | `check` | `keyturn check` |
//! | `launch` | `keyturn env` |
//! | `rotation` | `keyturn rotate` and `keyturn rotation …` |
//! | `seal` | `keyturn seal` and `keyturn unseal` |
//! | `chest` | keys in files, sealed where there is a salt key |
//! | `table` | DynamoDB in a file, so that the production key store is what runs here too |
//! | `first_run` | the master key and a first virtual key, made once |
//! | `greeting` | what is printed when the gateway is up |

mod arguments;
mod check;
mod chest;
mod command;
mod error;
mod first_run;
mod greeting;
mod launch;
mod look;
mod rotation;
mod seal;
mod server;
mod start;
mod table;
mod told;

pub use arguments::{Arguments, Command};
pub use check::{CheckError, run as run_check};
pub use command::{CommandError, run as run_key};
pub use error::{Error, complain};
pub use launch::{LaunchError, run as run_launch};
pub use rotation::{Ask as RotationAsk, RotationCommandError, run as run_rotation};
pub use seal::{Ask as SealAsk, SealCommandError, run as run_seal};
pub use start::start;
