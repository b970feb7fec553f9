//! Tables for a person: coloured on a terminal, plain in a pipe or with `NO_COLOR`.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, LineStyle, TableStyle};

use super::Table;

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
const LOOK: TableStyle = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);

/// Prints tables to standard output.
pub fn print(tables: &[Table]) {
    let bold = Style::new().bold();
    let dim = Style::new().dimmed();
    for table in tables {
        anstream::println!("\n{bold}{}{bold:#}", table.title);
        anstream::println!("{}", coloured(&drawn(table)));
        for note in &table.notes {
            anstream::println!("  {dim}{note}{dim:#}");
        }
    }
}

/// Prints which bars are missed.
pub fn print_missed(tables: &[Table]) {
    let missed: Vec<String> = tables
        .iter()
        .flat_map(|table| {
            table.rows.iter().filter(|row| row.kept() == Some(false)).map(move |row| (table, row))
        })
        .map(|(table, row)| {
            let figure = row.ratio.map_or_else(
                || {
                    row.values
                        .first()
                        .copied()
                        .flatten()
                        .map_or_else(String::new, |value| row.unit.show(value))
                },
                super::short,
            );
            let bar = row.bar.map_or_else(String::new, |bar| bar.to_string());
            format!("  {}: {}: {figure}, not {bar}", table.title, row.what)
        })
        .collect();
    let (red, green) = (AnsiColor::Red.on_default(), AnsiColor::Green.on_default());
    if missed.is_empty() {
        anstream::println!("\n{green}Every bar is kept.{green:#}");
    } else {
        anstream::println!("\n{red}Missed:{red:#}\n{}", missed.join("\n"));
    }
}

fn drawn(table: &Table) -> String {
    let mut drawn = comfy_table::Table::new();
    drawn.load_style(LOOK);
    drawn.set_header(table.heading());
    for row in &table.rows {
        drawn.add_row(table.cells(row));
    }
    for (index, column) in drawn.column_iter_mut().enumerate() {
        // What and in which unit to the left, figures to the right.
        column.set_cell_alignment(if index < 2 { CellAlignment::Left } else { CellAlignment::Right });
    }
    drawn.to_string()
}

/// The marks stand nowhere but behind bars, so they can be coloured when the widths are settled.
fn coloured(text: &str) -> String {
    let (red, green) = (AnsiColor::Red.on_default().bold(), AnsiColor::Green.on_default());
    text.replace('✓', &format!("{green}✓{green:#}")).replace('✗', &format!("{red}✗{red:#}"))
}
