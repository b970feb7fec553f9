//! The keys of an Azure OpenAI (Cognitive Services, AI Foundry) account, which has two.
//!
//! **Strategy**: alternate. One of the account's two keys is in the secret; the other one is regenerated, tried and
//! promoted. The key that was replaced goes on working until the next rotation regenerates it, which the engine does
//! not begin before nobody can hold it any more. Nothing else is ever taken back.
//!
//! Which of the two is in use is not noted anywhere: it is the one that `listKeys` shows with the secret's current
//! value. Where neither is, nothing is regenerated: it cannot be known which one somebody uses.
//!
//! `regenerateKey` is not idempotent: called again because its answer was lost, or by two at once, it makes yet another
//! value, and the one before is worth nothing. As long as no version holds that, it does not matter. If one does, its
//! test never passes, [`Rotator::is_lost`] finds that neither key has its value, and the rotation is abandoned for a new
//! one. A process that was held up must not regenerate a key that somebody else has promoted meanwhile: right before,
//! [`Unchanged::confirm`](crate::Unchanged::confirm) asks whether the rotation is still where it was.
//!
//! | setting | meaning |
//! |---|---|
//! | `subscription`, `resource_group`, `account` | which account |
//! | `tenant`, `admin_client_id`, `admin_client_secret` | the administrator: an application and a reference to its client secret |
//! | `admin_token` | instead: a reference to an access token for `api_base` |
//! | `endpoint` | where the account answers; default `https://<account>.openai.azure.com` |
//! | `verify_models` | deployments that a new key is tried with, one token each |
//! | `api_base` | Azure Resource Manager; default `https://management.azure.com` |
//! | `login_base` | Microsoft Entra; default `https://login.microsoftonline.com` |
//!
//! **The administrator needs** `Microsoft.CognitiveServices/accounts/listKeys/action` and
//! `Microsoft.CognitiveServices/accounts/regenerateKey/action` on the account: the role *Cognitive Services
//! Contributor*, or one of your own with these two.
//!
//! - <https://learn.microsoft.com/rest/api/aiservices/accountmanagement/accounts/list-keys>
//! - <https://learn.microsoft.com/rest/api/aiservices/accountmanagement/accounts/regenerate-key>
//! - <https://learn.microsoft.com/rest/api/azureopenai/models/list>
//! - <https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle>

use async_trait::async_trait;
use keyturn_config::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::azure::{Admin, AdminSettings, LOGIN_BASE};
use super::completions::{PATIENCE, judge};
use super::http_calls::{By, Call, Calling as _, Service};
use crate::settings::{Settings, SettingsError, list, optional_reference};
use crate::{Ask, Created, Credential, RotationError, Rotator, Tools};

/// Azure Resource Manager.
const API_BASE: &str = "https://management.azure.com";
/// The version of the accounts' API.
const API_VERSION: &str = "2025-09-01";
/// The version of the API that lists models.
const MODELS_VERSION: &str = "2024-10-21";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    subscription: String,
    resource_group: String,
    account: String,
    tenant: Option<String>,
    admin_client_id: Option<String>,
    #[serde(default, deserialize_with = "optional_reference")]
    admin_client_secret: Option<SecretRef>,
    #[serde(default, deserialize_with = "optional_reference")]
    admin_token: Option<SecretRef>,
    endpoint: Option<String>,
    #[serde(default, deserialize_with = "list")]
    verify_models: Vec<String>,
    api_base: Option<String>,
    login_base: Option<String>,
}

/// Builds it.
pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let login = Service::open(tools, "login_base", own.login_base.as_deref(), LOGIN_BASE)?;
    let admin = AdminSettings {
        tenant: own.tenant,
        client_id: own.admin_client_id,
        client_secret: own.admin_client_secret,
        token: own.admin_token,
    };
    let usual = format!("https://{}.openai.azure.com", own.account);
    Ok(Box::new(AzureOpenAi {
        admin: Admin::open(tools, login, own.api_base.as_deref().unwrap_or(API_BASE), admin)?,
        management: Service::open(tools, "api_base", own.api_base.as_deref(), API_BASE)?,
        inference: Inference::open(tools, own.endpoint.as_deref(), &usual)?,
        subscription: own.subscription,
        resource_group: own.resource_group,
        account: own.account,
        verify_models: own.verify_models,
    }))
}

