//! Managed identities: tokens from the machine that we are on.
//!
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>,
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Env;
use keyturn_http::call::{Call, Service};
use reqwest::Method;
use secrecy::SecretString;

use super::answers;
use crate::{Granted, IdentityError};

/// What they are called in errors.
const ENDPOINT: &str = "the managed identity's endpoint";
const IMDS: &str = "Azure's instance metadata service";

const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
const IMDS_HOST: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
/// How long the metadata service may take: where we are not at Azure, nobody has its address.
const IMDS_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the machine hands out tokens.
#[derive(Clone)]
pub(super) struct Managed {
    place: Place,
    /// The id of a user-assigned identity.
    client_id: Option<String>,
}

#[derive(Clone)]
enum Place {
    AppService { endpoint: String, header: SecretString },
    Imds { host: Option<String> },
}

impl Managed {
    pub(super) fn from_env(env: &dyn Env, client_id: Option<String>) -> Self {
        let place = match (env.var(IDENTITY_ENDPOINT), env.var("IDENTITY_HEADER")) {
            (Some(endpoint), Some(header)) => Place::AppService { endpoint, header: header.into() },
            _ => Place::Imds { host: env.var(IMDS_HOST) },
        };
        Self { place, client_id }
    }

    pub(super) async fn fetch(
        &self,
        http: &reqwest::Client,
        scope: &str,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        let at = |variable, address: &str| {
            let service = Service::at(http, address);
            service.ok_or_else(|| IdentityError::setting(variable, "is not the address of a service"))
        };
        // Their word for a scope is the resource in it.
        let resource = scope.trim_end_matches("/.default");
        match &self.place {
            Place::AppService { endpoint, header } => {
                let service = at(IDENTITY_ENDPOINT, endpoint)?;
                let call = service.call_url(Method::GET, service.base().clone());
                let call = call.query("api-version", "2019-08-01").query("resource", resource);
                self.ask(ENDPOINT, call.secret_header("x-identity-header", header).within(crate::LIMIT), now)
                    .await
            }
            Place::Imds { host } => {
                let service = at(IMDS_HOST, host.as_deref().unwrap_or("http://169.254.169.254"))?;
                let call = service.call(Method::GET, &["metadata", "identity", "oauth2", "token"]);
                let call = call.query("api-version", "2018-02-01").query("resource", resource);
                self.ask(IMDS, call.header("metadata", "true").within(IMDS_TIMEOUT), now).await
            }
        }
    }

    async fn ask(
        &self,
        who: &'static str,
        call: Call<'_>,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        let call = self.client_id.iter().fold(call, |call, id| call.query("client_id", id));
        let answer = call.answer().await.map_err(|error| IdentityError::of_call(who, &error))?;
        match answer.status().as_u16() {
            200..300 => answers::granted(who, &answer, now),
            // The metadata service is being updated, or does not know the identity yet; others have no such answers.
            404 | 410 if who == IMDS => Err(IdentityError::Unavailable { who, told: answer.told() }),
            _ => Err(IdentityError::of_answer(who, &answer)),
        }
    }
}
