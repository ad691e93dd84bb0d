//! From a key event to the disk and to the broker: metrics 1, 2 and 7.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::clock;
use super::mqtt::{Client, Packet};
use super::report::{Figure, median, quantile};
use super::rig::{ROOT, Rig, Service, adapters_for, irk_event, ltk_event, peer_address};
use super::sim::wire::{LE_PUBLIC, ev};

/// Key events whose way is timed. Each stands alone: the first change after a calm is written at once.
const SAMPLES: usize = 300;
/// Longer than the store waits for more changes.
const APART: Duration = Duration::from_millis(70);
const PATIENCE: Duration = Duration::from_secs(60);

/// The octets of a record of the database, as they were counted with strace.
const RECORD_OCTETS: usize = 225;

/// The times at which `fdatasync` returned.
fn sync_times(path: &Path) -> Vec<i64> {
    let octets = std::fs::read(path).unwrap_or_default();
    octets.chunks_exact(8).map(|eight| i64::from_le_bytes(eight.try_into().expect("eight octets"))).collect()
}

/// When the first `fdatasync` after this moment returned. Looked for now and then: looking takes processor time
/// from what is measured.
fn wait_synced(path: &Path, sent: i64) -> i64 {
    let until = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(APART / 2);
        if let Some(synced) = sync_times(path).into_iter().find(|at| *at > sent) {
            return synced;
        }
        assert!(Instant::now() < until, "the key was not synced");
    }
}

/// One append and one `fdatasync`, in microseconds.
fn floor(file: &mut File) -> f64 {
    let begin = Instant::now();
    file.write_all(&[0xA5; RECORD_OCTETS]).expect("write");
    file.sync_data().expect("sync");
    begin.elapsed().as_secs_f64() * 1e6
}

/// A service whose key events are timed, and a file beside its store.
pub struct Timed {
    service: Service,
    times: PathBuf,
    floor: File,
    salt: u64,
}

impl Timed {
    /// With so many bonds; none where there is no probe.
    pub fn start(rig: &Rig, bonds: usize, name: &str) -> Option<Self> {
        let probe = rig.probe.as_ref()?;
        let folder = rig.copy_of(&rig.template(bonds), name);
        let times = Path::new("/dev/shm").join(format!("bondkeeper-sync-{}", std::process::id()));
        let _ = std::fs::remove_file(&times);
        let service = rig.start(&folder, adapters_for(bonds), |command| {
            command.env("LD_PRELOAD", probe).env("SYNC_TIMES", &times);
        });
        service.wait_ready();
        std::thread::sleep(Duration::from_secs(2));
        let floor = OpenOptions::new().create(true).append(true).open(folder.join("floor"));
        Some(Self { service, times, floor: floor.expect("open the floor's file"), salt: 1_000 })
    }

    /// A new key of a peer that is known, from its event until it is durable, and one append with its `fdatasync`, in
    /// microseconds.
    pub fn sample(&mut self, peers: usize) -> (f64, f64) {
        self.salt += 1;
        let peer = peer_address(self.salt as usize % peers * self.service.indices.len());
        let event = [(ev::NEW_LTK, ltk_event(peer, self.salt))];
        let sent = clock::now();
        self.service.kernel.stream(self.service.indices[0], &event);
        let synced = wait_synced(&self.times, sent);
        let floor = floor(&mut self.floor);
        std::thread::sleep(APART / 2);
        ((synced - sent) as f64 / 1e3, floor)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.times);
    }
}

/// Metric 1, each event beside one write of the floor.
pub fn durable(rig: &Rig) -> Vec<Figure> {
    let Some(mut timed) = Timed::start(rig, 100, "durable") else { return Vec::new() };
    let (ours, floors): (Vec<f64>, Vec<f64>) = (0..SAMPLES).map(|_| timed.sample(100)).unzip();
    let figure = |name: &str, part: f64, limit: f64| {
        Figure::new(1, format!("key event to durable, {name}"), quantile(&ours, part), "µs")
            .beside("append and fdatasync", quantile(&floors, part))
            .ratio_at_most(limit)
    };
    vec![figure("p50", 0.5, 1.15), figure("p99", 0.99, 1.5)]
}

