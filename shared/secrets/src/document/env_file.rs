//! `KEY=value` lines, as a Vault Agent template or a `.env` file has them.
//!
//! Blank lines and `#` comments are skipped; `export ` may stand before the name. A value is bare (to the end
//! of the line, or to a `#` after a blank), in single quotes (taken as it is) or in double quotes (`\n`, `\r`,
//! `\t`, `\"`, `\\`, `\$` are escapes); a quoted value may span lines. Nothing is substituted: a `$` is a `$`.
//! The last of several lines for one name counts.

use super::Fields;

/// The fields of `text`, or which line is wrong.
pub(super) fn parse(text: &str) -> Result<Fields, String> {
    let mut fields = Fields::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}", line_number(text, rest));
        let (name, _) = line.split_once('=').ok_or_else(|| wrong("neither KEY=value nor a comment"))?;
        // The value starts behind the `=`, and a quoted one may end on a later line.
        let value = rest.get(name.len() + 1..).unwrap_or_default();
        let name = name.trim();
        let name = name.strip_prefix("export").filter(|name| name.starts_with([' ', '\t'])).unwrap_or(name);
        let name = name.trim_start();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(wrong("not a name before the `=`"));
        }
        let mut opened = value.trim_start_matches([' ', '\t']).chars();
        let (value, after) = match opened.next() {
            Some(quote @ ('"' | '\'')) => {
                let (value, after) =
                    quoted(opened.as_str(), quote).ok_or_else(|| wrong("a quote is not closed"))?;
                let (behind, after) = split_line(after);
                let behind = behind.trim();
                if !behind.is_empty() && !behind.starts_with('#') {
                    return Err(wrong("text behind the closing quote"));
                }
                (value, after)
            }
            _ => {
                let (value, after) = split_line(value);
                (bare(value).to_owned(), after)
            }
        };
        fields.insert(name.to_owned(), Some(value.into()));
        rest = after;
    }
    Ok(fields)
}

/// The first line of `text` and what follows its line break.
fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// Which line of `text` its tail `rest` starts on, from 1.
fn line_number(text: &str, rest: &str) -> usize {
    let before = text.strip_suffix(rest).unwrap_or(text);
    before.bytes().filter(|&byte| byte == b'\n').count() + 1
}

/// A bare value without the comment behind it.
fn bare(value: &str) -> &str {
    let comment = value.find(" #").into_iter().chain(value.find("\t#")).min();
    value.get(..comment.unwrap_or(value.len())).unwrap_or(value).trim()
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((value, text.get(at + c.len_utf8()..)?)),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        let fields = parse(text).unwrap();
        fields.into_iter().map(|(name, value)| (name, value.unwrap().expose().to_owned())).collect()
    }

    fn one(text: &str) -> String {
        let fields = fields(text);
        assert_eq!(fields.len(), 1, "{text}");
        fields[0].1.clone()
    }

    #[test]
    fn lines_comments_blanks_and_export() {
        let text = "# a comment\n\nA=1\r\n  export B = two \n\t# more\nexported=3\nexport\tC=4";
        let expected = [("A", "1"), ("B", "two"), ("C", "4"), ("exported", "3")];
        assert_eq!(fields(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn bare_values() {
        assert_eq!(one("A=sk-a=b==  "), "sk-a=b==");
        assert_eq!(one("A=sk#1 # the key"), "sk#1");
        assert_eq!(one("A=x\t# the key # or not"), "x");
        assert_eq!(one("A=#1"), "#1");
        assert_eq!(one("A= # empty"), "");
        assert_eq!(one("A="), "");
        assert_eq!(one("A=$HOME ${X} it's \"q\""), "$HOME ${X} it's \"q\"");
        assert_eq!(one("A=schlüssel 🔑"), "schlüssel 🔑");
    }

    #[test]
    fn quoted_values() {
        assert_eq!(one(r#"A="a # b" # c"#), "a # b");
        assert_eq!(one(r#"A="\n\r\t\"\\\$\x""#), "\n\r\t\"\\$\\x");
        assert_eq!(one(r"A='\n\'"), r"\n\");
        assert_eq!(one("A=\"\""), "");
        assert_eq!(
            fields("A=\"1\n2=x\n\"\nB='é'"),
            [("A".to_owned(), "1\n2=x\n".to_owned()), ("B".to_owned(), "é".to_owned())]
        );
    }

    #[test]
    fn the_last_line_for_a_name_counts() {
        assert_eq!(one("A=1\nA=2"), "2");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_never_shown() {
        for (text, line) in [
            ("A=1\nsk-canary", "line 2: neither"),
            ("A=1\n\n=sk-canary", "line 3: not a name"),
            ("sk canary=1", "line 1: not a name"),
            ("A=1\nB=\"sk-canary\n\n", "line 2: a quote"),
            ("A='x' sk-canary", "line 1: text behind"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(line), "{text:?}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn any_prefix_of_a_file_is_read_without_a_panic() {
        let text = "# c\nexport A='é\n' # x\nB=\"\\\"é\\\\\"\nC=🔑 # y\n";
        for (end, _) in text.char_indices() {
            let _ = parse(&text[..end]);
        }
        assert_eq!(fields(text).len(), 3);
    }
}
