//! What was measured, as a table for people and a file for machines.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// What a figure is compared with.
#[derive(Clone, Copy)]
pub enum Beside {
    /// The least that is physically possible.
    Floor(&'static str),
    /// What another program takes for the same.
    Peer(&'static str),
}

impl Beside {
    fn kind(self) -> &'static str {
        match self {
            Self::Floor(_) => "floor",
            Self::Peer(_) => "peer",
        }
    }

    fn what(self) -> &'static str {
        let (Self::Floor(what) | Self::Peer(what)) = self;
        what
    }
}

/// One figure.
#[derive(Clone)]
pub struct Figure {
    pub metric: u32,
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// The floor or the peer it stands beside, and its value in the same unit.
    pub beside: Option<(Beside, f64)>,
    /// For how many bonds it was taken, where it shows how something grows.
    pub bonds: Option<usize>,
    /// The goal in words, and whether it is met; none where the table of goals has none.
    pub goal: Option<(String, bool)>,
}

impl Figure {
    pub fn new(metric: u32, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { metric, name: name.into(), value, unit, beside: None, bonds: None, goal: None }
    }

    pub fn beside(mut self, what: &'static str, value: f64) -> Self {
        self.beside = Some((Beside::Floor(what), value));
        self
    }

    pub fn peer(mut self, what: &'static str, value: f64) -> Self {
        self.beside = Some((Beside::Peer(what), value));
        self
    }

    pub fn of(mut self, bonds: usize) -> Self {
        self.bonds = Some(bonds);
        self
    }

    pub fn ratio(&self) -> Option<f64> {
        self.beside.map(|(_, beside)| self.value / beside)
    }

    pub fn at_most(mut self, limit: f64) -> Self {
        self.goal = Some((format!("≤ {limit} {}", self.unit), self.value <= limit));
        self
    }

    pub fn at_least(mut self, limit: f64) -> Self {
        self.goal = Some((format!("≥ {limit} {}", self.unit), self.value >= limit));
        self
    }

    /// A goal for the ratio to what stands beside it.
    pub fn ratio_at_most(mut self, limit: f64) -> Self {
        let met = self.ratio().is_some_and(|ratio| ratio <= limit);
        self.goal = Some((format!("ratio ≤ {limit}"), met));
        self
    }

    /// So many times faster than what stands beside it.
    pub fn faster_at_least(mut self, times: f64) -> Self {
        let met = self.ratio().is_some_and(|ratio| ratio <= 1.0 / times);
        self.goal = Some((format!("{times}× faster"), met));
        self
    }

    fn json(&self) -> Value {
        json!({
            "metric": self.metric,
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "beside": self
                .beside
                .map(|(beside, value)| json!({ "kind": beside.kind(), "what": beside.what(), "value": value })),
            "bonds": self.bonds,
            "ratio": self.ratio(),
            "goal": self.goal.as_ref().map(|(words, _)| words),
            "met": self.goal.as_ref().map(|(_, met)| met),
        })
    }
}

/// What an earlier run has written; nothing where none has.
pub fn read(path: &Path) -> Vec<Value> {
    std::fs::read(path).ok().and_then(|octets| serde_json::from_slice(&octets).ok()).unwrap_or_default()
}

/// How the names end of figures that only `benches/guest.sh` takes.
const IN_THE_GUEST: &str = "in the guest";

/// Writes the file for machines. When all was measured nothing of an earlier run stays but what is taken in the guest;
/// otherwise figures of the same names are replaced.
pub fn write(path: &Path, figures: &[Figure], is_all: bool) {
    let stays = |name: &str| match is_all {
        true => name.ends_with(IN_THE_GUEST),
        false => figures.iter().all(|figure| figure.name != name),
    };
    let mut all = read(path);
    all.retain(|known| known["name"].as_str().is_some_and(stays));
    all.extend(figures.iter().map(Figure::json));
    all.sort_by_key(|figure| figure["metric"].as_u64());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("make the folder of the results");
    }
    std::fs::write(path, serde_json::to_vec_pretty(&all).expect("figures are JSON"))
        .expect("write the results");
}

pub fn table(figures: &[Figure]) -> String {
    let mut text =
        String::from("| # | figure | value | beside | ratio | goal | met |\n|---|---|---|---|---|---|---|\n");
    for figure in figures {
        let beside = figure.beside.map_or_else(String::new, |(beside, value)| {
            format!("{}: {} {}", beside.what(), rounded(value), figure.unit)
        });
        let ratio = figure.ratio().map_or_else(String::new, rounded);
        let (goal, met) = figure
            .goal
            .as_ref()
            .map_or((String::new(), ""), |(words, met)| (words.clone(), if *met { "yes" } else { "**no**" }));
        let value = format!("{} {}", rounded(figure.value), figure.unit);
        let _ = writeln!(
            text,
            "| {} | {} | {value} | {beside} | {ratio} | {goal} | {met} |",
            figure.metric, figure.name
        );
    }
    text
}

fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        tiny if tiny >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// The value below which this part of them lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 - 1.0) * part).round() as usize;
    sorted[at]
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
