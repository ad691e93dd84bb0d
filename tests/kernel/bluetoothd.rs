//! Beside the real bluetoothd, through whatever happens to a host: nobody's bond is lost, and nobody's removal is
//! taken back.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use super::coexistence::{
    BELL, BULB, OURS, RING, THEIRS, addresses, all_encrypt_without_pairing, beside_bluetoothd, gate,
    kernel_comes_to_hold, restart_bluetoothd,
};
use super::observer::LIMIT;
use super::scene::{HUB, Scene};
use super::world::{PeerSpec, World};
use super::world_kernel::KernelWorld;

/// Paired by the user of bluetoothd.
const LAMP: PeerSpec = PeerSpec::public("lamp", "F1:11:22:33:44:66").static_random().private();

type Step = fn(&mut Scene<KernelWorld>);

/// What happens to a host.
const EVERYTHING: [(&str, Step); 7] = [
    ("a restart of bluetoothd", restart_bluetoothd),
    ("a restart of the service", restart_service),
    ("a restart of both", restart_both),
    ("a replug", replug),
    ("a power cycle", power_cycle),
    ("new tables with bluetoothd first", new_tables_bluetoothd_first),
    ("new tables with the service first", new_tables_service_first),
];

fn scene() -> Scene<KernelWorld> {
    assert!(std::env::var_os("BONDKEEPER_GUEST").is_some(), "run this in the guest: tests/run.sh does");
    Scene::new(|_| Box::new(KernelWorld::new()))
}

fn restart_service(scene: &mut Scene<KernelWorld>) {
    scene.stop_service();
    scene.start();
}

fn restart_both(scene: &mut Scene<KernelWorld>) {
    scene.stop_service();
    restart_bluetoothd(scene);
    scene.start();
}

fn replug(scene: &mut Scene<KernelWorld>) {
    scene.unplug_hub();
    scene.world.plug("hub", HUB);
    scene.world.wait_bluetoothd("hub");
}

fn power_cycle(scene: &mut Scene<KernelWorld>) {
    scene.world.power_off("hub");
    scene.world.request("set_powered", json!({ "adapter": "hub", "on": true }));
}

/// Everything but the service, which has ended, ends and comes again, with empty tables, as after a reboot: `reboot.rs` has real ones.
fn new_tables(scene: &mut Scene<KernelWorld>) {
    scene.world.stop_bluetoothd();
    scene.world.unplug("hub");
    scene.world.plug("hub", HUB);
    assert!(scene.kernel_ltk_peers("hub").is_empty(), "the kernel's table is a fresh one");
}

/// The service sees nothing of what bluetoothd has loaded.
fn new_tables_bluetoothd_first(scene: &mut Scene<KernelWorld>) {
    scene.stop_service();
    new_tables(scene);
    scene.world.start_bluetoothd();
    scene.start();
}

fn new_tables_service_first(scene: &mut Scene<KernelWorld>) {
    scene.stop_service();
    new_tables(scene);
    scene.start();
    scene.wait_in_sync(HUB);
    scene.world.start_bluetoothd();
}

/// The kernel has these very keys again.
fn kernel_holds_again(scene: &mut Scene<KernelWorld>, ltks: &BTreeSet<(String, bool, String)>, after: &str) {
    let until = Instant::now() + LIMIT;
    loop {
        let held = scene.world.tables("hub").ltks;
        if held == *ltks {
            return;
        }
        let peers: Vec<&String> = held.iter().map(|(peer, _, _)| peer).collect();
        assert!(Instant::now() < until, "after {after} the kernel holds {peers:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn through_everything(scene: &mut Scene<KernelWorld>, specs: &[PeerSpec]) {
    kernel_comes_to_hold(scene, specs);
    let ltks = scene.world.tables("hub").ltks;
    for (what, step) in EVERYTHING {
        step(scene);
        kernel_holds_again(scene, &ltks, what);
        kernel_comes_to_hold(scene, specs);
        println!("after {what}: {} peers", specs.len());
        all_encrypt_without_pairing(scene, specs);
        gate(scene, "merge");
    }
    scene.wait_bonds(HUB, &addresses(specs));
}

#[test]
fn with_bluetoothd_on_the_host_every_bond_outlasts_whatever_happens() {
    let mut scene = scene();
    let all = beside_bluetoothd(&mut scene);
    through_everything(&mut scene, &all);
    scene.assert_no_key_was_published();
}

#[test]
fn what_bluetoothd_pairs_stays_what_it_removes_stays_away_and_what_we_forget_costs_it_nothing() {
    let mut scene = scene();
    let mut all = beside_bluetoothd(&mut scene);
    scene.world.add_peer(&LAMP);
    let since = scene.observer.mark();
    scene.world.request("pair_in_bluetoothd", json!({ "adapter": "hub", "peer": LAMP.name }));
    let added = scene.observer.wait_event("bond_added", since);
    assert_eq!(added["peer"], LAMP.address, "{added}");
    assert_eq!(
        (&added["bond"]["custody"], &added["bond"]["source"]),
        (&json!("foreign"), &json!("captured"))
    );
    all.push(LAMP);
    through_everything(&mut scene, &all);

    let since = scene.observer.mark();
    scene.world.remove_in_bluetoothd("hub", BULB.name);
    assert_eq!(scene.observer.wait_event("bond_removed", since)["peer"], BULB.address);
    through_everything(&mut scene, &[RING, BELL, OURS, LAMP]);

    let forgotten = scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": OURS.address }));
    assert_eq!(forgotten["kernel"]["state"], "loaded", "{forgotten}");
    through_everything(&mut scene, &[RING, BELL, LAMP]);
    scene.assert_no_key_was_published();
}

/// The same where bluetoothd cannot be asked, and where it has a bond that nobody here knows.
#[test]
fn without_evidence_of_what_bluetoothd_has_loaded_nothing_is_loaded_over_it() {
    let mut scene = scene();
    let mut all = beside_bluetoothd(&mut scene);
    scene.setup.set("DBUS", "false");
    new_tables_bluetoothd_first(&mut scene);
    assert_eq!(gate(&scene, "hold")["gate"]["reason"], "keys_unknown");
    scene.refused("bonds/reload", json!({ "adapter": HUB }), "held");
    kernel_comes_to_hold(&mut scene, &THEIRS);

    scene.setup.set("DBUS", "true");
    scene.world.add_peer(&LAMP);
    scene.stop_service();
    scene.world.request("pair_in_bluetoothd", json!({ "adapter": "hub", "peer": LAMP.name }));
    new_tables(&mut scene);
    scene.world.start_bluetoothd();
    scene.start();
    // Until its word is here.
    let until = Instant::now() + LIMIT;
    while !scene.service().log_text().contains(&format!("{HUB}: 4")) {
        assert!(Instant::now() < until, "bluetoothd did not say that it has four");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(gate(&scene, "hold")["gate"]["reason"], "keys_unknown");
    let mut theirs = THEIRS.to_vec();
    theirs.push(LAMP);
    kernel_comes_to_hold(&mut scene, &theirs);

    restart_bluetoothd(&mut scene);
    all.push(LAMP);
    kernel_comes_to_hold(&mut scene, &all);
    gate(&scene, "merge");
    scene.wait_bonds(HUB, &addresses(&all));
    all_encrypt_without_pairing(&mut scene, &all);
}
