//! Sealed values in a file of any format.

use std::ops::Range;

use crate::SCHEME;

/// Where sealed values stand in a text, from its beginning: what has their form, whether it opens or not.
pub fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices(SCHEME).filter_map(move |(start, _)| {
        // `unsealed:1.x` is another word.
        let apart =
            !text[..start].ends_with(|before: char| before.is_alphanumeric() || "_-".contains(before));
        let rest = text[start..].strip_prefix(SCHEME)?.strip_prefix(':')?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let encoded = rest[digits..].strip_prefix('.')?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        let length = encoded.bytes().take_while(plain).count();
        let end = start + SCHEME.len() + 1 + digits + 1 + length;
        (apart && digits > 0 && length > 0).then_some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_values_are_found_wherever_they_stand() {
        let text = "a: sealed:1.Ab-_9\nb: \"sealed:12.x\"#c\nsealed:2.y=, (sealed:3.z) é sealed:4.w.";
        let found: Vec<&str> = find(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["sealed:1.Ab-_9", "sealed:12.x", "sealed:2.y", "sealed:3.z", "sealed:4.w"]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for text in [
            "sealed",
            "sealed:",
            "sealed:1",
            "sealed:1.",
            "sealed:.x",
            "sealed:x.y",
            "sealed: 1.x",
            "unsealed:1.x",
            "a-sealed:1.x",
            "Sealed:1.x",
        ] {
            assert_eq!(find(text).next(), None, "{text}");
        }
    }
}
