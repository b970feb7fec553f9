//! Query strings: parameters that are all known, each given once.

use percent_encoding::percent_decode_str;
use serde::de::{self, DeserializeOwned, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;
use utoipa::IntoParams;
use utoipa::openapi::path::ParameterIn;

use crate::error::Refusal;
use crate::input;

/// The most pages of a list.
const MOST_PAGES: usize = 1_000_000_000;

/// LiteLLM's parameters that Keyturn does not have: accepted when they say nothing.
pub(crate) trait Params: DeserializeOwned + IntoParams {
    /// Their names.
    const UNSUPPORTED: &'static [&'static str] = &[];
}

/// A parameter of which an empty value says nothing: clients write those that they do not use so.
pub(crate) fn text(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

/// Reads true or false; Python writes them with a capital.
pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    match [("true", true), ("false", false)].iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
        Some((_, value)) => Ok(*value),
        None => Err(de::Error::invalid_value(Unexpected::Str(&text), &"true or false")),
    }
}

/// The number of a page.
pub(crate) fn page(page: usize) -> Result<usize, Refusal> {
    match page {
        0..=MOST_PAGES => Ok(page),
        _ => Err(Refusal::field("page", "must not be more than 1,000,000,000")),
    }
}

/// Reads a query string.
///
/// # Errors
///
/// [`Refusal::Field`].
pub(crate) fn read<T: Params>(query: &str) -> Result<T, Refusal> {
    // Otherwise what is no UTF-8 would be read as something else.
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(Refusal::field("query", "is not UTF-8"));
    }
    let known: Vec<String> =
        T::into_params(|| Some(ParameterIn::Query)).into_iter().map(|parameter| parameter.name).collect();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut wanted = Vec::new();
    for (at, (name, value)) in pairs.iter().enumerate() {
        input::check(name, value.is_empty() || value.eq_ignore_ascii_case("false"), &known, T::UNSUPPORTED)?;
        if pairs[..at].iter().any(|(other, _)| other == name) {
            return Err(Refusal::field(name, "is given twice"));
        }
        if known.contains(name) {
            wanted.push((name.as_str(), value.as_str()));
        }
    }
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(wanted).finish();
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let field = match error.path().iter().next() {
            Some(Segment::Map { key }) => Some(key.clone()),
            _ => None,
        };
        input::wrong(field, &error.into_inner().to_string())
    })
}
