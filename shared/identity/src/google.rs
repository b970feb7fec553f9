//! Who we are to Google: access tokens for all that our roles there allow.
//!
//! The identity is the first of these that there is:
//!
//! | source | where it comes from |
//! |---|---|
//! | a file of credentials, read anew for each token | `GOOGLE_APPLICATION_CREDENTIALS`: its path |
//! | the machine's service account: Cloud Run, Compute Engine, GKE | the metadata server, at `GCE_METADATA_HOST` or `metadata.google.internal` |
//!
//! A file, or a JSON text that somebody gives instead of one, says in its field `type` what it is:
//!
//! | `type` | what it is |
//! |---|---|
//! | `service_account` | the key of a service account ([`service_account`]) |
//! | `external_account` | workload identity federation: somebody else says who we are, AWS for example ([`external_account`]) |
//! | `authorized_user` | a person, on a laptop (`gcloud auth application-default login`; [`authorized_user`]) |
//!
//! The file may be somebody else's, so the addresses in it are not trusted: tokens are had from Google, or from this
//! machine. The shapes are those of Google's own library for Python, `google-auth`.

mod answers;
mod authorized_user;
mod aws_request;
mod external_account;
mod file;
mod metadata;
mod service_account;

use std::fs;
use std::sync::Arc;

use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::aws::Aws;
use crate::{Granted, IdentityError, Renewed};
use file::Credentials;
use metadata::Metadata;

/// What tokens are for: all that our roles allow.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The variable that names the file.
const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// Who we are to Google. Clones share what is kept.
#[derive(Clone)]
pub struct Google(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    aws: Aws,
    source: Source,
    kept: Renewed<SecretString>,
    /// The machine's, which does not change.
    project: OnceCell<String>,
}

enum Source {
    /// A path, and the setting that names it.
    File(String, &'static str),
    /// A JSON text, and the setting that holds it.
    Text(SecretString, &'static str),
    Metadata(Metadata),
}

impl Google {
    /// The environment's identity. Nothing is read or asked before it is needed.
    #[must_use]
    pub fn from_env(env: &Arc<dyn Env>, http: &reqwest::Client, clock: &Arc<dyn Clock>) -> Self {
        let source = match env.var(FILE) {
            Some(path) => Source::File(path, FILE),
            None => Source::Metadata(Metadata::from_env(&**env)),
        };
        Self::with(source, env, http, clock)
    }

    /// The identity of some credentials: a JSON text, or the path of a file. `setting` is where they were given, for
    /// errors.
    #[must_use]
    pub fn given(
        credentials: &SecretString,
        setting: &'static str,
        env: &Arc<dyn Env>,
        http: &reqwest::Client,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let text = credentials.expose_secret();
        let source = if text.trim_start().starts_with('{') {
            Source::Text(credentials.clone(), setting)
        } else {
            Source::File(text.to_owned(), setting)
        };
        Self::with(source, env, http, clock)
    }

    fn with(source: Source, env: &Arc<dyn Env>, http: &reqwest::Client, clock: &Arc<dyn Clock>) -> Self {
        let (aws, kept) = (Aws::from_env(env, http, clock), Renewed::new(Arc::clone(clock)));
        Self(Arc::new(Inner { http: http.clone(), aws, source, kept, project: OnceCell::new() }))
    }

    /// An access token, which lasts for some time still.
    ///
    /// # Errors
    ///
    /// There is none, or none can be had now: [`IdentityError`].
    pub async fn token(&self) -> Result<SecretString, IdentityError> {
        // Boxed: which of the ways it is, is not worth the room of the largest.
        Ok(self.0.kept.get(async |now| Box::pin(self.0.fetch(now)).await).await?.value)
    }

    /// A token was refused before its time: it is not given again.
    pub fn refused(&self, token: &SecretString) {
        self.0.kept.forget(|kept| kept.expose_secret() == token.expose_secret());
    }

    /// The project that the identity is of, if it is of one: the service account's, the machine's, or the one that a
    /// person has chosen.
    ///
    /// # Errors
    ///
    /// The credentials cannot be read, or the metadata server does not answer.
    pub async fn project(&self) -> Result<Option<String>, IdentityError> {
        match self.0.credentials()? {
            Ok(credentials) => Ok(credentials.project().map(str::to_owned)),
            Err(metadata) => {
                let project = self.0.project.get_or_try_init(|| metadata.project(&self.0.http)).await?;
                Ok(Some(project.clone()))
            }
        }
    }
}

impl Inner {
    /// The credentials that were given; or else whom to ask.
    fn credentials(&self) -> Result<Result<Credentials, &Metadata>, IdentityError> {
        match &self.source {
            Source::Metadata(metadata) => Ok(Err(metadata)),
            Source::Text(text, setting) => Credentials::parse(text, setting).map(Ok),
            Source::File(path, setting) => {
                let text = fs::read_to_string(path)
                    .map_err(|_| IdentityError::setting(setting, "names a file that cannot be read"))?;
                Credentials::parse(&text.into(), setting).map(Ok)
            }
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Granted<SecretString>, IdentityError> {
        match self.credentials()? {
            Ok(Credentials::ServiceAccount(key)) => key.token(&self.http, now).await,
            Ok(Credentials::ExternalAccount(account)) => account.token(&self.http, &self.aws, now).await,
            Ok(Credentials::AuthorizedUser(user)) => user.token(&self.http, now).await,
            Err(metadata) => metadata.token(&self.http, now).await,
        }
    }
}
