//! Beside other managers of the same adapter: nobody's bond is lost, whoever loads, restarts, or
//! comes late.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::observer::LIMIT;
use super::scene::{HUB, Scene};
use super::world::{PairOptions, PeerSpec, World};

pub const OURS: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
pub const RING: PeerSpec = PeerSpec::public("ring", "F1:11:22:33:44:55").static_random().private();
pub const BULB: PeerSpec = PeerSpec::public("bulb", "C0:FF:EE:00:00:77").legacy();
pub const BELL: PeerSpec = PeerSpec::public("bell", "C0:FF:EE:00:00:66");
pub const THEIRS: [PeerSpec; 3] = [RING, BULB, BELL];

pub fn addresses(specs: &[PeerSpec]) -> Vec<&'static str> {
    specs.iter().map(|spec| spec.address).collect()
}

/// Waits until the kernel's LTKs are of exactly these peers, and it can resolve those that hide.
pub fn kernel_comes_to_hold<W: World + ?Sized>(scene: &mut Scene<W>, specs: &[PeerSpec]) {
    let expected: BTreeSet<String> = addresses(specs).into_iter().map(str::to_owned).collect();
    let private: BTreeSet<&str> = specs.iter().filter(|spec| spec.privacy).map(|spec| spec.address).collect();
    let until = Instant::now() + LIMIT;
    loop {
        let tables = scene.world.tables("hub");
        let held: BTreeSet<String> = tables.ltks.into_iter().map(|(address, _, _)| address).collect();
        let resolved: BTreeSet<&str> = tables.irks.iter().map(|(address, _, _)| address.as_str()).collect();
        if held == expected && private.is_subset(&resolved) {
            return;
        }
        assert!(Instant::now() < until, "the kernel holds {held:?}, not {expected:?}; resolves {resolved:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

pub fn all_encrypt_without_pairing<W: World + ?Sized>(scene: &mut Scene<W>, specs: &[PeerSpec]) {
    for spec in specs {
        let connected = scene.world.connect("hub", spec.name);
        assert!(connected.encrypted, "{}: {connected:?}", spec.name);
        assert_eq!(connected.smp_packet_count, 0, "{}: a new pairing: {connected:?}", spec.name);
        assert_eq!(connected.protected_value.as_deref(), Some("secret"), "{}", spec.name);
    }
}

pub fn gate<W: World + ?Sized>(scene: &Scene<W>, state: &str) -> Value {
    let says = |told: &Value| told["present"] == true && told["gate"]["state"] == state;
    scene.state(&format!("the gate to say {state}"), HUB, says)
}

/// It was held after the last start, if only until bluetoothd was asked over D-Bus.
fn was_held(scene: &Scene) {
    let topic = format!("adapter/{HUB}/state");
    scene.observer.wait_for("the hub to be held", |heard, _, _| {
        let mut since = heard[scene.since().min(heard.len())..].iter();
        let is_held = |json: Value| json["present"] == true && json["gate"]["state"] == "hold";
        since.any(|heard| heard.topic.ends_with(&topic) && is_held(heard.json())).then_some(())
    });
}

/// One bond of ours is in the kernel, and three that only bluetoothd knows of; bluetoothd starts, which takes
/// ours out; then the service comes, too late to see any of that.
fn started_late<W: World + ?Sized>(scene: &mut Scene<W>) {
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&OURS);
    let since = scene.observer.mark();
    assert!(scene.world.pair("hub", OURS.name, PairOptions::default()));
    scene.observer.wait_event("bond_added", since);
    scene.wait_bonds(HUB, &[OURS.address]);
    scene.stop_service();
    for spec in &THEIRS {
        scene.world.add_peer(spec);
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()), "pairing {}", spec.name);
    }
    scene.world.teach_bluetoothd("hub", &THEIRS.map(|spec| spec.address));
    scene.world.start_bluetoothd();
    scene.start();
}

pub fn restart_bluetoothd<W: World + ?Sized>(scene: &mut Scene<W>) {
    scene.world.stop_bluetoothd();
    scene.world.start_bluetoothd();
}

