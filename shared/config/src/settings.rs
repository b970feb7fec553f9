//! Keyturn's own settings: environment variables.

use std::time::Duration;

use keyturn_ambient::Env;

use crate::config::Config;
use crate::error::ConfigError;
use crate::lookup;
use crate::reference::SecretRef;
use crate::source::ConfigSource;
use crate::value::Value;

/// Keyturn's own settings. Each field names its environment variable; an unset or empty one leaves the default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `KEYTURN_CONFIG`: the configuration file, a path or a secret reference. Default `config.yaml`.
    pub config: ConfigSource,
    /// `KEYTURN_KEY_STORE`: where virtual keys live, `dynamodb:TABLE`, `vault` or `vault:PATH`; or `KEYTURN_TABLE`:
    /// the DynamoDB table. Default none: the master key is the only key.
    pub key_store: Option<String>,
    /// `KEYTURN_MASTER_KEY`, else `LITELLM_MASTER_KEY`: the master key or a reference to it. Default
    /// `general_settings.master_key`; [`Settings::master_key`] chooses.
    pub master_key: Option<Value>,
    /// Whether it is `KEYTURN_MASTER_KEY`.
    master_key_is_own: bool,
    /// `KEYTURN_PROVIDER_SECRET`: a reference to one JSON (or `KEY=value`) secret without a field, in which
    /// `os.environ/NAME` is looked up in fields that bear a secret, unless the file names a key management system to
    /// read from. [`Config::parse`] reads it. Default none: the environment.
    pub provider_secret: Option<SecretRef>,
    /// `KEYTURN_KEY_CACHE_SECONDS`: how long a virtual key without limits is served from memory. Default 10.
    pub key_cache: Duration,
    /// `KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS`: the age at which a provider credential is refreshed, while it still
    /// serves. Default 300.
    pub credential_soft_ttl: Duration,
    /// `KEYTURN_CREDENTIAL_HARD_TTL_SECONDS`: the age at which a provider credential no longer serves. Default 3600.
    pub credential_hard_ttl: Duration,
    /// `KEYTURN_RESPONSE_MODE`: `auto`, `streaming` or `buffered`. Default `auto`.
    pub response_mode: ResponseMode,
    /// `KEYTURN_LOG_LEVEL`: `error`, `warn` or `info`. Default `info`.
    pub log_level: LogLevel,
}

