//! Where documents are. Any text can be part of a path: what is not a letter, a digit, `-` or `_` is written as `~`
//! and two hex digits for each byte.

use crate::hash::KeyHash;
use crate::store::{Filter, Index, Kind, RowId};

/// A text as a part of a path.
pub(super) fn part(text: &str) -> String {
    // A part must not be empty.
    if text.is_empty() {
        return "~".to_owned();
    }
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            part.push(char::from(byte));
        } else {
            part.push_str(&format!("~{byte:02x}"));
        }
    }
    part
}

/// The text that a part was made from; `None` for what was made otherwise.
pub(super) fn text(part: &str) -> Option<String> {
    if part == "~" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut pieces = part.split('~');
    bytes.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Key => "key",
        Kind::Team => "team",
        Kind::User => "user",
        Kind::Budget => "budget",
    }
}

/// A row.
pub(super) fn row(id: &RowId) -> String {
    format!("row/{}/{}", kind(id.kind), part(&id.id))
}

/// A pointer: where the row would be if the hash were an id.
pub(super) fn pointer(hash: &KeyHash) -> String {
    row(&RowId::key(hash))
}

/// Who has an alias.
pub(super) fn alias(alias: &str) -> String {
    format!("alias/{}", part(alias))
}

/// Where the markers of a list are.
pub(super) fn list(filter: &Filter) -> String {
    match filter {
        Filter::All(of) => format!("by/{}", kind(*of)),
        Filter::Team(team) => format!("by/team-of-key/{}", part(team)),
        Filter::User(user) => format!("by/user-of-key/{}", part(user)),
        Filter::Alias(_) => "by/alias".to_owned(),
    }
}

/// The kind of the rows of a list.
pub(super) fn listed(filter: &Filter) -> Kind {
    match filter {
        Filter::All(kind) => *kind,
        Filter::Team(_) | Filter::User(_) | Filter::Alias(_) => Kind::Key,
    }
}

/// The markers of a row.
pub(super) fn markers(id: &RowId, index: &Index, mark: i64) -> Vec<String> {
    let mut filters = vec![Filter::All(id.kind)];
    filters.extend(index.team_id.clone().map(Filter::Team));
    filters.extend(index.user_id.clone().map(Filter::User));
    filters.extend(index.alias.clone().map(Filter::Alias));
    let marker = |filter: &Filter| {
        let sort = match filter {
            Filter::Alias(alias) => part(alias),
            _ => time(index.created_at.as_microsecond()),
        };
        format!("{}/{sort}.{}.{mark}", list(filter), part(&id.id))
    };
    filters.iter().map(marker).collect()
}

/// A time in microseconds so that times sort as texts.
pub(super) fn time(microseconds: i64) -> String {
    // The order is kept: the sign bit is turned over.
    format!("{:020}", microseconds.cast_unsigned() ^ (1 << 63))
}

/// The time in such a text.
pub(super) fn microseconds(time: &str) -> Option<i64> {
    Some((time.parse::<u64>().ok()? ^ (1 << 63)).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_part_and_comes_back() {
        for (from, expected) in [
            ("", "~"),
            ("sk-a_B9", "sk-a_B9"),
            ("a/../b", "a~2f~2e~2e~2fb"),
            ("é~", "~c3~a9~7e"),
            (".", "~2e"),
        ] {
            assert_eq!(part(from), expected);
            assert_eq!(text(expected).as_deref(), Some(from));
        }
        for strange in ["a~", "~z0", "~c3", "~a"] {
            assert_eq!(text(strange), None, "{strange}");
        }
    }

    #[test]
    fn times_sort_as_texts() {
        let times = [i64::MIN, -1, 0, 1, 1_767_225_600_000_000, i64::MAX];
        let texts = times.map(time);
        assert!(texts.is_sorted());
        assert_eq!(texts.each_ref().map(|text| microseconds(text).unwrap()), times);
    }
}
