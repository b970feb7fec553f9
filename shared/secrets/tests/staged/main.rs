//! What every store that writes promises, asked of each: by real servers where there are any, else by made-up ones.
#![cfg(test)]

mod aws_secrets_manager;
mod azure_key_vault;
mod google_secret_manager;
mod lists;
mod promises;
mod vault;
mod writes;
