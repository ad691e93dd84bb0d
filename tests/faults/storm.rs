//! Pairings as a kernel reports them, and what the service has said of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::scene::{HUB, Scene};
use super::sim::records::Ltk;
use super::sim::wire::{Address, LE_PUBLIC, ev};
use super::world::World;
use super::world_sim::SimWorld;

pub fn peer(number: u64) -> String {
    format!("C0:FF:EE:02:{:02X}:{:02X}", number >> 8 & 0xFF, number & 0xFF)
}

/// A pairing of this peer on the hub, as the kernel reports it, with a key that begins with this.
pub fn report_pairing(scene: &Scene<SimWorld>, number: u64, key: u64) {
    let mut value = [0x5A; 16];
    value[..8].copy_from_slice(&key.to_le_bytes());
    let address = Address::new(&peer(number), LE_PUBLIC);
    let ltk = Ltk { address, key_type: 2, central: 0, size: 16, ediv: 0, rand: [0; 8], value };
    scene.world.kernel().announce_ltk(scene.world.index("hub"), ltk);
}

/// Pairings of these peers, as fast as the service takes their events: none is lost on the way, as one of many
/// [`report_pairing`] at once may be.
pub fn stream_pairings(scene: &Scene<SimWorld>, numbers: impl Iterator<Item = u64>, key: u64) {
    let event = |number: u64| {
        // Store hint, address; Secure Connections, either role, 16 octets, no EDIV and Rand; the key.
        let mut octets = vec![1];
        octets.extend_from_slice(&Address::new(&peer(number), LE_PUBLIC).write());
        octets.extend_from_slice(&[2, 0, 16]);
        octets.extend_from_slice(&[0; 10]);
        octets.extend_from_slice(&(key ^ number).to_le_bytes());
        octets.extend_from_slice(&[0x5A; 8]);
        (ev::NEW_LTK, octets)
    };
    let events: Vec<(u16, Vec<u8>)> = numbers.map(event).collect();
    scene.world.kernel().stream(scene.world.index("hub"), &events);
}

/// The kernel says that somebody unpaired this peer.
pub fn report_unpairing(scene: &Scene<SimWorld>, number: u64) {
    const DEVICE_UNPAIRED: u16 = 0x0016;
    let address = Address::new(&peer(number), LE_PUBLIC).write();
    scene.world.kernel().inject(DEVICE_UNPAIRED, scene.world.index("hub"), &address);
}

/// Peers that an event has announced as bonded so far.
pub fn announced(scene: &Scene<SimWorld>) -> BTreeSet<String> {
    let events = scene.observer.events(0).into_iter();
    let added = events.filter(|event| event["event_type"] == "bond_added");
    added.filter_map(|event| event["peer"].as_str().map(str::to_owned)).collect()
}

/// Peers of a list of bonds.
pub fn peers_of(list: &Value) -> BTreeSet<String> {
    let bonds = list["bonds"].as_array().into_iter().flatten();
    bonds.filter_map(|bond| bond["peer"].as_str().map(str::to_owned)).collect()
}

/// Every bond of the hub, page by page: the retained list is cut after 500.
pub fn everybody(scene: &Scene<SimWorld>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    loop {
        let page = scene.ask("bonds/list", json!({ "adapter": HUB, "offset": all.len(), "limit": 500 }));
        all.extend(peers_of(&page));
        if page["total"].as_u64() == Some(all.len() as u64) {
            return all;
        }
        assert!(!page["bonds"].as_array().unwrap().is_empty(), "{page}");
    }
}

/// The latest list of the hub's bonds since message number `since`, once it is accepted.
pub fn list(
    scene: &Scene<SimWorld>,
    what: &str,
    since: usize,
    accept: impl Fn(&BTreeSet<String>) -> bool,
) -> BTreeSet<String> {
    let topic = format!("adapter/{HUB}/bonds");
    peers_of(&scene.observer.wait_latest_since(what, &topic, since, |list| accept(&peers_of(list))))
}
