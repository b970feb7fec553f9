//! Provider credentials: where they are stored, and the cache that keeps them at hand while they rotate.
//!
//! A configuration names a secret by a reference (`aws-secretsmanager:prod/providers#OPENAI_API_KEY`). The
//! reference's scheme picks a [`SecretStore`] from the list in [`stores`]; the [`CredentialCache`] stands in
//! front of all of them and is what the request path talks to.
//!
//! | scheme | store | configured by |
//! |---|---|---|
//! | `aws-kms` | a ciphertext in an environment variable or in the reference, decrypted by AWS KMS | `AWS_KMS_*`, and who we are to AWS |
//! | `aws-secretsmanager` | AWS Secrets Manager | who we are to AWS (`keyturn_identity::aws`), and `KEYTURN_AWS_*` |
//! | `azure-keyvault` | Azure Key Vault | `AZURE_KEY_VAULT_URI`, and who we are to Azure (`keyturn_identity::entra`) |
//! | `custom` | a service of one's own: a URL that answers with the secret | `KEYTURN_CUSTOM_SECRETS_URL`, `_TOKEN` |
//! | `cyberark` | CyberArk Conjur: a variable | LiteLLM's `CYBERARK_*` variables |
//! | `env` | an environment variable | – |
//! | `federation` | tokens of OpenAI, Anthropic, OpenRouter and Bedrock for who we are | `KEYTURN_FEDERATION_*`, and who we are to AWS |
//! | `file` | a file: one secret, or `KEY=value` lines, or a JSON object | – |
//! | `google-kms` | a ciphertext in an environment variable or in the reference, decrypted by Google Cloud KMS | `GOOGLE_KMS_RESOURCE_NAME`, and Google's identity (`keyturn_identity::google`) |
//! | `google-secretmanager` | Google Secret Manager | `GOOGLE_SECRET_MANAGER_PROJECT_ID`, and Google's identity |
//! | `sealed` | the reference itself, encrypted with a salt key | `KEYTURN_SALT_KEYS`, `KEYTURN_SALT_KEY`, `LITELLM_SALT_KEY` |
//! | `vault` | HashiCorp Vault or OpenBao: a document of a KV engine, version 2 | the `HCP_VAULT_*` variables of `keyturn_vault` |
//! | `vault-dynamic` | HashiCorp Vault or OpenBao: a credential that is issued, with a lease | the same |
//!
//! AWS Secrets Manager, Azure Key Vault, Google Secret Manager and Vault can be written too: they are [`StagedStore`]s,
//! opened by [`stores::open_staged`].

mod cache;
mod document;
mod error;
mod secret;
mod staged;
mod store;
pub mod stores;

pub use cache::{CacheSettings, CacheStats, CredentialCache, StoreStats};
pub use error::{Cause, SecretError};
pub use secret::{Secret, SecretValue, Stage, VersionId};
pub use staged::{About, Description, Lease, Listed, Page, StagedStore};
pub use store::SecretStore;
pub use stores::Stores;
