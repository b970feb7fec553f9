//! What there is to look at: every secret field of the configuration, and who reads it.

use keyturn_config::{Named, Names, SecretRef, Settings, Value};
use keyturn_providers::CredentialField;
use keyturn_request::{Loaded, Upstream};

/// A secret field, or a deployment that has none.
#[derive(Debug)]
pub(super) struct Row {
    /// `model_name`; empty where no deployment reads it.
    pub(super) model: String,
    /// The provider and its model, `openai/gpt-5`; empty where no deployment reads it.
    pub(super) deployment: String,
    /// Its path: `model_list[0].litellm_params.api_key`.
    pub(super) path: String,
    /// The last part of the path; empty for a deployment without a secret.
    pub(super) field: String,
    /// How the file comes to it.
    pub(super) written: Written,
    /// What it is; `None` for a deployment without a secret.
    pub(super) value: Option<Value>,
    /// The name by which its provider asks for it.
    pub(super) secret_field: Option<&'static str>,
    /// The place in the list of deployments of the one that reads it.
    pub(super) upstream: Option<usize>,
}

/// How the file comes to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// As `os.environ/NAME`.
    Name(String),
    /// Not at all: this is the variable that the provider's credential is read from then.
    Default(&'static str),
    /// As a reference, or as the secret itself.
    Plainly,
}

impl Row {
    pub(super) fn reference(&self) -> Option<&SecretRef> {
        self.value.as_ref().and_then(Value::reference)
    }

    /// The name that is looked up.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.written {
            Written::Name(name) => Some(name),
            Written::Default(name) => Some(name),
            Written::Plainly => None,
        }
    }
}

/// Deployments first, in the order of the file; then the master key; then what `environment_variables` refer to and
/// nothing else does.
pub(super) fn rows(settings: &Settings, loaded: &Loaded, names: &Names) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, upstream) in loaded.upstreams.iter().enumerate() {
        of_deployment(at, upstream, names, &mut rows);
    }
    let own = loaded.config.general.master_key.as_ref();
    // The environment wins over the file.
    if let Some(key) = settings.master_key(&loaded.config) {
        let from_file = settings.master_key.is_none() && own.is_some();
        let path = if from_file { MASTER } else { "KEYTURN_MASTER_KEY" };
        rows.push(Row {
            model: String::new(),
            deployment: String::new(),
            field: path.rsplit('.').next().unwrap_or_default().to_owned(),
            written: written(names, path),
            path: path.to_owned(),
            value: Some(key.clone()),
            secret_field: None,
            upstream: None,
        });
    }
    for (name, value) in &names.lookup.variables {
        let known = |reference: &SecretRef| rows.iter().any(|row| row.reference() == Some(reference));
        if value.reference().is_some_and(|reference| !known(reference)) {
            rows.push(Row {
                model: String::new(),
                deployment: String::new(),
                path: format!("environment_variables.{name}"),
                field: name.clone(),
                written: Written::Plainly,
                value: Some(value.clone()),
                secret_field: None,
                upstream: None,
            });
        }
    }
    rows
}

const MASTER: &str = "general_settings.master_key";

fn of_deployment(at: usize, upstream: &Upstream, names: &Names, rows: &mut Vec<Row>) {
    let deployment = format!("{}/{}", upstream.provider().name(), upstream.target().model);
    let entry = format!("model_list[{}]", upstream.index());
    let row = |path: String, secret_field: Option<&'static str>, written, value| Row {
        model: upstream.group().to_owned(),
        deployment: deployment.clone(),
        path,
        field: secret_field.unwrap_or_default().to_owned(),
        written,
        value,
        secret_field,
        upstream: Some(at),
    };
    if upstream.secrets().is_empty() {
        rows.push(row(entry.clone(), None, Written::Plainly, None));
    }
    let fields = names.entries.iter().find(|other| other.path == entry).map(|entry| &entry.fields);
    for (field, value) in upstream.secrets() {
        let path = format!("{entry}.litellm_params.{field}");
        let is_written = fields.is_some_and(|fields| fields.iter().any(|name| name == field));
        let mut declared = upstream.provider().credential_fields().iter();
        let default = declared.find(|declared| declared.name == *field).filter(|_| !is_written);
        let written = match default {
            Some(CredentialField { default_env: Some(variable), .. }) => Written::Default(variable),
            _ => written(names, &path),
        };
        rows.push(row(path, Some(field), written, Some(value.clone())));
    }
}

fn written(names: &Names, path: &str) -> Written {
    let named = names.named.iter().find(|named: &&Named| named.path == path);
    named.map_or(Written::Plainly, |named| Written::Name(named.name.clone()))
}
