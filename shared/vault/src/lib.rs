//! HashiCorp Vault, or OpenBao: its logins, documents of a KV engine, version 2, and leases of any other engine.
//!
//! It is set by the environment: LiteLLM's variables, and ours for the logins that LiteLLM lacks.
//!
//! | variable | meaning |
//! |---|---|
//! | `HCP_VAULT_ADDR` | the server, without a path; default `http://127.0.0.1:8200` |
//! | `HCP_VAULT_NAMESPACE` | the namespace of everything |
//! | `HCP_VAULT_LOGIN_NAMESPACE`, `HCP_VAULT_SECRET_NAMESPACE` | another one for logins, for documents |
//! | `HCP_VAULT_MOUNT_NAME` | where the KV engine is mounted; default `secret` |
//! | `HCP_VAULT_PATH_PREFIX` | what every path begins with |
//! | `HCP_VAULT_CACERT` | a PEM file: the only roots to trust; default Mozilla's (ours) |
//!
//! The login is the first of this list of which a variable is set ([`logins`] has each one's variables): AppRole,
//! TLS certificate, Kubernetes, AWS IAM, JWT, token. The order of those that LiteLLM has is LiteLLM's.
//!
//! A token is renewed when two thirds of its life are over, at the next call: no timer runs, since a Lambda function
//! is frozen between two invocations. A token that is refused is looked up; when it is no good, there is one new
//! login, whoever asks meanwhile waits for it, and the call is made again, once.

mod caller;
mod client;
mod error;
pub mod logins;
mod sessions;
mod settings;

pub use client::app_roles::{AppRole, SecretId};
pub use client::leases::{Issued, Lease};
pub use client::{Document, Trace, Vault, Written};
pub use error::{Outage, SetupError, VaultError};
pub use settings::is_path;
