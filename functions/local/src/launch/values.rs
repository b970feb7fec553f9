//! Reading the variables' values. They are secrets until they stand in a program's environment.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use keyturn_ambient::with_causes;
use keyturn_config::{SecretRef, Value};
use keyturn_secrets::{CredentialCache, SecretError, SecretValue, VersionId};

use super::variables::Variable;
use super::watch::{Look, Looking};

/// What a program's environment gets. Its `Debug` shows names only.
#[derive(Clone)]
pub(super) struct Values(Vec<One>);

#[derive(Clone)]
struct One {
    name: String,
    /// `None`: the variable is taken out.
    value: Option<SecretValue>,
    version: Option<VersionId>,
}

/// A secret that cannot be had, and who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    name: String,
    path: String,
    why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.path, self.why)
    }
}

impl Values {
    /// Each variable and its value, or nothing where it is to be taken out. Expose a value where the environment is built.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Option<&SecretValue>)> {
        self.0.iter().map(|one| (one.name.as_str(), one.value.as_ref()))
    }

    /// The version of a variable's value.
    pub(super) fn version(&self, name: &str) -> Option<VersionId> {
        self.0.iter().find(|one| one.name == name)?.version.clone()
    }

    /// The variables that have another value here than in `other`. A version alone makes no difference: one of a document
    /// changes with any of its fields.
    pub(super) fn changed<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let value = |one: &'a One| one.value.as_ref().map(SecretValue::expose);
        let same = |one: &'a One| other.0.iter().any(|old| old.name == one.name && value(old) == value(one));
        self.0.iter().filter(|one| !same(one)).map(|one| one.name.as_str()).collect()
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|one| &one.name)).finish()
    }
}

/// Reads the values of variables.
pub(super) struct Reader {
    variables: Vec<Variable>,
    credentials: CredentialCache,
    /// How many reads had failed when they were last looked at.
    failures: AtomicU64,
}

impl Reader {
    pub(super) fn new(variables: Vec<Variable>, credentials: CredentialCache) -> Self {
        Self { variables, credentials, failures: AtomicU64::new(0) }
    }

    pub(super) fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Reads all of them for the first time, in one batch for each store.
    pub(super) async fn read_first(&self) -> Result<Values, Vec<Missing>> {
        let references = self.variables.iter().filter_map(|variable| variable.value.reference());
        let references: Vec<SecretRef> = references.cloned().collect();
        // What could not be had is told below.
        let _ = self.credentials.prefetch(&references).await;
        let values = self.read().await;
        self.failures.store(self.failed(), Ordering::Relaxed);
        values
    }

    fn failed(&self) -> u64 {
        self.credentials.stats().total().failures
    }

    async fn read(&self) -> Result<Values, Vec<Missing>> {
        let all = join_all(self.variables.iter().map(|variable| self.one(variable))).await;
        let (mut values, mut missing) = (Vec::new(), Vec::new());
        for one in all {
            match one {
                Ok(one) => values.extend(one),
                Err(one) => missing.push(one),
            }
        }
        if missing.is_empty() { Ok(Values(values)) } else { Err(missing) }
    }

    /// `None`: it is not there, and need not be.
    async fn one(&self, variable: &Variable) -> Result<Option<One>, Missing> {
        let name = variable.name.clone();
        let missing = |why: String| Missing { name: name.clone(), path: variable.path.clone(), why };
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(missing("no variable can have this name".to_owned()));
        }
        let (value, version) = match &variable.value {
            Value::Literal(text) => (SecretValue::from(text.clone()), None),
            Value::Reference(reference) => match self.credentials.get(reference).await {
                Ok(secret) => (secret.value, Some(secret.version)),
                Err(SecretError::NotFound { .. }) if !variable.is_needed => return Ok(None),
                Err(error) => return Err(missing(with_causes(&error))),
            },
        };
        if value.expose().contains('\0') {
            return Err(missing("the value has a character that no environment can carry".to_owned()));
        }
        match (value.expose().is_empty(), &variable.value) {
            (false, _) => Ok(Some(One { name, value: Some(value), version })),
            // The file says so itself.
            (true, Value::Literal(_)) => Ok(Some(One { name, value: None, version })),
            (true, Value::Reference(_)) => Err(missing("the value is empty".to_owned())),
        }
    }
}

#[async_trait]
impl Looking for Reader {
    async fn look(&self) -> Look {
        let read = self.read().await;
        let failed = self.failed();
        let failing = self.failures.swap(failed, Ordering::Relaxed) < failed;
        match read {
            Err(missing) => {
                Look::Trouble(missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            // They are all there, but not all of today.
            Ok(_) if failing => Look::Trouble("a secret store cannot be read".to_owned()),
            Ok(values) => Look::Values(values),
        }
    }
}

#[cfg(test)]
pub(super) fn made(pairs: &[(&str, &str, &str)]) -> Values {
    let one = |(name, value, version): &(&str, &str, &str)| One {
        name: (*name).to_owned(),
        value: Some(SecretValue::from((*value).to_owned())),
        version: Some(VersionId::new(version)),
    };
    Values(pairs.iter().map(one).collect())
}

#[cfg(test)]
mod tests;
