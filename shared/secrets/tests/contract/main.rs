//! What every store promises, asked of each: by real servers where there are any, else by made-up ones that hold it to
//! its service's documentation.
#![cfg(test)]

mod aws_kms;
mod aws_secrets_manager;
mod azure_key_vault;
mod custom;
mod cyberark;
mod environment;
mod faults;
mod federation;
mod files;
mod google_kms;
mod google_secret_manager;
mod leases;
mod promises;
mod sealed;
mod vault;
mod vault_dynamic;
