//! CyberArk Conjur: `cyberark:prod/llm/openai-api-key`, `cyberark:prod/llm/providers#OPENAI_API_KEY`.
//!
//! Authentication, with LiteLLM's variables and its defaults:
//!
//! | variable | meaning |
//! |---|---|
//! | `CYBERARK_API_BASE` | the server; default `http://127.0.0.1:8080` |
//! | `CYBERARK_ACCOUNT`, `CYBERARK_USERNAME` | the organization's account, and who logs in (`host/apps/keyturn`); default `default`, `admin` |
//! | `CYBERARK_API_KEY` | the API key of that user or host |
//! | `CYBERARK_CLIENT_CERT`, `CYBERARK_CLIENT_KEY` | PEM files: a certificate that is shown too, or instead |
//! | `CYBERARK_SSL_VERIFY` | a PEM file: the only roots to trust. `false` is refused, unless the server is this machine without TLS |
//! | `CYBERARK_REFRESH_INTERVAL` | from how many seconds on a value is read again while it serves |
//!
//! The login gives a token that is good for eight minutes, or for as long as it says; it is replaced in time, and once
//! when it is refused. A certificate is shown where LiteLLM shows it: to the login by API key, with an empty body where
//! there is no key. Conjur's own `authn-cert` has another address, which is not spoken.
//!
//! Naming: a variable's id, without the account. Versions: a digest of the value, since a read does not tell which
//! version it gave. Stages: a number is that version (Conjur keeps twenty); the one before the current is found in the
//! variable's list of versions, for which the role needs `read` beside `execute`.
//!
//! <https://github.com/cyberark/conjur-openapi-spec>, and for what the token says of its life, and what a variable's
//! list looks like, <https://github.com/cyberark/conjur-api-go> and <https://github.com/cyberark/conjur>.

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use futures_util::future::join_all;
use jiff::Timestamp;
use keyturn_ambient::{Env, Life};
use keyturn_http::Tls;
use keyturn_http::call::{Answer, Call, Service, address, is_local, is_private};
use keyturn_identity::{Granted, Renewed};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::refresh_interval::refresh_interval;
use super::{Surroundings, answers};
use crate::{Cause, Secret, SecretError, SecretStore, Stage};

const SSL_VERIFY: &str = "CYBERARK_SSL_VERIFY";
const REFRESH_INTERVAL: &str = "CYBERARK_REFRESH_INTERVAL";

/// How long a token is good for that does not say so.
const TOKEN_LIFE: Duration = Duration::from_secs(8 * 60);

/// How many variables one call asks for: their ids stand in its address, whose length servers limit.
const BATCH: usize = 20;

/// How many single reads are under way at a time.
const READS_AT_A_TIME: usize = 10;

/// Conjur as a store.
pub struct CyberArk {
    found: Surroundings,
    /// Set up at first use; a setting that is wrong is looked at again at the next.
    conjur: Mutex<Option<Conjur>>,
    token: Renewed<SecretString>,
}

/// Where the server is, and who we are there.
#[derive(Clone)]
struct Conjur {
    service: Service,
    account: String,
    login: String,
    key: Option<SecretString>,
}

impl CyberArk {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "cyberark";

