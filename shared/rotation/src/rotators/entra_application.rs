//! The client secret of an application in Microsoft Entra.
//!
//! **Strategy**: add, try, promote, remove. An application may have several secrets at once. Each is added under the
//! rotation's name; Entra shows the first three characters of a secret, by which it is told apart from others. Entra
//! cannot stop a secret without removing it, and does not tell when one was used last.
//!
//! A new secret may take some time to be known to every token server: until then it is refused like a wrong one, and
//! the engine tries again.
//!
//! | setting | meaning |
//! |---|---|
//! | `tenant` | the directory |
//! | `application` | the application's object id |
//! | `client_id` | the application's (client) id, which it logs in with |
//! | `expires_in` | how long a secret works at most (`180d`), whatever becomes of its rotation; default two years, which is Entra's |
//! | `scope` | what a token is asked for to try a secret; default `https://graph.microsoft.com/.default`, or with `endpoint` `https://cognitiveservices.azure.com/.default` |
//! | `endpoint`, `verify_models` | an Azure OpenAI account and its deployments that a new secret's token is tried with, one token each |
//! | `admin_client_id`, `admin_client_secret` | the administrator: an application of the same directory and a reference to its client secret |
//! | `admin_token` | instead: a reference to an access token for `api_base` |
//! | `api_base` | Microsoft Graph; default `https://graph.microsoft.com` |
//! | `login_base` | default `https://login.microsoftonline.com` |
//!
//! **The administrator needs** the application permission `Application.ReadWrite.OwnedBy`, with admin consent, and to be
//! an owner of the application; `Application.ReadWrite.All` allows more than is needed.
//!
//! - <https://learn.microsoft.com/graph/api/application-addpassword>
//! - <https://learn.microsoft.com/graph/api/application-removepassword>
//! - <https://learn.microsoft.com/graph/api/resources/passwordcredential>
//! - <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_config::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::azure::{Admin, AdminSettings, LOGIN_BASE, client_token, scope_of};
use super::azure_openai::Inference;
use super::http_calls::{By, Calling as _, Meaning as _, Service};
use super::lifetimes;
use crate::settings::{OURS, Settings, SettingsError, list, optional_duration, optional_reference};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

/// Microsoft Graph.
const API_BASE: &str = "https://graph.microsoft.com";
/// What tokens for Azure OpenAI are asked for.
const INFERENCE_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    tenant: String,
    application: String,
    client_id: String,
    #[serde(default, deserialize_with = "optional_duration")]
    expires_in: Option<SignedDuration>,
    scope: Option<String>,
    endpoint: Option<String>,
    #[serde(default, deserialize_with = "list")]
    verify_models: Vec<String>,
    admin_client_id: Option<String>,
    #[serde(default, deserialize_with = "optional_reference")]
    admin_client_secret: Option<SecretRef>,
    #[serde(default, deserialize_with = "optional_reference")]
    admin_token: Option<SecretRef>,
    api_base: Option<String>,
    login_base: Option<String>,
}

/// Builds it.
pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let expires_in = lifetimes::checked(own.expires_in, None)?;
    if own.endpoint.is_none() && !own.verify_models.is_empty() {
        return Err(SettingsError::new(format!("{OURS}endpoint"), "is required with verify_models"));
    }
    let api_base = own.api_base.as_deref().unwrap_or(API_BASE);
    let login = Service::open(tools, "login_base", own.login_base.as_deref(), LOGIN_BASE)?;
    let admin = AdminSettings {
        tenant: Some(own.tenant.clone()),
        client_id: own.admin_client_id,
        client_secret: own.admin_client_secret,
        token: own.admin_token,
    };
    let usual_scope =
        || own.endpoint.as_ref().map_or_else(|| scope_of(api_base), |_| INFERENCE_SCOPE.to_owned());
    let inference = own.endpoint.as_deref().map(|endpoint| Inference::open(tools, Some(endpoint), ""));
    Ok(Box::new(EntraApplication {
        admin: Admin::open(tools, login.clone(), api_base, admin)?,
        graph: Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?,
        login,
        inference: inference.transpose()?,
        scope: own.scope.unwrap_or_else(usual_scope),
        tenant: own.tenant,
        application: own.application,
        client_id: own.client_id,
        expires_in,
        verify_models: own.verify_models,
    }))
}

struct EntraApplication {
    admin: Admin,
    graph: Service,
    login: Service,
    inference: Option<Inference>,
    scope: String,
    tenant: String,
    application: String,
    client_id: String,
    expires_in: Option<SignedDuration>,
    verify_models: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    secret_text: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Application {
    password_credentials: Vec<Password>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Password {
    key_id: String,
    display_name: Option<String>,
    /// The first three characters.
    hint: Option<String>,
    start_date_time: Option<Timestamp>,
}

impl EntraApplication {
    async fn passwords(&self) -> Result<Vec<Password>, RotationError> {
        let token = self.admin.token().await?;
        let call = self.graph.get(By::Admin, &["v1.0", "applications", &self.application]);
        // All of them come at once: there are no pages.
        let found: Application = call.query("$select", "passwordCredentials").bearer(token).read().await?;
        Ok(found.password_credentials)
    }
}

#[async_trait]
impl Rotator for EntraApplication {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let mut password = json!({"displayName": ask.name});
        if let Some(life) = self.expires_in {
            password["endDateTime"] = json!(lifetimes::end(ask.now, life));
        }
        let token = self.admin.token().await?;
        let call = self.graph.post(By::Admin, &["v1.0", "applications", &self.application, "addPassword"]);
        let answer = call.json(&json!({"passwordCredential": password})).bearer(token).answer().await?;
        if answer.code().as_deref() == Some("Directory_QuotaExceeded") {
            return Err(RotationError::Full(answer.told()));
        }
        // Two changes of one application at once.
        if answer.status().as_u16() == 409 {
            return Err(RotationError::Unavailable(answer.told()));
        }
        let added: Added = answer.success()?;
        Ok(Credential::of(added.secret_text).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let secret = credential.value()?;
        let (tenant, client_id) = (&self.tenant, &self.client_id);
        let token = client_token(&self.login, By::Tested, tenant, client_id, secret, &self.scope).await?;
        if let Some(inference) = &self.inference {
            for model in &self.verify_models {
                inference.complete(model, |call| call.bearer(&token)).await?;
            }
        }
        Ok(())
    }

    async fn issued(&self, prefix: &str, _: &Credential) -> Result<Vec<Issued>, RotationError> {
        let ours =
            |password: &Password| password.display_name.as_ref().is_some_and(|name| name.starts_with(prefix));
        let passwords = self.passwords().await?.into_iter().filter(ours);
        let issued = passwords.map(|password| Issued {
            id: password.key_id,
            hint: password.hint,
            created_at: password.start_date_time,
            last_used_at: None,
            disabled: false,
        });
        Ok(issued.collect())
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        match (&issued.hint, credential.value()) {
            (Some(hint), Ok(value)) => value.expose_secret().starts_with(hint.as_str()),
            _ => true,
        }
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let token = self.admin.token().await?;
        let call = self.graph.post(By::Admin, &["v1.0", "applications", &self.application, "removePassword"]);
        let answer = call.json(&json!({"keyId": issued.id})).bearer(token).answer().await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let error = answer.error();
        // How Graph says that it is not there any more is not documented: what it lists tells.
        if matches!(error, RotationError::Unfit(_))
            && !self.passwords().await?.iter().any(|password| password.key_id == issued.id)
        {
            return Ok(());
        }
        Err(error)
    }
}
