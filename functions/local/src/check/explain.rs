//! `keyturn check --explain`: where one value comes from, and why. Names only, and whether variables are set.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use comfy_table::Table;
use keyturn_ambient::{Env, with_causes};
use keyturn_config::{Names, SecretRef, Value};
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};

use super::CheckError;
use super::look::Surroundings;
use super::rows::{Row, Written};
use super::verdict::Verdict;
use crate::look::{DIM, PLAIN};

/// What LiteLLM writes before a name.
const PREFIX: &str = "os.environ/";

/// A value to explain, and where it stands.
struct Case {
    /// What the file has there, in words.
    places: Vec<String>,
    /// The name that is looked up.
    name: Option<String>,
    value: Value,
}

/// Explains all that `asked` may mean; whether each can be read.
pub(super) async fn explain(
    asked: &str,
    rows: &[Row],
    names: &Names,
    found: &Surroundings,
) -> Result<bool, CheckError> {
    let asked = asked.strip_prefix(PREFIX).unwrap_or(asked);
    let mut cases = Vec::new();
    for row in rows {
        let Some(value) = &row.value else { continue };
        let reference = row.reference().map(ToString::to_string);
        let is_meant = asked == row.path
            || (!row.model.is_empty() && (asked == row.model || asked == row.deployment))
            || row.name() == Some(asked)
            || reference.as_deref() == Some(asked);
        if is_meant {
            add(&mut cases, place(row), row.name(), value);
        }
    }
    for named in &names.named {
        let reference = named.value.reference().map(ToString::to_string);
        let is_told = rows.iter().any(|row| row.path == named.path);
        if !is_told && (asked == named.path || asked == named.name || reference.as_deref() == Some(asked)) {
            let is_variable = named.path.starts_with("environment_variables.");
            let place = if is_variable { format!("{} sets it", named.path) } else { names_it(&named.path) };
            // What a variable refers to is not what its name means: the manager comes first.
            add(&mut cases, place, (!is_variable).then_some(named.name.as_str()), &named.value);
        }
    }
    if cases.is_empty() {
        cases.push(unwritten(asked, names, &*found.env)?);
    }
    let mut all = true;
    for (at, case) in cases.iter().enumerate() {
        if at > 0 {
            anstream::println!();
        }
        all &= tell(case, names, found).await;
    }
    Ok(all)
}

fn names_it(path: &str) -> String {
    format!("{path} names it")
}

fn place(row: &Row) -> String {
    match &row.written {
        Written::Name(_) => names_it(&row.path),
        Written::Default(name) => format!("{} is absent: {} stands for it", row.path, name),
        Written::Plainly => match &row.value {
            Some(Value::Reference(_)) => format!("{} refers to it", row.path),
            Some(Value::Literal(_)) | None => format!("{} is it", row.path),
        },
    }
}

/// Adds a case, or a place to one.
fn add(cases: &mut Vec<Case>, place: String, name: Option<&str>, value: &Value) {
    let same = cases.iter_mut().find(|case| {
        case.name.as_deref() == name
            && value.reference().is_some()
            && case.value.reference() == value.reference()
    });
    match same {
        Some(case) => case.places.push(place),
        None => cases.push(Case { places: vec![place], name: name.map(str::to_owned), value: value.clone() }),
    }
}

/// What the file does not have: it can be explained all the same.
fn unwritten(asked: &str, names: &Names, env: &dyn Env) -> Result<Case, CheckError> {
    let places = vec!["nothing in the configuration asks for it".to_owned()];
    if let Ok(Some(reference)) = SecretRef::explicit(asked) {
        return Ok(Case { places, name: None, value: Value::Reference(reference) });
    }
    // What cannot be a variable may be a key that was pasted here.
    SecretRef::env(asked).map_err(|_| CheckError::Nothing)?;
    let value = names.meaning(asked, env).map_err(|_| CheckError::Nothing)?;
    Ok(Case { places, name: Some(asked.to_owned()), value })
}

async fn tell(case: &Case, names: &Names, found: &Surroundings) -> bool {
    let mut table = Table::new();
    table.load_style(PLAIN);
    let mut line = |label: &str, text: String| {
        table.add_row([label.to_owned(), text]);
    };
    if let Some(name) = &case.name {
        line("name", name.clone());
    }
    for (at, place) in case.places.iter().enumerate() {
        line(if at == 0 { "written" } else { "" }, place.clone());
    }
    if let Some(name) = &case.name {
        let set = found.env.var(name).is_some();
        line("manager", manager(name, &case.value, names, &*found.env));
        let variables = if names.lookup.variables.contains_key(name) { "set it" } else { "do not set it" };
        line("environment_variables", variables.to_owned());
        line("environment", if set { "it is set" } else { "it is not set" }.to_owned());
    }
    let Value::Reference(reference) = &case.value else {
        line("so it is", "a text that the configuration holds itself".to_owned());
        print(&table);
        return true;
    };
    line("so it is", reference.to_string());
    // A store of its own, so that what it asks the environment for is seen.
    let noted = Arc::new(Noted { under: Arc::clone(&found.env), asked: Mutex::default() });
    let stores = Stores::new(Arc::clone(&noted) as _, &found.http, Arc::clone(&found.clock));
    let cache = CredentialCache::new(stores, Arc::clone(&found.clock), CacheSettings::default());
    let read = tokio::time::timeout(found.timeout, cache.get(reference)).await;
    let settings = noted.names(&reference.name);
    for (label, set) in [("settings", true), ("not set", false)] {
        let names = settings.iter().filter(|(_, is_set)| **is_set == set);
        let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            line(label, names.join(", "));
        }
    }
    let (verdict, why) = match read {
        Ok(Ok(secret)) => (Verdict::Ok, format!("version {}", secret.version)),
        Ok(Err(error)) => (Verdict::of(&error), with_causes(&error)),
        Err(_) => (Verdict::Unavailable, "the store took too long".to_owned()),
    };
    print(&table);
    let style = verdict.style();
    anstream::println!("{style}{}{style:#}: {why}", verdict.name());
    verdict == Verdict::Ok
}

