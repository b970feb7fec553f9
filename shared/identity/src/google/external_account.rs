//! Workload identity federation: somebody else says who we are, and Google's Security Token Service takes their word.
//!
//! The configuration is what `gcloud iam workload-identity-pools create-cred-config` writes. Its `credential_source` is
//! one of:
//!
//! | `credential_source` | the subject token |
//! |---|---|
//! | `environment_id: aws1` | a signed request that only our AWS identity can have signed ([`super::aws_request`]) |
//! | `file`, with or without `format` | what stands in the file: a Kubernetes service account's token, for example |
//! | `aws_web_identity: true` | the token that AWS itself signs about us (`sts:GetWebIdentityToken`), for a pool with an OIDC provider; its audience is the provider, or the field `audience` |
//!
//! The last is Keyturn's own. With `service_account_impersonation_url` the token that Google gives is exchanged once more,
//! for one of a service account. Sources by URL, executable or certificate, and workforce pools, are refused.
//!
//! <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>,
//! <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_http::call::Call;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answers::{answered, checked, granted, post, trusted};
use super::{SCOPE, aws_request};
use crate::aws::Aws;
use crate::{Granted, IdentityError};

/// What the services are called in errors.
const STS: &str = "Google's Security Token Service";
const IAM: &str = "Google's IAM credentials service";
/// How long a service account's token is to be good for, where nobody says; in seconds.
const LIFETIME: u64 = 3600;

/// What of the configuration matters.
#[derive(Deserialize)]
pub(super) struct ExternalAccount {
    /// The provider in the pool, as Google names it.
    audience: String,
    subject_token_type: String,
    #[serde(default = "token_url")]
    token_url: String,
    credential_source: Source,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Impersonation>,
    pub(super) quota_project_id: Option<String>,
    client_id: Option<String>,
    workforce_pool_user_project: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    environment_id: Option<String>,
    regional_cred_verification_url: Option<String>,
    file: Option<String>,
    format: Option<Format>,
    #[serde(default)]
    aws_web_identity: bool,
    audience: Option<String>,
}

#[derive(Deserialize)]
struct Format {
    r#type: String,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct Impersonation {
    token_lifetime_seconds: Option<u64>,
}

fn token_url() -> String {
    "https://sts.googleapis.com/v1/token".to_owned()
}

impl ExternalAccount {
    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        aws: &Aws,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        for (field, given) in [
            ("client_id", &self.client_id),
            ("workforce_pool_user_project", &self.workforce_pool_user_project),
        ] {
            if given.is_some() {
                return Err(IdentityError::setting(field, "is of workforce pools, which are not supported"));
            }
        }
        let url = trusted(&self.token_url, "token_url")?;
        let subject = self.subject(http, aws).await?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &*self.audience),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", &*self.subject_token_type),
        ];
        let federated = granted(post(http, url, &form).hiding(&subject), STS, now).await?;
        match &self.service_account_impersonation_url {
            None => Ok(federated),
            Some(url) => self.impersonate(http, url, &federated.value, now).await,
        }
    }

    /// What proves to Google who we are.
    async fn subject(&self, http: &reqwest::Client, aws: &Aws) -> Result<SecretString, IdentityError> {
        let source = &self.credential_source;
        match (source.environment_id.as_deref(), &source.file, source.aws_web_identity) {
            (Some("aws1"), None, false) => {
                let url = source.regional_cred_verification_url.as_deref();
                aws_request::signed(http, aws, url, &self.audience).await
            }
            (None, Some(path), false) => source.read(path),
            (None, None, true) => {
                // A provider without a list of audiences takes its own name, with the scheme and without.
                let audience = source.audience.clone().unwrap_or_else(|| format!("https:{}", self.audience));
                aws.web_identity_token(&audience).await
            }
            _ => Err(IdentityError::setting(
                "credential_source",
                "is not one of environment_id aws1, file and aws_web_identity",
            )),
        }
    }

    async fn impersonate(
        &self,
        http: &reqwest::Client,
        url: &str,
        federated: &SecretString,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        #[derive(Serialize)]
        struct Wanted {
            scope: [&'static str; 1],
            lifetime: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Token {
            access_token: SecretString,
            expire_time: Timestamp,
        }
        let url = trusted(url, "service_account_impersonation_url")?;
        let options = self.service_account_impersonation.as_ref();
        let seconds = options.and_then(|options| options.token_lifetime_seconds).unwrap_or(LIFETIME);
        let wanted = Wanted { scope: [SCOPE], lifetime: format!("{seconds}s") };
        let answer = answered(
            Call::new(http, Method::POST, url).bearer(federated).json(&wanted).within(crate::LIMIT),
            IAM,
        )
        .await?;
        let token: Token = answer.read().map_err(|error| IdentityError::of_call(IAM, &error))?;
        let lasts = Duration::try_from(token.expire_time.duration_since(now)).unwrap_or_default();
        checked(token.access_token, Life::granted(now, lasts), IAM)
    }
}

impl Source {
    /// The token in a file, which its owner replaces from time to time.
    fn read(&self, path: &str) -> Result<SecretString, IdentityError> {
        let wrong = |problem| IdentityError::setting("credential_source.file", problem);
        let text = fs::read_to_string(path).map_err(|_| wrong("names a file that cannot be read"))?;
        let text = SecretString::from(text);
        let field = match &self.format {
            None => None,
            Some(format) => match (format.r#type.as_str(), &format.subject_token_field_name) {
                ("text", _) => None,
                ("json", Some(field)) => Some(field),
                _ => {
                    return Err(IdentityError::setting(
                        "credential_source.format",
                        "is neither text nor json with a subject_token_field_name",
                    ));
                }
            },
        };
        let token = match field {
            None => SecretString::from(text.expose_secret().trim()),
            Some(field) => {
                let read = serde_json::from_str::<Value>(text.expose_secret()).ok();
                let token = read.as_ref().and_then(|read| read.get(field)?.as_str());
                token.ok_or_else(|| wrong("names a file that has no such token"))?.into()
            }
        };
        if token.expose_secret().is_empty() { Err(wrong("names a file that is empty")) } else { Ok(token) }
    }
}
