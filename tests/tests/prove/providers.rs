//! The credentials that are rotated, and the services that issue them.

use std::collections::BTreeSet;

use keyturn_tests::moto::Moto;
use keyturn_tests::openbao::OpenBao;
use keyturn_tests::upstream::admin::{AnthropicAdministration, AzureAdministration, OpenAiAdministration};
use keyturn_tests::upstream::keyring::KeyState;
use keyturn_tests::upstream::{Behaviour, Upstream};
use serde_json::{Value, json};

use crate::lane::Secret;
use crate::options::Options;

/// The administrators' credentials, by the variables that hold them.
pub(crate) const ADMINS: [(&str, &str); 3] = [
    ("OPENAI_ADMIN_KEY", "sk-admin-the-administrator"),
    ("AZURE_ADMIN_TOKEN", "eyJ-the-administrator"),
    ("ANTHROPIC_ADMIN_KEY", "sk-ant-admin01-the-administrator"),
];

/// How long a rotation takes at least, in seconds; an operator has put a key into the pool for each that there may be.
const SHORTEST_ROTATION: u64 = 4;

/// A provider of models, with its key in a secret.
pub(crate) struct Provider {
    pub(crate) upstream: Upstream,
    pub(crate) kind: Kind,
    pub(crate) secret: Secret,
}

/// How a provider issues keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// OpenAI's service accounts; the secret is one text.
    OpenAi,
    /// Azure's two keys.
    Azure,
    /// A pool of Anthropic's.
    Anthropic,
    /// OpenAI's, with the secret in Vault.
    Vault,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::OpenAi, Self::Azure, Self::Anthropic, Self::Vault];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure_openai",
            Self::Anthropic => "anthropic",
            Self::Vault => "vault",
        }
    }

    /// The model that clients ask for.
    pub(crate) fn model(self) -> &'static str {
        self.name()
    }

    /// The deployment's model and reference in the gateway's configuration.
    fn deployment(self, reference: &str) -> (String, String) {
        let provider = if self == Self::Anthropic { "anthropic" } else { "openai" };
        (format!("{provider}/{}", self.name()), reference.to_owned())
    }
}

