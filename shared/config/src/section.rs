//! Reading typed values out of a mapping, with the full path in every error.

use std::time::Duration;

use keyturn_ambient::Env;
use secrecy::SecretString;
use serde_json::{Map, Value as Json};

use crate::error::{ConfigError, Warning};
use crate::lookup::Lookup;
use crate::reference::is_variable;
use crate::table::{Table, is_off, join};
use crate::value::Value;

/// What LiteLLM writes before the name of a variable.
pub(crate) const PREFIX: &str = "os.environ/";

/// What a value may refer to.
pub(crate) struct Scope<'a> {
    pub(crate) env: &'a dyn Env,
    pub(crate) lookup: Lookup,
}

/// A mapping whose fields are taken out one by one.
pub(crate) struct Section<'a> {
    path: String,
    fields: Map<String, Json>,
    scope: &'a Scope<'a>,
}

/// One value and the path to it.
pub(crate) struct Field<'a> {
    path: String,
    value: Json,
    scope: &'a Scope<'a>,
}

impl<'a> Section<'a> {
    /// A mapping, or nothing, which is an empty one.
    pub(crate) fn new(
        path: impl Into<String>,
        value: Json,
        scope: &'a Scope<'a>,
    ) -> Result<Self, ConfigError> {
        let path = path.into();
        match value {
            Json::Null => Ok(Self { path, fields: Map::new(), scope }),
            Json::Object(fields) => Ok(Self { path, fields, scope }),
            _ => Err(ConfigError::invalid(path, "must be a mapping")),
        }
    }

    /// Refuses and warns as `table` says; what is left is to be read.
    pub(crate) fn sorted_by(
        mut self,
        table: &Table,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ConfigError> {
        table.apply(&self.path, &mut self.fields, warnings)?;
        Ok(self)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn scope(&self) -> &'a Scope<'a> {
        self.scope
    }

    /// Takes a field out; `None` when it is absent or null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Field<'a>> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        Some(Field { path: join(&self.path, name), value, scope: self.scope })
    }

    /// Takes a field out and reads it.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Field<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.take(name).map(read).transpose()
    }

    /// Takes out a field that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<Field<'a>, ConfigError> {
        self.take(name).ok_or_else(|| ConfigError::invalid(join(&self.path, name), "is missing"))
    }

    /// What has not been taken, by name, without nulls.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, Field<'a>)> {
        let Self { path, fields, scope } = self;
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(move |(name, value)| {
            let field = Field { path: join(&path, &name), value, scope };
            (name, field)
        })
    }
}

impl<'a> Field<'a> {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// An error at this field.
    pub(crate) fn problem(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::invalid(&*self.path, problem)
    }

