//! Environment variables, injected.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where environment variables are read from. `HashMap<String, String>` is one, for tests.
pub trait Env: Send + Sync {
    /// The value of `name`; `None` when it is unset, empty or not UTF-8.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the process environment")]
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

impl Env for HashMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

/// An environment with variables of somebody else's laid over it.
pub struct Overlay {
    /// What wins.
    pub over: BTreeMap<String, String>,
    /// What is asked for the rest.
    pub under: Arc<dyn Env>,
}

impl Overlay {
    /// Lays variables over an environment; if there are none, it is that environment itself.
    #[must_use]
    pub fn over(variables: &BTreeMap<String, String>, env: &Arc<dyn Env>) -> Arc<dyn Env> {
        if variables.is_empty() {
            return Arc::clone(env);
        }
        Arc::new(Self { over: variables.clone(), under: Arc::clone(env) })
    }
}

impl Env for Overlay {
    fn var(&self, name: &str) -> Option<String> {
        match self.over.get(name) {
            Some(value) => Some(value).filter(|value| !value.is_empty()).cloned(),
            None => self.under.var(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_over_wins_and_an_empty_text_unsets() {
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let under: HashMap<String, String> = of(&[("A", "1"), ("B", "2"), ("C", "3")]).into_iter().collect();
        let env =
            Overlay { over: of(&[("B", "two"), ("C", "")]).into_iter().collect(), under: Arc::new(under) };
        let all = ["A", "B", "C", "D"].map(|name| env.var(name));
        assert_eq!(all, [Some("1".to_owned()), Some("two".to_owned()), None, None]);
    }
}
