//! Request bodies: one JSON object whose fields are all known.
//!
//! Every refusal is a 400 that names the field: what is no JSON, is given twice, is of the wrong type, is unknown, or
//! is known from LiteLLM and not supported. No refusal repeats a value: it may be a key.

use std::collections::HashSet;
use std::fmt;

use keyturn_config::nearest;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_path_to_error::Segment;
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::error::Refusal;

/// What refusals of the body as a whole are about.
const BODY: &str = "request_body";

/// The fields of a request.
pub(crate) trait Fields: DeserializeOwned + PartialSchema {
    /// LiteLLM's fields that Keyturn does not have: accepted when they say nothing.
    const UNSUPPORTED: &'static [&'static str] = &[];
}

/// Reads a body; an empty one, or null, is an object without fields.
///
/// # Errors
///
/// [`Refusal::Field`].
pub(crate) fn read<T: Fields>(body: &[u8]) -> Result<T, Refusal> {
    let body = match body.trim_ascii() {
        b"" | b"null" => b"{}",
        body => body,
    };
    let outline: Outline = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::field(BODY, "must be a JSON object"),
        _ => Refusal::field(BODY, "is not valid JSON"),
    })?;
    if let Some(name) = outline.twice {
        return Err(Refusal::field(plain(&name), "is given twice, or has a field that is"));
    }
    let known = names::<T>();
    for (name, is_empty) in &outline.fields {
        check(name, *is_empty, &known, T::UNSUPPORTED)?;
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = match error.path().iter().next() {
            Some(Segment::Map { key }) => Some(key.clone()),
            _ => None,
        };
        wrong(field, &error.into_inner().to_string())
    })
}

/// Refuses a name that the request does not have.
pub(crate) fn check(
    name: &str,
    is_empty: bool,
    known: &[String],
    unsupported: &[&str],
) -> Result<(), Refusal> {
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    if unsupported.contains(&name) {
        return if is_empty { Ok(()) } else { Err(Refusal::field(name, "is not supported by Keyturn")) };
    }
    let candidates = known.iter().map(String::as_str).chain(unsupported.iter().copied());
    let name = plain(name);
    Err(match nearest(&name, candidates) {
        Some(nearest) => Refusal::field(name, format!("is no field of this request; is {nearest} meant?")),
        None => Refusal::field(name, "is no field of this request"),
    })
}

/// What is wrong with a value, in words that do not repeat it. The errors of serde's and ours end in what was
/// expected, which is ours to say; what comes before may be the value.
pub(crate) fn wrong(field: Option<String>, error: &str) -> Refusal {
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    if let Some(rest) = error.strip_prefix("missing field ") {
        return Refusal::field(quoted(rest).unwrap_or_else(|| BODY.to_owned()), "is required");
    }
    let field = field.unwrap_or_else(|| BODY.to_owned());
    let error = error.split(" at line ").next().unwrap_or_default();
    let reason = match error.rsplit_once(", expected ") {
        Some((_, expected)) => format!("must be {}", words(expected)),
        None if error.starts_with("must be ") => error.to_owned(),
        None => "is not valid".to_owned(),
    };
    Refusal::field(field, reason)
}