impl Provider {
    /// Starts a provider, and puts its first key into its secret. Rotation goes through a proxy at `base(url)`.
    pub(crate) async fn start(
        kind: Kind,
        upstream: Upstream,
        base: &str,
        moto: &Moto,
        options: &Options,
    ) -> Self {
        // Requests take some time, a few of them much: keys are replaced while they run.
        for (model, time) in [(kind.name().to_owned(), 25), (format!("{}-slow", kind.name()), 900)] {
            let time = std::time::Duration::from_millis(time);
            upstream.when_model(&model, Behaviour::Late(time, Box::new(Behaviour::Ordinary)));
        }
        upstream.forget_requests();
        let [openai, azure, anthropic] = ADMINS.map(|(_, admin)| admin.to_owned());
        let issue = |name: &str, prefix: &str| upstream.keys(|keys| keys.issue(name, prefix).value.clone());
        let own = json!({"rotator": "openai", "project": "proj_1", "service_account": "svc_1",
            "admin_key": "env:OPENAI_ADMIN_KEY", "api_base": format!("{base}/v1")});
        let secret = match kind {
            Kind::OpenAi => {
                upstream.administer(OpenAiAdministration { admin: openai });
                let name = "prove/openai";
                moto.create_secret(name, &issue("by hand", "sk-proj-")).await;
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let tags: Vec<(String, String)> = own
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(name, value)| (format!("keyturn:{name}"), text(value)))
                    .collect();
                let tags: Vec<(&str, &str)> =
                    tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                moto.tag(name, &tags).await;
                Secret::Led(name.to_owned())
            }
            Kind::Azure => {
                upstream.administer(AzureAdministration { token: azure });
                let (first, _) = (issue("Key1", ""), issue("Key2", ""));
                let settings = json!({"AZURE_API_KEY": first, "keyturn:rotator": "azure_openai",
                    "keyturn:field": "AZURE_API_KEY", "keyturn:subscription": "sub-1",
                    "keyturn:resource_group": "group-1", "keyturn:account": "account-1",
                    "keyturn:admin_token": "env:AZURE_ADMIN_TOKEN", "keyturn:endpoint": base,
                    "keyturn:api_base": base});
                moto.create_secret("prove/azure", &settings.to_string()).await;
                Secret::Led("prove/azure".to_owned())
            }
            Kind::Anthropic => {
                upstream.administer(AnthropicAdministration { admin: anthropic });
                let first = issue("by hand", "sk-ant-api03-");
                let pool: Vec<String> = (0..options.time.as_secs() / SHORTEST_ROTATION + 10)
                    .map(|_| issue("for the pool", "sk-ant-api03-"))
                    .collect();
                let settings = json!({"rotator": "anthropic", "admin_key": "env:ANTHROPIC_ADMIN_KEY",
                    "api_base": base});
                let value = json!({"ANTHROPIC_API_KEY": first, "ANTHROPIC_API_KEY_POOL": pool,
                    "keyturn:rotator": {"ANTHROPIC_API_KEY": settings}});
                moto.create_secret("prove/anthropic", &value.to_string()).await;
                Secret::Led("prove/anthropic".to_owned())
            }
            Kind::Vault => {
                upstream.administer(OpenAiAdministration { admin: openai });
                let value = json!({"OPENAI_API_KEY": issue("by hand", "sk-proj-"),
                    "keyturn:rotator": {"OPENAI_API_KEY": own}});
                OpenBao::shared().write("secret/data/prove", &json!({"data": value})).await;
                Secret::Scheduled("vault:secret/prove#OPENAI_API_KEY".to_owned())
            }
        };
        // From now on new keys are not known everywhere at once. Azure's are.
        if kind != Kind::Azure {
            upstream.be_slow(1);
        }
        Self { upstream, kind, secret }
    }

    /// The reference in the gateway's configuration.
    fn reference(&self) -> String {
        match (&self.secret, self.kind) {
            (Secret::Led(name), Kind::OpenAi) => format!("aws-secretsmanager:{name}"),
            (Secret::Led(name), Kind::Azure) => format!("aws-secretsmanager:{name}#AZURE_API_KEY"),
            (Secret::Led(name), _) => format!("aws-secretsmanager:{name}#ANTHROPIC_API_KEY"),
            (Secret::Scheduled(reference), _) => reference.clone(),
        }
    }

    /// The lines of the gateway's `model_list`.
    pub(crate) fn models(&self) -> String {
        let (model, key) = self.kind.deployment(&self.reference());
        let base = match self.kind {
            Kind::Anthropic => self.upstream.url(),
            _ => self.upstream.openai_base(),
        };
        ["", "-slow"]
            .map(|slow| {
                format!(
                    "- model_name: {}{slow}\n  litellm_params:\n    model: {model}{slow}\n    api_base: {base}\n    api_key: {key}\n",
                    self.kind.model()
                )
            })
            .concat()
    }

    /// The current value, and what else is in the secret.
    async fn document(&self, moto: &Moto) -> Value {
        match &self.secret {
            Secret::Led(name) => {
                let text = moto.read_secret(name).await;
                serde_json::from_str(&text).unwrap_or_else(|_| json!({"value": text}))
            }
            Secret::Scheduled(_) => OpenBao::shared().read("secret/data/prove").await["data"]["data"].clone(),
        }
    }

    /// Asserts that nothing is left behind, and that the current key works.
    pub(crate) async fn must_be_settled(&self, moto: &Moto) {
        let name = self.kind.name();
        let document = self.document(moto).await;
        let field = match self.kind {
            Kind::OpenAi => "value",
            Kind::Azure => "AZURE_API_KEY",
            Kind::Anthropic => "ANTHROPIC_API_KEY",
            Kind::Vault => "OPENAI_API_KEY",
        };
        let current = document[field].as_str().unwrap().to_owned();
        let state =
            self.upstream.keys(|keys| keys.ever().find(|key| key.value == current).map(|key| key.state));
        assert_eq!(state, Some(KeyState::Active), "{name}: the current key does not work");
        let there: BTreeSet<String> = self.upstream.keys(|keys| {
            let by_hand = |name: &str| self.kind != Kind::Anthropic && name == "by hand";
            keys.there().filter(|key| !by_hand(&key.name)).map(|key| key.value.clone()).collect()
        });
        let mut wanted = BTreeSet::from([current.clone()]);
        match self.kind {
            Kind::OpenAi | Kind::Vault => {}
            // It always has two.
            Kind::Azure => {
                assert_eq!(there.len(), 2, "{name}: two keys");
                return;
            }
            Kind::Anthropic => {
                let pool = document["ANTHROPIC_API_KEY_POOL"].as_array().unwrap();
                wanted.extend(pool.iter().map(|key| key.as_str().unwrap().to_owned()));
            }
        }
        let left: Vec<_> = there.difference(&wanted).collect();
        assert!(left.is_empty(), "{name}: {} keys are left behind", left.len());
        // A key that was in use may stand in the pool until the next rotation, when somebody wrote the secret meanwhile.
        let was_used = |value: &str| {
            self.upstream
                .keys(|keys| keys.ever().any(|key| key.value == value && key.name.contains("-used-")))
        };
        let lost: Vec<_> = wanted.difference(&there).filter(|value| !was_used(value)).collect();
        assert!(lost.is_empty(), "{name}: {} keys of the pool are gone", lost.len());
        if self.kind == Kind::Vault {
            assert!(!document.to_string().contains("\"pending\":{"), "{name}: a rotation is half done");
        }
    }
}
