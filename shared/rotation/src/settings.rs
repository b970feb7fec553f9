//! What is rotated how: it stands beside the secret, so that the secret is all there is to look at.
//!
//! **As tags of the secret**, or as fields of a JSON secret, for one credential:
//!
//! | tag or field | meaning |
//! |---|---|
//! | `keyturn:rotator` | which rotator: a name of the list in [`crate::rotators`]; a tag `in-secret` says that it stands in the secret |
//! | `keyturn:field` | the field of a JSON secret that holds the credential; a secret that is one text has none |
//! | `keyturn:overlap` | how long the former credential goes on working after a rotation (`90m`); default [`EngineOptions::overlap`](crate::EngineOptions::overlap) |
//! | `keyturn:<name>` | a setting of the rotator |
//!
//! **For several credentials in one JSON secret**, `keyturn:rotator` is an object by field:
//!
//! ```json
//! {
//!   "OPENAI_API_KEY": "sk-…", "ANTHROPIC_API_KEY": "sk-ant-…",
//!   "keyturn:rotator": {
//!     "OPENAI_API_KEY": {"rotator": "openai", "project": "proj_1", "admin_key": "aws-secretsmanager:admin/openai"},
//!     "ANTHROPIC_API_KEY": {"rotator": "anthropic", "admin_key": "aws-secretsmanager:admin/anthropic"}
//!   }
//! }
//! ```
//!
//! Each rotation then replaces one of them: the one that was replaced longest ago.
//!
//! Tags cannot hold every character (no `#`, no `,`): lists in them are separated by spaces, and a reference with a
//! field needs the form in the secret. A setting that a rotator does not know is an error, and nothing is rotated.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use keyturn_config::SecretRef;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{Document, Part};

/// What all our tags and fields begin with.
pub const OURS: &str = "keyturn:";
/// Which rotator.
pub const ROTATOR: &str = "keyturn:rotator";
/// What the engine and the stores note beside the settings.
const ENGINES_OWN: [&str; 2] = ["rotation", "since"];
/// The value of the tag when the settings stand in the secret.
const IN_SECRET: &str = "in-secret";
/// The field of a JSON secret in which the engine keeps its record.
pub(crate) const RECORD: &str = "keyturn:rotation";

/// What stands beside the secret does not fit. It names the setting, never what it says: that may be a key in the
/// wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct SettingsError {
    /// The tag or field.
    pub setting: String,
    /// What is wrong with it.
    pub problem: String,
}

impl SettingsError {
    /// A setting, and what is wrong with it.
    #[must_use]
    pub fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }
}

/// One credential of a secret, and what rotates it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The field that holds it, or its first part.
    pub field: Option<String>,
    /// The name of its rotator.
    pub rotator: String,
    /// How long the former credential goes on working; `None` = the engine's default.
    pub overlap: Option<SignedDuration>,
    /// The fields of its further parts, where they are not the usual ones, by the part's name.
    other_fields: BTreeMap<String, String>,
    /// What only the rotator knows.
    pub settings: Settings,
}

impl Target {
    /// The field that a part is in.
    #[must_use]
    pub fn field_of(&self, part: &Part, is_first: bool) -> Option<String> {
        let said = if is_first { self.field.clone() } else { self.other_fields.get(part.name).cloned() };
        said.or_else(|| part.field.map(str::to_owned))
    }
}

/// A rotator's own settings. `Debug` shows their names only.
#[derive(Clone, Default)]
pub struct Settings {
    values: Map<String, Value>,
    /// Where they stand, for errors.
    place: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Settings {
    /// Settings for tests and programs that have them in hand.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self { values, place: OURS.to_owned() }
    }

    /// Reads them into a rotator's type, which has `#[serde(deny_unknown_fields)]`. The functions of this module read
    /// references, durations and lists.
    ///
    /// # Errors
    ///
    /// Names the first setting that is missing, unknown or not of its kind.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, SettingsError> {
        serde_path_to_error::deserialize(Value::Object(self.values)).map_err(|error| {
            let at = error.path().to_string();
            let text = error.inner().to_string();
            // What serde says of a missing or unknown field names it; anything else would repeat the value.
            let named = |start: &str| {
                text.strip_prefix(start).and_then(|rest| rest.split('`').next()).map(str::to_owned)
            };
            // Of a setting in a setting, the path ends in the outer one or in the inner one.
            let whole = |name: String| match at.as_str() {
                "." => name,
                at if at == name || at.ends_with(&format!(".{name}")) => at.to_owned(),
                at => format!("{at}.{name}"),
            };
            let (name, problem) = if let Some(name) = named("missing field `") {
                (whole(name), "is required")
            } else if let Some(name) = named("unknown field `") {
                (whole(name), "is no setting of this rotator")
            } else if let Some(problem) = text.strip_prefix(OWN_WORDS) {
                return SettingsError::new(format!("{}{at}", self.place), problem);
            } else {
                (at, "is not of the right kind")
            };
            SettingsError::new(format!("{}{name}", self.place), problem)
        })
    }
}