/// How a Lambda function hands its response over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// By the event: function URLs and REST APIs stream, HTTP APIs and load balancers cannot.
    #[default]
    Auto,
    /// Always as a stream.
    Streaming,
    /// Always whole.
    Buffered,
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What needs a person.
    Error,
    /// What is wrong and was survived.
    Warn,
    /// One line a request.
    #[default]
    Info,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Variable`] names the variable whose value cannot be used.
    pub fn from_env(env: &dyn Env) -> Result<Self, ConfigError> {
        let config = env.var(CONFIG).unwrap_or_else(|| "config.yaml".to_owned());
        let soft = seconds(env, SOFT_TTL, 300)?;
        let hard = seconds(env, HARD_TTL, 3600)?;
        if hard.is_zero() {
            return Err(wrong(HARD_TTL, "must be more than zero"));
        }
        if soft > hard {
            return Err(wrong(SOFT_TTL, format!("must not be more than {HARD_TTL}")));
        }
        let modes = [
            ("auto", ResponseMode::Auto),
            ("streaming", ResponseMode::Streaming),
            ("buffered", ResponseMode::Buffered),
        ];
        let own_master_key = master_key(env, "KEYTURN_MASTER_KEY")?;
        let levels = [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info)];
        Ok(Self {
            config: ConfigSource::read(&config).map_err(|error| wrong(CONFIG, error.to_string()))?,
            key_store: match (env.var(KEY_STORE), env.var("KEYTURN_TABLE")) {
                (Some(_), Some(_)) => return Err(wrong(KEY_STORE, "must not be set with KEYTURN_TABLE")),
                (store, None) => store,
                (None, Some(table)) => Some(format!("dynamodb:{table}")),
            },
            master_key_is_own: own_master_key.is_some(),
            master_key: match own_master_key {
                Some(key) => Some(key),
                None => master_key(env, "LITELLM_MASTER_KEY")?,
            },
            provider_secret: provider_secret(env)?,
            key_cache: seconds(env, "KEYTURN_KEY_CACHE_SECONDS", 10)?,
            credential_soft_ttl: soft,
            credential_hard_ttl: hard,
            response_mode: choice(env, "KEYTURN_RESPONSE_MODE", &modes)?,
            log_level: choice(env, "KEYTURN_LOG_LEVEL", &levels)?,
        })
    }

    /// The master key in effect: the environment's, else the file's. Where the file says that a manager hosts
    /// `LITELLM_MASTER_KEY`, that is the one, and not what the environment has under this name.
    #[must_use]
    pub fn master_key<'a>(&'a self, config: &'a Config) -> Option<&'a Value> {
        let hosted = config.general.hosted_master_key.as_ref().filter(|_| !self.master_key_is_own);
        hosted.or(self.master_key.as_ref()).or(config.general.master_key.as_ref())
    }
}

const CONFIG: &str = "KEYTURN_CONFIG";
const KEY_STORE: &str = "KEYTURN_KEY_STORE";
const SOFT_TTL: &str = "KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS";
const HARD_TTL: &str = "KEYTURN_CREDENTIAL_HARD_TTL_SECONDS";

fn wrong(variable: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Variable { variable, problem: problem.into() }
}

fn master_key(env: &dyn Env, variable: &'static str) -> Result<Option<Value>, ConfigError> {
    // What AWS KMS encrypted, here or where LiteLLM has it.
    if let Ok(found) = lookup::variable(variable, env)
        && found.scheme != "env"
    {
        return Ok(Some(Value::Reference(found)));
    }
    let Some(text) = env.var(variable) else { return Ok(None) };
    let read = match text.strip_prefix("os.environ/") {
        Some(name) => lookup::variable(name, env).map(Value::Reference),
        None => Value::read(&text),
    };
    read.map(Some).map_err(|error| wrong(variable, error.to_string()))
}

/// `KEYTURN_PROVIDER_SECRET`.
pub(crate) fn provider_secret(env: &dyn Env) -> Result<Option<SecretRef>, ConfigError> {
    let variable = "KEYTURN_PROVIDER_SECRET";
    let Some(text) = env.var(variable) else { return Ok(None) };
    match SecretRef::explicit(&text) {
        Ok(Some(reference)) if reference.field.is_none() && reference.scheme != "env" => Ok(Some(reference)),
        Ok(_) => Err(wrong(
            variable,
            "must be a reference to a whole secret: aws-secretsmanager:NAME or file:PATH",
        )),
        Err(error) => Err(wrong(variable, error.to_string())),
    }
}

fn seconds(env: &dyn Env, variable: &'static str, default: u32) -> Result<Duration, ConfigError> {
    let seconds = match env.var(variable) {
        None => Ok(default),
        // A u32 is 136 years: sums of such times stay far from any overflow.
        Some(text) => text.parse().map_err(|_| wrong(variable, "must be a whole number of seconds")),
    };
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

fn choice<T: Copy + Default>(
    env: &dyn Env,
    variable: &'static str,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    let Some(text) = env.var(variable) else { return Ok(T::default()) };
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
    found.map(|(_, choice)| *choice).ok_or_else(|| wrong(variable, format!("must be one of {}", names())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use secrecy::ExposeSecret;

    use super::*;

    fn env(variables: &[(&str, &str)]) -> HashMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults() {
        let settings = Settings::from_env(&env(&[])).unwrap();
        assert_eq!(settings.config, ConfigSource::File(PathBuf::from("config.yaml")));
        assert_eq!(settings.key_store, None);
        assert!(settings.master_key.is_none());
        assert_eq!(settings.provider_secret, None);
        assert_eq!(settings.key_cache, Duration::from_secs(10));
        assert_eq!(settings.credential_soft_ttl, Duration::from_secs(300));
        assert_eq!(settings.credential_hard_ttl, Duration::from_secs(3600));
        assert_eq!(settings.response_mode, ResponseMode::Auto);
        assert_eq!(settings.log_level, LogLevel::Info);
    }

    #[test]
    fn reads_every_variable() {
        let settings = Settings::from_env(&env(&[
            ("KEYTURN_CONFIG", "aws-secretsmanager:prod/keyturn/config"),
            ("KEYTURN_TABLE", "keys"),
            ("KEYTURN_MASTER_KEY", "aws-secretsmanager:prod/master"),
            ("KEYTURN_PROVIDER_SECRET", "file:/vault/providers.env"),
            ("KEYTURN_KEY_CACHE_SECONDS", "0"),
            ("KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS", "60"),
            ("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", "60"),
            ("KEYTURN_RESPONSE_MODE", "Buffered"),
            ("KEYTURN_LOG_LEVEL", "WARN"),
        ]))
        .unwrap();
        let config = ConfigSource::Secret("aws-secretsmanager:prod/keyturn/config".parse().unwrap());
        assert_eq!(settings.config, config);
        assert_eq!(settings.key_store.as_deref(), Some("dynamodb:keys"));
        let vault = Settings::from_env(&env(&[("KEYTURN_KEY_STORE", "vault:prod")])).unwrap();
        assert_eq!(vault.key_store.as_deref(), Some("vault:prod"));
        let master = settings.master_key.as_ref().unwrap().reference().unwrap().to_string();
        assert_eq!(master, "aws-secretsmanager:prod/master");
        assert_eq!(settings.provider_secret, Some("file:/vault/providers.env".parse().unwrap()));
        assert_eq!(settings.key_cache, Duration::ZERO);
        assert_eq!(settings.credential_soft_ttl, Duration::from_secs(60));
        assert_eq!(settings.credential_hard_ttl, Duration::from_secs(60));
        assert_eq!(settings.response_mode, ResponseMode::Buffered);
        assert_eq!(settings.log_level, LogLevel::Warn);
    }

    #[test]
    fn names_the_variable_and_never_the_value() {
        for (variables, expected) in [
            (&[("KEYTURN_CONFIG", "vault:#canary")][..], "KEYTURN_CONFIG names no secret after the scheme"),
            (
                &[("KEYTURN_KEY_STORE", "canary"), ("KEYTURN_TABLE", "canary")],
                "KEYTURN_KEY_STORE must not be set with KEYTURN_TABLE",
            ),
            (
                &[("KEYTURN_MASTER_KEY", "env:sk-canary")],
                "KEYTURN_MASTER_KEY is not the name of an environment variable",
            ),
            (
                &[("LITELLM_MASTER_KEY", "file:#canary")],
                "LITELLM_MASTER_KEY names no secret after the scheme",
            ),
            (
                &[("KEYTURN_PROVIDER_SECRET", "canary")],
                "KEYTURN_PROVIDER_SECRET must be a reference to a whole secret: aws-secretsmanager:NAME or file:PATH",
            ),
            (
                &[("KEYTURN_PROVIDER_SECRET", "file:/a#canary")],
                "KEYTURN_PROVIDER_SECRET must be a reference to a whole secret: aws-secretsmanager:NAME or file:PATH",
            ),
            (
                &[("KEYTURN_KEY_CACHE_SECONDS", "canary")],
                "KEYTURN_KEY_CACHE_SECONDS must be a whole number of seconds",
            ),
            (
                &[("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", "0")],
                "KEYTURN_CREDENTIAL_HARD_TTL_SECONDS must be more than zero",
            ),
            (
                &[
                    ("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", "10"),
                    ("KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS", "11"),
                ],
                "KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS must not be more than KEYTURN_CREDENTIAL_HARD_TTL_SECONDS",
            ),
            (
                &[("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", "299")],
                "KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS must not be more than KEYTURN_CREDENTIAL_HARD_TTL_SECONDS",
            ),
            (
                &[("KEYTURN_RESPONSE_MODE", "canary")],
                "KEYTURN_RESPONSE_MODE must be one of auto, streaming, buffered",
            ),
            (&[("KEYTURN_LOG_LEVEL", "canary")], "KEYTURN_LOG_LEVEL must be one of error, warn, info"),
        ] {
            let error = Settings::from_env(&env(variables)).unwrap_err().to_string();
            assert_eq!(error, format!("the environment variable {expected}"));
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n\
                    general_settings: {master_key: sk-of-the-file}";
        let config = Config::parse(file, &env(&[])).unwrap();
        for (variables, expected) in [
            (&[][..], "sk-of-the-file"),
            (&[("LITELLM_MASTER_KEY", "sk-of-litellm")], "sk-of-litellm"),
            (&[("LITELLM_MASTER_KEY", "sk-of-litellm"), ("KEYTURN_MASTER_KEY", "sk-own")], "sk-own"),
        ] {
            let settings = Settings::from_env(&env(variables)).unwrap();
            let Some(Value::Literal(key)) = settings.master_key(&config) else {
                panic!("no literal master key")
            };
            assert_eq!(key.expose_secret(), expected);
            assert!(!format!("{settings:?}").contains("sk-"));
        }
    }

    #[test]
    fn a_master_key_that_a_manager_hosts_is_not_the_environments() {
        let file = |system: &str, hosted: &str| {
            format!(
                "model_list: [{{model_name: a, litellm_params: {{model: openai/a}}}}]\n\
                 general_settings: {{key_management_system: {system}, key_management_settings: {{{hosted}}}}}"
            )
        };
        let hosted = "hosted_keys: [LITELLM_MASTER_KEY]";
        let ciphertext = ("LITELLM_MASTER_KEY", "AQICAHhciphertext=");
        for (system, hosted, variables, expected) in [
            ("aws_kms", hosted, &[ciphertext][..], "aws-kms:env/LITELLM_MASTER_KEY"),
            ("aws_secret_manager", hosted, &[ciphertext], "aws-secretsmanager:LITELLM_MASTER_KEY"),
            ("aws_kms", hosted, &[ciphertext, ("KEYTURN_MASTER_KEY", "env:OWN")], "env:OWN"),
            ("aws_kms", "hosted_keys: [OTHER]", &[("LITELLM_MASTER_KEY", "env:OWN")], "env:OWN"),
            ("local", "", &[("LITELLM_MASTER_KEY", "aws_kms/AQIC+/=")], "aws-kms:env/LITELLM_MASTER_KEY"),
            (
                "local",
                "",
                &[("USE_AWS_KMS", "True"), ("LITELLM_SECRET_AWS_KMS_LITELLM_MASTER_KEY", "AQIC")],
                "aws-kms:env/LITELLM_SECRET_AWS_KMS_LITELLM_MASTER_KEY",
            ),
        ] {
            let config = Config::parse(&file(system, hosted), &env(variables)).unwrap();
            let settings = Settings::from_env(&env(variables)).unwrap();
            let key = settings.master_key(&config).unwrap();
            assert_eq!(key.reference().unwrap().to_string(), expected, "{system} {hosted} {variables:?}");
        }
    }
}
