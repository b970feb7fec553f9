//! What every store that writes promises, asked of each: AWS Secrets Manager and Vault, by real servers, and
//! Azure Key Vault, by a fake.
#![cfg(test)]

mod aws_secrets_manager;
mod azure_key_vault;
mod lists;
mod promises;
mod vault;
mod writes;
