//! Workload identity federation: tokens of providers for who we are, in the place of keys that somebody has to keep.
//! `federation:openai/identity_provider_id=idp_…,service_account_id=…`; [`keyturn_config::Federation`] has the names.
//!
//! Authentication: AWS's word for the function's role (`sts:GetWebIdentityToken`), or a token in a file that somebody
//! else keeps fresh. It is asked for anew at every exchange: some services take each one once.
//!
//! | service | what it takes | its token |
//! |---|---|---|
//! | `openai` | audience `https://api.openai.com/v1` | an access token, in the place of a key |
//! | `anthropic` | audience `https://api.anthropic.com` | an access token: the `auth_token` of a deployment |
//! | `openrouter` | audience `https://openrouter.ai` | an access token, in the place of a key |
//! | `bedrock` | the role's own signature, made here | a short-term API key, in the place of a key |
//!
//! | variable | meaning |
//! |---|---|
//! | `KEYTURN_FEDERATION_TOKEN_FILE` | a file with an OIDC token (a JWT) in the place of AWS's; it is read at each exchange |
//! | `KEYTURN_FEDERATION_OPENAI_TOKEN_FILE`, `…_ANTHROPIC_TOKEN_FILE`, `…_OPENROUTER_TOKEN_FILE` | the same for one service: the audience of a token is one service's, as a rule |
//! | `KEYTURN_FEDERATION_OPENAI_URL`, `…_ANTHROPIC_URL`, `…_OPENROUTER_URL` | another token endpoint, its whole address; over plain HTTP on this machine only |
//!
//! Versions: what [`VersionId::of_value`](crate::VersionId::of_value) makes of a token. Every read is an exchange and
//! brings a new token, so a refused one is never brought again; there is no version before it. How long a token is good
//! for, its service says: the cache goes by that. Nothing is kept here.
//!
//! A service is a file here, a line in [`SERVICES`], and its ids in `keyturn_config`.

mod anthropic;
mod bedrock;
mod exchange;
mod openai;
mod openrouter;
mod subject;

use async_trait::async_trait;
use keyturn_identity::Granted;
use keyturn_identity::aws::Aws;
use secrecy::{ExposeSecret, SecretString};

use super::Surroundings;
use crate::{Cause, Secret, SecretError, SecretStore, Stage, VersionId};

/// A service that gives tokens for who we are.
#[async_trait]
trait Service: Send + Sync {
    /// Its name in references.
    fn name(&self) -> &'static str;

    /// A new token.
    async fn grant(&self, ask: &Ask<'_>) -> Result<Granted<SecretString>, SecretError>;
}

/// Every service.
static SERVICES: &[&dyn Service] =
    &[&anthropic::ANTHROPIC, &bedrock::Bedrock, &openai::OPENAI, &openrouter::OPENROUTER];

/// What a token is made from.
struct Ask<'a> {
    found: &'a Surroundings,
    /// Who we are.
    aws: &'a Aws,
    ids: &'a keyturn_config::Federation,
    /// For errors.
    reference: &'a str,
}

impl Ask<'_> {
    /// A setting that is missing or wrong: an operator's work, and it is named.
    fn setting(&self, variable: &str, problem: &str) -> SecretError {
        SecretError::denied(self.reference, &format!("{variable} {problem}"))
    }
}

/// Federation as a store.
pub struct Federation {
    found: Surroundings,
    aws: Aws,
}

impl Federation {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "federation";

    /// The store, with the environment's identity.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let aws = Aws::from_env(&found.env, &found.http, &found.clock);
        Self { found: found.clone(), aws }
    }
}

#[async_trait]
impl SecretStore for Federation {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        if *stage != Stage::Current {
            return Err(SecretError::not_found(reference, "a token has no other versions"));
        }
        let ids: keyturn_config::Federation = name.parse().map_err(|error| SecretError::NotFound {
            reference: reference.clone(),
            cause: Cause::of(&error),
        })?;
        let service = SERVICES.iter().find(|service| service.name() == ids.service());
        let service = service.ok_or_else(|| SecretError::not_found(&*reference, "no such service"))?;
        let ask = Ask { found: &self.found, aws: &self.aws, ids: &ids, reference: &reference };
        let Granted { value, life } = service.grant(&ask).await?;
        let version = VersionId::of_value(value.expose_secret());
        Ok(Secret { value: value.into(), version, life: Some(life) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_that_a_configuration_can_name_is_there() {
        let mut known: Vec<_> = SERVICES.iter().map(|service| service.name()).collect();
        let mut named: Vec<_> = keyturn_config::Federation::services().collect();
        known.sort_unstable();
        named.sort_unstable();
        assert_eq!(known, named);
    }
}