/// As `started_late`, then what the advice says.
pub fn beside_bluetoothd<W: World + ?Sized>(scene: &mut Scene<W>) -> Vec<PeerSpec> {
    started_late(scene);
    gate(scene, "hold");
    let since = scene.observer.mark();
    restart_bluetoothd(scene);
    let mut all = THEIRS.to_vec();
    all.push(OURS);
    scene.wait_bonds(HUB, &addresses(&all));
    kernel_comes_to_hold(scene, &all);
    gate(scene, "merge");
    // What is not announced yet goes without a word when its manager removes it.
    scene.observer.wait_for("what was learned to be announced", |heard, _, _| {
        let is_told = |peer: &str| {
            let of_peer = |json: Value| json["event_type"] == "bond_added" && json["peer"] == peer;
            heard[since..].iter().any(|heard| of_peer(heard.json()))
        };
        addresses(&THEIRS).into_iter().all(is_told).then_some(())
    });
    all
}

pub fn started_late_beside_bluetoothd_it_holds_and_following_the_advice_ends_that(scene: &mut Scene) {
    started_late(scene);
    let state = gate(scene, "hold");
    assert_eq!(state["gate"]["reason"], "keys_unknown", "{state}");
    assert!(state["gate"]["message"].as_str().unwrap().contains("bluetoothd"), "{state}");
    assert!(state["gate"]["advice"].as_str().unwrap().contains("Restart bluetoothd"), "{state}");
    assert_eq!(state["managers"], json!(["bluetoothd"]));
    let theirs: BTreeSet<String> = addresses(&THEIRS).into_iter().map(str::to_owned).collect();
    assert_eq!(scene.kernel_ltk_peers("hub"), theirs, "a load was sent");
    scene.refused("bonds/reload", json!({ "adapter": HUB }), "held");
    let restored = scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "store": true } }));
    assert_eq!(restored["kernel"]["state"], "held", "{restored}");

    let since = scene.observer.mark();
    restart_bluetoothd(scene);
    gate(scene, "merge");
    let mut all = THEIRS.to_vec();
    all.push(OURS);
    let bonds = scene.wait_bonds(HUB, &addresses(&all));
    for bond in &bonds {
        let theirs = bond["peer"] != OURS.address;
        assert_eq!(bond["custody"], if theirs { "foreign" } else { "ours" }, "{bond}");
        assert_eq!(bond["source"], if theirs { "learned" } else { "captured" }, "{bond}");
        assert_eq!(bond["manager"], if theirs { json!("bluetoothd") } else { Value::Null }, "{bond}");
    }
    for _ in &THEIRS {
        let added = scene.observer.wait_event("bond_added", since);
        assert_eq!(added["cause"], "learned", "{added}");
    }
    kernel_comes_to_hold(scene, &all);
    scene.assert_no_key_was_published();
    scene.world.stop_bluetoothd();
    all_encrypt_without_pairing(scene, &all);
}

pub fn nobody_loses_a_bond_by_restarts_replugs_and_power_cycles(scene: &mut Scene) {
    let all = beside_bluetoothd(scene);
    restart_bluetoothd(scene);
    kernel_comes_to_hold(scene, &all);
    scene.stop_service();
    scene.start();
    was_held(scene);
    kernel_comes_to_hold(scene, &all);
    // Both.
    scene.stop_service();
    restart_bluetoothd(scene);
    scene.start();
    was_held(scene);
    restart_bluetoothd(scene);
    kernel_comes_to_hold(scene, &all);
    scene.unplug_hub();
    scene.world.plug("hub", HUB);
    scene.world.wait_bluetoothd("hub");
    kernel_comes_to_hold(scene, &all);
    scene.world.power_off("hub");
    all_encrypt_without_pairing(scene, &all);
    scene.wait_in_sync(HUB);
}