/// What the errors of the functions below begin with: they repeat no value.
const OWN_WORDS: &str = "keyturn: ";

/// Reads a secret reference.
///
/// # Errors
///
/// The text is none.
pub fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretRef, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|wrong| D::Error::custom(format!("{OWN_WORDS}{wrong}")))
}

/// The same, of a setting that may be left out.
///
/// # Errors
///
/// As [`reference()`].
pub fn optional_reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretRef>, D::Error> {
    reference(deserializer).map(Some)
}

/// Reads a list: an array of texts, or one text with spaces between.
///
/// # Errors
///
/// It is neither.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Text(String),
        Texts(Vec<String>),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        List::Texts(texts) => texts,
    })
}

/// Reads a whole number, which is a text in a tag; of a setting that may be left out.
///
/// # Errors
///
/// It is none, or does not fit.
pub fn optional_number<'de, D: Deserializer<'de>, T: FromStr + TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(u64),
        Text(String),
    }
    let number = match Number::deserialize(deserializer)? {
        Number::Number(number) => T::try_from(number).ok(),
        Number::Text(text) => text.parse().ok(),
    };
    number
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("{OWN_WORDS}is no whole number of the right size")))
}

/// Reads yes or no: `true`, `false`, or the same as texts, which they are in a tag.
///
/// # Errors
///
/// It is neither.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Flag(bool),
        Text(String),
    }
    match Flag::deserialize(deserializer)? {
        Flag::Flag(flag) => Ok(flag),
        Flag::Text(text) => {
            text.parse().map_err(|_| D::Error::custom(format!("{OWN_WORDS}is neither true nor false")))
        }
    }
}

/// Reads a duration such as `90m`, `2h 30m` or `7d`.
///
/// # Errors
///
/// The text is none, or is below zero.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    span(&text).ok_or_else(|| D::Error::custom(format!("{OWN_WORDS}{NO_DURATION}")))
}

/// The same, of a setting that may be left out.
///
/// # Errors
///
/// As [`duration`].
pub fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SignedDuration>, D::Error> {
    duration(deserializer).map(Some)
}

const NO_DURATION: &str = "is no duration: expected 90s, 15m, 2h or 7d";

fn span(text: &str) -> Option<SignedDuration> {
    let span = match text.trim().strip_suffix('d') {
        Some(days) => SignedDuration::try_from_hours(days.trim().parse::<i64>().ok()?.checked_mul(24)?)?,
        None => text.trim().parse().ok()?,
    };
    Some(span).filter(|span| !span.is_negative())
}

/// What is rotated of a secret. Nothing stands beside a secret that is not rotated: an empty list.
///
/// # Errors
///
/// [`SettingsError`].
pub fn targets(document: &Document, tags: &BTreeMap<String, String>) -> Result<Vec<Target>, SettingsError> {
    let fields = document.fields();
    let in_secret = fields.and_then(|fields| fields.get(ROTATOR));
    let in_tags = tags.get(ROTATOR).filter(|value| *value != IN_SECRET);
    if in_secret.is_some() && in_tags.is_some() {
        return Err(SettingsError::new(ROTATOR, "is both a tag and a field of the secret"));
    }
    if let Some(Value::Object(by_field)) = in_secret {
        let one = |(field, settings): (&String, &Value)| {
            let place = format!("{ROTATOR}.{field}.");
            let Value::Object(settings) = settings else {
                return Err(SettingsError::new(format!("{ROTATOR}.{field}"), "is not an object"));
            };
            if settings.contains_key("field") {
                return Err(SettingsError::new(format!("{place}field"), "is said by the name of the object"));
            }
            let mut settings = settings.clone();
            settings.insert("field".to_owned(), Value::String(field.clone()));
            target(settings, place)
        };
        return by_field.iter().map(one).collect();
    }
    let own = |name: &str| {
        let name = name.strip_prefix(OURS)?;
        (!ENGINES_OWN.contains(&name)).then(|| name.to_owned())
    };
    let settings: Map<String, Value> = if in_secret.is_some() {
        let fields = fields.into_iter().flatten();
        fields.filter_map(|(name, value)| Some((own(name)?, value.clone()))).collect()
    } else if in_tags.is_some() {
        let tags = tags.iter();
        tags.filter_map(|(name, value)| Some((own(name)?, Value::String(value.clone())))).collect()
    } else {
        return Ok(Vec::new());
    };
    target(settings, OURS.to_owned()).map(|target| vec![target])
}

