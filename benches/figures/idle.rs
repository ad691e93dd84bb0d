//! What it takes while nothing happens: metrics 4, 5 and 6.

use std::time::Duration;

use super::report::Figure;
use super::rig::Rig;

/// Until everything of the start is over.
const SETTLE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(120);

/// Metrics 4 and 6.
pub fn idle(rig: &Rig) -> Vec<Figure> {
    let folder = rig.copy_of(&rig.template(100), "idle");
    let service = rig.start(&folder, 1, |_| {});
    service.wait_ready();
    std::thread::sleep(SETTLE);
    let before = service.wake_ups();
    std::thread::sleep(WATCH);
    let minutes = WATCH.as_secs_f64() / 60.0;
    let wake_ups = (service.wake_ups() - before) as f64 / minutes;
    let mib = |line: &str| service.proc_number("status", line) as f64 / 1024.0;
    vec![
        Figure::new(4, "resident memory, idle, 100 bonds", mib("VmRSS"), "MiB").at_most(6.0),
        Figure::new(4, "of it memory of its own", mib("RssAnon"), "MiB"),
        Figure::new(4, "of it pages of the program and its libraries", mib("RssFile"), "MiB"),
        Figure::new(4, "threads", service.threads() as f64, "threads"),
        Figure::new(6, "wake-ups a minute, idle", wake_ups, "a minute").at_most(6.0),
    ]
}

/// Metric 5.
pub fn binary(rig: &Rig) -> Vec<Figure> {
    let octets = std::fs::metadata(&rig.binary).expect("the release binary is built").len();
    vec![Figure::new(5, "stripped release binary", octets as f64 / 1e6, "MB").at_most(4.0)]
}
