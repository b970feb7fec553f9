//! What the environment says of the server.

use keyturn_ambient::Env;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::error::SetupError;
use crate::logins::{self, Login};

/// Where the server is and how to log in.
pub(crate) struct VaultSettings {
    pub(crate) address: Url,
    pub(crate) login_namespace: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) mount: String,
    pub(crate) prefix: Option<String>,
    /// A PEM file.
    pub(crate) roots: Option<String>,
    /// PEM files: the certificate, the key.
    pub(crate) identity: Option<(String, String)>,
    pub(crate) login: Box<dyn Login>,
}

pub(crate) const CA: &str = "HCP_VAULT_CACERT";
pub(crate) const CLIENT_CERT: &str = "HCP_VAULT_CLIENT_CERT";
pub(crate) const CLIENT_KEY: &str = "HCP_VAULT_CLIENT_KEY";
const ADDRESS: &str = "HCP_VAULT_ADDR";
const MOUNT: &str = "HCP_VAULT_MOUNT_NAME";
const PREFIX: &str = "HCP_VAULT_PATH_PREFIX";

impl VaultSettings {
    /// Reads the environment; files are not read yet.
    ///
    /// # Errors
    ///
    /// [`SetupError::Variable`] names the variable.
    pub(crate) fn from_env(env: &dyn Env) -> Result<Self, SetupError> {
        let address = env.var(ADDRESS).unwrap_or_else(|| "http://127.0.0.1:8200".to_owned());
        let address: Url = address.parse().map_err(|_| SetupError::variable(ADDRESS, "is no address"))?;
        if !matches!(address.scheme(), "http" | "https") || !address.has_host() {
            return Err(SetupError::variable(ADDRESS, "must begin with https:// or http://"));
        }
        let bare =
            matches!(address.path(), "" | "/") && address.query().is_none() && address.fragment().is_none();
        if !bare || !address.username().is_empty() || address.password().is_some() {
            return Err(SetupError::variable(ADDRESS, "must be scheme, host and port only"));
        }
        let namespace = namespace(env, "HCP_VAULT_NAMESPACE")?;
        let login_namespace = namespace_or(env, "HCP_VAULT_LOGIN_NAMESPACE", namespace.as_ref())?;
        let namespace = namespace_or(env, "HCP_VAULT_SECRET_NAMESPACE", namespace.as_ref())?;
        Ok(Self {
            address,
            login_namespace,
            namespace,
            mount: path(MOUNT, &env.var(MOUNT).unwrap_or_else(|| "secret".to_owned()))?,
            prefix: env.var(PREFIX).map(|prefix| path(PREFIX, &prefix)).transpose()?,
            roots: env.var(CA),
            identity: identity_files(env)?,
            login: logins::from_env(env)?,
        })
    }
}

/// The files of the client certificate.
pub(crate) fn identity_files(env: &dyn Env) -> Result<Option<(String, String)>, SetupError> {
    match (env.var(CLIENT_CERT), env.var(CLIENT_KEY)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, Some(_)) => Err(SetupError::variable(CLIENT_CERT, "is needed with HCP_VAULT_CLIENT_KEY")),
        (Some(_), None) => Err(SetupError::variable(CLIENT_KEY, "is needed with HCP_VAULT_CLIENT_CERT")),
    }
}

fn namespace(env: &dyn Env, variable: &'static str) -> Result<Option<String>, SetupError> {
    let namespace = env.var(variable);
    if namespace.as_ref().is_some_and(|namespace| HeaderValue::from_str(namespace).is_err()) {
        return Err(SetupError::variable(variable, "is no namespace"));
    }
    Ok(namespace)
}

fn namespace_or(
    env: &dyn Env,
    variable: &'static str,
    default: Option<&String>,
) -> Result<Option<String>, SetupError> {
    Ok(namespace(env, variable)?.or_else(|| default.cloned()))
}

/// A path without slashes at its ends.
pub(crate) fn path(variable: &'static str, text: &str) -> Result<String, SetupError> {
    let text = text.trim_matches('/');
    if is_path(text) { Ok(text.to_owned()) } else { Err(SetupError::variable(variable, "is no path")) }
}

/// Whether a text is a path: whether every part of it names something. URLs leave the others out, and then name
/// something else.
#[must_use]
pub fn is_path(text: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    text.split('/').all(is_part)
}
