//! A key that is yet to be made: its fields, what they must look like, and its value.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;

use crate::port::{KeyError, StoreFailure};

/// What every key starts with.
const PREFIX: &str = "sk-";
/// The fewest characters of a key that the caller brings, as LiteLLM has it.
const MIN_KEY: usize = 16;
/// The most characters of such a key; more would not fit into a header that every proxy lets pass.
const MAX_KEY: usize = 1_024;
/// Random bytes in a generated key: LiteLLM's `secrets.token_urlsafe(16)`.
const RANDOM_BYTES: usize = 16;
/// The most bytes of a name that is part of an index; DynamoDB allows 1,024 in a sort key.
const MAX_NAME: usize = 1_024;
/// The most bytes of a key's lists and metadata together. A key is read at every request, and DynamoDB's price
/// of a write grows with each KiB.
const MAX_BYTES: usize = 65_536;
/// The largest budget, in US dollars.
const MAX_BUDGET: f64 = 1e9;

/// The fields of a key to be made; see [`VirtualKey`](crate::VirtualKey) for what they mean. All may be left
/// out.
#[derive(Default)]
pub struct NewKey {
    /// The caller's own value: begins with `sk-`, 16 to 1,024 visible ASCII characters. `None` = generate one.
    pub key: Option<SecretString>,
    /// A name for people, unique among all keys.
    pub key_alias: Option<String>,
    /// The team the key belongs to.
    pub team_id: Option<String>,
    /// The user the key belongs to.
    pub user_id: Option<String>,
    /// The models it may call; empty = all.
    pub models: Vec<String>,
    /// Other names for models.
    pub aliases: BTreeMap<String, String>,
    /// A JSON object as text; `None` = `{}`.
    pub metadata: Option<String>,
    /// Labels for spend reports.
    pub tags: Vec<String>,
    /// US dollars in all.
    pub max_budget: Option<f64>,
    /// Requests in a minute.
    pub rpm_limit: Option<u64>,
    /// Tokens in a minute.
    pub tpm_limit: Option<u64>,
    /// Made, but refused until it is unblocked.
    pub blocked: bool,
    /// When it stops working.
    pub expires: Option<Timestamp>,
}

impl NewKey {
    /// Checks every field; the error names the first that is wrong.
    pub(crate) fn check(&self) -> Result<(), KeyError> {
        if let Some(key) = &self.key {
            check_value(key.expose_secret())?;
        }
        for (field, name) in
            [("key_alias", &self.key_alias), ("team_id", &self.team_id), ("user_id", &self.user_id)]
        {
            if let Some(name) = name {
                check_name(field, name)?;
            }
        }
        let metadata = self.metadata.as_deref().unwrap_or("{}");
        if serde_json::from_str::<BTreeMap<String, IgnoredAny>>(metadata).is_err() {
            return Err(KeyError::Invalid { field: "metadata", reason: "must be a JSON object" });
        }
        if self.max_budget.is_some_and(|budget| !(0.0..=MAX_BUDGET).contains(&budget)) {
            let reason = "must be a number of US dollars from 0 to 1,000,000,000";
            return Err(KeyError::Invalid { field: "max_budget", reason });
        }
        let sizes = [
            ("models", self.models.iter().map(String::len).sum::<usize>()),
            ("tags", self.tags.iter().map(String::len).sum()),
            ("aliases", self.aliases.iter().map(|(name, model)| name.len() + model.len()).sum()),
            ("metadata", metadata.len()),
        ];
        let mut total = 0;
        for (field, bytes) in sizes {
            total += bytes;
            if total > MAX_BYTES {
                let reason = "is too long: models, tags, aliases and metadata have 64 KiB together";
                return Err(KeyError::Invalid { field, reason });
            }
        }
        Ok(())
    }
}

/// Checks a value that the caller brings.
fn check_value(key: &str) -> Result<(), KeyError> {
    let invalid = |reason| Err(KeyError::Invalid { field: "key", reason });
    if !key.starts_with(PREFIX) {
        return invalid("must start with sk-");
    }
    if !(MIN_KEY..=MAX_KEY).contains(&key.len()) {
        return invalid("must have from 16 to 1,024 characters");
    }
    // Anything else cannot be sent in a header.
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid("must consist of visible ASCII characters");
    }
    Ok(())
}

