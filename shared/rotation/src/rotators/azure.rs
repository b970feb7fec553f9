//! What the rotators of Azure share: tokens of Microsoft Entra for an administrator, and what its token service says.
//!
//! The administrator is an application of the directory `tenant`: `admin_client_id` and `admin_client_secret`, a
//! reference to its client secret; or whoever is behind an access token that somebody else keeps fresh: `admin_token`,
//! a reference to it. One of the two.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use keyturn_config::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::http_calls::{By, Meaning as _, Service};
use crate::settings::{OURS, SettingsError};
use crate::{RotationError, Tools};

/// Where tokens are had: the setting `login_base` where it is not this.
pub(super) const LOGIN_BASE: &str = "https://login.microsoftonline.com";
/// What the token service says when it refuses the client rather than the request
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
const OF_THE_CLIENT: [&str; 3] = ["invalid_client", "unauthorized_client", "invalid_grant"];

/// The administrator's settings, as a rotator read them.
pub(super) struct AdminSettings {
    pub(super) tenant: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretRef>,
    pub(super) token: Option<SecretRef>,
}

/// An administrator.
pub(super) struct Admin {
    tools: Tools,
    login: Login,
    /// What its tokens are for: `https://management.azure.com/.default`.
    scope: String,
    /// Its token. A rotator lives for one step, and a token for an hour.
    kept: OnceCell<SecretString>,
}

enum Login {
    Token(SecretRef),
    Client(Box<Client>),
}

/// An application that logs in.
struct Client {
    service: Service,
    tenant: String,
    id: String,
    secret: SecretRef,
}

impl Admin {
    /// The administrator of the settings, at an API whose address tokens are for.
    ///
    /// # Errors
    ///
    /// There is none, or there are two.
    pub(super) fn open(
        tools: &Tools,
        login: Service,
        api_base: &str,
        settings: AdminSettings,
    ) -> Result<Self, SettingsError> {
        let wrong = |name: &str, problem: &str| SettingsError::new(format!("{OURS}{name}"), problem);
        let required = |name: &str, text: Option<String>| text.ok_or_else(|| wrong(name, "is required"));
        let login = match (settings.token, settings.client_id, settings.client_secret) {
            (Some(token), None, None) => Login::Token(token),
            (Some(_), ..) => {
                return Err(wrong(
                    "admin_token",
                    "takes the place of admin_client_id and admin_client_secret",
                ));
            }
            (None, None, None) => return Err(wrong("admin_client_id", "or keyturn:admin_token is required")),
            (None, _, None) => return Err(wrong("admin_client_secret", "is required")),
            (None, id, Some(secret)) => Login::Client(Box::new(Client {
                service: login,
                tenant: required("tenant", settings.tenant)?,
                id: required("admin_client_id", id)?,
                secret,
            })),
        };
        Ok(Self { tools: tools.clone(), login, scope: scope_of(api_base), kept: OnceCell::new() })
    }

    /// Its access token.
    ///
    /// # Errors
    ///
    /// [`RotationError::Denied`]: its credential is wrong; see [`RotationError`].
    pub(super) async fn token(&self) -> Result<&SecretString, RotationError> {
        self.kept
            .get_or_try_init(async || match &self.login {
                Login::Token(reference) => self.tools.secret(reference).await,
                Login::Client(client) => {
                    let Client { service, tenant, id, secret } = &**client;
                    let secret = self.tools.secret(secret).await?;
                    client_token(service, By::Admin, tenant, id, &secret, &self.scope).await
                }
            })
            .await
    }
}

/// The scope of tokens for all that an API lets its caller do.
pub(super) fn scope_of(api_base: &str) -> String {
    format!("{}/.default", api_base.trim_end_matches('/'))
}

#[derive(Deserialize)]
struct Token {
    access_token: SecretString,
}

/// Has an application's client secret exchanged for a token.
///
/// # Errors
///
/// [`RotationError::Denied`] or [`RotationError::Refused`]: the client secret is wrong, expired, or not known yet.
pub(super) async fn client_token(
    service: &Service,
    by: By,
    tenant: &str,
    client_id: &str,
    client_secret: &SecretString,
    scope: &str,
) -> Result<SecretString, RotationError> {
    let form = [
        ("client_id", client_id),
        ("client_secret", client_secret.expose_secret()),
        ("grant_type", "client_credentials"),
        ("scope", scope),
    ];
    let call = service.post(by, &[tenant, "oauth2", "v2.0", "token"]).form(&form).hiding(client_secret);
    let answer = call.answer().await?;
    if answer.status() == 400
        && let Some(name) = answer.code_among(&OF_THE_CLIENT)
    {
        return Err(answer.blame(format!("HTTP 400 {name}")));
    }
    answer.success::<Token>().map(|token| token.access_token)
}
