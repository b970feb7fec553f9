//! Where one secret is, and whether a token may be sent there.

use keyturn_http::call::{Service, is_private};

use super::AzureKeyVault;
use super::pending::SUFFIX;
use crate::SecretError;
use crate::stores::Surroundings;

/// The variable that names the vault of names without one.
const URI: &str = "AZURE_KEY_VAULT_URI";
/// The domains of Azure's vaults, and for what their tokens are.
const DOMAINS: [(&str, &str); 3] = [
    (".vault.azure.net", "https://vault.azure.net/.default"),
    (".vault.azure.cn", "https://vault.azure.cn/.default"),
    (".vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net/.default"),
];
/// The most characters of a name.
pub(super) const LONGEST_NAME: usize = 127;

/// Where one secret is.
pub(super) struct Place {
    pub(super) vault: Service,
    /// What tokens for the vault are for.
    pub(super) scope: &'static str,
    pub(super) name: String,
    /// The version that an identifier ends in.
    pub(super) version: Option<String>,
    /// What stands before the name, as it was asked for.
    pub(super) before: String,
    /// Whether it is the vault that the environment names.
    is_usual: bool,
    /// For errors.
    pub(super) reference: String,
}

impl Place {
    /// The place of a whole name.
    pub(super) fn of(found: &Surroundings, text: &str) -> Result<Self, SecretError> {
        let place = Self::of_prefix(found, text)?;
        if place.name.is_empty() {
            return Err(place.not_found("the name is empty"));
        }
        if place.name.len() > LONGEST_NAME || place.name.ends_with(SUFFIX) {
            return Err(place.not_found("no secret can have this name"));
        }
        Ok(place)
    }

    /// The place of what names begin with, which may be nothing.
    pub(super) fn of_prefix(found: &Surroundings, text: &str) -> Result<Self, SecretError> {
        let reference = format!("{}:{text}", AzureKeyVault::SCHEME);
        let not_found = |what| SecretError::not_found(&*reference, what);
        let (before, host, rest) = if let Some(identifier) = text.strip_prefix("https://") {
            let (host, rest) = identifier
                .split_once("/secrets/")
                .ok_or_else(|| not_found("expected https://HOST/secrets/NAME"))?;
            (format!("https://{host}/secrets/"), Some(host), rest)
        } else if let Some((host, rest)) = text.split_once('/') {
            (format!("{host}/"), Some(host), rest)
        } else {
            (String::new(), None, text)
        };
        let (name, version) = match rest.split_once('/') {
            Some((name, version)) if text.starts_with("https://") => (name, Some(version)),
            _ => (rest, None),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let name = name.replace('_', "-");
        if !plain(&name) || version.is_some_and(|version| version.is_empty() || !plain(version)) {
            return Err(not_found("a name is letters, digits and dashes"));
        }
        let (vault, scope, is_usual) = vault(found, &reference, host)?;
        let version = version.map(str::to_owned);
        Ok(Self { vault, scope, name, version, before, is_usual, reference })
    }

    /// The name of the secret, whichever way it was asked for.
    pub(super) fn canonical(&self) -> String {
        if self.is_usual {
            return self.name.clone();
        }
        format!("{}/{}", self.vault.base().host_str().unwrap_or_default(), self.name)
    }

    pub(super) fn not_found(&self, what: &str) -> SecretError {
        SecretError::not_found(&*self.reference, what)
    }

    pub(super) fn conflict(&self, what: &str) -> SecretError {
        SecretError::conflict(&*self.reference, what)
    }

    pub(super) fn malformed(&self, what: &str) -> SecretError {
        SecretError::malformed(&*self.reference, what)
    }

    pub(super) fn denied(&self, what: &str) -> SecretError {
        SecretError::denied(&*self.reference, what)
    }
}

/// The vault at a host, or the one that the environment names; and whether it is that one.
fn vault(
    found: &Surroundings,
    reference: &str,
    host: Option<&str>,
) -> Result<(Service, &'static str, bool), SecretError> {
    let denied = |what: &str| SecretError::denied(reference, what);
    let usual = match found.env.var(URI) {
        None => None,
        Some(address) => {
            let service = Service::at(&found.http, &address);
            let service = service.filter(|service| is_private(service.base()));
            Some(service.ok_or_else(|| denied("AZURE_KEY_VAULT_URI is not the address of a vault"))?)
        }
    };
    let is_meant = |service: &Service| {
        let url = service.base();
        let own = url.host_str().unwrap_or_default();
        host.is_none_or(|host| match url.port() {
            None => host.eq_ignore_ascii_case(own),
            Some(port) => *host == format!("{own}:{port}"),
        })
    };
    if let Some(service) = usual.filter(is_meant) {
        let scope = service.base().host_str().and_then(scope_of).unwrap_or(DOMAINS[0].1);
        return Ok((service, scope, true));
    }
    let host = host.ok_or_else(|| denied("AZURE_KEY_VAULT_URI is not set"))?.to_ascii_lowercase();
    let scope = scope_of(&host);
    let scope =
        scope.ok_or_else(|| denied("neither a vault of Azure's nor the one of AZURE_KEY_VAULT_URI"))?;
    let service = Service::at(&found.http, &format!("https://{host}"));
    Ok((service.ok_or_else(|| denied("not the host of a vault"))?, scope, false))
}

/// What tokens for one of Azure's own vaults are for; `None` for any other host.
fn scope_of(host: &str) -> Option<&'static str> {
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let (_, scope) = DOMAINS.iter().find(|(domain, _)| host.strip_suffix(domain).is_some_and(plain))?;
    Some(scope)
}
