//! What was seen: a table for people, JSON for scripts. Names and versions only.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use keyturn_config::{Value, Warning};
use keyturn_secrets::{CacheStats, StoreStats};
use serde_json::{Value as Json, json};

use super::look::{Age, Seen};
use super::rows::Row;
use super::verdict::Verdict;
use crate::look::{DIM, RULED, YELLOW, age, short};

/// What there is to tell.
pub(super) struct Shown<'a> {
    /// Where the configuration is.
    pub(super) place: &'a str,
    pub(super) rows: &'a [Row],
    /// What was seen of each row.
    pub(super) seen: &'a [Seen],
    pub(super) warnings: &'a [Warning],
    pub(super) stats: Option<&'a CacheStats>,
    pub(super) now: Timestamp,
}

/// The figures of a store, by name.
fn figures(stats: &StoreStats) -> [(&'static str, u64); 6] {
    [
        ("reads", stats.reads),
        ("hits", stats.hits),
        ("refreshes", stats.refreshes),
        ("refusals", stats.refusals),
        ("stale", stats.stale_serves),
        ("failures", stats.failures),
    ]
}

impl Shown<'_> {
    fn pairs(&self) -> impl Iterator<Item = (&Row, &Seen)> {
        self.rows.iter().zip(self.seen)
    }

    /// For people.
    pub(super) fn table(&self) {
        let mut table = Table::new();
        table.load_style(RULED);
        table.set_header(["model", "deployment", "field", "store", "reference", "version", "age", "verdict"]);
        for (row, seen) in self.pairs() {
            let (store, reference) = source(row);
            table.add_row([
                dash(&row.model),
                dash(&row.deployment),
                dash(&row.field),
                store,
                reference,
                dash(&seen.version.as_deref().map(short).unwrap_or_default()),
                self.age(seen.age),
                seen.verdict.name().to_owned(),
            ]);
        }
        // Colours are put in when the widths are settled: two rules and the header come first.
        let text = table.to_string();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            let verdict = at.checked_sub(3).and_then(|at| self.seen.get(at)).map(|seen| seen.verdict);
            match verdict.and_then(|verdict| Some((line.strip_suffix(verdict.name())?, verdict))) {
                Some((rest, verdict)) => {
                    let style = verdict.style();
                    anstream::println!("{rest}{style}{}{style:#}", verdict.name());
                }
                None => anstream::println!("{line}"),
            }
        }
        for (row, seen) in self.pairs() {
            if let (Some(why), true) = (&seen.why, seen.verdict != Verdict::Skipped) {
                let style = seen.verdict.style();
                anstream::println!("{style}{}{style:#} {}: {why}", seen.verdict.name(), row.path);
            }
        }
        for warning in self.warnings {
            anstream::println!("{YELLOW}warning{YELLOW:#} {warning}");
        }
        let usable = self.seen.iter().filter(|seen| seen.verdict.is_usable()).count();
        anstream::println!("{}: {usable} of {} usable", self.place, self.seen.len());
        if let Some(stats) = self.stats {
            metrics(stats);
        }
    }

    fn age(&self, of: Age) -> String {
        match of {
            Age::Unknown => "–".to_owned(),
            Age::Since(since) => age(since, self.now),
            Age::Ends(end) => format!("ends in {}", age(self.now, end)),
        }
    }

    /// For scripts.
    pub(super) fn json(&self) {
        let rows: Vec<Json> = self
            .pairs()
            .map(|(row, seen)| {
                let (since, ends) = match seen.age {
                    Age::Unknown => (None, None),
                    Age::Since(since) => (Some(since), None),
                    Age::Ends(end) => (None, Some(end)),
                };
                json!({
                    "model": some(&row.model),
                    "deployment": some(&row.deployment),
                    "path": row.path,
                    "field": some(&row.field),
                    "name": row.name(),
                    "reference": row.reference(),
                    "store": row.reference().map(|reference| &reference.scheme),
                    "version": seen.version,
                    "current_since": since,
                    "ends_at": ends,
                    "verdict": seen.verdict.name(),
                    "usable": seen.verdict.is_usable(),
                    "why": seen.why,
                })
            })
            .collect();
        let warnings: Vec<Json> =
            self.warnings.iter().map(|warning| json!({"path": warning.path, "why": warning.why})).collect();
        let mut all = json!({
            "configuration": self.place,
            "usable": self.seen.iter().all(|seen| seen.verdict.is_usable()),
            "secrets": rows,
            "warnings": warnings,
        });
        if let Some(stats) = self.stats {
            let of = |stats: StoreStats| figures(&stats).into_iter().collect::<BTreeMap<_, _>>();
            let stores: serde_json::Map<String, Json> =
                stats.stores().map(|(store, stats)| (store.to_owned(), json!(of(stats)))).collect();
            all["metrics"] = Json::Object(stores);
        }
        anstream::println!("{all:#}");
    }
}

/// What each store was asked.
fn metrics(stats: &CacheStats) {
    let mut table = Table::new();
    table.load_style(RULED);
    let names = figures(&StoreStats::default()).map(|(name, _)| name);
    table.set_header(["store"].into_iter().chain(names));
    for (store, stats) in stats.stores().chain([("all", stats.total())]) {
        let figures = figures(&stats).map(|(_, figure)| figure.to_string());
        table.add_row([store.to_owned()].into_iter().chain(figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in table.to_string().lines() {
        anstream::println!("{DIM}{}{DIM:#}", line.trim_end());
    }
}

/// The store of a row, and the rest of its reference.
fn source(row: &Row) -> (String, String) {
    match &row.value {
        None => ("–".to_owned(), "–".to_owned()),
        Some(Value::Literal(_)) => ("–".to_owned(), "(the secret itself)".to_owned()),
        Some(Value::Reference(reference)) => {
            let text = reference.to_string();
            let rest = text.strip_prefix(&format!("{}:", reference.scheme)).unwrap_or(&text);
            (reference.scheme.clone(), rest.to_owned())
        }
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { text.to_owned() }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
