//! The bars as a picture: each judged ratio, and the mark that it has to keep. Readable on light and dark grounds.
//!
//! Ratios that are to be small stand on a linear scale, those that are to be large on a logarithmic one.

use std::fmt::Write;

use super::{Bar, Table, short};

const WIDTH: f64 = 760.0;
/// Where bars begin.
const LEFT: f64 = 330.0;
/// Where the longest bar ends; its figure stands behind it.
const RIGHT: f64 = 700.0;
const LINE: f64 = 22.0;
const MARGIN: f64 = 16.0;
/// The least ratio on a logarithmic scale.
const LEAST: f64 = 0.1;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600}.small{font-size:12px;fill:#57606a}\
.bar{fill:#2f81f7}.missed{fill:#cf222e}.limit{stroke:#24292f;stroke-width:2}.one{stroke:#8c959f;stroke-dasharray:3 3}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.limit{stroke:#e6edf3}.one{stroke:#656c76}\
.bar{fill:#4493f8}.missed{fill:#f85149}}";

/// One bar of the picture.
struct Drawn<'a> {
    what: &'a str,
    ratio: f64,
    limit: f64,
    kept: bool,
}

/// Bars of one table on one scale.
struct Group<'a> {
    title: &'a str,
    bars: Vec<Drawn<'a>>,
}

/// Draws every row that has a ratio and a bar; `None` when there is none.
#[must_use]
pub fn draw(tables: &[&Table]) -> Option<String> {
    let small = groups(tables, |bar| if let Bar::AtMost(most) = bar { Some(most) } else { None });
    let large = groups(tables, |bar| if let Bar::AtLeast(least) = bar { Some(least) } else { None });
    if small.is_empty() && large.is_empty() {
        return None;
    }
    let mut picture = Picture { y: MARGIN, body: String::new() };
    if !small.is_empty() {
        let most = largest(&small).max(1.0);
        let scale = |ratio: f64| LEFT + (RIGHT - LEFT) * ratio / most;
        picture.panel("Ratios that are to stay small; | is the bar, the dashed line 1", &small, scale);
    }
    if !large.is_empty() {
        let decades = (largest(&large).max(1.0) / LEAST).log10();
        let scale = |ratio: f64| LEFT + (RIGHT - LEFT) * (ratio.max(LEAST) / LEAST).log10() / decades;
        picture.panel(
            "Ratios that are to be large, logarithmic; | is the bar, the dashed line 1",
            &large,
            scale,
        );
    }
    let height = picture.y + MARGIN;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Measured ratios and their bars\">\n<style>{STYLE}</style>\n{}</svg>\n",
        picture.body
    ))
}

fn groups<'a>(tables: &[&'a Table], limit: fn(Bar) -> Option<f64>) -> Vec<Group<'a>> {
    let group = |table: &'a Table| {
        let drawn = |row: &'a super::Row| {
            Some(Drawn { what: &row.what, ratio: row.ratio?, limit: limit(row.bar?)?, kept: row.kept()? })
        };
        // A bar of nothing has no length.
        let bars = table.rows.iter().filter_map(drawn).filter(|bar| bar.limit > 0.0);
        Group { title: &table.title, bars: bars.collect() }
    };
    tables.iter().map(|table| group(table)).filter(|group| !group.bars.is_empty()).collect()
}

fn largest(groups: &[Group<'_>]) -> f64 {
    let bars = groups.iter().flat_map(|group| &group.bars);
    bars.map(|bar| bar.ratio.max(bar.limit)).fold(0.0, f64::max)
}

struct Picture {
    /// Where the next line begins.
    y: f64,
    body: String,
}

impl Picture {
    fn panel(&mut self, title: &str, groups: &[Group<'_>], scale: impl Fn(f64) -> f64) {
        self.text(MARGIN, "small", title);
        self.y += LINE;
        let top = self.y;
        for group in groups {
            self.text(MARGIN, "title", group.title);
            self.y += LINE;
            for bar in &group.bars {
                self.bar(bar, &scale);
            }
        }
        let (one, bottom) = (scale(1.0), self.y);
        let _ = writeln!(
            self.body,
            "<line class=\"one\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
        );
        self.y += LINE / 2.0;
    }

    fn bar(&mut self, bar: &Drawn<'_>, scale: impl Fn(f64) -> f64) {
        self.text(MARGIN * 2.0, "", bar.what);
        let (end, mark, top) = (scale(bar.ratio), scale(bar.limit), self.y + 4.0);
        let class = if bar.kept { "bar" } else { "missed" };
        let (width, height) = (end - LEFT, LINE - 8.0);
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>\
             <line class=\"limit\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            top - 2.0,
            top + height + 2.0,
        );
        // Behind whichever reaches further.
        self.text(end.max(mark) + 6.0, "small", &short(bar.ratio));
        self.y += LINE;
    }

    fn text(&mut self, x: f64, class: &str, text: &str) {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let baseline = self.y + LINE - 7.0;
        let _ =
            writeln!(self.body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{baseline:.1}\">{escaped}</text>");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Row, Unit};
    use super::*;

    #[test]
    fn judged_ratios_are_drawn_each_on_its_scale() {
        let row = |what: &str, ours: f64, bar| {
            Row::new(what, Unit::Milliseconds, vec![Some(ours), Some(1.0)]).compared_with(1).bar(bar)
        };
        let unjudged = Row::new("unjudged", Unit::Milliseconds, vec![Some(1.0)]);
        let table = Table {
            title: "A <title>".into(),
            columns: Vec::new(),
            rows: vec![
                row("kept", 1.0, Bar::AtMost(2.0)),
                row("missed", 4.0, Bar::AtMost(2.0)),
                row("many", 1000.0, Bar::AtLeast(100.0)),
                unjudged.clone(),
            ],
            notes: Vec::new(),
        };
        let svg = draw(&[&table]).unwrap();
        assert_eq!(svg.matches("<rect class=\"bar\"").count(), 2);
        assert_eq!(svg.matches("<rect class=\"missed\"").count(), 1);
        assert!(svg.contains("A &lt;title&gt;") && !svg.contains("unjudged"));
        // 1 of 4 on the linear scale; 100 is three of the four decades from 0.1 to 1,000.
        assert!(svg.contains("x=\"330\" y=\"64.0\" width=\"92.5\""), "{svg}");
        assert!(svg.contains("<line class=\"limit\" x1=\"607.5\""), "{svg}");
        let nothing = Table { rows: vec![unjudged], ..table };
        assert_eq!(draw(&[&nothing]), None);
    }
}