/// Whether the manager has a name, and why.
fn manager(name: &str, value: &Value, names: &Names, env: &dyn Env) -> String {
    let variable = names.lookup.variables.get(name).and_then(Value::reference);
    let environment = SecretRef::env(name).ok();
    let is_hosted = value
        .reference()
        .is_some_and(|reference| Some(reference) != variable && Some(reference) != environment.as_ref());
    let document = env.var("KEYTURN_PROVIDER_SECRET").is_some();
    match (&names.system, &names.hosted_keys) {
        (None, _) if is_hosted && document => "KEYTURN_PROVIDER_SECRET has every name".to_owned(),
        (None, _) => "none: general_settings has no key_management_system".to_owned(),
        (Some(system), Some(_)) if is_hosted => format!("{system}: hosted_keys has it"),
        (Some(system), None) if is_hosted => format!("{system}: it has every name, without hosted_keys"),
        (Some(system), Some(hosted)) if !hosted.iter().any(|hosted| hosted == name) => {
            format!("{system}, but hosted_keys does not have it")
        }
        (Some(system), _) => format!("{system}, which no name is read from"),
    }
}

fn print(table: &Table) {
    for line in table.to_string().lines() {
        let line = line.trim_end();
        // The first column says what it is.
        let end = line.find("  ").unwrap_or(0);
        let (label, rest) = line.split_at(end);
        anstream::println!("{DIM}{label}{DIM:#}{rest}");
    }
}

/// An environment that notes what it is asked for.
struct Noted {
    under: Arc<dyn Env>,
    /// Whether each name is set.
    asked: Mutex<BTreeMap<String, bool>>,
}

impl Noted {
    /// The names, except the one that is the secret itself.
    fn names(&self, secret: &str) -> BTreeMap<String, bool> {
        let mut names = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        names.remove(secret);
        names
    }
}

impl Env for Noted {
    fn var(&self, name: &str) -> Option<String> {
        let value = self.under.var(name);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(name.to_owned(), value.is_some());
        value
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// What is told of the manager and a name.
    fn told(general: &str, name: &str, variables: &[(&str, &str)]) -> String {
        let env: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let yaml = format!("general_settings: {general}\nenvironment_variables: {{SET: 'vault:secret/set'}}");
        let names = Names::read(&yaml, &env).unwrap();
        manager(name, &names.meaning(name, &env).unwrap(), &names, &env)
    }

    #[test]
    fn it_is_said_why_a_manager_has_a_name_or_not() {
        let aws = |more: &str| format!("{{key_management_system: aws_secret_manager{more}}}");
        let hosted = aws(", key_management_settings: {hosted_keys: [A]}");
        for (general, name, expected) in [
            ("{}", "A", "none: general_settings has no key_management_system"),
            (&aws(""), "A", "aws_secret_manager: it has every name, without hosted_keys"),
            (&aws(""), "SET", "aws_secret_manager: it has every name, without hosted_keys"),
            (&hosted, "A", "aws_secret_manager: hosted_keys has it"),
            (&hosted, "B", "aws_secret_manager, but hosted_keys does not have it"),
            (&hosted, "SET", "aws_secret_manager, but hosted_keys does not have it"),
            (
                &aws(", key_management_settings: {access_mode: write_only}"),
                "A",
                "aws_secret_manager, which no name is read from",
            ),
        ] {
            assert_eq!(told(general, name, &[]), expected, "{general} {name}");
        }
        let document = [("KEYTURN_PROVIDER_SECRET", "file:/providers.json")];
        assert_eq!(told("{}", "A", &document), "KEYTURN_PROVIDER_SECRET has every name");
    }

    #[test]
    fn an_environment_notes_names_and_no_values() {
        let under: HashMap<String, String> = [("A".to_owned(), "CANARY".to_owned())].into_iter().collect();
        let noted = Noted { under: Arc::new(under), asked: Mutex::default() };
        for name in ["A", "B", "SECRET"] {
            noted.var(name);
        }
        let names = noted.names("SECRET");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), [("A".to_owned(), true), ("B".to_owned(), false)]);
    }
}
