//! `api_key: federation`: a credential that is made from who we are, good for a while and kept nowhere.
//!
//! ```yaml
//! litellm_params:
//!   model: anthropic/claude-sonnet-4-5
//!   api_key: federation
//!   federation_rule_id: fdrl_01AbCd
//!   organization_id: 00000000-0000-0000-0000-000000000000
//!   fallback_api_key: os.environ/ANTHROPIC_API_KEY      # only for when no token can be had
//! ```
//!
//! stands for the reference `federation:SERVICE/id=value,id=value`, in the order of the table below. Written in full it
//! may stand in `api_key` too, and then also beside an `api_base` of another provider's format.
//!
//! | service | ids | ids that may be left out |
//! |---|---|---|
//! | `openai` | `identity_provider_id`, `service_account_id` | – |
//! | `anthropic` | `federation_rule_id`, `organization_id` | `service_account_id`, `workspace_id` |
//! | `openrouter` | `federation_policy_id` | – |
//! | `bedrock` | – | `aws_region_name` |

use std::fmt;
use std::str::FromStr;

use crate::deployment::Deployment;
use crate::error::ConfigError;
use crate::reference::SecretRef;
use crate::value::Value;

/// The scheme of its references, and the word that stands for one.
const FEDERATION: &str = "federation";
/// The field of a deployment for the credential that stands in for a token.
const FALLBACK: &str = "fallback_api_key";
/// A parameter of Bedrock deployments that says where they are, federation or not.
const REGION: &str = "aws_region_name";
/// The longest id; those that are known have 40 characters at most.
const LONGEST_ID: usize = 128;

/// A service that takes somebody else's word for who we are.
struct Service {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    /// The secret field of its deployments that a token goes into.
    field: &'static str,
}

static SERVICES: &[Service] = &[
    Service {
        name: "openai",
        required: &["identity_provider_id", "service_account_id"],
        optional: &[],
        field: "api_key",
    },
    Service {
        name: "anthropic",
        required: &["federation_rule_id", "organization_id"],
        optional: &["service_account_id", "workspace_id"],
        field: "auth_token",
    },
    Service { name: "openrouter", required: &["federation_policy_id"], optional: &[], field: "api_key" },
    Service { name: "bedrock", required: &[], optional: &[REGION], field: "api_key" },
];

impl Service {
    fn find(name: &str) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.name == name)
    }

    fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.required.iter().chain(self.optional).copied()
    }
}

/// Why a text names no federated credential. It repeats none of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FederationError {
    /// There is no such service.
    #[error("names no service that has federation: expected openai, anthropic, openrouter or bedrock")]
    UnknownService,
    /// An id is missing.
    #[error("lacks {0}")]
    Missing(&'static str),
    /// An id is not one of the service's, stands twice, or is not written as `id=value`.
    #[error("has something that is none of the service's ids, as id=value with commas between, each once")]
    NoSuchId,
    /// The value of an id cannot be one.
    #[error("has a {0} that is no id: letters, digits, and . _ - are")]
    BadId(&'static str),
}

/// Which service's token, by which ids: the name in a reference `federation:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Federation {
    service: &'static str,
    ids: Vec<(&'static str, String)>,
}

impl Federation {
    /// The credential of a service, by its ids as `id` knows them.
    ///
    /// # Errors
    ///
    /// There is no such service, an id is missing, or is none.
    pub fn new(service: &str, id: impl Fn(&str) -> Option<String>) -> Result<Self, FederationError> {
        let service = Service::find(service).ok_or(FederationError::UnknownService)?;
        let mut ids = Vec::new();
        for name in service.ids() {
            match id(name) {
                Some(value) if is_id(&value) => ids.push((name, value)),
                Some(_) => return Err(FederationError::BadId(name)),
                None if service.required.contains(&name) => return Err(FederationError::Missing(name)),
                None => {}
            }
        }
        Ok(Self { service: service.name, ids })
    }

    /// The names of all services.
    pub fn services() -> impl Iterator<Item = &'static str> {
        SERVICES.iter().map(|service| service.name)
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// The value of an id, where it is given.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<&str> {
        self.ids.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All ids that are given, with their values.
    pub fn ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.ids.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The reference to it.
    #[must_use]
    pub fn reference(&self) -> SecretRef {
        SecretRef { scheme: FEDERATION.to_owned(), name: self.to_string(), field: None, stage: None }
    }
}

impl fmt::Display for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service)?;
        for (place, (name, value)) in self.ids.iter().enumerate() {
            write!(f, "{}{name}={value}", if place == 0 { '/' } else { ',' })?;
        }
        Ok(())
    }
}