/// Rust's names of types as other people call them.
fn words(expected: &str) -> String {
    match expected {
        "u64" | "usize" | "u16" | "u32" => "a whole number, at least 0".to_owned(),
        "f64" => "a number".to_owned(),
        "a boolean" | "`true` or `false`" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

/// A name as it may be shown: whoever puts a key where a name belongs does not find it in a message.
fn plain(name: &str) -> String {
    let is_name = |name: &str| {
        name.len() <= 64
            && !name.starts_with("sk-")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    if !name.is_empty() && is_name(name) { name.to_owned() } else { BODY.to_owned() }
}

/// The names of a request's fields, from its schema: what is documented is what is accepted.
pub(crate) fn names<T: PartialSchema>() -> Vec<String> {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
        _ => Vec::new(),
    }
}

/// The names of an object's fields, and which say nothing: null, false, or empty.
struct Outline {
    fields: Vec<(String, bool)>,
    /// A field that is given twice.
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Outline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut outline = Outline { fields: Vec::new(), twice: None };
                while let Some((name, node)) = map.next_entry::<String, Node>()? {
                    if node.twice || outline.fields.iter().any(|(other, _)| *other == name) {
                        outline.twice.get_or_insert_with(|| name.clone());
                    }
                    outline.fields.push((name, node.is_empty));
                    // Far more than any request has: no time for quadratic ones.
                    if outline.fields.len() > 1_000 {
                        return Err(de::Error::custom("too many fields"));
                    }
                }
                Ok(outline)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A value, looked at and not kept.
struct Node {
    is_empty: bool,
    twice: bool,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

fn seen<E>(is_empty: bool) -> Result<Node, E> {
    Ok(Node { is_empty, twice: false })
}

impl<'de> Visitor<'de> for Look {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        seen(!value)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        seen(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        seen(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        seen(false)
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        seen(value.is_empty())
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        seen(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut node = Node { is_empty: true, twice: false };
        while let Some(item) = list.next_element::<Node>()? {
            node = Node { is_empty: false, twice: node.twice || item.twice };
        }
        Ok(node)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut names = HashSet::new();
        let mut twice = false;
        while let Some((name, item)) = map.next_entry::<String, Node>()? {
            twice |= item.twice || !names.insert(name);
        }
        Ok(Node { is_empty: names.is_empty(), twice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::keys::GenerateKey;

    fn refused(body: &[u8]) -> (String, String) {
        match read::<GenerateKey>(body) {
            Err(Refusal::Field { param, reason }) => (param, reason),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("accepted {}", String::from_utf8_lossy(body)),
        }
    }

    #[test]
    fn every_fault_names_its_field_and_repeats_no_value() {
        for (body, param, reason) in [
            (&b"{"[..], "request_body", "is not valid JSON"),
            (b"[]", "request_body", "must be a JSON object"),
            (b"\"sk-canary\"", "request_body", "must be a JSON object"),
            (b"{\"key\":\"\xff\"}", "request_body", "is not valid JSON"),
            (b"{\"key\":\"\\ud800\"}", "request_body", "is not valid JSON"),
            (br#"{"models":[],"models":["a"]}"#, "models", "is given twice, or has a field that is"),
            (br#"{"metadata":{"a":{"b":1,"b":2}}}"#, "metadata", "is given twice, or has a field that is"),
            (br#"{"max_budget":"sk-canary, expected sk-canary"}"#, "max_budget", "must be a number"),
            (br#"{"rpm_limit":-1}"#, "rpm_limit", "must be a whole number from 0 to 9,007,199,254,740,991"),
            (br#"{"rpm_limit":1.5}"#, "rpm_limit", "must be a whole number from 0 to 9,007,199,254,740,991"),
            (br#"{"models":"gpt"}"#, "models", "must be a list"),
            (br#"{"blocked":"yes"}"#, "blocked", "must be true or false"),
            (
                br#"{"duration":"sk-canary"}"#,
                "duration",
                "must be a whole number above 0 and a unit: s, m, h, d, w or mo",
            ),
            (br#"{"temp_budget_expiry":"sk-canary"}"#, "temp_budget_expiry", "is no field of this request"),
            (br#"{"max_budgte":1}"#, "max_budgte", "is no field of this request; is max_budget meant?"),
            (br#"{"guardrails":["a"]}"#, "guardrails", "is not supported by Keyturn"),
            (br#"{"sk-canary-0123456789":1}"#, "request_body", "is no field of this request"),
        ] {
            let (found, why) = refused(body);
            assert_eq!((found.as_str(), why.as_str()), (param, reason), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn unsupported_fields_may_say_nothing() {
        let body = br#"{"rpm_limit":1.0,"guardrails":[],"send_invite_email":false,"organization_id":null,"config":{},"agent_id":""}"#;
        assert!(read::<GenerateKey>(body).is_ok());
        assert!(read::<GenerateKey>(b"").is_ok());
    }
}