struct AzureOpenAi {
    admin: Admin,
    management: Service,
    inference: Inference,
    subscription: String,
    resource_group: String,
    account: String,
    verify_models: Vec<String>,
}

/// The account's keys; both answers have them.
#[derive(Deserialize)]
struct Keys {
    key1: SecretString,
    key2: SecretString,
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Key1,
    Key2,
}

impl Slot {
    fn name(self) -> &'static str {
        match self {
            Self::Key1 => "Key1",
            Self::Key2 => "Key2",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Key1 => Self::Key2,
            Self::Key2 => Self::Key1,
        }
    }
}

impl Keys {
    fn at(&self, slot: Slot) -> &SecretString {
        match slot {
            Slot::Key1 => &self.key1,
            Slot::Key2 => &self.key2,
        }
    }

    /// The slot with a value.
    fn slot_of(&self, value: &SecretString) -> Option<Slot> {
        let has = |slot: &Slot| self.at(*slot).expose_secret() == value.expose_secret();
        [Slot::Key1, Slot::Key2].into_iter().find(has)
    }
}

impl AzureOpenAi {
    /// A call of the account.
    async fn ask(&self, action: &str) -> Result<Call<'_>, RotationError> {
        let path = [
            "subscriptions",
            &self.subscription,
            "resourceGroups",
            &self.resource_group,
            "providers",
            "Microsoft.CognitiveServices",
            "accounts",
            &self.account,
            action,
        ];
        let call = self.management.post(By::Admin, &path).query("api-version", API_VERSION);
        Ok(call.bearer(self.admin.token().await?))
    }

    async fn keys(&self) -> Result<Keys, RotationError> {
        // Resource Manager wants a length with every POST (411 otherwise), and has no use for a body here.
        self.ask("listKeys").await?.header("content-length", "0").read().await
    }
}

#[async_trait]
impl Rotator for AzureOpenAi {
    fn overwrites(&self) -> bool {
        true
    }

    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let current = ask.current.value()?;
        let regenerate = self.ask("regenerateKey").await?;
        let before = self.keys().await?;
        let Some(active) = before.slot_of(current) else {
            return Err(RotationError::Unfit(
                "the secret's current value is none of the account's keys, so it is not known which one is in use: \
                 write one of them to the secret"
                    .to_owned(),
            ));
        };
        let spare = active.other();
        // If somebody else has promoted the spare key since, it is in use now: nothing comes between asking that and
        // regenerating it.
        ask.unchanged.confirm().await?;
        let after: Keys = regenerate.json(&json!({"keyName": spare.name()})).hiding(current).read().await?;
        let made = after.at(spare);
        if made.expose_secret().is_empty() || before.slot_of(made).is_some() {
            return Err(RotationError::Malformed(format!("{} is the same as before", spare.name())));
        }
        Ok(Credential::of(made.clone()).into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = credential.value()?;
        self.inference.list_models(|call| call.secret_header("api-key", key)).await?;
        for model in &self.verify_models {
            self.inference.complete(model, |call| call.secret_header("api-key", key)).await?;
        }
        Ok(())
    }

    async fn is_lost(&self, pending: &Credential) -> Result<bool, RotationError> {
        Ok(self.keys().await?.slot_of(pending.value()?).is_none())
    }
}

/// What an account answers to its users.
pub(super) struct Inference(Service);

impl Inference {
    /// The account at the address in the setting `endpoint`, or at its usual one.
    pub(super) fn open(tools: &Tools, endpoint: Option<&str>, usual: &str) -> Result<Self, SettingsError> {
        Service::open(tools, "endpoint", endpoint, usual).map(Self)
    }

    /// Lists the models there are: the cheapest call that needs a credential.
    async fn list_models(&self, with: impl FnOnce(Call<'_>) -> Call<'_>) -> Result<(), RotationError> {
        let call = self.0.get(By::Tested, &["openai", "models"]).query("api-version", MODELS_VERSION);
        with(call).done().await
    }

    /// Has a deployment write one token.
    pub(super) async fn complete(
        &self,
        deployment: &str,
        with: impl FnOnce(Call<'_>) -> Call<'_>,
    ) -> Result<(), RotationError> {
        let body = json!({
            "model": deployment,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_completion_tokens": 1,
        });
        let call = self.0.post(By::Tested, &["openai", "v1", "chat", "completions"]).json(&body);
        judge(&with(call).within(PATIENCE).answer().await?)
    }
}