impl FromStr for Federation {
    type Err = FederationError;

    fn from_str(name: &str) -> Result<Self, FederationError> {
        let (service, rest) = name.split_once('/').map_or((name, None), |(name, rest)| (name, Some(rest)));
        let known = Service::find(service).ok_or(FederationError::UnknownService)?;
        let mut found: Vec<(&str, &str)> = Vec::new();
        for pair in rest.into_iter().flat_map(|rest| rest.split(',')) {
            let (id, value) = pair.split_once('=').ok_or(FederationError::NoSuchId)?;
            if !known.ids().any(|name| name == id) || found.iter().any(|(name, _)| *name == id) {
                return Err(FederationError::NoSuchId);
            }
            found.push((id, value));
        }
        let value = |id: &str| found.iter().find(|(name, _)| *name == id).map(|(_, value)| *value);
        Self::new(service, |id| value(id).map(str::to_owned))
    }
}

/// Ids stand in references and in requests: what is none must not be taken for one.
fn is_id(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST_ID).contains(&value.len()) && value.bytes().all(plain)
}

/// Whether a secret field asks for a federated credential: by the word, or by a reference.
fn asks(value: &Value) -> bool {
    use secrecy::ExposeSecret as _;
    match value {
        Value::Literal(text) => text.expose_secret() == FEDERATION,
        Value::Reference(reference) => reference.scheme == FEDERATION,
    }
}

