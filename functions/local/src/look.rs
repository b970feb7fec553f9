//! How tables look.

use comfy_table::{LineStyle, TableStyle};

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// With a rule above, below, and under the header.
pub(crate) const RULED: TableStyle =
    TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
/// Columns, and nothing else.
pub(crate) const PLAIN: TableStyle = TableStyle::new();
