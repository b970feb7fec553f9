//! Fallbacks: the model groups to try when one fails.

use crate::error::ConfigError;
use crate::section::Field;

/// The model groups to try, in order, when `model` fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The model group, or `*` for every one that has no entry of its own.
    pub model: String,
    /// The model groups to try.
    pub to: Vec<String>,
}

impl Fallback {
    /// Reads LiteLLM's form, a list of mappings with one entry each: `[{"gpt-4": ["claude"]}]`.
    pub(crate) fn read_list(field: Field<'_>) -> Result<Vec<Self>, ConfigError> {
        field.list()?.into_iter().map(Self::read).collect()
    }

    fn read(field: Field<'_>) -> Result<Self, ConfigError> {
        let wrong = field.problem("must be a mapping with one entry: {model: [fallback, ...]}");
        if !field.is_mapping() {
            return Err(wrong);
        }
        let path = field.path().to_owned();
        let mut entries = field.section()?.rest();
        let (Some((model, targets)), None) = (entries.next(), entries.next()) else {
            return Err(wrong);
        };
        // A path through the model's name would say no more than the position does.
        let to = targets.texts().map_err(|error| match error {
            ConfigError::Invalid { .. } => wrong.clone(),
            other => other,
        })?;
        if to.is_empty() {
            return Err(ConfigError::invalid(path, "has no targets"));
        }
        Ok(Self { model, to })
    }
}