    /// The store that the environment names. The environment is read at first use.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let token = Renewed::new(found.clock.clone());
        Self { found: found.clone(), conjur: Mutex::default(), token }
    }

    fn conjur(&self, reference: &str) -> Result<Conjur, SecretError> {
        let mut conjur = self.conjur.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(conjur) = &*conjur {
            return Ok(conjur.clone());
        }
        // An operator's work, and it names the variable.
        let made =
            Conjur::from_env(&self.found).map_err(|problem| SecretError::denied(reference, &problem))?;
        Ok(conjur.insert(made).clone())
    }

    /// Makes a call, and once more with another token when its token is refused. The answer may be a refusal.
    async fn ask<'a>(
        &self,
        conjur: &'a Conjur,
        reference: &str,
        call: impl Fn() -> Call<'a>,
    ) -> Result<Answer, SecretError> {
        let mut again = true;
        loop {
            let fetch = async |now| conjur.log_in(reference, now).await;
            let token = self.token.get(fetch).await?.value;
            let header = SecretString::from(format!("Token token=\"{}\"", token.expose_secret()));
            let call = call().put_secret(AUTHORIZATION, header.expose_secret()).hiding(&token);
            let answer = answers::answer(reference, call).await?;
            if answer.status().as_u16() != 401 || !again {
                return Ok(answer);
            }
            again = false;
            self.token.forget(|kept| kept.expose_secret() == token.expose_secret());
        }
    }

    /// Reads a variable, the newest version or this one.
    async fn read(&self, name: &str, version: Option<&str>) -> Result<Secret, SecretError> {
        let reference = reference(name);
        let conjur = self.conjur(&reference)?;
        let answer = self.ask(&conjur, &reference, || {
            let call = conjur.service.call(Method::GET, &["secrets", &conjur.account, "variable", name]);
            match version {
                None => call,
                Some(version) => call.query("version", version),
            }
        });
        let answer = answer.await?;
        if !answer.status().is_success() {
            return Err(answers::refusal(&reference, &answer));
        }
        let text = answers::text(&reference, &answer)?;
        Ok(Secret::unversioned(text.expose_secret().to_owned()))
    }

    /// The number of the version before the newest one.
    async fn previous(&self, name: &str) -> Result<u64, SecretError> {
        let reference = reference(name);
        let conjur = self.conjur(&reference)?;
        let answer = self.ask(&conjur, &reference, || {
            conjur.service.call(Method::GET, &["resources", &conjur.account, "variable", name])
        });
        let answer = answer.await?;
        if !answer.status().is_success() {
            return Err(answers::refusal(&reference, &answer));
        }
        let listed: Listed = answer.read().map_err(|error| SecretError::Malformed {
            reference: reference.clone(),
            cause: Cause::of(&error),
        })?;
        let mut numbers: Vec<u64> = listed.secrets.iter().map(|secret| secret.version).collect();
        numbers.sort_unstable();
        let previous = numbers.iter().rev().nth(1).copied();
        previous.ok_or_else(|| SecretError::not_found(reference, "there is no version before the newest one"))
    }

    /// Reads variables in one call, as far as that goes: it fails as a whole if one of them is not there or not ours.
    async fn batch(&self, names: &[&str]) -> Result<HashMap<String, String>, SecretError> {
        let Some(first) = names.first() else { return Ok(HashMap::new()) };
        let reference = reference(first);
        let conjur = self.conjur(&reference)?;
        let prefix = format!("{}:variable:", conjur.account);
        let ids: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        let answer = self.ask(&conjur, &reference, || {
            conjur.service.call(Method::GET, &["secrets"]).query("variable_ids", &ids.join(","))
        });
        let answer = answer.await?;
        if !answer.status().is_success() {
            return Err(answers::refusal(&reference, &answer));
        }
        let found: HashMap<String, String> = answer.read().map_err(|error| SecretError::Malformed {
            reference: reference.clone(),
            cause: Cause::of(&error),
        })?;
        let named =
            found.into_iter().filter_map(|(id, value)| Some((id.strip_prefix(&prefix)?.to_owned(), value)));
        Ok(named.collect())
    }
}

fn reference(name: &str) -> String {
    format!("{}:{name}", CyberArk::SCHEME)
}

/// What is read of a variable's description.
#[derive(Deserialize)]
struct Listed {
    secrets: Vec<ListedVersion>,
}

#[derive(Deserialize)]
struct ListedVersion {
    version: u64,
}

impl Conjur {
    /// What the environment says, or what is wrong with it.
    fn from_env(found: &Surroundings) -> Result<Self, String> {
        let env = &*found.env;
        let or = |name: &str, default: &str| env.var(name).unwrap_or_else(|| default.to_owned());
        refresh_interval(env, REFRESH_INTERVAL)?;
        let key = env.var("CYBERARK_API_KEY").map(SecretString::from);
        let certificate = match (env.var("CYBERARK_CLIENT_CERT"), env.var("CYBERARK_CLIENT_KEY")) {
            (None, None) if key.is_none() => {
                return Err("CYBERARK_API_KEY is not set, and no CYBERARK_CLIENT_CERT is".to_owned());
            }
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                return Err("CYBERARK_CLIENT_KEY is needed with CYBERARK_CLIENT_CERT".to_owned());
            }
            (None, Some(_)) => {
                return Err("CYBERARK_CLIENT_CERT is needed with CYBERARK_CLIENT_KEY".to_owned());
            }
        };
        let base = or("CYBERARK_API_BASE", "http://127.0.0.1:8080");
        let roots = roots(env, &base)?;
        let http = if roots.is_none() && certificate.is_none() {
            found.http.clone()
        } else {
            let identity = certificate.map(|(certificate, key)| {
                let certificate = read("CYBERARK_CLIENT_CERT", &certificate)?;
                Ok::<_, String>((certificate, read("CYBERARK_CLIENT_KEY", &key)?.into()))
            });
            let tls = Tls { roots, identity: identity.transpose()? };
            keyturn_http::client_with(env, &tls)
                .map_err(|error| format!("the certificates for CyberArk cannot be used: {error}"))?
        };
        let service = Service::at(&http, &base).ok_or("CYBERARK_API_BASE is not the address of a service")?;
        if !is_private(service.base()) {
            return Err("CYBERARK_API_BASE must begin with https://, unless it is on this machine".to_owned());
        }
        Ok(Self {
            service,
            account: or("CYBERARK_ACCOUNT", "default"),
            login: or("CYBERARK_USERNAME", "admin"),
            key,
        })
    }

    /// Gets a token, as it is sent: the whole answer in base64.
    async fn log_in(&self, reference: &str, now: Timestamp) -> Result<Granted<SecretString>, SecretError> {
        let key = self.key.clone().unwrap_or_default();
        let call = self.service.call(Method::POST, &["authn", &self.account, &self.login, "authenticate"]);
        let call = call.body("text/plain", key.expose_secret().as_bytes().to_vec()).hiding(&key);
        let answer = answers::answer(reference, call).await?;
        if !answer.status().is_success() {
            let told = format!("the login: {}", answer.told());
            // It knows nothing of secrets, so what it does not find is we.
            return Err(match answers::refusal(reference, &answer) {
                SecretError::Unavailable { .. } => SecretError::unavailable(reference, &told),
                _ => SecretError::denied(reference, &told),
            });
        }
        let strange = || SecretError::unavailable(reference, "the login's answer is no token");
        let token: Token = answer.read().map_err(|_| strange())?;
        let life = token.life().unwrap_or(TOKEN_LIFE);
        let value = SecretString::from(STANDARD.encode(answer.bytes()));
        Ok(Granted { value, life: Life::granted(now, life) })
    }
}

