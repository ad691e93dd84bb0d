//! An hour at a hundred times a busy home's rate: memory, descriptors, threads and disk must stay where they are.
//!
//! A busy home is taken to pair and unpair a device an hour, to make a connection every ten seconds and to ask
//! one command a minute. Here all of it comes a hundred times as often; besides, every five minutes the adapter is
//! pulled out and put back, and the broker is killed and started again. Run by `tests/soak/run.sh`.
//!
//! With the name of one load (`connections`, `commands`, `pairings`, `plugs`, `brokers`) only that one comes, and faster: which of them makes something grow?

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mqtt::Client;
use super::rig::{ROOT, Rig, Service, adapter_address, irk_event, ltk_event, peer_address, wait_in_sync};
use super::sim::Hardware;
use super::sim::wire::{Address, LE_PUBLIC, ev};

const TICK: Duration = Duration::from_millis(100);
const TICKS_A_COMMAND: u64 = 6;
const TICKS_A_SAMPLE: u64 = 50;
const TICKS_A_PAIRING: u64 = 360;
const TICKS_A_TROUBLE: u64 = 3_000;
/// Bonds that are there all the time; as many again come and go.
const BONDS: usize = 100;

/// How much faster a load comes that comes alone.
const FASTER: u64 = 30;

/// What comes, and how many ticks apart.
struct Loads {
    connections: Option<u64>,
    commands: Option<u64>,
    pairings: Option<u64>,
    plugs: Option<u64>,
    brokers: Option<u64>,
}

impl Loads {
    /// All of them at their rate, or one of them, faster.
    fn new(only: Option<&str>) -> Self {
        let every = |name: &str, ticks: u64| match only {
            None => Some(ticks),
            Some(only) => (only == name).then_some((ticks / FASTER).max(1)),
        };
        Self {
            connections: every("connections", 1),
            commands: every("commands", TICKS_A_COMMAND),
            pairings: every("pairings", TICKS_A_PAIRING),
            plugs: every("plugs", TICKS_A_TROUBLE / 6),
            brokers: every("brokers", TICKS_A_TROUBLE / 6),
        }
    }
}

fn is_due(apart: Option<u64>, tick: u64) -> bool {
    apart.is_some_and(|apart| tick.is_multiple_of(apart))
}

/// Runs for so many minutes; one line a sample goes to the file.
pub fn soak(rig: &mut Rig, minutes: u64, csv: &Path, only: Option<&str>) {
    let mut loads = Loads::new(only);
    if only.is_none() {
        (loads.plugs, loads.brokers) = (Some(TICKS_A_TROUBLE), Some(TICKS_A_TROUBLE));
    }
    let folder = rig.copy_of(&rig.template(BONDS), "soak");
    let mut service = rig.start(&folder, 1, |_| {});
    let mut client = connect(rig);
    wait_in_sync(&mut client, 1);
    let mut out = fs::File::create(csv).expect("make the file of samples");
    writeln!(out, "seconds,rss_kib,anonymous_kib,descriptors,threads,disk_octets,wake_ups").expect("write");
    let (begin, mut tick) = (Instant::now(), 0u64);
    while begin.elapsed() < Duration::from_secs(minutes * 60) {
        tick += 1;
        one_tick(rig, &mut service, &mut client, tick, &loads);
        if tick.is_multiple_of(TICKS_A_SAMPLE) {
            let line = sample(&service, begin.elapsed().as_secs());
            writeln!(out, "{line}").expect("write");
        }
        assert!(service.child.try_wait().expect("ask for the process").is_none(), "the service has ended");
        std::thread::sleep((begin + TICK * tick as u32).saturating_duration_since(Instant::now()));
    }
}

fn connect(rig: &Rig) -> Client {
    let mut client = Client::connect(rig.broker.port, "soak");
    client.subscribe(&format!("{ROOT}/adapter/+/state"));
    client
}

fn one_tick(rig: &mut Rig, service: &mut Service, client: &mut Client, tick: u64, loads: &Loads) {
    let index = service.indices[0];
    if is_due(loads.connections, tick) {
        let event = connected(peer_address(tick as usize % BONDS));
        let count = if loads.commands.is_none() { FASTER as usize } else { 1 };
        service.kernel.stream(index, &vec![(ev::DEVICE_CONNECTED, event); count]);
    }
    if is_due(loads.commands, tick) {
        let verbs =
            [("health_check", "{}"), ("bonds/list", "{}"), ("checkpoint/list", "{}"), ("bonds/export", "{}")];
        let (verb, body) = verbs[(tick / loads.commands.unwrap_or(1)) as usize % verbs.len()];
        client.publish(&format!("{ROOT}/bridge/request/{verb}"), body.as_bytes());
        clear_exports(&service.folder);
    }
    let pairing = loads.pairings.unwrap_or(u64::MAX);
    let number = BONDS + (tick / pairing) as usize % BONDS;
    if tick.is_multiple_of(pairing) {
        let peer = peer_address(number);
        let events = [(ev::NEW_LTK, ltk_event(peer, tick)), (ev::NEW_IRK, irk_event(peer, tick))];
        service.kernel.stream(index, &events);
    }
    if tick % pairing == pairing / 2 {
        let mut unpaired = peer_address(number).octets.to_vec();
        unpaired.push(LE_PUBLIC);
        service.kernel.stream(index, &[(ev::DEVICE_UNPAIRED, unpaired)]);
    }
    let (plug, kill) = (is_due(loads.plugs, tick), is_due(loads.brokers, tick));
    if plug {
        service.kernel.unplug(index);
    }
    if kill {
        rig.broker.kill();
        rig.broker.start_again();
        *client = connect(rig);
    }
    if plug {
        service.indices[0] = service.kernel.plug(&Hardware::new(&adapter_address(0)));
    }
    while client.next(Duration::from_millis(1)).is_some() {}
}

/// Parameters of a Device Connected event: address, flags, no advertising data.
fn connected(peer: Address) -> Vec<u8> {
    let mut octets = peer.write().to_vec();
    octets.extend_from_slice(&[0; 6]);
    octets
}

fn clear_exports(folder: &Path) {
    for file in fs::read_dir(folder.join("exports")).into_iter().flatten().flatten() {
        let _ = fs::remove_file(file.path());
    }
}

fn sample(service: &Service, seconds: u64) -> String {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("read /proc").count();
    let anonymous = service.proc_number("status", "RssAnon");
    let disk = disk_octets(&service.folder.join("data"));
    let (rss, threads, wake_ups) = (service.rss_kib(), service.threads(), service.wake_ups());
    format!("{seconds},{rss},{anonymous},{descriptors},{threads},{disk},{wake_ups}")
}

/// What the folder takes on disk.
fn disk_octets(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let octets = |path: &PathBuf| match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => disk_octets(path),
        Ok(data) => data.blocks() * 512,
        // It went away meanwhile.
        Err(_) => 0,
    };
    paths.iter().map(octets).sum()
}
