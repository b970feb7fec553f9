//! `keyturn`: the functions' own handlers behind plain HTTP, with an embedded DynamoDB, in one process.
//!
//! | file | what it does |
//! |---|---|
//! | `arguments` | the command line |
//! | `start` | puts it all together |
//! | `server` | HTTP in front of the gateway; draining on Ctrl-C |
//! | `table` | DynamoDB in a file, so that the production key store is what runs here too |
//! | `first_run` | the master key and a first virtual key, made once |
//! | `greeting` | what is printed when the gateway is up |

mod arguments;
mod error;
mod first_run;
mod greeting;
mod server;
mod start;
mod table;

pub use arguments::Arguments;
pub use error::{Error, complain};
pub use start::start;
