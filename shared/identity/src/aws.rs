//! Who we are to AWS, and the token with which AWS tells others who we are.
//!
//! The identity of the environment is the first of these that there is:
//!
//! | source | variables |
//! |---|---|
//! | access key; Lambda sets it to the function's role | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | a Kubernetes service account (IRSA), or any other token | `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_SESSION_NAME` |
//! | a container: ECS, EKS Pod Identity | `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `_FULL_URI`, `AWS_CONTAINER_AUTHORIZATION_TOKEN` or `_TOKEN_FILE` |
//!
//! From there a [`Role`] can be assumed; [`Aws::of_stores`] says by which settings. Endpoints are those of the region,
//! unless `AWS_ENDPOINT_URL_<SERVICE>` or `AWS_ENDPOINT_URL` names another one.
//!
//! Permissions: none for the environment's own identity; `sts:AssumeRole` on the role for one that is assumed, whose
//! trust policy must name us too; `sts:GetWebIdentityToken` for [`Aws::web_identity_token`]. `AssumeRoleWithWebIdentity`
//! is asked without a signature: the role's trust policy alone decides.
//!
//! STS speaks AWS's query protocol: a form, and XML. It is spoken here rather than through the SDK, since three
//! operations are needed (<https://docs.aws.amazon.com/STS/latest/APIReference/Welcome.html>).

mod answers;
mod container;
mod presign;
mod provider;
mod settings;
mod sign;
mod sts;
mod web_identity;

use std::sync::Arc;
use std::time::Duration;

use aws_types::SdkConfig;
use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use keyturn_http::aws::endpoint;
use keyturn_http::call::{Service, address};
use reqwest::Url;
use secrecy::SecretString;

use crate::{Granted, IdentityError, Renewed};
pub use answers::{is_brief, passes};
use container::Container;
pub use presign::presign;
pub use sign::{sign, signed_headers};
use web_identity::WebIdentity;

/// What AWS is called in errors.
const AWS: &str = "AWS STS";

/// Where services are in the regions that begin like this, by botocore's `partitions.json`. Everywhere else, GovCloud
/// included, it is `amazonaws.com`.
const DOMAINS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
];

/// An access key, with the session token of a temporary one.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// Its id: it names the key, and opens nothing.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
    /// The session token of temporary keys.
    pub session: Option<SecretString>,
}

/// A role to assume, by LiteLLM's names.
#[derive(Debug, Clone, Default)]
pub struct Role {
    /// `aws_role_name`: its ARN.
    pub arn: String,
    /// `aws_session_name`: what the session is called in logs. Default `keyturn`.
    pub session_name: Option<String>,
    /// `aws_external_id`: what the role's trust policy asks for.
    pub external_id: Option<String>,
    /// `aws_web_identity_token`: a token that proves who we are, in the place of the environment's identity. It is a
    /// file, or as LiteLLM writes it: `oidc/file/<path>`, `oidc/env_path/<variable that names a file>`, `oidc/env/<variable>`.
    pub web_identity_token: Option<String>,
    /// `aws_sts_endpoint`: where STS is. Default the region's.
    pub sts_endpoint: Option<String>,
}

/// Who we are to AWS. Clones share what is kept.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    env: Arc<dyn Env>,
    clock: Arc<dyn Clock>,
    region: Option<String>,
    source: Source,
    /// It opens the same in every region.
    kept: Arc<Renewed<AccessKey>>,
}

#[derive(Clone)]
enum Source {
    /// The environment has none of the sources, or a setting of one is wrong.
    Wrong(IdentityError),
    /// An access key.
    Key(AccessKey),
    WebIdentity(WebIdentity),
    Container(Container),
    /// A role, assumed by somebody.
    Role(Role, Aws),
}

impl Aws {
    /// The environment's identity, in the environment's region (`AWS_REGION`, `AWS_DEFAULT_REGION`). Nothing is asked
    /// before it is needed.
    #[must_use]
    pub fn from_env(env: &Arc<dyn Env>, http: &reqwest::Client, clock: &Arc<dyn Clock>) -> Self {
        let var = |name| env.var(name);
        let wrong = |variable, problem| Source::Wrong(IdentityError::setting(variable, problem));
        let source = match (var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => {
                let session = var("AWS_SESSION_TOKEN").map(SecretString::from);
                Source::Key(AccessKey { id, secret: secret.into(), session })
            }
            // Half a key is a mistake, and no reason to be somebody else.
            (Some(_), None) => wrong("AWS_SECRET_ACCESS_KEY", "is not set, and AWS_ACCESS_KEY_ID is"),
            (None, Some(_)) => wrong("AWS_ACCESS_KEY_ID", "is not set, and AWS_SECRET_ACCESS_KEY is"),
            (None, None) => {
                if let Some(identity) = WebIdentity::from_env(&**env) {
                    Source::WebIdentity(identity)
                } else if let Some(container) = Container::from_env(&**env) {
                    Source::Container(container)
                } else {
                    wrong("AWS_ACCESS_KEY_ID", "is not set, and no other AWS credentials are")
                }
            }
        };
        let region = var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION"));
        let kept = Arc::new(Renewed::new(Arc::clone(clock)));
        let (http, env, clock) = (http.clone(), Arc::clone(env), Arc::clone(clock));
        Self(Arc::new(Inner { http, env, clock, region, source, kept }))
    }