/// Checks a name. Aliases become parts of paths and of secrets' names, so `..` must not be a segment.
fn check_name(field: &'static str, name: &str) -> Result<(), KeyError> {
    let invalid = |reason| Err(KeyError::Invalid { field, reason });
    if name.is_empty() {
        return invalid("must not be empty");
    }
    if name.len() > MAX_NAME {
        return invalid("must not be longer than 1,024 bytes");
    }
    if name.chars().any(char::is_control) {
        return invalid("must not contain control characters");
    }
    if name.split(['/', '\\']).any(|segment| segment == "..") {
        return invalid("must not contain a .. segment");
    }
    Ok(())
}

/// A new value: `sk-` and 22 URL-safe characters that hold 128 random bits.
pub(crate) fn generate() -> Result<SecretString, KeyError> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| KeyError::Unavailable(StoreFailure::new(format!("no random bytes: {error}"))))?;
    Ok(SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// How a value is shown to people: `sk-...` and its last four characters.
pub(crate) fn key_name(key: &SecretString) -> String {
    let key = key.expose_secret();
    let start = key.char_indices().nth_back(3).map_or(0, |(at, _)| at);
    format!("sk-...{}", &key[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with `key`: the field and the reason.
    fn refusal(key: &NewKey) -> Option<(&'static str, &'static str)> {
        match key.check() {
            Ok(()) => None,
            Err(KeyError::Invalid { field, reason }) => Some((field, reason)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_generated_value_has_litellms_form_and_passes_its_own_check() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.expose_secret(), two.expose_secret());
        let random = one.expose_secret().strip_prefix("sk-").unwrap();
        assert_eq!(random.len(), 22);
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(key_name(&one), format!("sk-...{}", &random[18..]));
        assert_eq!(refusal(&NewKey { key: Some(one), ..NewKey::default() }), None);
    }

    #[test]
    fn a_value_that_cannot_be_a_key_is_refused() {
        for value in [
            "",
            "sk-",
            "sk-0123456789ab",
            "pk-0123456789abcdef",
            "sk-0123456789abc\n",
            "sk-0123456789 abc",
            "sk-éééééééééé",
            &format!("sk-{}", "x".repeat(1_022)),
        ] {
            let key = NewKey { key: Some(SecretString::from(value)), ..NewKey::default() };
            assert_eq!(refusal(&key).map(|(field, _)| field), Some("key"), "{value}");
        }
        let shortest = NewKey { key: Some(SecretString::from("sk-0123456789abc")), ..NewKey::default() };
        assert_eq!(refusal(&shortest), None);
    }

    #[test]
    fn a_name_that_would_leave_its_path_is_refused() {
        for alias in ["", "a\nb", "a\u{7f}", "..", "../x", "a/../b", "a\\..\\b", &"x".repeat(1_025)] {
            let key = NewKey { key_alias: Some(alias.to_owned()), ..NewKey::default() };
            assert_eq!(refusal(&key).map(|(field, _)| field), Some("key_alias"), "{alias:?}");
        }
        for alias in ["prod/web", "v1..2", "Büro 3"] {
            let key = NewKey { key_alias: Some(alias.to_owned()), ..NewKey::default() };
            assert_eq!(refusal(&key), None, "{alias:?}");
        }
        let key = NewKey { team_id: Some("a\0".to_owned()), ..NewKey::default() };
        assert_eq!(refusal(&key).map(|(field, _)| field), Some("team_id"));
    }

    #[test]
    fn budgets_and_metadata_must_make_sense() {
        for budget in [-0.1, f64::NAN, f64::INFINITY, 1e10] {
            let key = NewKey { max_budget: Some(budget), ..NewKey::default() };
            assert_eq!(refusal(&key).map(|(field, _)| field), Some("max_budget"), "{budget}");
        }
        for metadata in ["", "[]", "null", "{", "{} {}"] {
            let key = NewKey { metadata: Some(metadata.to_owned()), ..NewKey::default() };
            assert_eq!(refusal(&key).map(|(field, _)| field), Some("metadata"), "{metadata}");
        }
        let long =
            NewKey { models: vec!["m".repeat(40_000)], tags: vec!["t".repeat(40_000)], ..NewKey::default() };
        assert_eq!(refusal(&long).map(|(field, _)| field), Some("tags"));
    }
}
