//! Tables for the documentation.

use std::fmt::Write;

use super::Table;

/// The tables as Markdown.
#[must_use]
pub fn tables(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        let heading = table.heading();
        let _ = write!(text, "\n### {}\n\n{}", table.title, line(&heading));
        let rules = heading.iter().enumerate().map(|(index, _)| if index < 2 { "---" } else { "---:" });
        let _ = writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|"));
        for row in &table.rows {
            text.push_str(&line(&table.cells(row)));
        }
        if !table.notes.is_empty() {
            let _ = writeln!(text, "\n{}", table.notes.join(" "));
        }
    }
    text
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Puts `text` between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; `None` when the document has no such place.
#[must_use]
pub fn placed(document: &str, name: &str, text: &str) -> Option<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let start = document.find(&open)? + open.len();
    let end = start + document[start..].find(&close)?;
    Some(format!("{}\n{}\n{}", &document[..start], text.trim_end(), &document[end..]))
}

#[cfg(test)]
mod tests {
    use super::super::{Bar, Row, Unit};
    use super::*;

    #[test]
    fn a_table_is_replaced_between_its_markers() {
        let row =
            Row::new("a|b", Unit::Milliseconds, vec![Some(1.5), None]).compared_with(1).bar(Bar::AtMost(2.0));
        let table = Table {
            title: "Title".into(),
            columns: vec!["keyturn".into(), "limit".into()],
            rows: vec![row],
            notes: vec!["One.".into(), "Two.".into()],
        };
        let text = tables(&[table]);
        let lines = [
            "### Title",
            "",
            "|  |  | keyturn | limit | ratio | bar |",
            "|---|---|---:|---:|---:|---:|",
            "| a\\|b | ms | 1.50 | – |  | ≤ 2 ✓ |",
            "",
            "One. Two.",
        ];
        assert_eq!(text.trim(), lines.join("\n"));
        let document = "before\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nafter\n";
        let placed_once = placed(document, "x", "new\n").unwrap();
        assert_eq!(placed_once, "before\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nafter\n");
        assert_eq!(placed(&placed_once, "x", "new").as_ref(), Some(&placed_once));
        assert_eq!(placed(document, "y", "new"), None);
    }
}
