//! The metadata server of a machine at Google: its service account's tokens, and its project.
//!
//! <https://cloud.google.com/compute/docs/metadata/overview>

use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Env;
use keyturn_http::call::{Call, Service};
use reqwest::Method;
use secrecy::SecretString;

use super::answers::{answered, granted};
use crate::{Granted, IdentityError};

/// It is what is left when nothing is configured, so an error says that too.
const WHO: &str = "Google's metadata server (GOOGLE_APPLICATION_CREDENTIALS is not set)";
const VARIABLE: &str = "GCE_METADATA_HOST";
/// It is as near as can be, or it is not there (`google-auth` waits as long).
const LIMIT: Duration = Duration::from_secs(3);

/// Where it is: a host, perhaps with a port.
pub(super) struct Metadata(String);

impl Metadata {
    pub(super) fn from_env(env: &dyn Env) -> Self {
        Self(env.var(VARIABLE).unwrap_or_else(|| "metadata.google.internal".to_owned()))
    }

    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        let service = self.service(http)?;
        granted(get(&service, &["instance", "service-accounts", "default", "token"]), WHO, now).await
    }

    pub(super) async fn project(&self, http: &reqwest::Client) -> Result<String, IdentityError> {
        let service = self.service(http)?;
        let answer = answered(get(&service, &["project", "project-id"]), WHO).await?;
        let unfit = || IdentityError::Unavailable { who: WHO, told: "its project-id is none".to_owned() };
        let id = std::str::from_utf8(answer.bytes()).map_err(|_| unfit())?.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
        if id.is_empty() || !id.chars().all(fits) { Err(unfit()) } else { Ok(id.to_owned()) }
    }

    fn service(&self, http: &reqwest::Client) -> Result<Service, IdentityError> {
        let service = Service::at(http, &format!("http://{}", self.0));
        let service = service.filter(|service| service.base().path() == "/");
        Ok(service
            .ok_or_else(|| IdentityError::setting(VARIABLE, "is not a host"))?
            .always("metadata-flavor", "Google"))
    }
}

fn get<'a>(service: &'a Service, path: &[&str]) -> Call<'a> {
    let path: Vec<&str> = ["computeMetadata", "v1"].iter().chain(path).copied().collect();
    service.call(Method::GET, &path).within(LIMIT)
}
