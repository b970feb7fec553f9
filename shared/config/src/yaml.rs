//! YAML text → a tree.

use serde_json::Value;
use serde_saphyr::{Error, Options, from_str_with_options};

use crate::error::{ConfigError, shown};

/// The largest file that is read, in bytes. Secrets Manager holds 64 KiB; real files are a tenth of that.
const MAX_BYTES: usize = 1 << 20;

/// Reads a file, within limits that stop alias bombs and deep nesting.
///
/// # Errors
///
/// [`ConfigError::Yaml`] with the place, and never a line of the file: it may hold a key.
pub(crate) fn parse(text: &str) -> Result<Value, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(problem(None, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    from_str_with_options(text, options()).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location().map(|location| (location.line(), location.column()));
        problem(place, describe(error))
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 32,
            flow_nesting_limit: 32,
            max_anchors: 1_000,
            max_aliases: 1_000,
            max_recorded_anchor_events: 100_000,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        with_snippet: false,
    }
}

/// What is wrong, in words that hold nothing of the file but the name of a field.
fn describe(error: &Error) -> String {
    match error {
        // The scanner's own sentences: fixed text, at most with the one character it stumbled over.
        Error::ExternalMessage { msg, .. } => msg.clone(),
        Error::AliasError { error, .. } => describe(error),
        Error::Eof { .. } => "the file is empty".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("{} stands here twice", shown(key)),
        Error::DuplicateMappingKey { key: None, .. } => "a field stands here twice".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins: expected one".to_owned(),
        Error::NonFiniteFloat { .. } => "a number is not finite".to_owned(),
        Error::UnknownAnchor { .. } => "an alias has no anchor".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the file is too deep, too long, or repeats itself by too many aliases".to_owned()
        }
        _ => "the YAML cannot be read".to_owned(),
    }
}

fn problem(place: Option<(u64, u64)>, problem: String) -> ConfigError {
    let (line, column) = place.unwrap_or_default();
    ConfigError::Yaml { line, column, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn names_the_place() {
        assert_eq!(error("a: 1\na: 2\n"), "line 2, column 1: a stands here twice");
        assert_eq!(
            error("sk-1: 1\nsk-1: 2\n"),
            "line 2, column 1: (a name that is not shown) stands here twice"
        );
        assert_eq!(error("a: *missing\n"), "line 1, column 4: an alias has no anchor");
        assert_eq!(error("a: .inf\n"), "line 1, column 4: a number is not finite");
        assert_eq!(error("a: [1, 2\nb: 3\n"), "line 2, column 2: illegal placement of ':' indicator");
        assert_eq!(error("a: 1\n---\nb: 2\n"), "line 3, column 1: a second document begins: expected one");
    }

    #[test]
    fn stops_bombs() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(error(&bomb).contains("too many aliases"), "{}", error(&bomb));
        assert!(error(&"[".repeat(100_000)).starts_with("line 1, "));
        assert!(error(&format!("a: {}", "- ".repeat(1_000))).starts_with("line 1, "));
        assert_eq!(
            error(&" ".repeat(MAX_BYTES + 1)),
            "line 0, column 0: the file is larger than 1048576 bytes"
        );
    }

    #[test]
    fn reads_what_pyyaml_reads() {
        let tree = parse("a: yes\nb: 'yes'\nc: 2024-10-21\nd: ~\ne: &x {k: 1}\nf: {<<: *x, l: 2}\n").unwrap();
        let expected = serde_json::json!({
            "a": true, "b": "yes", "c": "2024-10-21", "d": null, "e": {"k": 1}, "f": {"k": 1, "l": 2},
        });
        assert_eq!(tree, expected);
    }
}
