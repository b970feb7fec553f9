//! How tables, and what stands in them, look.

use anstyle::{AnsiColor, Style};
use comfy_table::{LineStyle, TableStyle};
use jiff::Timestamp;

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// With a rule above, below, and under the header.
pub(crate) const RULED: TableStyle =
    TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
/// Columns, and nothing else.
pub(crate) const PLAIN: TableStyle = TableStyle::new();

/// The first characters of a version's id, which tell versions apart.
pub(crate) fn short(version: &str) -> String {
    version.chars().take(8).collect()
}

/// The time between two moments, in its largest unit.
pub(crate) fn age(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
