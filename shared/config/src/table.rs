//! What Keyturn does with each field of a section.

use serde_json::{Map, Value};

use crate::error::{ConfigError, Warning, shown};
use crate::nearest::nearest;

/// Why, and the fields that it holds for.
pub(crate) type Group = (&'static str, &'static [&'static str]);

/// The fields of one section. A field in none of the lists is unknown.
pub(crate) struct Table {
    /// Read into a type.
    pub(crate) supported: &'static [&'static str],
    /// Harmless to ignore: a warning.
    pub(crate) ignored: &'static [Group],
    /// An error, unless the value asks for nothing (`null`, `false`, an empty text, list or mapping).
    pub(crate) refused: &'static [Group],
    /// An error, unless the value is `true` (or `null`).
    pub(crate) refused_unless_true: &'static [Group],
    /// As `refused`, for every name that holds the text.
    pub(crate) refused_parts: &'static [(&'static str, &'static str)],
    /// What becomes of the rest.
    pub(crate) unknown: Unknown,
}

/// What becomes of a field that no list holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// An error.
    Refused,
    /// LiteLLM keeps metadata of the operator's own here: a warning, or an error when it looks misspelt.
    Ignored,
    /// It is the provider's to judge, as long as it can be a name at all.
    Kept,
}

impl Table {
    /// Takes out of `fields` what is not read into a type.
    ///
    /// # Errors
    ///
    /// Names the first field that is refused or unknown.
    pub(crate) fn apply(
        &self,
        path: &str,
        fields: &mut Map<String, Value>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ConfigError> {
        for (name, value) in &*fields {
            let field = || join(path, name);
            if let Some(why) = self.refusal(name, value) {
                return Err(ConfigError::Unsupported { path: field(), why });
            }
            if let Some(why) = find(self.ignored, name) {
                if !is_off(value) {
                    warnings.push(Warning { path: field(), why: why.to_owned() });
                }
            } else if !self.knows(name) {
                let suggestion = nearest(name, self.names()).map(str::to_owned);
                match self.unknown {
                    Unknown::Kept if shown(name) == name => {}
                    Unknown::Ignored if suggestion.is_none() => {
                        warnings.push(Warning { path: field(), why: "Keyturn does not use it".to_owned() });
                    }
                    Unknown::Ignored | Unknown::Kept | Unknown::Refused => {
                        return Err(ConfigError::Unknown { path: field(), suggestion });
                    }
                }
            }
        }
        let kept = |name: &str| self.unknown == Unknown::Kept && !self.knows(name);
        fields.retain(|name, _| self.supported.contains(&name.as_str()) || kept(name));
        Ok(())
    }

    /// The names of every list.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let groups = [self.ignored, self.refused, self.refused_unless_true];
        let grouped = groups.into_iter().flatten().flat_map(|(_, names)| *names);
        self.supported.iter().chain(grouped).copied()
    }

    fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
            || self.refused_parts.iter().any(|(_, part)| name.contains(part))
    }

    fn refusal(&self, name: &str, value: &Value) -> Option<&'static str> {
        if self.supported.contains(&name) {
            return None;
        }
        if let Some(why) = find(self.refused_unless_true, name) {
            return (!matches!(value, Value::Null | Value::Bool(true))).then_some(why);
        }
        let part = || self.refused_parts.iter().find(|(_, part)| name.contains(part)).map(|(why, _)| *why);
        find(self.refused, name).or_else(part).filter(|_| !is_off(value))
    }
}

fn find(groups: &'static [Group], name: &str) -> Option<&'static str> {
    groups.iter().find(|(_, names)| names.contains(&name)).map(|(why, _)| *why)
}

/// Whether a value asks for nothing.
pub(crate) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// The path of a field; the file's own mapping has an empty one.
pub(crate) fn join(path: &str, name: &str) -> String {
    let name = shown(name);
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
impl Table {
    /// Panics when a name stands twice.
    pub(crate) fn assert_consistent(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for name in self.names() {
            assert!(seen.insert(name), "{name} stands twice");
        }
    }
}
