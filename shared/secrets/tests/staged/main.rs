//! What every store that writes promises, asked of each: AWS Secrets Manager and Vault, by real servers.
#![cfg(test)]

mod aws_secrets_manager;
mod lists;
mod promises;
mod vault;
mod writes;
