//! Which variables a program gets, and what each means.
//!
//! A name that the file looks up means what it means there: the key management system comes first, then
//! `environment_variables`, then the environment. A name that only `environment_variables` has is what stands there.

use keyturn_ambient::Env;
use keyturn_config::{ConfigError, Named, Names, SecretRef, Value};
use keyturn_request::provider_of;
use secrecy::ExposeSecret;

/// A variable.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    /// The field of the file that asks for it.
    pub(super) path: String,
    pub(super) value: Value,
    /// Whether nothing is started without it.
    pub(super) is_needed: bool,
}

/// What is wrong with what was asked for.
#[derive(Debug)]
pub(super) enum Wrong {
    /// A name cannot be looked up.
    Config(ConfigError),
    /// `--only` has a name that there is not.
    NoSuchName(String),
}

impl Variable {
    /// Where it comes from, in words.
    pub(super) fn origin(&self) -> String {
        match &self.value {
            Value::Reference(reference) => reference.to_string(),
            Value::Literal(text) if text.expose_secret().is_empty() => "(unset)".to_owned(),
            Value::Literal(_) => "(the configuration itself)".to_owned(),
        }
    }
}

/// The variables of the file, those of `only` if it has any; then `also`, which wins.
pub(super) fn variables(
    names: &Names,
    env: &dyn Env,
    only: &[String],
    also: Vec<(String, SecretRef)>,
) -> Result<Vec<Variable>, Wrong> {
    let mut variables: Vec<Variable> = Vec::new();
    // What is looked up says what a name means; what is only set comes last. The field that asks for a name says more of
    // it than a list of names.
    let rank = |path: &str| match path {
        path if path.starts_with("environment_variables.") => 2,
        path if path.ends_with(".hosted_keys") => 1,
        _ => 0,
    };
    let mut named: Vec<&Named> = names.named.iter().collect();
    named.sort_by_key(|named| rank(&named.path));
    for named in named {
        add(&mut variables, &named.name, &named.path, named.value.clone(), true);
    }
    for entry in &names.entries {
        let has = |name: &str| entry.fields.iter().any(|field| field == name);
        let Some((provider, _)) = provider_of(entry.custom_llm_provider.as_deref(), &entry.model) else {
            continue;
        };
        // The default credential is not for another endpoint, and a mock needs none.
        if has("api_base") || has("mock_response") {
            continue;
        }
        for (at, field) in provider.credential_fields().iter().enumerate() {
            if let Some(variable) = field.default_env.filter(|_| !has(field.name)) {
                let value = names.meaning(variable, env).map_err(Wrong::Config)?;
                let path = format!("{}.litellm_params.{}, absent", entry.path, field.name);
                // The first field is the one that is required.
                add(&mut variables, variable, &path, value, at == 0);
            }
        }
    }
    for name in only {
        if !variables.iter().any(|variable| variable.name == *name) {
            // What cannot be a variable may be a key in the wrong place.
            let shown = SecretRef::env(name).map_or("a name that is not shown", |_| name);
            return Err(Wrong::NoSuchName(shown.to_owned()));
        }
    }
    variables.retain(|variable| only.is_empty() || only.contains(&variable.name));
    for (name, reference) in also {
        variables.retain(|variable| variable.name != name);
        let value = Value::Reference(reference);
        variables.push(Variable { name, path: "--also".to_owned(), value, is_needed: true });
    }
    Ok(variables)
}

/// Adds a variable, unless it is there.
fn add(variables: &mut Vec<Variable>, name: &str, path: &str, value: Value, is_needed: bool) {
    match variables.iter_mut().find(|variable| variable.name == name) {
        Some(variable) => variable.is_needed |= is_needed,
        None => variables.push(Variable { name: name.to_owned(), path: path.to_owned(), value, is_needed }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const FILE: &str = "
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: os.environ/A_KEY}}
  - {model_name: b, litellm_params: {model: claude-haiku-4-5, custom_llm_provider: anthropic}}
  - {model_name: c, litellm_params: {model: openai/c, api_base: 'https://c.example'}}
  - {model_name: d, litellm_params: {model: openai/d, mock_response: d}}
  - {model_name: e, litellm_params: {model: nobodys/e}}
general_settings:
  key_management_system: aws_secret_manager
  key_management_settings: {hosted_keys: [A_KEY, DATABASE_URL]}
environment_variables: {A_KEY: theirs, PLAIN: text, EMPTY: '', REFERS: 'vault:secret/x#Y'}
";

    fn told(only: &[&str], also: &[(&str, &str)]) -> Result<Vec<String>, Wrong> {
        let names = Names::read(FILE, &HashMap::new()).unwrap();
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let also = also.iter().map(|(name, text)| ((*name).to_owned(), text.parse().unwrap())).collect();
        let variables = variables(&names, &HashMap::new(), &only, also)?;
        Ok(variables.iter().map(|variable| format!("{}={}", variable.name, variable.origin())).collect())
    }

    #[test]
    fn a_name_means_what_it_means_in_the_file() {
        assert_eq!(
            told(&[], &[]).unwrap(),
            [
                "A_KEY=aws-secretsmanager:A_KEY",
                "DATABASE_URL=aws-secretsmanager:DATABASE_URL",
                "EMPTY=(unset)",
                "PLAIN=(the configuration itself)",
                "REFERS=vault:secret/x#Y",
                "ANTHROPIC_API_KEY=env:ANTHROPIC_API_KEY",
            ]
        );
    }

    #[test]
    fn only_and_also_choose() {
        let also = [("A_KEY", "file:/a"), ("NEW", "env:OTHER")];
        assert_eq!(
            told(&["REFERS", "A_KEY"], &also).unwrap(),
            ["REFERS=vault:secret/x#Y", "A_KEY=file:/a", "NEW=env:OTHER"]
        );
        for (name, shown) in [("NOBODYS", "NOBODYS"), ("sk-1234", "a name that is not shown")] {
            match told(&[name], &[]) {
                Err(Wrong::NoSuchName(name)) => assert_eq!(name, shown),
                other => panic!("{other:?}"),
            }
        }
    }
}
