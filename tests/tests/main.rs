//! End to end: the built programs between real servers and real clients.
//!
//! | module | what it shows |
//! |---|---|
//! | `lambda_events` | the `bootstrap` answers every event in `tests/events`, streaming included |
//! | `rotation_live` | a rotated credential costs no request and one read |
//! | `rotation_function` | the rotation function does as Secrets Manager and schedules say |
//! | `rotation_commands` | `keyturn rotate` and `keyturn rotation` do and say what they should, and no more |
//! | `check_command` | `keyturn check` tells what can be used and what cannot, and shows no value |
//! | `env_command` | `keyturn env` starts programs with secrets, and restarts them when one changes |
//! | `canary` | no secret, key or prompt is where it does not belong |
//! | `bad_input` | each kind of bad input has its status and its error |
//! | `routing` | which deployment is asked: weights, wildcards, aliases, cooldowns |
//! | `failover` | who is asked next: retries, fallbacks |
//! | `limits` | what a virtual key may use up, and what counts as used |
//! | `management` | the management API: on Lambda, beside the gateway, from the command line |
//! | `stored_keys` | `store_virtual_keys`: created keys in AWS Secrets Manager and in Vault |
//! | `settlement` | what is settled when a request does not end as it should |
//! | `deployed` | the settings of `template.yaml`: everything secret is a reference |
//! | `credential_files` | credentials in files that change while requests run |
//! | `sdk` | the official Python SDKs work through the gateway |
//! | `first_run` | the first start on a machine, and the end of one |

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, and what they share, fail with a panic"
)]

mod bad_input;
mod canary;
mod check_command;
mod commands;
mod credential_files;
mod deployed;
mod env_command;
mod failover;
mod first_run;
mod lambda_events;
mod limits;
mod management;
mod rotation_commands;
mod rotation_function;
mod rotation_live;
mod routing;
mod sdk;
mod settlement;
mod stack;
mod stored_keys;