    /// This identity with something else in the place of what it has.
    fn but(&self, region: Option<String>, source: Source, kept: Arc<Renewed<AccessKey>>) -> Self {
        let (http, env, clock) = (self.0.http.clone(), Arc::clone(&self.0.env), Arc::clone(&self.0.clock));
        Self(Arc::new(Inner { http, env, clock, region, source, kept }))
    }

    fn from(&self, source: Source) -> Self {
        self.but(self.0.region.clone(), source, Arc::new(Renewed::new(Arc::clone(&self.0.clock))))
    }

    /// The same identity in another region, with the same access key.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        self.but(Some(region.to_owned()), self.0.source.clone(), Arc::clone(&self.0.kept))
    }

    /// A role that this identity assumes; or that its own token opens, if it has one.
    #[must_use]
    pub fn assuming(&self, role: Role) -> Self {
        self.from(match role.web_identity_token {
            None => Source::Role(role, self.clone()),
            Some(_) if role.external_id.is_some() => Source::Wrong(IdentityError::setting(
                "aws_external_id",
                "has no place where a token opens the role: aws_web_identity_token",
            )),
            Some(token) => Source::WebIdentity(WebIdentity {
                role: role.arn,
                session_name: role.session_name,
                token,
                setting: "aws_web_identity_token",
                sts_endpoint: role.sts_endpoint,
            }),
        })
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.0.region.as_deref()
    }

    /// Whether there is an identity at all: one of the sources is set.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.0.source, Source::Wrong(_))
    }

    /// The access key to sign with.
    ///
    /// # Errors
    ///
    /// There is none, or none can be had now: [`IdentityError`].
    pub async fn access_key(&self) -> Result<AccessKey, IdentityError> {
        Ok(self.granted().await?.value)
    }

    /// The access key, and how long it is good for.
    ///
    /// # Errors
    ///
    /// As [`Aws::access_key`].
    pub async fn granted(&self) -> Result<Granted<AccessKey>, IdentityError> {
        let inner = &*self.0;
        match &inner.source {
            Source::Wrong(error) => Err(error.clone()),
            Source::Key(key) => Ok(Granted { value: key.clone(), life: keyturn_ambient::Life::ENDLESS }),
            Source::WebIdentity(identity) => {
                inner.kept.get(async |now| identity.assume(self, now).await).await
            }
            Source::Container(container) => {
                inner.kept.get(async |now| container.fetch(&inner.http, now).await).await
            }
            Source::Role(role, by) => {
                // Boxed, since one identity asks another.
                inner.kept.get(async |now| Box::pin(sts::assume_role(by, role, now)).await).await
            }
        }
    }

    /// A service did not take the access key of this id, as one that has ended or was taken back; where the id is not
    /// known, whichever is kept. It is forgotten. Says whether another one can be had: a key of the environment's stays
    /// what it is.
    #[must_use]
    pub fn refused(&self, id: Option<&str>) -> bool {
        self.0.kept.forget(|key| id.is_none_or(|id| key.id == id));
        !matches!(self.0.source, Source::Wrong(_) | Source::Key(_))
    }

    /// The AWS SDK's settings for a service (`SECRETS_MANAGER`, as in `AWS_ENDPOINT_URL_<SERVICE>`). Nothing is asked
    /// before the first call; a key of the environment's is never asked for again.
    #[must_use]
    pub fn sdk_config(&self, service: &str) -> SdkConfig {
        provider::sdk_config(self, service)
    }

    /// A signed token that says which role this is, for a service that trusts AWS to say so: `GetWebIdentityToken` of the
    /// region's STS. It is good for five minutes; what it is exchanged for is good for longer.
    ///
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html>
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; it is `Denied` where the account has not enabled outbound identity federation.
    pub async fn web_identity_token(&self, audience: &str) -> Result<SecretString, IdentityError> {
        self.web_identity_token_lasting(audience, sts::TOKEN_LASTS).await
    }

    /// The same, good for as long as is said, a minute to an hour: for a service whose own token does not outlive it.
    ///
    /// # Errors
    ///
    /// As [`Aws::web_identity_token`].
    pub async fn web_identity_token_lasting(
        &self,
        audience: &str,
        lasts: Duration,
    ) -> Result<SecretString, IdentityError> {
        sts::web_identity_token(self, audience, lasts).await
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A service's API in the region. `name` is what it is called in host names, `variable` in
    /// `AWS_ENDPOINT_URL_<SERVICE>`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Setting`]: there is no region, or an endpoint is no address.
    pub fn service(&self, name: &str, variable: &str) -> Result<Service, IdentityError> {
        let base = match endpoint(&*self.0.env, variable) {
            Some(base) => base,
            None => self.usual(name)?.to_string(),
        };
        let wrong = || {
            IdentityError::setting(&format!("AWS_ENDPOINT_URL_{variable}"), "is not the address of a service")
        };
        Service::at(&self.0.http, &base).ok_or_else(wrong)
    }

    fn usual(&self, name: &str) -> Result<Url, IdentityError> {
        let region = self.0.region.as_deref();
        let region = region.ok_or_else(|| IdentityError::setting("AWS_REGION", "is not set"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let domain = DOMAINS.iter().find(|(begins, _)| region.starts_with(begins));
        let domain = domain.map_or("amazonaws.com", |(_, domain)| domain);
        let wrong = || IdentityError::setting("AWS_REGION", "is not the name of a region");
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(wrong());
        }
        address(&format!("https://{name}.{region}.{domain}")).ok_or_else(wrong)
    }
}
