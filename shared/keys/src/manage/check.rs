//! What fields must look like.

use std::collections::BTreeMap;

use crate::limits::Limits;
use crate::virtual_key::VirtualKey;

use super::ManageError;

/// The most bytes of a name that is part of an index; DynamoDB allows 1,024 in a sort key.
const MAX_NAME: usize = 1_024;
/// The most bytes of a definition's lists and maps together. A key is read at every request, and DynamoDB's price
/// of a write grows with each KiB.
const MAX_BYTES: usize = 65_536;
/// The largest budget, in US dollars.
const MAX_BUDGET: f64 = 1e9;

/// Checks a name. Names become parts of paths and of secrets' names, so `..` must not be a segment.
pub(crate) fn name(field: &'static str, name: &str) -> Result<(), ManageError> {
    let invalid = |reason| Err(ManageError::invalid(field, reason));
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

/// Checks a name that may be missing.
pub(crate) fn optional_name(field: &'static str, text: Option<&str>) -> Result<(), ManageError> {
    text.map_or(Ok(()), |text| name(field, text))
}

/// Checks an amount of US dollars.
pub(crate) fn dollars(field: &'static str, amount: f64) -> Result<(), ManageError> {
    if (0.0..=MAX_BUDGET).contains(&amount) {
        return Ok(());
    }
    Err(ManageError::invalid(field, "must be a number of US dollars from 0 to 1,000,000,000"))
}

/// Checks the lengths of lists and maps together.
pub(crate) fn sizes(parts: &[(&'static str, usize)]) -> Result<(), ManageError> {
    let mut total = 0;
    for (field, bytes) in parts {
        total += bytes;
        if total > MAX_BYTES {
            return Err(ManageError::invalid(field, "is too long: all lists and maps have 64 KiB together"));
        }
    }
    Ok(())
}

/// Checks limits, apart from their length.
pub(crate) fn limits(limits: &Limits) -> Result<(), ManageError> {
    for (field, amount) in [("max_budget", limits.max_budget), ("soft_budget", limits.soft_budget)] {
        amount.map_or(Ok(()), |amount| dollars(field, amount))?;
    }
    for budget in limits.model_max_budget.values() {
        dollars("model_max_budget", budget.budget_limit)?;
    }
    Ok(())
}

/// Bytes of a list's texts.
pub(crate) fn list_size(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len() + 3).sum()
}

/// Bytes of a map's JSON.
pub(crate) fn map_size<V: serde::Serialize>(map: V) -> usize {
    // What cannot be written is refused when the whole is written.
    serde_json::to_vec(&map).map_or(0, |json| json.len())
}

/// Bytes of the maps in limits.
pub(crate) fn limit_sizes(limits: &Limits) -> [(&'static str, usize); 3] {
    fn size<V>(map: &BTreeMap<String, V>) -> usize {
        map.keys().map(|model| model.len() + 64).sum()
    }
    [
        ("model_max_budget", size(&limits.model_max_budget)),
        ("model_rpm_limit", size(&limits.model_rpm_limit)),
        ("model_tpm_limit", size(&limits.model_tpm_limit)),
    ]
}

/// Checks a key as it is to be kept; the error names the first field that is wrong.
pub(crate) fn key(key: &VirtualKey) -> Result<(), ManageError> {
    for (field, text) in [
        ("key_alias", &key.key_alias),
        ("team_id", &key.team_id),
        ("user_id", &key.user_id),
        ("budget_id", &key.budget_id),
    ] {
        optional_name(field, text.as_deref())?;
    }
    limits(&key.limits)?;
    match (key.temp_budget_increase, key.temp_budget_expiry) {
        (Some(amount), Some(_)) => dollars("temp_budget_increase", amount)?,
        (None, None) => {}
        (Some(_), None) => {
            return Err(ManageError::invalid("temp_budget_expiry", "must come with temp_budget_increase"));
        }
        (None, Some(_)) => {
            return Err(ManageError::invalid("temp_budget_increase", "must come with temp_budget_expiry"));
        }
    }
    if key.auto_rotate && key.rotation_interval.is_none() {
        return Err(ManageError::invalid("rotation_interval", "must be set when auto_rotate is"));
    }
    let mut parts = vec![
        ("models", list_size(&key.models)),
        ("tags", list_size(&key.tags)),
        ("aliases", map_size(&key.aliases)),
        ("metadata", map_size(&key.metadata)),
        ("permissions", map_size(&key.permissions)),
        ("allowed_routes", list_size(&key.allowed_routes)),
    ];
    parts.extend(limit_sizes(&key.limits));
    sizes(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<(), ManageError>) -> Option<&'static str> {
        match result {
            Ok(()) => None,
            Err(ManageError::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_name_that_would_leave_its_path_is_refused() {
        for text in ["", "a\nb", "a\u{7f}", "..", "../x", "a/../b", "a\\..\\b", &"x".repeat(1_025)] {
            assert_eq!(field(name("key_alias", text)), Some("key_alias"), "{text:?}");
        }
        for text in ["prod/web", "v1..2", "Büro 3"] {
            assert_eq!(field(name("key_alias", text)), None, "{text:?}");
        }
    }

    #[test]
    fn budgets_must_make_sense() {
        for amount in [-0.1, f64::NAN, f64::INFINITY, 1e10] {
            let wrong = Limits { max_budget: Some(amount), ..Limits::default() };
            assert_eq!(field(limits(&wrong)), Some("max_budget"), "{amount}");
            let wrong = Limits { soft_budget: Some(amount), ..Limits::default() };
            assert_eq!(field(limits(&wrong)), Some("soft_budget"), "{amount}");
        }
        let none = Limits { max_budget: Some(0.0), soft_budget: Some(1e9), ..Limits::default() };
        assert_eq!(field(limits(&none)), None);
    }

    #[test]
    fn the_list_that_makes_it_too_long_is_named() {
        let long = |bytes: usize| list_size(&["m".repeat(bytes)]);
        assert_eq!(field(sizes(&[("models", long(40_000)), ("tags", long(20_000))])), None);
        assert_eq!(field(sizes(&[("models", long(40_000)), ("tags", long(40_000))])), Some("tags"));
    }
}
