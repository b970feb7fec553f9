//! Who we are to AWS, and the token with which AWS tells others who we are.
//!
//! The identity of the environment is the first of these that there is:
//!
//! | source | variables |
//! |---|---|
//! | access key; Lambda sets it to the function's role | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | a Kubernetes service account (IRSA), or any web identity | `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_SESSION_NAME` |
//! | a container: ECS, EKS Pod Identity | `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `_FULL_URI`, `AWS_CONTAINER_AUTHORIZATION_TOKEN` or `_TOKEN_FILE` |
//!
//! From there a [`Role`] can be assumed. Endpoints are those of the region, unless `AWS_ENDPOINT_URL_<SERVICE>` or
//! `AWS_ENDPOINT_URL` names another one.
//!
//! STS speaks AWS's query protocol: a form, and XML. It is spoken here rather than through the SDK, since three
//! operations are needed (<https://docs.aws.amazon.com/STS/latest/APIReference/Welcome.html>).

mod answers;
mod container;
mod provider;
mod sign;
mod sts;
mod web_identity;

use std::sync::Arc;

use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use keyturn_http::call::{Service, address};
use reqwest::Url;
use secrecy::SecretString;

use crate::{Granted, IdentityError, Renewed};
use container::Container;
pub use provider::SdkCredentials;
pub use sign::{sign, signed_headers};
use web_identity::WebIdentity;

/// What AWS is called in errors.
const AWS: &str = "AWS STS";

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
    /// `aws_web_identity_token`: a file with a token that proves who we are, in the place of the environment's identity.
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
    kept: Renewed<AccessKey>,
}

enum Source {
    /// The environment has none of the sources.
    None,
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
        let source =
            if let (Some(id), Some(secret)) = (var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY")) {
                let session = var("AWS_SESSION_TOKEN").map(SecretString::from);
                Source::Key(AccessKey { id, secret: secret.into(), session })
            } else if let Some(identity) = WebIdentity::from_env(&**env) {
                Source::WebIdentity(identity)
            } else if let Some(container) = Container::from_env(&**env) {
                Source::Container(container)
            } else {
                Source::None
            };
        let region = var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION"));
        Self::with(http, env, clock, region, source)
    }

    fn with(
        http: &reqwest::Client,
        env: &Arc<dyn Env>,
        clock: &Arc<dyn Clock>,
        region: Option<String>,
        source: Source,
    ) -> Self {
        let kept = Renewed::new(Arc::clone(clock));
        let (http, env, clock) = (http.clone(), Arc::clone(env), Arc::clone(clock));
        Self(Arc::new(Inner { http, env, clock, region, source, kept }))
    }

    fn like(&self, region: Option<String>, source: Source) -> Self {
        Self::with(&self.0.http, &self.0.env, &self.0.clock, region, source)
    }

    /// The same identity in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let source = match &self.0.source {
            Source::None => Source::None,
            Source::Key(key) => Source::Key(key.clone()),
            Source::WebIdentity(identity) => Source::WebIdentity(identity.clone()),
            Source::Container(container) => Source::Container(container.clone()),
            Source::Role(role, by) => Source::Role(role.clone(), by.clone()),
        };
        self.like(Some(region.to_owned()), source)
    }

    /// A role that this identity assumes; or that its own token opens, if it has one.
    #[must_use]
    pub fn assuming(&self, role: Role) -> Self {
        let source = match &role.web_identity_token {
            None => Source::Role(role, self.clone()),
            Some(file) => Source::WebIdentity(WebIdentity {
                role: role.arn,
                session_name: role.session_name,
                token_file: file.clone(),
                sts_endpoint: role.sts_endpoint,
            }),
        };
        self.like(self.0.region.clone(), source)
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.0.region.as_deref()
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
    async fn granted(&self) -> Result<Granted<AccessKey>, IdentityError> {
        let inner = &*self.0;
        match &inner.source {
            Source::None => Err(IdentityError::setting(
                "AWS_ACCESS_KEY_ID",
                "is not set, and no other AWS credentials are",
            )),
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

    /// A signed token that says which role this is, for a service that trusts AWS to say so: `GetWebIdentityToken` of the
    /// region's STS. It is good for five minutes; what it is exchanged for is good for longer.
    ///
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html>
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; it is `Denied` where the account has not enabled outbound identity federation.
    pub async fn web_identity_token(&self, audience: &str) -> Result<SecretString, IdentityError> {
        sts::web_identity_token(self, audience).await
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
        let variable = format!("AWS_ENDPOINT_URL_{variable}");
        let var = |name: &str| self.0.env.var(name);
        let base = match var(&variable).or_else(|| var("AWS_ENDPOINT_URL")) {
            Some(base) => base,
            None => self.usual(name)?.to_string(),
        };
        let service = Service::at(&self.0.http, &base);
        service.ok_or_else(|| IdentityError::setting(&variable, "is not the address of a service"))
    }

    fn usual(&self, name: &str) -> Result<Url, IdentityError> {
        let region = self.0.region.as_deref();
        let region = region.ok_or_else(|| IdentityError::setting("AWS_REGION", "is not set"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let domain = match region {
            region if region.starts_with("cn-") => "amazonaws.com.cn",
            region if region.starts_with("eusc-") => "amazonaws.eu",
            _ => "amazonaws.com",
        };
        let wrong = || IdentityError::setting("AWS_REGION", "is not the name of a region");
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(wrong());
        }
        address(&format!("https://{name}.{region}.{domain}")).ok_or_else(wrong)
    }
}
