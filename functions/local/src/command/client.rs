//! The management API, as a command calls it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyturn_ambient::{Clock, Env};
use keyturn_secrets::stores::{SaltKeys, Surroundings};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::standard_input;
use crate::chest::opened;

/// Where the key for the gateway is.
const API_KEY: &str = "KEYTURN_API_KEY";

/// Why a command did not do what it says.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The address of the gateway.
    #[error("--url is no address; write it as http://host:port")]
    Url,
    /// There is no key to call the gateway with.
    #[error(
        "there is no key for the gateway: set KEYTURN_API_KEY, or name the directory of its master key with --data-dir ({path})"
    )]
    NoKey {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The master key is sealed, and does not open.
    #[error("cannot open {path}: {reason}")]
    Sealed {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The key cannot stand in a header.
    #[error("the key for the gateway has characters that no key has")]
    BadKey,
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] keyturn_http::ClientError),
    /// The gateway does not answer.
    #[error("cannot reach the gateway at {url}: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the client said.
        reason: String,
    },
    /// What answers is no gateway.
    #[error("what answers at {url} is no gateway: status {status}")]
    Foreign {
        /// Where it is.
        url: String,
        /// What it answered.
        status: u16,
    },
    /// The gateway refused.
    #[error("{message}")]
    Refused {
        /// What it said.
        message: String,
        /// The status.
        status: u16,
    },
    /// No key has this alias.
    #[error("no key has the alias {0}")]
    NoAlias(String),
    /// Standard input.
    #[error("cannot read standard input")]
    StandardInput(#[source] std::io::Error),
}

impl CommandError {
    /// Writes it to standard error, red on a terminal, with what helps.
    pub fn complain(&self) {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        anstream::eprintln!("{red}error{red:#}: {self}");
        match self {
            Self::Unreachable { .. } => {
                anstream::eprintln!("  help: `keyturn serve` starts one; --url or KEYTURN_URL names another");
            }
            Self::Refused { status: 401 | 403, .. } => {
                anstream::eprintln!(
                    "  help: {API_KEY} must be the master key, or a key with key_type management"
                );
            }
            _ => {}
        }
    }
}

/// A gateway.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    authorization: HeaderValue,
}

impl Client {
    pub(super) async fn new(
        url: &str,
        data_dir: &Path,
        env: Arc<dyn Env>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CommandError> {
        let url: Url = url.parse().map_err(|_| CommandError::Url)?;
        if url.cannot_be_a_base() || !["http", "https"].contains(&url.scheme()) {
            return Err(CommandError::Url);
        }
        let http = keyturn_http::client_through_proxy(&*env)?;
        let path = data_dir.join("master-key");
        let key = match env.var(API_KEY) {
            Some(key) => SecretString::from(key),
            None => match std::fs::read_to_string(&path) {
                Ok(key) => {
                    let salt_keys = SaltKeys::new(&Surroundings { env, http: http.clone(), clock });
                    opened(key.trim(), &salt_keys).await.map_err(|error| {
                        let reason = keyturn_ambient::with_causes(&error);
                        CommandError::Sealed { path, reason }
                    })?
                }
                Err(_) => return Err(CommandError::NoKey { path }),
            },
        };
        let bearer = format!("Bearer {}", key.expose_secret());
        let mut authorization = HeaderValue::from_str(&bearer).map_err(|_| CommandError::BadKey)?;
        authorization.set_sensitive(true);
        Ok(Self { http, url, authorization })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, CommandError> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        self.call(Method::POST, path, Some(body.to_string())).await
    }

    /// The hash or the value of the key that is meant by a hash, by an alias, or by `-`.
    pub(super) async fn find(&self, named: &str) -> Result<String, CommandError> {
        if named == "-" {
            return Ok(standard_input()?.trim().to_owned());
        }
        let is_hash = named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash || named.starts_with("sk-") {
            return Ok(named.to_owned());
        }
        let found = self.get(&format!("/key/list?key_alias={}", encoded(named))).await?;
        let hash = found["keys"][0].as_str().map(str::to_owned);
        hash.ok_or_else(|| CommandError::NoAlias(named.to_owned()))
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, CommandError> {
        let url = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        let mut request = self.http.request(method, url).header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let unreachable = |error: reqwest::Error| {
            // The address holds what was asked for.
            let error = error.without_url();
            let reason = keyturn_entry::log::with_causes(&error);
            CommandError::Unreachable { url: self.url.to_string(), reason }
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        match json {
            Some(json) if status.is_success() => Ok(json),
            Some(json) if json["error"]["message"].is_string() => {
                let message = json["error"]["message"].as_str().unwrap_or_default().to_owned();
                Err(CommandError::Refused { message, status: status.as_u16() })
            }
            _ => Err(CommandError::Foreign { url: self.url.to_string(), status: status.as_u16() }),
        }
    }
}

/// A text as part of a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
