//! What every store promises, asked of each: AWS Secrets Manager by a real server, the environment, files.
#![cfg(test)]

mod aws_secrets_manager;
mod environment;
mod files;
mod promises;
