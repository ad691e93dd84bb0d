//! The service behind a proxy in front of its broker, and what must hold whatever the broker did.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::observer::LIMIT;
use super::proxy::{Proxy, Sequence, wait_acknowledged, without_a_silent_gap};
use super::random::Random;
use super::scene::{HUB, Scene};
use super::storm;
use super::world_sim::SimWorld;

/// Memory that any trouble with a broker may cost at its peak, in KiB, in a build without optimisation: what may wait
/// for the broker (12 MiB of events, 4 MiB of answers), requests in progress, and room.
const MEMORY_KIB_MAX: u64 = 32 * 1024;

/// See the module text.
pub struct Behind {
    pub scene: Scene<SimWorld>,
    pub proxy: Proxy,
    pub random: Random,
    number: u64,
    resident_kib: u64,
}

/// The hub's table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    generation: u64,
    count: usize,
    peers: BTreeSet<String>,
}

impl Table {
    /// The retained list is cut after 500 bonds; its number and its generation are the table's.
    fn is_shown_by(&self, retained: &Self) -> bool {
        const LISTED_MAX: usize = 500;
        retained.generation == self.generation
            && retained.count == self.count
            && retained.peers.len() == self.count.min(LISTED_MAX)
            && retained.peers.is_subset(&self.peers)
    }
}

impl Behind {
    /// Started and at rest, with the hub plugged in. The broker asks for a sign of life this often.
    pub fn start(persistent: bool, keep_alive: Option<u16>) -> Self {
        let mut scene = Scene::with_broker(
            |folder| Box::new(SimWorld::new(&folder.join("kernel"))) as Box<SimWorld>,
            persistent,
        );
        if let Some(seconds) = keep_alive {
            scene.broker.keep_alive(seconds);
            scene.broker.kill();
            scene.broker.start_again();
        }
        let proxy = Proxy::start(scene.broker.port);
        scene.setup.set("MQTT__PORT", &proxy.port.to_string());
        scene.setup.set("LOG_LEVEL", "info");
        scene.start();
        scene.plug_hub();
        let mut behind = Self { scene, proxy, random: Random::seeded(), number: 0, resident_kib: 0 };
        let first = behind.pair();
        behind.wait_announced(&first);
        // Read from the snapshot, which follows the commit.
        behind.wait_stored("the first bond", |peers| peers.contains(&first));
        behind.resident_kib = behind.memory_kib("VmRSS");
        behind
    }

    fn memory_kib(&mut self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.scene.service().pid())).unwrap();
        let line = status.lines().find(|known| known.starts_with(line)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The kernel reports a pairing of a new peer.
    pub fn pair(&mut self) -> String {
        self.number += 1;
        storm::report_pairing(&self.scene, self.number, self.random.below(u64::MAX));
        storm::peer(self.number)
    }

    /// So many pairings at once, as fast as the service takes them.
    pub fn pair_many(&mut self, count: u64) -> Vec<String> {
        let numbers = self.number + 1..=self.number + count;
        self.number += count;
        storm::stream_pairings(&self.scene, numbers.clone(), self.random.below(u64::MAX));
        numbers.map(storm::peer).collect()
    }

    /// The kernel says that the latest peer was unpaired.
    pub fn unpair(&mut self) -> String {
        storm::report_unpairing(&self.scene, self.number);
        storm::peer(self.number)
    }

    /// What the data folder holds, read while the service uses it.
    pub fn stored(&self) -> Table {
        let shown = self.scene.setup.run(&["inspect"]);
        assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
        let text = String::from_utf8(shown.stdout).unwrap();
        let after = text.split_once("generation ").map_or("0,", |(_, after)| after);
        let generation = after.split(',').next().unwrap().parse().unwrap();
        let peer = |line: &str| line.split_whitespace().next().map(str::to_owned);
        let peers: BTreeSet<String> =
            text.lines().filter(|line| line.starts_with("  ")).filter_map(peer).collect();
        Table { generation, count: peers.len(), peers }
    }

    /// It becomes durable whatever the broker does at the moment. How long that takes is not asserted: without
    /// anybody's help but the store's, and before the broker is let go on.
    pub fn wait_stored(&self, what: &str, accept: impl Fn(&BTreeSet<String>) -> bool) {
        let until = Instant::now() + LIMIT;
        loop {
            let Table { peers, .. } = self.stored();
            if accept(&peers) {
                return;
            }
            assert!(Instant::now() < until, "{what}: {} peers: {peers:?}", peers.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A pairing and an unpairing, each durable while the broker is as it is. The peer that stays is returned.
    pub fn changes_are_durable(&mut self, what: &str) -> String {
        let gone = self.pair();
        self.wait_stored(what, |peers| peers.contains(&gone));
        self.unpair();
        let stays = self.pair();
        self.wait_stored(what, |peers| peers.contains(&stays) && !peers.contains(&gone));
        stays
    }

    /// The broker has the event that announces this peer.
    pub fn wait_announced(&self, peer: &str) {
        wait_acknowledged(&self.proxy, &format!("the announcement of {peer}"), |published| {
            let said: Value = serde_json::from_slice(&published.payload).unwrap_or_default();
            said["event_type"] == "bond_added" && said["peer"] == peer
        });
    }

    fn retained(&self) -> Option<Table> {
        self.scene.observer.wait_for("anything", |_, latest, _| {
            let list = latest.iter().find(|(topic, _)| topic.ends_with(&format!("adapter/{HUB}/bonds")));
            let table = |list: &Value| Table {
                generation: list["generation"].as_u64().unwrap_or(0),
                count: list["bond_count"].as_u64().unwrap_or(0) as usize,
                peers: storm::peers_of(list),
            };
            Some(list.map(|(_, list)| table(list)))
        })
    }

    /// What the broker retains in the end is what the store holds, every event has come or is reported as lost, the
    /// process is the same, and it has not taken more memory than it may.
    pub fn end(mut self, what: &str) -> Sequence {
        let until = Instant::now() + LIMIT;
        while !self.retained().is_some_and(|retained| self.stored().is_shown_by(&retained)) {
            assert!(
                Instant::now() < until,
                "{what}: retained is {:?}, stored {:?}",
                self.retained(),
                self.stored()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let (peak_kib, idle_kib) = (self.memory_kib("VmHWM"), self.resident_kib);
        println!("{what}: {idle_kib} KiB resident, {peak_kib} KiB at the peak");
        assert!(peak_kib <= idle_kib + MEMORY_KIB_MAX, "{what}: {peak_kib} KiB, and {idle_kib} KiB at rest");
        self.scene.stop_service();
        let retained = self.retained().unwrap();
        assert!(self.stored().is_shown_by(&retained), "{what}: {retained:?}");
        without_a_silent_gap(&self.proxy.acknowledged())
    }
}