/// Puts the reference of a federated credential where its provider reads it, and takes out what stands for it.
pub(crate) fn wire(deployment: &mut Deployment) -> Result<(), ConfigError> {
    let index = deployment.index;
    let invalid = |field: &str, problem: &str| {
        ConfigError::invalid(format!("model_list[{index}].litellm_params.{field}"), problem)
    };
    let fallback = deployment.secrets.remove(FALLBACK);
    let asking = deployment.secrets.iter().find(|(_, value)| asks(value));
    let asking = asking.map(|(name, value)| (name.clone(), value.clone()));
    let service_ids = SERVICES.iter().flat_map(Service::ids).filter(|name| *name != REGION);
    let mut beside = service_ids.filter(|name| deployment.params.contains_key(*name));

    let Some((field, value)) = asking else {
        let stray = beside.next().or(fallback.is_some().then_some(FALLBACK));
        return stray.map_or(Ok(()), |name| Err(invalid(name, "is for `api_key: federation` only")));
    };
    if !["api_key", "auth_token"].contains(&field.as_str()) {
        return Err(invalid(&field, "cannot be federation: write api_key: federation"));
    }
    if fallback.as_ref().is_some_and(asks) {
        return Err(invalid(FALLBACK, "must be another credential than the one that it stands in for"));
    }
    let provider = deployment.custom_llm_provider.as_deref();
    let provider = provider.or_else(|| Some(deployment.model.split_once('/')?.0));
    let provider = provider.and_then(Service::find);
    let federation = match (value.reference(), provider) {
        (Some(reference), provider) => {
            if let Some(name) = beside.next() {
                return Err(invalid(name, "has to stand in the reference of api_key, or not at all"));
            }
            if reference.field.is_some() || reference.stage.is_some() {
                return Err(invalid(&field, "names a field or a stage, which federation does not have"));
            }
            let federation: Federation = reference
                .name
                .parse()
                .map_err(|error: FederationError| invalid(&field, &error.to_string()))?;
            // Another endpoint may speak this provider's format and want its own service's token.
            let own = provider.is_some_and(|provider| provider.name == federation.service);
            if !own && deployment.api_base.is_none() {
                return Err(invalid(&field, "is for another provider than the model's"));
            }
            federation
        }
        (None, None) => {
            let problem = "federation is for openai/, anthropic/, openrouter/ and bedrock/ models";
            return Err(invalid(&field, problem));
        }
        (None, Some(provider)) => {
            if let Some(name) = beside.find(|name| provider.ids().all(|id| id != *name)) {
                return Err(invalid(name, &format!("is no id of {}'s federation", provider.name)));
            }
            let id = |name: &str| deployment.params.get(name).cloned();
            let federation = Federation::new(provider.name, id).map_err(|error| match error {
                FederationError::Missing(id) => invalid(id, "is missing: federation needs it"),
                FederationError::BadId(id) => invalid(id, "is no id: letters, digits, and . _ - are"),
                FederationError::UnknownService | FederationError::NoSuchId => {
                    invalid(&field, &error.to_string())
                }
            })?;
            deployment.params.retain(|name, _| name == REGION || provider.ids().all(|id| id != name));
            federation
        }
    };
    deployment.secrets.remove(&field);
    let field = provider.map_or("api_key", |provider| provider.field);
    if deployment.secrets.contains_key(field) {
        return Err(invalid(field, "stands beside federation: leave one of them out"));
    }
    deployment.secrets.insert(field.to_owned(), Value::Reference(federation.reference()));
    deployment.fallback_api_key = fallback;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [
            "openai/identity_provider_id=idp_1,service_account_id=svc_acct.2",
            "anthropic/federation_rule_id=fdrl_1,organization_id=00000000-0000-0000-0000-000000000000",
            "anthropic/federation_rule_id=a,organization_id=b,service_account_id=c,workspace_id=default",
            "openrouter/federation_policy_id=4b2f7d1e-8c3a-4e5f-9a6b-1c2d3e4f5a6b",
            "bedrock",
            "bedrock/aws_region_name=eu-west-1",
        ] {
            let federation: Federation = name.parse().unwrap();
            assert_eq!(federation.to_string(), name);
            let reference = federation.reference();
            assert_eq!(reference.to_string().parse::<SecretRef>().unwrap(), reference, "{name}");
            let again = Federation::new(federation.service(), |id| federation.id(id).map(str::to_owned));
            assert_eq!(again.unwrap(), federation, "{name}");
        }
        let swapped: Federation = "openai/service_account_id=b,identity_provider_id=a".parse().unwrap();
        assert_eq!(swapped.to_string(), "openai/identity_provider_id=a,service_account_id=b");
    }

    #[test]
    fn what_is_no_name_is_told_by_what_is_wrong_with_it() {
        let long = format!("bedrock/aws_region_name={}", "a".repeat(129));
        for (name, error) in [
            ("", FederationError::UnknownService),
            ("azure/a=b", FederationError::UnknownService),
            ("openai", FederationError::Missing("identity_provider_id")),
            ("openai/identity_provider_id=a", FederationError::Missing("service_account_id")),
            ("openai/", FederationError::NoSuchId),
            ("openai/a/b", FederationError::NoSuchId),
            ("openai/federation_rule_id=a", FederationError::NoSuchId),
            ("bedrock/aws_region_name=a,aws_region_name=b", FederationError::NoSuchId),
            ("bedrock/aws_region_name=", FederationError::BadId(REGION)),
            ("bedrock/aws_region_name=eu/west", FederationError::BadId(REGION)),
            ("bedrock/aws_region_name=a=b", FederationError::BadId(REGION)),
            (&long, FederationError::BadId(REGION)),
        ] {
            assert_eq!(name.parse::<Federation>().unwrap_err(), error, "{name}");
        }
    }

    #[test]
    fn no_id_stands_twice_in_the_table() {
        for service in SERVICES {
            let ids: Vec<_> = service.ids().collect();
            assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1));
            assert!(ids.iter().all(|id| crate::deployment::knows(id)), "{}", service.name);
        }
    }
}
