//! JSON that is passed on rather than rebuilt: string tokens keep their escapes, values keep their bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON string, unescaped; borrowed when the document has no escapes in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A token count from an upstream. Anything that is no number counts as 0: a strange count must not fail an
/// answer that the client can use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl<'de> Visitor<'de> for CountVisitor {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }
            fn visit_u64<E>(self, n: u64) -> Result<Count, E> {
                Ok(Count(n))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(n).unwrap_or(0)))
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the cast saturates, which is what is wanted"
            )]
            #[expect(clippy::cast_sign_loss, reason = "the cast saturates at 0, which is what is wanted")]
            fn visit_f64<E>(self, n: f64) -> Result<Count, E> {
                Ok(Count(n as u64))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(0))
            }
            fn visit_str<E>(self, _: &str) -> Result<Count, E> {
                Ok(Count(0))
            }
            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(0))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(0))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(0))
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}

/// Where `part` lies in `whole`, of which it must be a slice.
pub(crate) fn span(whole: &str, part: &str) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// Is this value a string?
pub(crate) fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// A string token without its quotes, its escapes untouched; empty for any other value.
pub(crate) fn inner(raw: &RawValue) -> &str {
    raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("")
}

/// Is this string token empty or only white space?
pub(crate) fn is_blank(raw: &RawValue) -> bool {
    let mut rest = inner(raw);
    loop {
        rest = rest.trim_start();
        match ["\\n", "\\r", "\\t"].iter().find_map(|escape| rest.strip_prefix(escape)) {
            Some(after) => rest = after,
            None => return rest.is_empty(),
        }
    }
}

/// The string that this value is.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// Appends `text` to `out` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` to `out`, escaped for the inside of a JSON string.
pub(crate) fn push_escaped(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte != b'"' && byte != b'\\' && byte >= 0x20 {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[from..]);
}

/// A JSON value without the white space between its tokens; key order and spellings stay.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut from = 0;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in json.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            quoted = true;
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            out.push_str(&json[from..at]);
            from = at + 1;
        }
    }
    out.push_str(&json[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn blanks() {
        for blank in [r#""""#, r#""  ""#, r#"" \n\t\r ""#] {
            assert!(is_blank(raw(blank)), "{blank}");
        }
        for text in [r#""a""#, r#"" \\n""#, r#""\u00e9""#] {
            assert!(!is_blank(raw(text)), "{text}");
        }
    }

    #[test]
    fn compact_leaves_strings_alone() {
        assert_eq!(compact("{ \"a b\" : [1, \"x \\\" y\" ,\n2.50] }"), r#"{"a b":[1,"x \" y",2.50]}"#);
        assert_eq!(compact(r#"{"p":"c:\\ " , "q":1}"#), r#"{"p":"c:\\ ","q":1}"#);
    }

    #[test]
    fn escapes_agree_with_serde_json() {
        for text in ["", "plain", "q\"b\\n\n\r\t\u{1}\u{1f}\u{7f} é 😀 \u{2028}"] {
            let mut out = String::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn strange_counts_are_zero() {
        for (json, count) in [
            ("7", 7),
            ("7.9", 7),
            ("-3", 0),
            ("1e99", u64::MAX),
            ("null", 0),
            ("true", 0),
            ("\"7\"", 0),
            ("[1,[2]]", 0),
            ("{\"a\":{}}", 0),
        ] {
            assert_eq!(serde_json::from_str::<Count>(json).unwrap(), Count(count), "{json}");
        }
    }
}
