//! Every rotator against a local server that holds it to what its service documents.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod anthropic;
mod aws;
mod aws_iam_access_key;
mod azure;
mod azure_openai;
mod bedrock_api_key;
mod entra_application;
mod google;
mod google_api_key;
mod google_service_account;
mod http;
mod litellm;
mod openai;
mod openrouter;
mod own_keys;
mod random;
mod rig;
mod rounds;
mod vault_approle_secret_id;