fn target(mut values: Map<String, Value>, place: String) -> Result<Target, SettingsError> {
    let wrong = |name: &str, problem: &str| SettingsError::new(format!("{place}{name}"), problem);
    let mut text = |name: &str| match values.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(wrong(name, "is not a text")),
    };
    let rotator = text("rotator")?.ok_or_else(|| wrong("rotator", "is required"))?;
    let field = text("field")?;
    let overlap = match text("overlap")? {
        None => None,
        Some(text) => Some(span(&text).ok_or_else(|| wrong("overlap", NO_DURATION))?),
    };
    let names: Vec<String> = values.keys().filter(|name| name.ends_with("_field")).cloned().collect();
    let mut other_fields = BTreeMap::new();
    for name in names {
        if let Some(Value::String(field)) = values.remove(&name) {
            other_fields.insert(name.trim_end_matches("_field").to_owned(), field);
        } else {
            return Err(wrong(&name, "is not a text"));
        }
    }
    Ok(Target { field, rotator, overlap, other_fields, settings: Settings { values, place } })
}

#[cfg(test)]
mod tests {
    use keyturn_secrets::SecretValue;

    use super::*;

    fn read(secret: &str, tags: &[(&str, &str)]) -> Result<Vec<Target>, SettingsError> {
        let document = Document::parse(&SecretValue::from(secret.to_owned())).unwrap();
        targets(&document, &tags.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        project: String,
        #[serde(deserialize_with = "reference")]
        admin_key: SecretRef,
        #[serde(default, deserialize_with = "list")]
        verify_models: Vec<String>,
    }

    #[test]
    fn tags_name_one_credential() {
        let tags = [
            ("keyturn:rotator", "openai"),
            ("keyturn:project", "p"),
            ("keyturn:admin_key", "aws-secretsmanager:admin/openai"),
            ("keyturn:verify_models", "a b"),
            ("keyturn:overlap", "2h 30m"),
            ("keyturn:id_field", "OPENAI_KEY_ID"),
            ("team", "blue"),
        ];
        let found = read("sk-1", &tags).unwrap();
        let [target] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((target.rotator.as_str(), target.field.as_deref()), ("openai", None));
        assert_eq!(target.overlap, Some(SignedDuration::from_mins(150)));
        let id = Part { name: "id", field: None };
        assert_eq!(target.field_of(&id, false).as_deref(), Some("OPENAI_KEY_ID"));
        let own: Own = target.settings.clone().read().unwrap();
        assert_eq!((own.project.as_str(), own.verify_models.len()), ("p", 2));
        assert_eq!(own.admin_key.name, "admin/openai");
    }

    #[test]
    fn a_secret_names_one_or_several() {
        let one =
            r#"{"A": "1", "keyturn:rotator": "random", "keyturn:field": "A", "keyturn:rotation": {"x": 1}}"#;
        let found = read(one, &[]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(format!("{:?}", found[0].settings), "{}");
        let two = r#"{"A": "1", "B": "2",
            "keyturn:rotator": {"A": {"rotator": "random"}, "B": {"rotator": "openai", "project": "p"}}}"#;
        let found = read(two, &[]).unwrap();
        let fields: Vec<_> = found.iter().map(|target| target.field.as_deref()).collect();
        assert_eq!(fields, [Some("A"), Some("B")]);
        let tag = [("keyturn:rotator", "in-secret"), ("keyturn:since", "v@t")];
        assert_eq!(read(two, &tag).unwrap().len(), 2, "permissions may go by a tag");
        assert!(read("sk-1", &[]).unwrap().is_empty());
        assert!(read("{}", &tag).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named_and_not_repeated() {
        let own = |settings: &str| {
            let values: Map<String, Value> = serde_json::from_str(settings).unwrap();
            Settings::new(values).read::<Own>().unwrap_err().to_string()
        };
        assert_eq!(own(r#"{"admin_key": "env:A"}"#), "keyturn:project is required");
        assert_eq!(
            own(r#"{"project": "p", "admin_key": "env:A", "projct": "sk-1"}"#),
            "keyturn:projct is no setting of this rotator"
        );
        assert_eq!(
            own(r#"{"project": ["sk-1"], "admin_key": "env:A"}"#),
            "keyturn:project is not of the right kind"
        );
        let told = own(r#"{"project": "p", "admin_key": "sk-1"}"#);
        assert!(told.starts_with("keyturn:admin_key is not a secret reference"), "{told}");
        assert!(!told.contains("sk-1"), "{told}");

        let wrong = |secret: &str, tags: &[(&str, &str)]| read(secret, tags).unwrap_err().to_string();
        assert_eq!(
            wrong(r#"{"keyturn:rotator": "random"}"#, &[("keyturn:rotator", "random")]),
            "keyturn:rotator is both a tag and a field of the secret"
        );
        assert_eq!(wrong(r#"{"keyturn:rotator": {"A": "x"}}"#, &[]), "keyturn:rotator.A is not an object");
        assert_eq!(
            wrong("x", &[("keyturn:rotator", "random"), ("keyturn:overlap", "soon")]),
            format!("keyturn:overlap {NO_DURATION}")
        );
    }

    #[test]
    fn durations_have_days_too() {
        assert_eq!(span("7d"), SignedDuration::try_from_hours(168));
        assert_eq!(span(" 90s "), Some(SignedDuration::from_secs(90)));
        assert_eq!(span("0s"), Some(SignedDuration::ZERO));
        for wrong in ["", "d", "x", "-5m", "99999999999999999d"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }
}