pub fn what_bluetoothd_removes_stays_removed_and_what_we_forget_costs_it_nothing(scene: &mut Scene) {
    beside_bluetoothd(scene);
    let since = scene.observer.mark();
    scene.world.remove_in_bluetoothd("hub", BULB.name);
    let removed = scene.observer.wait_event("bond_removed", since);
    assert_eq!(removed["peer"], BULB.address);
    scene.wait_bonds(HUB, &[RING.address, BELL.address, OURS.address]);
    restart_bluetoothd(scene);
    kernel_comes_to_hold(scene, &[RING, BELL, OURS]);
    let forgotten = scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": OURS.address }));
    assert_eq!(forgotten["kernel"]["state"], "loaded", "{forgotten}");
    kernel_comes_to_hold(scene, &[RING, BELL]);
    scene.unplug_hub();
    scene.world.plug("hub", HUB);
    scene.world.wait_bluetoothd("hub");
    kernel_comes_to_hold(scene, &[RING, BELL]);
    scene.wait_bonds(HUB, &[RING.address, BELL.address]);
    scene.world.stop_bluetoothd();
    all_encrypt_without_pairing(scene, &[RING, BELL]);
}

pub fn a_manager_that_lost_its_bonds_is_reported_and_adopting_brings_them_back(scene: &mut Scene) {
    let all = beside_bluetoothd(scene);
    let since = scene.observer.mark();
    scene.world.stop_bluetoothd();
    scene.world.wipe_bluetoothd();
    scene.world.start_bluetoothd();
    scene.state("three orphans", HUB, |state| state["orphaned"] == 3);
    kernel_comes_to_hold(scene, &[OURS]);
    let orphaned = scene.observer.wait_event("bond_orphaned", since);
    assert_eq!(orphaned["bond"]["orphaned"], true, "{orphaned}");
    scene.wait_bonds(HUB, &addresses(&all));
    scene.observer.wait_latest("three that are not loaded", &format!("adapter/{HUB}/bonds"), |list| {
        let bonds = list["bonds"].as_array().map_or(&[][..], Vec::as_slice);
        bonds.iter().filter(|bond| bond["loaded"] == false).count() == 3
    });

    let since = scene.observer.mark();
    let one = scene.ask("bonds/adopt", json!({ "adapter": HUB, "peers": [BELL.address] }));
    assert_eq!((&one["count"], &one["kernel"]["state"]), (&json!(1), &json!("loaded")), "{one}");
    let event = scene.observer.wait_event("bonds_restored", since);
    assert_eq!((&event["cause"], &event["data"]["adopted_count"]), (&json!("adopt"), &json!(1)));
    kernel_comes_to_hold(scene, &[OURS, BELL]);
    let rest = scene.ask("bonds/adopt", json!({ "adapter": HUB }));
    assert_eq!(rest["count"], 2, "{rest}");
    kernel_comes_to_hold(scene, &all);
    scene.state("no orphan", HUB, |state| state["orphaned"] == 0);
    // From now on we keep them loaded.
    restart_bluetoothd(scene);
    kernel_comes_to_hold(scene, &all);
    scene.world.stop_bluetoothd();
    all_encrypt_without_pairing(scene, &all);
}

pub fn a_load_of_another_process_is_answered_with_the_union(scene: &mut Scene) {
    scene.start();
    scene.plug_hub();
    for spec in [OURS, BELL] {
        scene.world.add_peer(&spec);
        let since = scene.observer.mark();
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
        scene.observer.wait_event("bond_added", since);
    }
    // Ten loads in a row of a list without any of ours.
    let theirs =
        format!("{}{}", "0100000000d002", "02001000000000000000000000".to_owned() + &"a7".repeat(16));
    assert_eq!(theirs.len(), 72);
    let peer = "D0:00:00:00:00:01";
    for _ in 0..10 {
        // As often as a busy Home Assistant connects; a process that loads the moment we have answered would be
        // told that it disagrees.
        std::thread::sleep(std::time::Duration::from_millis(100));
        scene.world.foreign_load_ltks("hub", std::slice::from_ref(&theirs));
        scene.wait_kernel_ltks("hub", 3);
    }
    gate(scene, "merge");
    let bonds = scene.wait_bonds(HUB, &[OURS.address, BELL.address, peer]);
    let learned = bonds.iter().find(|bond| bond["peer"] == peer).unwrap();
    assert_eq!((&learned["custody"], &learned["source"]), (&json!("foreign"), &json!("learned")));
    all_encrypt_without_pairing(scene, &[OURS, BELL]);
}
