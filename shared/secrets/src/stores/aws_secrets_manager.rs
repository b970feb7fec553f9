//! AWS Secrets Manager: `aws-secretsmanager:prod/providers#OPENAI_API_KEY`.
//!
//! Authentication: the environment's identity (`keyturn_identity::aws`: the function's role, a Kubernetes service
//! account, a container's role), or a role that it assumes. Naming: the secret's name or its ARN, whole or without the six
//! random characters; an ARN's region is where it is read. The secret of another account is named by its whole ARN, if its
//! resource policy lets us read it, or read with a role of that account. Versions: the service's `VersionId`; stages are its
//! staging labels.
//!
//! | variable | meaning |
//! |---|---|
//! | `KEYTURN_AWS_REGION_NAME`, `AWS_REGION_NAME`, `AWS_REGION`, `AWS_DEFAULT_REGION` | the region: the first that is set |
//! | `KEYTURN_AWS_ROLE_NAME` | the ARN of a role to assume; `KEYTURN_AWS_SESSION_NAME`, `_EXTERNAL_ID`, `_WEB_IDENTITY_TOKEN` and `_STS_ENDPOINT` go with it ([`keyturn_identity::aws::Aws::of_stores`]) |
//! | `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL` | another endpoint |
//!
//! Permissions: `secretsmanager:GetSecretValue` on the secret, and `secretsmanager:BatchGetSecretValue` on `*` for fewer
//! calls in the init phase; `kms:Decrypt` where a key of the customer's encrypts it. Where a role is assumed, it has
//! these, and we have `sts:AssumeRole` on it.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>,
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>

mod failure;
mod staged;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{Config, Region};
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::SecretValueEntry;
use futures_util::future::join_all;
use keyturn_identity::aws::Aws;

use super::Surroundings;
use crate::{Secret, SecretError, SecretStore, Stage, VersionId};

/// How many secrets one BatchGetSecretValue may name (its documentation).
const BATCH: usize = 20;

/// How many single reads are under way at a time.
const READS_AT_A_TIME: usize = 10;

/// AWS Secrets Manager as a store.
pub struct AwsSecretsManager {
    aws: Aws,
    config: Config,
    /// By region; `None` is the environment's.
    clients: Mutex<BTreeMap<Option<String>, Client>>,
}

impl AwsSecretsManager {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "aws-secretsmanager";

    /// The store that the environment names.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let aws = Aws::of_stores(&found.env, &found.http, &found.clock);
        let config = Config::from(&aws.sdk_config("SECRETS_MANAGER"));
        Self::with_config(aws, config)
    }

    fn with_config(aws: Aws, config: Config) -> Self {
        Self { aws, config, clients: Mutex::default() }
    }

    /// The region that `name` is in; `None` is the environment's.
    fn region<'a>(&self, name: &'a str) -> Option<&'a str> {
        let own = self.config.region().map(Region::as_ref);
        region_of(name).filter(|&region| own != Some(region))
    }

    /// The client for the region that `name` is in.
    fn client(&self, name: &str) -> Client {
        let region = self.region(name);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.entry(region.map(str::to_owned)).or_insert_with(|| match region {
            None => Client::from_conf(self.config.clone()),
            Some(region) => {
                Client::from_conf(self.config.to_builder().region(Region::new(region.to_owned())).build())
            }
        });
        client.clone()
    }

    /// Reads secrets of one region, at most [`BATCH`].
    async fn batch(&self, names: &[&str]) -> HashMap<String, Result<Secret, SecretError>> {
        let mut answers = HashMap::new();
        if let [_, _, ..] = names
            && let Some(name) = names.first()
        {
            let call = self.client(name).batch_get_secret_value();
            let call = call.set_secret_id_list(Some(names.iter().map(|&name| name.to_owned()).collect()));
            match Box::pin(call.send()).await {
                Ok(batch) => {
                    for entry in batch.secret_values.unwrap_or_default() {
                        // What is not the current version is read by itself.
                        let current =
                            entry.version_stages().iter().any(|stage| stage == Stage::Current.label());
                        let about = names.iter().find(|name| is_about(&entry, name)).filter(|_| current);
                        if let Some(&name) = about {
                            let (text, binary) = (entry.secret_string, entry.secret_binary);
                            let secret = secret(name, text, binary, entry.version_id.as_deref());
                            answers.insert(name.to_owned(), secret);
                        }
                    }
                }
                // Reading one by one would not fare better.
                Err(error) if failure::is_outage(&error) => {
                    return names
                        .iter()
                        .map(|&name| (name.to_owned(), Err(failure::classify(reference(name), &error))))
                        .collect();
                }
                // No permission for this call, or one name spoils it for all.
                Err(_) => {}
            }
        }
        let rest: Vec<&str> = names.iter().copied().filter(|&name| !answers.contains_key(name)).collect();
        for names in rest.chunks(READS_AT_A_TIME) {
            let secrets = join_all(names.iter().map(|name| self.get(name, &Stage::Current))).await;
            answers.extend(names.iter().map(|&name| name.to_owned()).zip(secrets));
        }
        answers
    }
}

