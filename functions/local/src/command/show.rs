//! Keys for people: tables, coloured on a terminal and plain in a pipe.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use serde_json::Value;

use crate::look::{PLAIN, RULED};

const BLOCKED: &str = "blocked";
const EXPIRED: &str = "expired";

/// The hash's first characters, which tell keys apart.
const SHORT_HASH: usize = 12;

/// A key with its new value.
pub(super) fn new_key(answer: &Value, word: &str, now: Timestamp) {
    let bold = Style::new().bold();
    match answer["key"].as_str() {
        Some(value) => anstream::println!("\n  {bold}{value}{bold:#}\n\n  {word}\n"),
        None => anstream::println!("\n  This was done before, and the value cannot be shown again.\n"),
    }
    key(answer, now);
}

/// One key, a line for each thing that is set.
pub(super) fn key(row: &Value, now: Timestamp) {
    let mut table = Table::new();
    table.load_style(PLAIN);
    for (label, text) in [
        ("alias", text(&row["key_alias"])),
        ("key", text(&row["key_name"])),
        ("hash", text(&row["token"])),
        ("state", state(row, now).to_owned()),
        ("spend", dollars(&row["spend"])),
        ("budget", budget(row)),
        ("limits", limits(row)),
        ("models", list(&row["models"])),
        ("team", text(&row["team_id"])),
        ("user", text(&row["user_id"])),
        ("type", text(&row["key_type"])),
        ("tags", list(&row["tags"])),
        ("expires", text(&row["expires"])),
        ("created", text(&row["created_at"])),
    ] {
        if !text.is_empty() {
            table.add_row([label.to_owned(), text]);
        }
    }
    anstream::println!("{}", coloured(&table.to_string()));
}

/// A page of keys.
pub(super) fn keys(page: &Value, now: Timestamp) {
    let rows = page["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        anstream::println!("No keys.");
        return;
    }
    let mut table = Table::new();
    table.load_style(RULED);
    table.set_header(["alias", "key", "hash", "spend", "budget", "limits", "team", "user", "state"]);
    for row in rows {
        let hash: String = text(&row["token"]).chars().take(SHORT_HASH).collect();
        table.add_row([
            text(&row["key_alias"]),
            text(&row["key_name"]),
            hash,
            dollars(&row["spend"]),
            budget(row),
            limits(row),
            text(&row["team_id"]),
            text(&row["user_id"]),
            state(row, now).to_owned(),
        ]);
    }
    for index in [3, 4] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    anstream::println!("{}", coloured(&table.to_string()));
    let (total, current, pages) = (&page["total_count"], &page["current_page"], &page["total_pages"]);
    if pages.as_u64().is_some_and(|pages| pages > 1) {
        anstream::println!("{total} keys; page {current} of {pages}");
    } else {
        anstream::println!("{total} keys");
    }
}

/// What was deleted.
pub(super) fn deleted(answer: &Value) {
    let count = answer["deleted_keys"].as_array().map_or(0, Vec::len);
    anstream::println!("{count} deleted");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn dollars(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |amount| format!("${amount}"))
}

fn budget(row: &Value) -> String {
    let amount = dollars(&row["max_budget"]);
    match row["budget_duration"].as_str() {
        Some(window) if !amount.is_empty() => format!("{amount}/{window}"),
        _ => amount,
    }
}

fn limits(row: &Value) -> String {
    let limit = |field: &str, unit: &str| row[field].as_u64().map(|limit| format!("{limit} {unit}"));
    let all =
        [limit("rpm_limit", "rpm"), limit("tpm_limit", "tpm"), limit("max_parallel_requests", "at once")];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn state(row: &Value, now: Timestamp) -> &'static str {
    let expires = row["expires"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match (row["blocked"] == Value::Bool(true), expires) {
        (true, _) => BLOCKED,
        (false, Some(expires)) if expires <= now => EXPIRED,
        (false, _) => "active",
    }
}

/// Colours are put in when the widths are settled.
fn coloured(text: &str) -> String {
    let red = AnsiColor::Red.on_default().bold();
    text.lines()
        .map(|line| {
            let line = line.trim_end();
            let state =
                [BLOCKED, EXPIRED].into_iter().find_map(|state| Some((line.strip_suffix(state)?, state)));
            state.map_or_else(|| line.to_owned(), |(rest, state)| format!("{rest}{red}{state}{red:#}"))
        })
        .collect::<Vec<_>>()
        .join("\n")
}