/// What is read of a token. Its signature is the secret of it.
#[derive(Deserialize)]
struct Token {
    /// Base64 of a JSON object.
    payload: String,
    #[serde(rename = "signature")]
    _signature: SecretString,
}

#[derive(Deserialize)]
struct Payload {
    iat: u64,
    exp: Option<u64>,
}

impl Token {
    /// How long it is good for, if it says so; by the difference, since the server's clock is its own.
    fn life(&self) -> Option<Duration> {
        let decoded = STANDARD.decode(&self.payload).or_else(|_| URL_SAFE.decode(&self.payload)).ok()?;
        let Payload { iat, exp } = serde_json::from_slice(&decoded).ok()?;
        Some(Duration::from_secs(exp?.checked_sub(iat)?))
    }
}

/// The roots to trust, if they are not the usual ones.
fn roots(env: &dyn Env, base: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(verify) = env.var(SSL_VERIFY) else { return Ok(None) };
    match verify.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(None),
        "false" | "0" | "no" if is_plain_loopback(base) => Ok(None),
        "false" | "0" | "no" => Err(format!(
            "{SSL_VERIFY} must not be false, since anybody could answer then: set it to the PEM file of the authority \
             that signed the server's certificate"
        )),
        _ => read(SSL_VERIFY, verify.trim()).map(Some),
    }
}

/// Whether an address is this machine's, and without TLS: then there is nothing to verify.
fn is_plain_loopback(base: &str) -> bool {
    let address = address(base).filter(|address| address.scheme() == "http");
    address.is_some_and(|address| is_local(&address))
}

fn read(variable: &str, path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read the file that {variable} names: {}", error.kind()))
}

#[async_trait]
impl SecretStore for CyberArk {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        match stage {
            Stage::Current => self.read(name, None).await,
            Stage::Previous => {
                let version = self.previous(name).await?;
                self.read(name, Some(&version.to_string())).await
            }
            Stage::Named(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.read(name, Some(number)).await
            }
            Stage::Pending | Stage::Named(_) => Err(SecretError::not_found(
                reference(name),
                "Conjur has numbers for its versions, and no stages",
            )),
        }
    }

    async fn get_many(&self, names: &[&str]) -> Vec<Result<Secret, SecretError>> {
        let mut answers = HashMap::new();
        // A comma ends an id in the address.
        let fit: Vec<&str> = names.iter().copied().filter(|name| !name.contains(',')).collect();
        for batch in fit.chunks(BATCH) {
            match self.batch(batch).await {
                Ok(found) => answers.extend(found),
                // Reading one by one would not fare better.
                Err(SecretError::Unavailable { cause, .. }) => {
                    let down = |name: &&str| SecretError::Unavailable {
                        reference: reference(name),
                        cause: cause.clone(),
                    };
                    return names.iter().map(|name| Err(down(name))).collect();
                }
                Err(_) => {}
            }
        }
        let mut secrets = Vec::with_capacity(names.len());
        for names in names.chunks(READS_AT_A_TIME) {
            let answers = &answers;
            let reads = names.iter().map(|&name| async move {
                match answers.get(name) {
                    Some(value) if !value.is_empty() => Ok(Secret::unversioned(value.clone())),
                    _ => self.read(name, None).await,
                }
            });
            secrets.extend(join_all(reads).await);
        }
        secrets
    }

    fn soft_ttl(&self) -> Option<Duration> {
        refresh_interval(&*self.found.env, REFRESH_INTERVAL).ok().flatten()
    }
}
