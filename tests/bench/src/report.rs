//! What was measured, as tables, and the ways they are shown.
//!
//! | module | shows them |
//! |---|---|
//! | [`terminal`] | to a person |
//! | [`record`] | to programs: `target/bench/result.json` |
//! | [`markdown`] | in `docs/performance.md`, between markers |
//! | [`chart`] | in `docs/performance.svg` |

use serde::{Deserialize, Serialize};

pub mod chart;
pub mod markdown;
pub mod record;
pub mod terminal;

/// One table: what was measured in the rows, of whom in the columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What all of it is about.
    pub title: String,
    /// The subjects: `keyturn`, `limit`, ….
    pub columns: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// What a reader must know to read them, one sentence or two each.
    pub notes: Vec<String>,
}

/// One quantity, of every subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// In what.
    pub unit: Unit,
    /// One per column; `None` was not measured.
    pub values: Vec<Option<f64>>,
    /// What is judged: Keyturn's figure by that of the one it is compared with.
    pub ratio: Option<f64>,
    /// What it has to keep.
    pub bar: Option<Bar>,
}

/// The unit of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 10⁻³ s.
    Milliseconds,
    /// 10⁻⁶ s.
    Microseconds,
    /// 10⁶ bytes.
    Megabytes,
    /// In one second.
    PerSecond,
    /// How many.
    Count,
    /// US dollars.
    Dollars,
    /// Hundredths.
    Percent,
}

/// A limit that a row has to keep: of its ratio if it has one, else of its first value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// This and nothing else.
    Exactly(f64),
}

impl Row {
    /// A row without a ratio or a bar.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: Unit, values: Vec<Option<f64>>) -> Self {
        Self { what: what.into(), unit, values, ratio: None, bar: None }
    }

    /// Judges the first column by this one. Nothing is judged when one of the two was not measured.
    #[must_use]
    pub fn compared_with(mut self, column: usize) -> Self {
        let value = |column: usize| self.values.get(column).copied().flatten();
        self.ratio = value(0).zip(value(column)).map(|(ours, theirs)| ours / theirs);
        self
    }

    /// Gives it a bar.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self
    }

    /// Whether the bar is kept; `None` without a bar, or without the figure.
    #[must_use]
    pub fn kept(&self) -> Option<bool> {
        let judged = self.ratio.or_else(|| self.values.first().copied().flatten())?;
        self.bar.map(|bar| match bar {
            Bar::AtMost(most) => judged <= most,
            Bar::AtLeast(least) => judged >= least,
            Bar::Exactly(wanted) => (judged - wanted).abs() < 1e-9,
        })
    }
}

impl Table {
    /// The cells of a heading line.
    fn heading(&self) -> Vec<String> {
        let mut cells = vec![String::new(), String::new()];
        cells.extend(self.columns.iter().cloned());
        if self.judged() {
            cells.extend(["ratio".to_owned(), "bar".to_owned()]);
        }
        cells
    }

    /// The cells of a row, as many as of the heading.
    fn cells(&self, row: &Row) -> Vec<String> {
        let mut cells = vec![row.what.clone(), row.unit.symbol().to_owned()];
        cells.extend(
            row.values.iter().map(|value| value.map_or_else(|| "–".to_owned(), |value| row.unit.show(value))),
        );
        if self.judged() {
            cells.push(row.ratio.map_or_else(String::new, short));
            let mark = match row.kept() {
                Some(true) => " ✓",
                Some(false) => " ✗",
                None => "",
            };
            cells.push(row.bar.map_or_else(String::new, |bar| format!("{bar}{mark}")));
        }
        cells
    }

    fn judged(&self) -> bool {
        self.rows.iter().any(|row| row.ratio.is_some() || row.bar.is_some())
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::Exactly(wanted) => write!(f, "= {wanted}"),
        }
    }
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Megabytes => "MB",
            Self::PerSecond => "/s",
            Self::Count => "",
            Self::Dollars => "$",
            Self::Percent => "%",
        }
    }

    /// A value as it is shown, with as many digits as mean something.
    fn show(self, value: f64) -> String {
        match self {
            Self::Count if value.fract() == 0.0 => grouped(value),
            Self::Dollars if value > 0.0 && value < 1.0 => format!("{value:.3}"),
            Self::Count | Self::Dollars | Self::Megabytes | Self::Percent => format!("{value:.2}"),
            Self::PerSecond if value < 10.0 => short(value),
            Self::PerSecond => grouped(value),
            Self::Milliseconds | Self::Microseconds => short(value),
        }
    }
}

/// At most three decimals, and about three digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 100.0 => format!("{value:.2}"),
        size if size < 10_000.0 => format!("{value:.0}"),
        _ => grouped(value),
    }
}

/// A whole number, its thousands parted.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.split_at(usize::from(digits.starts_with('-')));
    let first = (digits.len() + 2) % 3 + 1;
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index >= first && (index - first) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_judges_the_ratio_and_else_the_first_value() {
        let row = Row::new("x", Unit::Count, vec![Some(3.0), Some(2.0)]);
        assert_eq!(row.kept(), None);
        assert_eq!(row.clone().bar(Bar::AtMost(3.0)).kept(), Some(true));
        let row = row.compared_with(1);
        assert_eq!(row.ratio, Some(1.5));
        assert_eq!(row.clone().bar(Bar::AtMost(1.4)).kept(), Some(false));
        assert_eq!(row.clone().bar(Bar::AtLeast(1.5)).kept(), Some(true));
        assert_eq!(row.clone().bar(Bar::Exactly(1.5)).kept(), Some(true));
        assert_eq!(row.clone().bar(Bar::Exactly(1.4)).kept(), Some(false));
        let unmeasured = Row::new("x", Unit::Count, vec![None, Some(2.0)]).compared_with(1);
        assert_eq!((unmeasured.ratio, unmeasured.bar(Bar::AtMost(1.0)).kept()), (None, None));
    }

    #[test]
    fn figures_have_the_digits_that_mean_something() {
        for (unit, value, shown) in [
            (Unit::Milliseconds, 0.123_45, "0.123"),
            (Unit::Milliseconds, 12.345, "12.35"),
            (Unit::Milliseconds, 1234.5, "1234"),
            (Unit::Megabytes, 7.734, "7.73"),
            (Unit::PerSecond, 1_234_567.0, "1,234,567"),
            (Unit::PerSecond, 999.6, "1,000"),
            (Unit::PerSecond, 123.0, "123"),
            (Unit::Count, 2.0, "2"),
            (Unit::Count, 0.5, "0.50"),
            (Unit::Dollars, 0.625, "0.625"),
            (Unit::Dollars, 0.0125, "0.013"),
            (Unit::Dollars, 0.0, "0.00"),
            (Unit::Percent, 99.996, "100.00"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
        assert_eq!(grouped(-1234.0), "-1,234");
    }
}
