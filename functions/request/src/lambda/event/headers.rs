//! The headers of an event: one value each, or a list of them.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Headers as an event has them.
#[derive(Debug, Default)]
pub(super) struct Headers(pub(super) HeaderMap);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("headers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Headers, A::Error> {
                // A browser sends about this many.
                let mut headers = HeaderMap::with_capacity(24);
                while let Some(Name(name)) = entries.next_key()? {
                    entries.next_value_seed(Values { headers: &mut headers, name })?;
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_map(HeadersVisitor)
    }
}

/// Takes in what stands at one name.
struct Values<'h> {
    headers: &'h mut HeaderMap,
    name: HeaderName,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header's value, or a list of values")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.headers.insert(self.name, value(text)?);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while let Some(Text(value)) = values.next_element()? {
            self.headers.append(&self.name, value);
        }
        Ok(())
    }
}

/// The errors name no value: it may be a key.
fn value<E: Error>(text: &str) -> Result<HeaderValue, E> {
    HeaderValue::from_str(text).map_err(|_| E::custom("no header value"))
}

struct Name(HeaderName);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's name")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                HeaderName::from_bytes(text.as_bytes()).map(Name).map_err(|_| E::custom("no header name"))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

struct Text(HeaderValue);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's value")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                value(text).map(Text)
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(json: &str) -> serde_json::Result<HeaderMap> {
        serde_json::from_str::<Headers>(json).map(|headers| headers.0)
    }

    #[test]
    fn one_value_or_a_list() {
        let found = headers(r#"{"Accept": "a\"b", "x-list": ["1", "2"], "x-none": []}"#).unwrap();
        assert_eq!(found["accept"], "a\"b");
        let list: Vec<_> = found.get_all("x-list").iter().collect();
        assert_eq!(list, ["1", "2"]);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn what_http_does_not_allow_is_refused_and_not_repeated() {
        for json in [
            r#"{"x": "sk-canary\n"}"#,
            r#"{"x": ["sk-canary\n"]}"#,
            r#"{"sk-canary\n": "v"}"#,
            r#"{"x": null}"#,
            r#"{"x": 1}"#,
        ] {
            let error = headers(json).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
