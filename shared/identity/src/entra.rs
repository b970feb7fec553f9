//! Who we are to Azure: access tokens of Microsoft Entra, for the scope of an API.
//!
//! The identity of the environment is the first of these that there is, in the order of Azure's own libraries
//! (`DefaultAzureCredential`, which LiteLLM uses), without what needs a desktop:
//!
//! | who | variables |
//! |---|---|
//! | an application, by its client secret | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` |
//! | an application that trusts another issuer, by a token in a file (Kubernetes) | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE` |
//! | an application that trusts AWS, by [`Aws::web_identity_token`] | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, and an AWS identity |
//! | a managed identity of App Service, Functions, Container Apps | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER`; `AZURE_CLIENT_ID` for a user-assigned one |
//! | a managed identity of a virtual machine | none; `AZURE_CLIENT_ID` for a user-assigned one; `AZURE_POD_IDENTITY_AUTHORITY_HOST` in the place of `http://169.254.169.254` |
//!
//! `AZURE_AUTHORITY_HOST` is where applications log in; default `https://login.microsoftonline.com`. Certificates of
//! applications (`AZURE_CLIENT_CERTIFICATE_PATH`) are not supported, and told to be so.
//!
//! To trust AWS, an application has a federated identity credential: `issuer` is the account's (`aws iam
//! get-outbound-web-identity-federation-info`, once that federation is enabled), `subject` the ARN of the role,
//! `audiences` `["api://AzureADTokenExchange"]`. Then no secret of Azure's is kept anywhere.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>,
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>

mod answers;
mod managed;

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use keyturn_http::call::{Service, is_private};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};

use crate::aws::Aws;
use crate::{Granted, IdentityError, Renewed};
use managed::Managed;

/// What Entra is called in errors.
const ENTRA: &str = "Microsoft Entra";
/// Where applications log in.
const LOGIN: &str = "https://login.microsoftonline.com";
/// Whom a token is for that is exchanged at Entra.
const EXCHANGE: &str = "api://AzureADTokenExchange";
/// How such a token is called.
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";

/// An application of a directory.
#[derive(Debug, Clone)]
pub struct Application {
    /// The directory: its id or one of its domains.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// Where it logs in, if not at `https://login.microsoftonline.com`.
    pub authority: Option<String>,
}

/// What an application proves with that it is itself.
#[derive(Clone)]
pub enum Proof {
    /// Its client secret.
    Secret(SecretString),
    /// A token of an issuer that it trusts, in a file that its owner replaces from time to time.
    TokenFile(String),
    /// What AWS says that we are.
    Aws(Aws),
}

/// Who we are to Azure. Clones share what is kept.
#[derive(Clone)]
pub struct Entra(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    source: Source,
    /// A token for each scope that was asked for.
    kept: Mutex<Vec<(String, Arc<Renewed<SecretString>>)>>,
}

enum Source {
    /// A setting is missing, wrong, or not supported.
    Wrong(IdentityError),
    Application(Application, Proof),
    Managed(Managed),
}

impl Entra {
    /// The environment's identity. Nothing is asked before it is needed, and what is wrong with a setting is told then.
    #[must_use]
    pub fn from_env(env: &Arc<dyn Env>, http: &reqwest::Client, clock: &Arc<dyn Clock>) -> Self {
        let aws = Aws::from_env(env, http, clock);
        Self::with(http, clock, Source::from_env(&**env, aws))
    }

    /// An application.
    #[must_use]
    pub fn application(
        http: &reqwest::Client,
        clock: &Arc<dyn Clock>,
        application: Application,
        proof: Proof,
    ) -> Self {
        Self::with(http, clock, Source::Application(application, proof))
    }

    fn with(http: &reqwest::Client, clock: &Arc<dyn Clock>, source: Source) -> Self {
        let (http, clock) = (http.clone(), Arc::clone(clock));
        Self(Arc::new(Inner { http, clock, source, kept: Mutex::default() }))
    }

    /// An access token for a scope: `https://vault.azure.net/.default`.
    ///
    /// # Errors
    ///
    /// There is no identity, or no token can be had now: [`IdentityError`].
    pub async fn token(&self, scope: &str) -> Result<Granted<SecretString>, IdentityError> {
        let kept = self.kept(scope);
        kept.get(async |now| match &self.0.source {
            Source::Wrong(error) => Err(error.clone()),
            Source::Application(application, proof) => self.log_in(application, proof, scope, now).await,
            Source::Managed(managed) => managed.fetch(&self.0.http, scope, now).await,
        })
        .await
    }