#[async_trait]
impl SecretStore for AwsSecretsManager {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let call = self.client(name).get_secret_value().secret_id(name).version_stage(stage.label());
        let answer = match call.clone().send().await {
            // A session may end before its time.
            Err(error) if failure::refuses_key(&error) && self.aws.refused(None) => call.send().await,
            answer => answer,
        };
        let answer = answer.map_err(|error| failure::classify(reference(name), &error))?;
        secret(name, answer.secret_string, answer.secret_binary, answer.version_id.as_deref())
    }

    fn has_batches(&self) -> bool {
        true
    }

    async fn get_many(&self, names: &[&str]) -> Vec<Result<Secret, SecretError>> {
        let mut regions: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
        for name in names {
            regions.entry(self.region(name)).or_default().push(name);
        }
        let batches = regions.values().flat_map(|names| names.chunks(BATCH)).map(|names| self.batch(names));
        let mut answers = HashMap::new();
        for batch in join_all(batches).await {
            answers.extend(batch);
        }
        let unanswered = |name: &str| Err(SecretError::unavailable(reference(name), "no answer"));
        names.iter().map(|&name| answers.get(name).cloned().unwrap_or_else(|| unanswered(name))).collect()
    }
}

fn reference(name: &str) -> String {
    format!("{}:{name}", AwsSecretsManager::SCHEME)
}

/// The region in an ARN: `arn:partition:service:region:account:…`.
pub(super) fn region_of(name: &str) -> Option<&str> {
    let mut parts = name.split(':');
    let arn = parts.next() == Some("arn");
    // It becomes a part of the endpoint's host.
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    parts.nth(2).filter(|region| arn && !region.is_empty() && region.bytes().all(fits))
}

/// Whether `entry` answers the question for `name`: a name, an ARN, or an ARN without its random end.
fn is_about(entry: &SecretValueEntry, name: &str) -> bool {
    let arn = entry.arn().unwrap_or_default();
    let partial = arn.rsplit_once('-').is_some_and(|(partial, _)| partial == name);
    entry.name() == Some(name) || arn == name || partial
}

/// A secret from what an answer holds.
fn secret(
    name: &str,
    text: Option<String>,
    binary: Option<Blob>,
    version: Option<&str>,
) -> Result<Secret, SecretError> {
    let malformed = |what| SecretError::malformed(reference(name), what);
    let value = match (text, binary) {
        (Some(text), _) => text,
        (None, Some(binary)) => {
            String::from_utf8(binary.into_inner()).map_err(|_| malformed("binary, and not UTF-8"))?
        }
        (None, None) => return Err(malformed("the version holds no value")),
    };
    if value.is_empty() {
        return Err(malformed("empty"));
    }
    let version = version.ok_or_else(|| malformed("the answer names no version"))?;
    Ok(Secret::new(value, VersionId::new(version)))
}
