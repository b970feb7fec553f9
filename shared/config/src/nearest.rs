//! The nearest known name to a misspelt one.

/// The known name that is closest to `name`, when it is close enough to be a slip of the fingers: at most one edit
/// (a letter too many, too few, changed, or two swapped) for each four letters.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let allowed = (name.len() / 4).clamp(1, 3);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= allowed)
        .map(|candidate| (edits(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(x != y));
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["api_base", "api_key", "rpm", "tpm", "timeout", "stream_timeout"];
        for (name, expected) in [
            ("api_bse", Some("api_base")),
            ("apikey", Some("api_key")),
            ("api_kye", Some("api_key")),
            ("steam_timeot", Some("stream_timeout")),
            ("rmp", Some("rpm")),
            ("temperature", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest(&"a".repeat(10_000), known), None);
    }

    #[test]
    fn counts_edits() {
        for (a, b, count) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(a.as_bytes(), b.as_bytes()), count, "{a} {b}");
        }
    }
}