    /// A mapping.
    pub(crate) fn section(self) -> Result<Section<'a>, ConfigError> {
        Section::new(self.path, self.value, self.scope)
    }

    /// Whether this is a mapping.
    pub(crate) fn is_mapping(&self) -> bool {
        self.value.is_object()
    }

    /// Whether it asks for nothing: `false`, or an empty text, list or mapping.
    pub(crate) fn is_off(&self) -> bool {
        is_off(&self.value)
    }

    /// Whether this is a text that begins like a web address.
    pub(crate) fn is_url(&self) -> bool {
        let begins = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        self.value.as_str().is_some_and(begins)
    }

    /// The items of a list.
    pub(crate) fn list(self) -> Result<Vec<Self>, ConfigError> {
        let Json::Array(items) = self.value else {
            return Err(ConfigError::invalid(self.path, "must be a list"));
        };
        let item =
            |(index, value)| Self { path: format!("{}[{index}]", self.path), value, scope: self.scope };
        Ok(items.into_iter().enumerate().map(item).collect())
    }

    /// A list of texts.
    pub(crate) fn texts(self) -> Result<Vec<String>, ConfigError> {
        self.list()?.into_iter().map(Self::text).collect()
    }

    /// A text; `os.environ/NAME` is the variable's value.
    pub(crate) fn text(self) -> Result<String, ConfigError> {
        match self.resolved()? {
            Self { value: Json::String(text), path, .. } if text.is_empty() => {
                Err(ConfigError::invalid(path, "must not be empty"))
            }
            Self { value: Json::String(text), .. } => Ok(text),
            Self { value: Json::Number(_) | Json::Bool(_), path, .. } => {
                Err(ConfigError::invalid(path, "must be a text: put it in quotes"))
            }
            Self { path, .. } => Err(ConfigError::invalid(path, "must be a text")),
        }
    }

    /// A text, a number or a boolean, as a text.
    pub(crate) fn scalar(self) -> Result<String, ConfigError> {
        let field = self.resolved()?;
        match field.value {
            Json::String(text) => Ok(text),
            Json::Bool(on) => Ok(on.to_string()),
            Json::Number(number) => Ok(number.to_string()),
            _ => Err(ConfigError::invalid(field.path, "must be a single value, not a list or a mapping")),
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(self) -> Result<bool, ConfigError> {
        let field = self.resolved()?;
        match &field.value {
            Json::Bool(on) => Ok(*on),
            Json::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Json::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(field.problem("must be true or false")),
        }
    }

    /// A number that is not negative; LiteLLM's files write some in quotes.
    pub(crate) fn number(self) -> Result<f64, ConfigError> {
        let field = self.resolved()?;
        let number = match &field.value {
            Json::Number(number) => number.as_f64(),
            Json::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let usable = number.filter(|number| number.is_finite() && *number >= 0.0);
        usable.ok_or_else(|| field.problem("must be a number, zero or more"))
    }

    /// A whole number that is not negative.
    pub(crate) fn whole<T: TryFrom<u64>>(self) -> Result<T, ConfigError> {
        let field = self.resolved()?;
        let number = match &field.value {
            Json::Number(number) => number.as_u64(),
            Json::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let fitting = number.and_then(|number| T::try_from(number).ok());
        fitting.ok_or_else(|| field.problem("must be a whole number, zero or more"))
    }

    /// A time in seconds, zero allowed. Its limit is 136 years, so that it can be added to any date without overflow.
    pub(crate) fn seconds(self) -> Result<Duration, ConfigError> {
        let invalid = self.problem("must be a number of seconds");
        let seconds = self.number()?;
        if seconds > f64::from(u32::MAX) {
            return Err(invalid);
        }
        Duration::try_from_secs_f64(seconds).map_err(|_| invalid)
    }

    /// A time in seconds, more than zero.
    pub(crate) fn time_limit(self) -> Result<Duration, ConfigError> {
        let path = self.path.clone();
        match self.seconds()? {
            Duration::ZERO => Err(ConfigError::invalid(path, "must be more than zero seconds")),
            limit => Ok(limit),
        }
    }

    /// A secret: `os.environ/NAME`, an explicit reference, or the secret itself.
    pub(crate) fn secret(self) -> Result<Value, ConfigError> {
        let read = match &self.value {
            Json::String(text) if text.is_empty() => return Err(self.problem("must not be empty")),
            Json::String(text) => match text.strip_prefix(PREFIX) {
                Some(name) => self.scope.lookup.secret(name, self.scope.env),
                None => Value::read(text),
            },
            Json::Number(_) | Json::Bool(_) => {
                return Err(self.problem("must be a text: put it in quotes"));
            }
            _ => return Err(self.problem("must be a text")),
        };
        read.map_err(|error| self.problem(error.to_string()))
    }

    /// One of `environment_variables`: any scalar, kept as a secret or as a reference. Web addresses, and hosts with
    /// a port, begin like references, and are what many variables hold.
    pub(crate) fn variable(self) -> Result<Value, ConfigError> {
        let is_place = |text: &str| {
            let after = text.split_once(':').map_or("", |(_, after)| after);
            after.starts_with("//") || (!after.is_empty() && after.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match &self.value {
            Json::String(text) if text.is_empty() || is_place(text) => {
                Ok(Value::Literal(SecretString::from(text.as_str())))
            }
            Json::String(_) => self.secret(),
            _ => Ok(Value::Literal(SecretString::from(self.scalar()?))),
        }
    }

    /// A secret that may be written as a mapping, which stands for its JSON.
    pub(crate) fn secret_document(self) -> Result<Value, ConfigError> {
        if self.is_mapping() {
            return Ok(Value::Literal(SecretString::from(self.value.to_string())));
        }
        self.secret()
    }

    /// This field with `os.environ/NAME` replaced by the variable's value.
    pub(crate) fn resolved(self) -> Result<Self, ConfigError> {
        let Some(name) = self.value.as_str().and_then(|text| text.strip_prefix(PREFIX)) else {
            return Ok(self);
        };
        if !is_variable(name) {
            return Err(self.problem("is not the name of an environment variable"));
        }
        match self.scope.lookup.text(name, self.scope.env) {
            Some(text) => Ok(Self { value: Json::String(text), ..self }),
            None => Err(ConfigError::Unset { variable: name.to_owned(), path: self.path }),
        }
    }
}
