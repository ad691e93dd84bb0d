//! Starting: metrics 3 and 9, and how they grow.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::peers;
use super::report::{Figure, median};
use super::rig::{Rig, Service, adapters_for};
use super::sim::monitor::record;
use super::sim::wire::op;

const ROUNDS: usize = 9;
pub const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// Follows the monitor channel from now on, on a thread, until no load was seen for a while.
fn watch_loads(service: &Service) -> std::thread::JoinHandle<Option<Instant>> {
    let mut monitor = service.kernel.open_monitor();
    let adapters = service.indices.len();
    std::thread::spawn(move || {
        let (mut last, mut loaded) = (None, BTreeSet::new());
        // All lists of an adapter are sent one after the other; the LTKs are the last but one.
        loop {
            let patience =
                if loaded.len() < adapters { Duration::from_secs(20) } else { Duration::from_millis(100) };
            let Some(packet) = monitor.receive(patience) else { return last };
            if packet.code != record::CONTROL_COMMAND {
                continue;
            }
            let opcode = u16::from_le_bytes([packet.parameters[4], packet.parameters[5]]);
            if [op::LOAD_LTKS, op::LOAD_IRKS, op::LOAD_LINK_KEYS, op::LOAD_CONNECTION_PARAMETERS]
                .contains(&opcode)
            {
                last = Some(Instant::now());
            }
            if opcode == op::LOAD_LTKS {
                loaded.insert(packet.index);
            }
        }
    })
}

/// exec → last load command sent, in milliseconds.
fn load_once(rig: &Rig, template: &Path, bonds: usize) -> f64 {
    let folder = rig.copy_of(template, "load");
    let service = rig.start(&folder, adapters_for(bonds), |_| {});
    let last = watch_loads(&service).join().expect("the watcher ends").expect("keys were loaded");
    last.duration_since(service.started).as_secs_f64() * 1e3
}

/// Metrics 3 and 13. A peer's time goes from its exec until its keys are in its memory.
pub fn loaded(rig: &Rig) -> Vec<Figure> {
    let mut figures = Vec::new();
    for bonds in SIZES {
        let template = rig.template(bonds);
        let (mut ours, mut running) = (Vec::new(), Vec::new());
        let mut theirs = [
            ("habluetooth's load of the same keys", Vec::new()),
            ("the same load through Home Assistant's storage", Vec::new()),
            ("aioble's load of the same keys", Vec::new()),
        ];
        // Their files are made before anything is measured.
        let _ = (peers::homeassistant(rig, bonds), peers::aioble(rig, bonds));
        for _ in 0..ROUNDS {
            ours.push(load_once(rig, &template, bonds));
            theirs[0].1.extend(peers::habluetooth(rig, bonds).map(|peer| peer.started));
            let homeassistant = peers::homeassistant(rig, bonds);
            running.extend(homeassistant.as_ref().map(|peer| peer.loaded));
            theirs[1].1.extend(homeassistant.map(|peer| peer.started));
            theirs[2].1.extend(peers::aioble(rig, bonds).map(|peer| peer.started));
        }
        let metric = if bonds == 100 { 3 } else { 13 };
        let name = format!("exec to last load command, {bonds} bonds");
        let figure = Figure::new(metric, name, median(&ours), "ms").of(bonds);
        if bonds == 100 {
            figures.push(figure.clone().at_most(15.0));
        }
        for (what, times) in theirs.iter().filter(|(_, times)| !times.is_empty()) {
            let beside = figure.clone().peer(what, median(times));
            // The documented path is through Home Assistant's storage; its load alone is less.
            let has_goal = bonds == 100 && *what != theirs[2].0;
            figures.push(if has_goal { beside.faster_at_least(8.0) } else { beside });
        }
        if !running.is_empty() {
            let name = format!("{bonds} keys into a Home Assistant that runs already");
            figures.push(Figure::new(metric, name, median(&running), "ms"));
        }
    }
    figures
}

/// Metrics 9 and 13: killed with bonds on disk, started again in the same world.
pub fn after_kill(rig: &Rig) -> Vec<Figure> {
    let mut figures = Vec::new();
    for bonds in SIZES {
        let template = rig.template(bonds);
        let mut times = Vec::new();
        let folder = rig.copy_of(&template, "kill");
        let mut service = rig.start(&folder, adapters_for(bonds), |_| {});
        service.wait_ready();
        std::thread::sleep(Duration::from_secs(3));
        for _ in 0..ROUNDS {
            service.kill();
            service = again(rig, service);
            times.push(service.wait_ready().as_secs_f64() * 1e3);
            // The snapshots and the first lists are out.
            std::thread::sleep(Duration::from_millis(if bonds > 1_000 { 3_000 } else { 1_000 }));
        }
        let metric = if bonds == 10_000 { 9 } else { 13 };
        let figure = Figure::new(
            metric,
            format!("start after kill -9 until ready, {bonds} bonds"),
            median(&times),
            "ms",
        )
        .of(bonds);
        figures.push(if bonds == 10_000 { figure.at_most(40.0) } else { figure });
    }
    figures
}

/// Starts again in the same world, which goes on.
fn again(rig: &Rig, mut service: Service) -> Service {
    let folder = service.folder.clone();
    let indices = std::mem::take(&mut service.indices);
    let spare = super::sim::SimKernel::start(&folder.join("spare"));
    let kernel = std::mem::replace(&mut service.kernel, spare);
    drop(service);
    let _ = std::fs::remove_dir_all(folder.join("spare"));
    rig.start_in(&folder, kernel, indices, |_| {})
}
