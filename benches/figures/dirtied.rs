//! What a change of a bond writes to the disk: metric 10, and how it grows.

use std::path::Path;
use std::time::Duration;

use super::mqtt::Client;
use super::peers;
use super::report::Figure;
use super::rig::{
    ROOT, Rig, adapter_address, adapters_for, irk_event, ltk_event, peer_address, wait_in_sync, wait_stored,
};
use super::sim::wire::ev;
use super::start::SIZES;

/// Pairings of a storm.
const STORM: usize = 100;
/// Pairings that come alone: each is written, and its adapter's snapshot after it.
const ALONE: usize = 20;
const APART: Duration = Duration::from_millis(1_500);
/// Longer than a snapshot waits for more changes.
const SETTLE: Duration = Duration::from_secs(2);

/// Numbers of peers that are in no template.
const NEW_PEERS: usize = 20_000;

const LIMIT: f64 = 6.0 * 1024.0;

/// Octets of the pages that the process has dirtied so far. The system's own count is of no use: it has whole folios.
fn written(notes: &Path) -> u64 {
    let octets = std::fs::read(notes).expect("the probe notes what is dirtied");
    u64::from_le_bytes(octets.try_into().expect("eight octets"))
}

/// So many pairings on the first adapter, where so many bonds are already: octets dirtied for each.
fn pairings(rig: &Rig, probe: &Path, bonds: usize, count: usize, apart: Duration) -> f64 {
    let folder = match bonds {
        0 => rig.folder.join("dirtied"),
        _ => rig.copy_of(&rig.template(bonds), "dirtied"),
    };
    if bonds == 0 {
        let _ = std::fs::remove_dir_all(&folder);
    }
    let adapters = adapters_for(bonds);
    let mut subscriber = Client::connect(rig.broker.port, "dirtied");
    subscriber.subscribe(&format!("{ROOT}/adapter/+/state"));
    let notes = Path::new("/dev/shm").join(format!("bondkeeper-dirtied-{}", std::process::id()));
    let service = rig.start(&folder, adapters, |command| {
        command.env("LD_PRELOAD", probe).env("DIRTIED", &notes);
    });
    wait_in_sync(&mut subscriber, adapters);
    let here = bonds / adapters;
    // The first bond makes the tree and the first snapshot.
    service.kernel.stream(service.indices[0], &[(ev::NEW_LTK, ltk_event(peer_address(NEW_PEERS), 1))]);
    wait_stored(&mut subscriber, &adapter_address(0), here + 1);
    std::thread::sleep(SETTLE);
    let before = written(&notes);
    for number in 1..=count {
        let peer = peer_address(NEW_PEERS + number);
        let events = [(ev::NEW_LTK, ltk_event(peer, 1)), (ev::NEW_IRK, irk_event(peer, 1))];
        service.kernel.stream(service.indices[0], &events);
        std::thread::sleep(apart);
    }
    wait_stored(&mut subscriber, &adapter_address(0), here + 1 + count);
    std::thread::sleep(SETTLE);
    let dirtied = written(&notes) - before;
    let _ = std::fs::remove_file(&notes);
    dirtied as f64 / count as f64
}

/// Metrics 10 and 13. Home Assistant's storage writes its file whole, once for all changes that are less than five
/// seconds apart; aioble's writes it whole for each of a bond's two secrets.
pub fn dirtied(rig: &Rig) -> Vec<Figure> {
    let Some(probe) = &rig.probe else { return Vec::new() };
    let storm = pairings(rig, probe, 0, STORM, Duration::ZERO);
    let paced = pairings(rig, probe, 0, STORM, Duration::from_millis(20));
    let mut figures = vec![
        Figure::new(10, "octets dirtied a bond, a hundred at once", storm, "octets").at_most(LIMIT),
        Figure::new(10, "octets dirtied a bond, a hundred in two seconds", paced, "octets").at_most(LIMIT),
    ];
    for bonds in SIZES {
        let value = pairings(rig, probe, bonds, STORM, Duration::ZERO);
        let name = format!("octets dirtied a bond, a hundred at once, to {bonds} bonds");
        let figure = Figure::new(13, name, value, "octets").of(bonds);
        figures.extend(beside_files(rig, &figure, bonds + STORM, 1.0 / STORM as f64));
    }
    let alone = pairings(rig, probe, 100, ALONE, APART);
    let figure = Figure::new(10, "octets dirtied by a pairing alone, 100 bonds", alone, "octets");
    figures.extend(beside_files(rig, &figure, 100 + ALONE / 2, 1.0));
    figures
}

/// The figure beside each peer's file; alone where no peer is installed.
fn beside_files(rig: &Rig, figure: &Figure, bonds: usize, writes_a_bond: f64) -> Vec<Figure> {
    let theirs = peers::homeassistant_octets(rig, bonds)
        .map(|octets| figure.clone().peer("Home Assistant's file, whole", octets as f64 * writes_a_bond));
    let aioble = peers::aioble_octets(rig, bonds)
        .map(|octets| figure.clone().peer("aioble's file, whole, twice", octets as f64 * 2.0));
    let all: Vec<Figure> = theirs.into_iter().chain(aioble).collect();
    if all.is_empty() { vec![figure.clone()] } else { all }
}
