//! What bondkeeper takes, beside what is physically possible and what others take.
//!
//! `benches/run.sh` builds what is measured and runs this. Without arguments all figures are taken; with metric
//! numbers as arguments only those. Nothing is compared across runs: whatever stands beside a figure was measured in
//! the same run, in turns with it.

mod answer;
#[path = "../../tests/blackbox/broker.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod broker;
mod broker_trouble;
mod capture;
mod clock;
mod command;
mod dirtied;
mod idle;
mod mqtt;
mod peers;
mod plot;
mod report;
mod rig;
#[path = "../../tests/sim/mod.rs"]
mod sim;
mod soak;
mod start;

use std::collections::BTreeSet;
use std::path::PathBuf;

use report::Figure;
use rig::Rig;

type Measure = fn(&Rig) -> Vec<Figure>;

/// What is measured, under the number of its metric.
const MEASURES: [(u32, Measure); 13] = [
    (5, idle::binary),
    (1, capture::durable),
    (1, broker_trouble::undisturbed),
    (1, peers::saved),
    (2, capture::announced),
    (3, start::loaded),
    (7, capture::storm),
    (8, command::export),
    (9, start::after_kill),
    (10, dirtied::dirtied),
    (11, command::round_trip),
    (14, answer::answered),
    (4, idle::idle),
];

fn main() {
    let wanted: BTreeSet<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let target = path("BONDKEEPER_BENCH_TARGET").unwrap_or_else(|| PathBuf::from("target"));
    // Short, as sockets live in it, and on the disk that is measured.
    let folder = tempfile::Builder::new().prefix("bk").tempdir_in(&target).expect("make a folder");
    let mut rig = Rig {
        broker: broker::Broker::start(folder.path(), false),
        binary: path("BONDKEEPER_BENCH_BINARY").unwrap_or_else(|| target.join("release/bondkeeper")),
        probe: path("BONDKEEPER_BENCH_PROBE"),
        peers: path("BONDKEEPER_BENCH_PEERS"),
        folder: folder.path().to_owned(),
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, minutes, csv, rest @ ..] = &arguments[..]
        && what == "soak"
    {
        let minutes = minutes.parse().expect("a number of minutes");
        let only = rest.iter().map(String::as_str).find(|argument| !argument.starts_with('-'));
        return soak::soak(&mut rig, minutes, std::path::Path::new(csv), only);
    }
    let mut figures = Vec::new();
    for (metric, measure) in MEASURES {
        if wanted.is_empty() || wanted.contains(&metric) {
            let taken = measure(&rig);
            eprint!("{}", report::table(&taken));
            figures.extend(taken);
        }
    }
    figures.sort_by_key(|figure| figure.metric);
    let results = target.join("bench/results.json");
    report::write(&results, &figures, wanted.is_empty());
    std::fs::write(target.join("bench/growth.svg"), plot::growth(&report::read(&results)))
        .expect("write the plot");
    print!("{}", report::table(&figures));
}
