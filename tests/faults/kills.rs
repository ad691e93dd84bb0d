//! Whatever was announced is there after a kill at any moment.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::scene::{HUB, Scene};
use super::sim::records::Ltk;
use super::sim::wire::{Address, LE_PUBLIC};
use super::simulated_scene;
use super::world_sim::SimWorld;

/// How often the service is killed; more with `BONDKEEPER_TEST_KILLS`.
const KILLS: u32 = 200;

/// A small generator of its own, so that a failure can be repeated with the printed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn peer(number: u64) -> String {
    format!("C0:FF:EE:02:{:02X}:{:02X}", number >> 8 & 0xFF, number & 0xFF)
}

/// A pairing of this peer, as the kernel reports it.
fn report_pairing(scene: &Scene<SimWorld>, index: u16, number: u64, random: &mut Random) {
    let mut value = [0x5A; 16];
    value[..8].copy_from_slice(&random.below(u64::MAX).to_le_bytes());
    let address = Address::new(&peer(number), LE_PUBLIC);
    let ltk = Ltk { address, key_type: 2, central: 0, size: 16, ediv: 0, rand: [0; 8], value };
    scene.world.kernel().announce_ltk(index, ltk);
}

/// Peers that an event has announced as bonded so far.
fn announced(scene: &Scene<SimWorld>) -> BTreeSet<String> {
    let events = scene.observer.events(0).into_iter();
    let added = events.filter(|event| event["event_type"] == "bond_added");
    added.filter_map(|event| event["peer"].as_str().map(str::to_owned)).collect()
}

fn retained(
    scene: &Scene<SimWorld>,
    what: &str,
    accept: impl Fn(&BTreeSet<String>) -> bool,
) -> BTreeSet<String> {
    let peers = |list: &Value| -> BTreeSet<String> {
        let bonds = list["bonds"].as_array().into_iter().flatten();
        bonds.filter_map(|bond| bond["peer"].as_str().map(str::to_owned)).collect()
    };
    let list = scene.observer.wait_latest(what, &format!("adapter/{HUB}/bonds"), |list| accept(&peers(list)));
    peers(&list)
}

#[test]
fn every_announced_bond_is_there_after_two_hundred_kills() {
    let kills =
        std::env::var("BONDKEEPER_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("BONDKEEPER_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    println!("BONDKEEPER_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut scene = simulated_scene();
    scene.setup.set("LOG_LEVEL", "info");
    scene.start();
    scene.plug_hub();
    let index = super::world::World::index(&*scene.world, "hub");
    let mut number = 0;
    for kill in 0..kills {
        for _ in 0..=random.below(4) {
            number += 1;
            report_pairing(&scene, index, number, &mut random);
            std::thread::sleep(Duration::from_millis(random.below(40)));
        }
        // Before, within and after the 300 ms in which a pairing is waited out, and the commit.
        std::thread::sleep(Duration::from_millis(random.below(450)));
        scene.kill_service();
        let promised = announced(&scene);
        scene.start();
        let what = format!("every announced bond after kill {kill}");
        retained(&scene, &what, |peers| peers.is_superset(&promised));
    }
    assert!(announced(&scene).len() as u32 > kills / 4, "hardly anything was announced: nothing was shown");
}
