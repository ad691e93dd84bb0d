//! How the figures grow with the number of bonds, as a picture: one panel for each, both axes logarithmic, ours beside
//! what stands beside it, and a dashed line for growth in proportion.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// A panel's title, and how the names of its figures begin.
const PANELS: [(&str, &str); 6] = [
    ("3: exec to last load command, ms", "exec to last load command"),
    ("9: start after kill -9 until ready, ms", "start after kill -9"),
    ("1: key event to durable, µs", "key event to durable,"),
    ("8: export, ms", "export of"),
    ("8: memory for the first export, MiB", "memory for the first export"),
    ("10: octets dirtied a bond, storm of 100", "octets dirtied a bond, a hundred at once, to"),
];
const COLUMNS: usize = 3;
const OURS: &str = "bondkeeper";
/// The first is ours.
const COLOURS: [&str; 6] = ["#c0392b", "#2471a3", "#229954", "#b9770e", "#7d3c98", "#566573"];

const PANEL: (f64, f64) = (340.0, 330.0);
/// The plot's corner in its panel, and its size.
const CORNER: (f64, f64) = (52.0, 34.0);
const PLOT: (f64, f64) = (262.0, 190.0);
const LINE: f64 = 14.0;

/// What is drawn as one line: bonds and value.
type Points = Vec<(f64, f64)>;

/// The picture of these results; panels of which nothing was measured stay empty.
pub fn growth(results: &[Value]) -> String {
    let rows = PANELS.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL.0 * COLUMNS as f64, PANEL.1 * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, (title, begins)) in PANELS.iter().enumerate() {
        let (x, y) = ((number % COLUMNS) as f64 * PANEL.0, (number / COLUMNS) as f64 * PANEL.1);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"20\" font-weight=\"bold\">{title}</text>", CORNER.0);
        panel(&mut svg, &lines_of(results, begins));
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Ours first, then what stands beside it.
fn lines_of(results: &[Value], begins: &str) -> Vec<(String, Points)> {
    let (mut ours, mut beside) = (BTreeMap::new(), BTreeMap::<String, BTreeMap<u64, f64>>::new());
    for row in results {
        let Some(bonds) = row["bonds"].as_u64() else { continue };
        if !row["name"].as_str().is_some_and(|name| name.starts_with(begins)) {
            continue;
        }
        ours.extend(row["value"].as_f64().map(|value| (bonds, value)));
        if let (Some(what), Some(value)) = (row["beside"]["what"].as_str(), row["beside"]["value"].as_f64()) {
            beside.entry(what.to_owned()).or_default().insert(bonds, value);
        }
    }
    // What a logarithm can show.
    let points = |values: BTreeMap<u64, f64>| -> Points {
        let shown = values.into_iter().filter(|(_, value)| *value > 0.0);
        shown.map(|(bonds, value)| (bonds as f64, value)).collect()
    };
    let mut lines = vec![(OURS.to_owned(), points(ours))];
    let grows = |(_, values): &(String, BTreeMap<u64, f64>)| values.len() > 1;
    lines.extend(beside.into_iter().filter(grows).map(|(what, values)| (what, points(values))));
    lines
}

fn panel(svg: &mut String, lines: &[(String, Points)]) {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let Some(first) = lines[0].1.first().copied() else { return };
    let decade = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0))
    };
    let (left, right) = decade(&mut all().map(|point| point.0));
    let (bottom, top) = decade(&mut all().map(|point| point.1));
    let x = |bonds: f64| CORNER.0 + PLOT.0 * (bonds.log10() - left) / (right - left);
    let y = |value: f64| CORNER.1 + PLOT.1 * (top - value.log10()) / (top - bottom);
    for exponent in left as i32..=right as i32 {
        let at = x(10f64.powi(exponent));
        let (head, foot) = (CORNER.1, CORNER.1 + PLOT.1);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {head}V{foot}\" stroke=\"#ddd\"/>");
        let label = grouped(exponent);
        let _ =
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", foot + LINE);
    }
    for exponent in bottom as i32..=top as i32 {
        let at = y(10f64.powi(exponent));
        let _ = writeln!(svg, "<path d=\"M{} {at:.1}h{}\" stroke=\"#ddd\"/>", CORNER.0, PLOT.0);
        let label = grouped(exponent);
        let (from, base) = (CORNER.0 - 5.0, at + 4.0);
        let _ = writeln!(svg, "<text x=\"{from}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>");
    }
    // In proportion, from our first point as far as the plot goes.
    let last = 10f64.powf(right.min(left.max(first.0.log10()) + top - first.1.log10()));
    let (to, high) = (x(last), y(first.1 * last / first.0));
    let (from, low) = (x(first.0), y(first.1));
    let _ = writeln!(
        svg,
        "<path d=\"M{from:.1} {low:.1}L{to:.1} {high:.1}\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>"
    );
    for (number, (what, points)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|(bonds, value)| format!("{:.1} {:.1}", x(*bonds), y(*value))).collect();
        let thick = if number == 0 { 2.5 } else { 1.3 };
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thick}\"/>",
            path.join("L")
        );
        let base = CORNER.1 + PLOT.1 + LINE * (2.2 + number as f64);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{base:.1}\" fill=\"{colour}\">{what}</text>", CORNER.0);
    }
}

/// A power of ten in words.
fn grouped(exponent: i32) -> String {
    match exponent {
        6.. => format!("{} M", 10u64.pow(exponent as u32 - 6)),
        3..6 => format!("{},000", 10u64.pow(exponent as u32 - 3)),
        0..3 => 10u64.pow(exponent as u32).to_string(),
        _ => format!("{:.*}", exponent.unsigned_abs() as usize, 10f64.powi(exponent)),
    }
}