/// Metric 2: an unpairing is announced at once when it is durable, so its event shows the way to the broker
/// without the wait for the end of a pairing. Beside it one message of the same size, published by a bare client
/// and received by the same subscriber.
pub fn announced(rig: &Rig) -> Vec<Figure> {
    let Some(probe) = &rig.probe else { return Vec::new() };
    let folder = rig.copy_of(&rig.template(100), "announced");
    let times = Path::new("/dev/shm").join(format!("bondkeeper-sync-{}", std::process::id()));
    let _ = std::fs::remove_file(&times);
    let mut subscriber = Client::connect(rig.broker.port, "announced");
    let mut publisher = Client::connect(rig.broker.port, "publisher");
    subscriber.subscribe(&format!("{ROOT}/adapter/+/event"));
    subscriber.subscribe("floor");
    let service = rig.start(&folder, 1, |command| {
        command.env("LD_PRELOAD", probe).env("SYNC_TIMES", &times);
    });
    service.wait_ready();
    subscriber.drain(Duration::from_secs(2));
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for sample in 0..100 {
        let peer = peer_address(sample);
        let mut unpaired = peer.octets.to_vec();
        unpaired.push(LE_PUBLIC);
        let sent = clock::now();
        service.kernel.stream(service.indices[0], &[(ev::DEVICE_UNPAIRED, unpaired)]);
        let heard = subscriber.wait(PATIENCE, |topic, payload| {
            let removed = topic != "floor" && payload.windows(12).any(|part| part == b"bond_removed");
            removed.then(|| (clock::now(), payload.len()))
        });
        let (heard, octets) = heard.expect("the event came");
        let syncs = sync_times(&times);
        let durable =
            syncs.iter().copied().filter(|at| *at > sent && *at < heard).max().expect("it was synced");
        ours.push((heard - durable) as f64 / 1e3);
        let begin = clock::now();
        publisher.publish("floor", &vec![b'x'; octets]);
        subscriber
            .wait(PATIENCE, |topic, _| (topic == "floor").then_some(()))
            .expect("the floor's message came");
        floors.push((clock::now() - begin) as f64 / 1e3);
        std::thread::sleep(APART);
    }
    let _ = std::fs::remove_file(&times);
    let figure = |name: &str, part: f64| {
        Figure::new(2, format!("durable to the event at a subscriber, {name}"), quantile(&ours, part), "µs")
            .beside("a bare client's message", quantile(&floors, part))
    };
    vec![figure("p50", 0.5), figure("p99", 0.99).ratio_at_most(2.0)]
}

/// Pairings of the storm: about what one kernel's table holds.
const STORM_PEERS: usize = 1_800;
/// Key events of one pairing: LTK and IRK, then connection parameters.
const EVENTS_A_PAIRING: usize = 12;

/// Metric 7: pairings as fast as the service takes their events.
pub fn storm(rig: &Rig) -> Vec<Figure> {
    let (mut rates, mut senders, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lost, mut silent) = (0, 0);
    let events: Vec<(u16, Vec<u8>)> = (0..EVENTS_A_PAIRING).flat_map(events_of_round).collect();
    for round in 0..5 {
        let folder = rig.folder.join(format!("storm-{round}"));
        let mut subscriber = Client::connect(rig.broker.port, "storm");
        let service = rig.start(&folder, 1, |_| {});
        service.wait_ready();
        subscriber.subscribe(&format!("{ROOT}/adapter/+/state"));
        subscriber.subscribe(&format!("{ROOT}/adapter/+/event"));
        subscriber.drain(Duration::from_secs(1));
        let before = service.rss_kib();
        let begin = Instant::now();
        service.kernel.stream(service.indices[0], &events);
        let sent = begin.elapsed().as_secs_f64();
        let seen = watch_storm(&mut subscriber);
        rates.push(events.len() as f64 / seen.durable.duration_since(begin).as_secs_f64());
        senders.push(events.len() as f64 / sent);
        memory.push((service.proc_number("status", "VmHWM") - before) as f64 / 1024.0);
        lost += STORM_PEERS - seen.stored;
        silent += STORM_PEERS - seen.announced;
    }
    vec![
        Figure::new(7, "key events in a storm, all durable", median(&rates), "a second")
            .beside("what the simulated kernel could send", median(&senders))
            .at_least(50_000.0),
        Figure::new(7, "bonds of five storms that were lost", lost as f64, "bonds").at_most(0.0),
        Figure::new(7, "bonds of five storms that were not announced", silent as f64, "bonds").at_most(0.0),
        Figure::new(7, "memory that a storm took at its peak", median(&memory), "MiB"),
    ]
}

fn events_of_round(round: usize) -> Vec<(u16, Vec<u8>)> {
    let event = |peer| match round {
        0 => (ev::NEW_LTK, ltk_event(peer, 1)),
        1 => (ev::NEW_IRK, irk_event(peer, 1)),
        _ => (ev::NEW_CONNECTION_PARAMETER, parameters_event(peer, round as u16)),
    };
    (0..STORM_PEERS).map(|number| event(peer_address(number))).collect()
}

/// Parameters of a New Connection Parameter event.
fn parameters_event(peer: super::sim::wire::Address, number: u16) -> Vec<u8> {
    let mut octets = vec![1];
    octets.extend_from_slice(&peer.write());
    for field in [6 + number % 100, 200 + number, 0, 2_000] {
        octets.extend_from_slice(&field.to_le_bytes());
    }
    octets
}

/// What a subscriber has seen of a storm.
struct Storm {
    /// When the last generation was said to be durable.
    durable: Instant,
    stored: usize,
    announced: usize,
}

/// Listens until nothing more comes.
fn watch_storm(subscriber: &mut Client) -> Storm {
    let mut storm = Storm { durable: Instant::now(), stored: 0, announced: 0 };
    let mut generation = 0;
    while let Some(packet) = subscriber.next(Duration::from_secs(3)) {
        let Packet::Publish { topic, payload } = packet else { continue };
        let said: Value = serde_json::from_slice(&payload).expect("it is JSON");
        if topic.ends_with("/event") {
            storm.announced += usize::from(said["event_type"] == "bond_added");
        } else if said["persisted_generation"].as_u64() > Some(generation)
            && said["persisted_generation"] == said["generation"]
        {
            generation = said["generation"].as_u64().unwrap_or_default();
            storm.durable = Instant::now();
            storm.stored = said["bond_count"].as_u64().unwrap_or_default() as usize;
        }
    }
    storm
}