    /// Forgets a token that was refused.
    pub fn forget(&self, scope: &str, token: &SecretString) {
        self.kept(scope).forget(|kept| kept.expose_secret() == token.expose_secret());
    }

    fn kept(&self, scope: &str) -> Arc<Renewed<SecretString>> {
        let mut all = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kept)) = all.iter().find(|(known, _)| known == scope) {
            return Arc::clone(kept);
        }
        let kept = Arc::new(Renewed::new(Arc::clone(&self.0.clock)));
        all.push((scope.to_owned(), Arc::clone(&kept)));
        kept
    }

    async fn log_in(
        &self,
        application: &Application,
        proof: &Proof,
        scope: &str,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        let service = application.service(&self.0.http)?;
        let call = service
            .call(Method::POST, &[&application.tenant, "oauth2", "v2.0", "token"])
            .within(crate::LIMIT);
        let proved = proof.read().await?;
        let mut form = vec![
            ("client_id", application.client_id.as_str()),
            ("grant_type", "client_credentials"),
            ("scope", scope),
        ];
        match proof {
            Proof::Secret(_) => form.push(("client_secret", proved.expose_secret())),
            Proof::TokenFile(_) | Proof::Aws(_) => form
                .extend([("client_assertion_type", ASSERTION), ("client_assertion", proved.expose_secret())]),
        }
        let call = call.form(&form).hiding(&proved);
        let answer = call.answer().await.map_err(|error| IdentityError::of_call(ENTRA, &error))?;
        if answer.status().is_success() {
            answers::granted(ENTRA, &answer, now)
        } else {
            Err(answers::refused(&answer))
        }
    }
}

impl Proof {
    /// The client secret, or the token in its place.
    async fn read(&self) -> Result<SecretString, IdentityError> {
        match self {
            Self::Secret(secret) => Ok(secret.clone()),
            Self::TokenFile(path) => {
                let text = fs::read_to_string(path);
                let text =
                    text.map_err(|_| IdentityError::setting(TOKEN_FILE, "names a file that cannot be read"))?;
                Ok(SecretString::from(text.trim()))
            }
            // Boxed, since one identity asks another.
            Self::Aws(aws) => Box::pin(aws.web_identity_token(EXCHANGE)).await,
        }
    }
}

impl Application {
    fn service(&self, http: &reqwest::Client) -> Result<Service, IdentityError> {
        let wrong = |problem| IdentityError::setting(AUTHORITY, problem);
        let text = self.authority.as_deref().unwrap_or(LOGIN);
        // Azure's own libraries take a host alone too.
        let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let service = Service::at(http, &text).ok_or_else(|| wrong("is not the address of a service"))?;
        if !is_private(service.base()) {
            return Err(wrong("must begin with https://, unless it is on this machine"));
        }
        Ok(service)
    }
}

impl Source {
    fn from_env(env: &dyn Env, aws: Aws) -> Self {
        let var = |name| env.var(name);
        let (tenant, client_id) = (var(TENANT), var(CLIENT));
        // And what it means when only they are set.
        let proof = if let Some(secret) = var(SECRET) {
            Some((Proof::Secret(secret.into()), "is not set, but AZURE_CLIENT_SECRET is"))
        } else if var(CERTIFICATE).is_some() {
            return Self::Wrong(IdentityError::setting(CERTIFICATE, "is not supported: use a federation"));
        } else {
            var(TOKEN_FILE)
                .map(|path| (Proof::TokenFile(path), "is not set, but AZURE_FEDERATED_TOKEN_FILE is"))
        };
        match (tenant, client_id, proof) {
            (Some(tenant), Some(client_id), Some((proof, _))) => {
                Self::Application(Application { tenant, client_id, authority: var(AUTHORITY) }, proof)
            }
            (None, _, Some((_, problem))) => Self::Wrong(IdentityError::setting(TENANT, problem)),
            (_, None, Some((_, problem))) => Self::Wrong(IdentityError::setting(CLIENT, problem)),
            (Some(tenant), Some(client_id), None) if aws.is_known() => {
                let application = Application { tenant, client_id, authority: var(AUTHORITY) };
                Self::Application(application, Proof::Aws(aws))
            }
            (_, client_id, None) => Self::Managed(Managed::from_env(env, client_id)),
        }
    }
}

#[cfg(test)]
mod tests;
