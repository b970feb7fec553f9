//! What every store promises, asked of each: AWS Secrets Manager, KMS and Vault by real servers, the environment, files.
#![cfg(test)]

mod aws_kms;
mod aws_secrets_manager;
mod environment;
mod faults;
mod files;
mod promises;
mod vault;
