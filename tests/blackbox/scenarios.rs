//! What the product promises, played in any world. Every scenario here runs on the
//! simulator (`cargo test`) and on a real Linux kernel (`tests/run.sh`) and must come out the same.
//!
//! A scenario sees the service only from outside: its topics, its commands, and what the
//! kernel's tables hold.

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub use super::coexistence::{
    a_load_of_another_process_is_answered_with_the_union,
    a_manager_that_lost_its_bonds_is_reported_and_adopting_brings_them_back,
    nobody_loses_a_bond_by_restarts_replugs_and_power_cycles,
    started_late_beside_bluetoothd_it_holds_and_following_the_advice_ends_that,
    what_bluetoothd_removes_stays_removed_and_what_we_forget_costs_it_nothing,
};
pub use super::drift::a_key_that_the_kernel_does_not_take_is_missed_and_its_bond_is_not_called_loaded;
pub use super::habluetooth::habluetooth_reads_our_list_and_its_own_output_is_read_back_equal;
pub use super::health::{
    a_peer_that_is_merely_away_stays_ok,
    a_peer_that_lost_its_keys_turns_suspect_then_stale_and_ok_after_a_new_pairing,
    so_does_a_peer_with_a_private_address,
};
pub use super::identity::{
    a_peer_that_knows_the_adapter_by_private_addresses_knows_it_again_after_a_replug,
    a_powered_adapter_is_left_as_it_is_until_it_is_off_and_a_reload_is_asked_for,
};
use super::scene::{HUB, Scene};
pub use super::secrets::{
    every_file_of_ours_is_readable_by_its_owner_only, no_key_stands_in_any_log_topic_or_foreign_file,
};
pub use super::undo::{
    a_forgotten_bond_is_brought_back_and_a_later_pairing_stays,
    a_load_that_would_wipe_what_nobody_saw_is_a_hazard_of_the_plan,
    a_restore_that_made_things_worse_is_undone_in_one_command,
    the_audit_log_tells_what_happened_to_whom_and_on_whose_word,
};
use super::world::{PairOptions, PeerSpec};

/// Hands the names of all shared scenarios to a macro that makes tests of them.
#[macro_export]
macro_rules! shared_scenarios {
    ($make_tests:ident) => {
        $make_tests! {
            a_secure_connections_pairing_is_captured_and_announced_once_when_durable
            a_legacy_pairing_gives_one_bond_with_both_its_keys
            a_private_peer_is_bonded_under_its_identity_with_its_irk
            a_private_peer_with_a_static_identity_is_bonded_under_it
            a_legacy_pairing_with_a_private_peer_keeps_keys_and_irk
            a_replugged_adapter_encrypts_again_without_a_new_pairing
            a_replugged_adapter_encrypts_again_with_a_private_peer
            a_kill_between_pairing_and_replug_costs_nothing
            a_restart_between_pairing_and_replug_costs_nothing
            a_pairing_without_bonding_is_not_stored
            a_key_made_with_debug_keys_is_not_stored
            a_private_address_is_never_stored_as_an_identity
            unpairing_by_another_program_removes_the_bond_and_says_so
            pairing_again_replaces_the_bond
            more_keys_than_one_default_frame_holds_are_loaded_in_one_go
            adapters_that_change_places_keep_their_bonds
            ten_quick_replugs_lose_nothing
            a_restart_on_a_live_adapter_loads_nothing_and_wipes_nothing
            started_late_beside_bluetoothd_it_holds_and_following_the_advice_ends_that
            nobody_loses_a_bond_by_restarts_replugs_and_power_cycles
            what_bluetoothd_removes_stays_removed_and_what_we_forget_costs_it_nothing
            a_manager_that_lost_its_bonds_is_reported_and_adopting_brings_them_back
            a_load_of_another_process_is_answered_with_the_union
            a_peer_that_lost_its_keys_turns_suspect_then_stale_and_ok_after_a_new_pairing
            so_does_a_peer_with_a_private_address
            a_peer_that_is_merely_away_stays_ok
            a_restore_that_made_things_worse_is_undone_in_one_command
            a_forgotten_bond_is_brought_back_and_a_later_pairing_stays
            a_load_that_would_wipe_what_nobody_saw_is_a_hazard_of_the_plan
            the_audit_log_tells_what_happened_to_whom_and_on_whose_word
            a_peer_that_knows_the_adapter_by_private_addresses_knows_it_again_after_a_replug
            a_powered_adapter_is_left_as_it_is_until_it_is_off_and_a_reload_is_asked_for
            a_key_that_the_kernel_does_not_take_is_missed_and_its_bond_is_not_called_loaded
            an_export_in_our_format_brings_a_forgotten_bond_back
            an_export_for_habluetooth_brings_a_forgotten_bond_back
            forgetting_on_an_unpowered_adapter_takes_the_key_out_of_the_kernel
            observing_captures_and_never_loads
            a_controller_without_an_address_waits_and_is_stored_nowhere
            habluetooth_reads_our_list_and_its_own_output_is_read_back_equal
            no_key_stands_in_any_log_topic_or_foreign_file
            every_file_of_ours_is_readable_by_its_owner_only
        }
    };
}

pub const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
pub const LOCK_ADDRESS: &str = LOCK.address;
pub const RING: PeerSpec = PeerSpec::public("ring", "F1:11:22:33:44:55").static_random();

pub fn pair(scene: &mut Scene, adapter: &str, peer: &str) {
    assert!(scene.world.pair(adapter, peer, PairOptions::default()), "pairing with {peer} failed");
}

/// Pairs the hub with a peer and waits for its announcement, which it returns.
pub fn bond(scene: &mut Scene, spec: &PeerSpec) -> Value {
    let since = scene.observer.mark();
    pair(scene, "hub", spec.name);
    scene.observer.wait_event("bond_added", since)
}

/// Service running, hub plugged in, peer on the air.
pub fn ready(scene: &mut Scene, spec: &PeerSpec) {
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(spec);
}

fn replug_and_wait(scene: &mut Scene) {
    scene.unplug_hub();
    scene.plug_hub();
}

pub fn encrypts_without_pairing(scene: &mut Scene, peer: &str) {
    let connected = scene.world.connect("hub", peer);
    assert!(connected.encrypted, "{connected:?}");
    assert_eq!(connected.smp_packet_count, 0, "a new pairing took place: {connected:?}");
    assert_eq!(connected.protected_value.as_deref(), Some("secret"));
}

/// `bond_added` came exactly once, after the retained list that shows the bond as durable.
fn announced_once(scene: &Scene, since: usize, peer: &str) {
    let heard = scene.observer.heard();
    let added: Vec<usize> = (since..heard.len())
        .filter(|at| heard[*at].json()["event_type"] == "bond_added" && heard[*at].json()["peer"] == peer)
        .collect();
    assert_eq!(added.len(), 1, "bond_added for {peer}");
    let shown = heard[since..added[0]].iter().rev().find(|heard| heard.topic.ends_with("/bonds"));
    let shown = shown.expect("no list came before the event").json();
    let listed = shown["bonds"].as_array().unwrap().iter().find(|bond| bond["peer"] == peer);
    let listed = listed.expect("the list before the event lacks the bond");
    assert_eq!(listed["durable"], true, "announced before it was durable");
}

fn ltks(bond: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ltks = bond["keys"]["ltk"].as_array().unwrap().iter();
    let mut ltks: Vec<_> = ltks.map(|ltk| (word(&ltk["role"]), word(&ltk["key_type"]))).collect();
    ltks.sort();
    ltks
}

pub fn a_secure_connections_pairing_is_captured_and_announced_once_when_durable(scene: &mut Scene) {
    ready(scene, &LOCK);
    let since = scene.observer.mark();
    let event = bond(scene, &LOCK);
    assert_eq!(event["adapter"], HUB);
    assert_eq!(event["peer"], LOCK_ADDRESS);
    let bonds = scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    assert_eq!(ltks(&bonds[0]), [("both".to_owned(), "p256_unauthenticated".to_owned())]);
    assert_eq!(bonds[0]["custody"], "ours");
    assert_eq!(bonds[0]["source"], "captured");
    // Within moments of a load the key may have been wiped by it: it is loaded once more, to be sure.
    let loaded = |list: &Value| list["bonds"][0]["loaded"] == true;
    scene.observer.wait_latest("the bond to be loaded", &format!("adapter/{HUB}/bonds"), loaded);
    announced_once(scene, since, LOCK_ADDRESS);
    scene.assert_no_key_was_published();
}

pub fn a_legacy_pairing_gives_one_bond_with_both_its_keys(scene: &mut Scene) {
    ready(scene, &LOCK.legacy());
    let since = scene.observer.mark();
    let event = bond(scene, &LOCK);
    let expected =
        ["central", "peripheral"].map(|role| (role.to_owned(), "legacy_unauthenticated".to_owned()));
    assert_eq!(ltks(&event["bond"]), expected, "the event comes with all keys");
    scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    announced_once(scene, since, LOCK_ADDRESS);
    scene.assert_no_key_was_published();
}

pub fn a_private_peer_is_bonded_under_its_identity_with_its_irk(scene: &mut Scene) {
    ready(scene, &LOCK.private());
    let event = bond(scene, &LOCK);
    assert_eq!(event["peer"], LOCK_ADDRESS);
    assert_eq!(event["bond"]["keys"]["irk"], true);
    scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    scene.assert_no_key_was_published();
}

pub fn a_private_peer_with_a_static_identity_is_bonded_under_it(scene: &mut Scene) {
    ready(scene, &RING.private());
    let event = bond(scene, &RING);
    assert_eq!(event["peer"], RING.address);
    assert_eq!(event["bond"]["address_type"], "random");
    assert_eq!(event["bond"]["keys"]["irk"], true);
    replug_and_wait(scene);
    encrypts_without_pairing(scene, RING.name);
}

pub fn a_legacy_pairing_with_a_private_peer_keeps_keys_and_irk(scene: &mut Scene) {
    ready(scene, &LOCK.legacy().private());
    let event = bond(scene, &LOCK);
    assert_eq!(ltks(&event["bond"]).len(), 2);
    assert_eq!(event["bond"]["keys"]["irk"], true);
    replug_and_wait(scene);
    encrypts_without_pairing(scene, LOCK.name);
}

pub fn a_replugged_adapter_encrypts_again_without_a_new_pairing(scene: &mut Scene) {
    ready(scene, &LOCK.legacy());
    scene.world.add_peer(&RING);
    bond(scene, &LOCK);
    bond(scene, &RING);
    let before = scene.world.tables("hub");
    scene.wait_bonds(HUB, &[LOCK_ADDRESS, RING.address]);
    replug_and_wait(scene);
    assert_eq!(scene.world.tables("hub"), before, "the kernel holds what it held before");
    encrypts_without_pairing(scene, LOCK.name);
    encrypts_without_pairing(scene, RING.name);
}

pub fn a_replugged_adapter_encrypts_again_with_a_private_peer(scene: &mut Scene) {
    ready(scene, &LOCK.private());
    bond(scene, &LOCK);
    let before = scene.world.tables("hub");
    replug_and_wait(scene);
    assert_eq!(scene.world.tables("hub"), before);
    encrypts_without_pairing(scene, LOCK.name);
}

pub fn a_kill_between_pairing_and_replug_costs_nothing(scene: &mut Scene) {
    ready(scene, &LOCK.private());
    bond(scene, &LOCK);
    scene.kill_service();
    scene.world.unplug("hub");
    scene.start();
    scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    scene.plug_hub();
    encrypts_without_pairing(scene, LOCK.name);
}

pub fn a_restart_between_pairing_and_replug_costs_nothing(scene: &mut Scene) {
    ready(scene, &LOCK);
    bond(scene, &LOCK);
    scene.stop_service();
    let offline = |state: &Value| state["state"] == "offline";
    scene.observer.wait_latest("the goodbye", "bridge/state", offline);
    scene.world.unplug("hub");
    scene.world.plug("hub", HUB);
    scene.start();
    scene.wait_in_sync(HUB);
    encrypts_without_pairing(scene, LOCK.name);
}

/// The bond of another peer that is made afterwards shows that the events before it were read.
fn only_the_ring_is_stored(scene: &mut Scene) {
    scene.world.add_peer(&RING);
    bond(scene, &RING);
    scene.wait_bonds(HUB, &[RING.address]);
    let added: Vec<Value> =
        scene.observer.events(0).into_iter().filter(|event| event["event_type"] == "bond_added").collect();
    assert_eq!(added.len(), 1, "{added:?}");
}

pub fn a_pairing_without_bonding_is_not_stored(scene: &mut Scene) {
    ready(scene, &LOCK.without_bonding());
    let options = PairOptions { not_bondable: true, ..PairOptions::default() };
    scene.world.pair("hub", "lock", options);
    only_the_ring_is_stored(scene);
}

pub fn a_key_made_with_debug_keys_is_not_stored(scene: &mut Scene) {
    ready(scene, &LOCK);
    let options = PairOptions { debug_keys: true, ..PairOptions::default() };
    scene.world.pair("hub", "lock", options);
    only_the_ring_is_stored(scene);
}

pub fn a_private_address_is_never_stored_as_an_identity(scene: &mut Scene) {
    scene.setup.set("ADAPTERS__DEFAULT_MODE", "observe");
    scene.start();
    scene.world.plug("hub", HUB);
    scene.state("the hub to be held", HUB, |state| state["sync"] == "held");
    scene.world.add_peer(&LOCK.private());
    // Nobody has told the kernel to ask for IRKs, so the peer stays a private address to it.
    scene.world.pair("hub", "lock", PairOptions::default());
    only_the_ring_is_stored(scene);
}

pub fn unpairing_by_another_program_removes_the_bond_and_says_so(scene: &mut Scene) {
    ready(scene, &LOCK.private());
    bond(scene, &LOCK);
    let since = scene.observer.mark();
    scene.world.unpair("hub", "lock");
    let event = scene.observer.wait_event("bond_removed", since);
    assert_eq!(event["peer"], LOCK_ADDRESS);
    assert_eq!(event["cause"], "unpaired");
    scene.wait_bonds(HUB, &[]);
    replug_and_wait(scene);
    assert!(scene.kernel_ltk_peers("hub").is_empty(), "a removed bond came back");
}

pub fn pairing_again_replaces_the_bond(scene: &mut Scene) {
    ready(scene, &LOCK.legacy());
    bond(scene, &LOCK);
    let first = scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    // The kernel has lost its key and nobody puts it back, the peer takes a new pairing: the connection pairs
    // anew, unasked.
    scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": "observe" }));
    scene.world.foreign_load_ltks("hub", &[]);
    let since = scene.observer.mark();
    let connected = scene.world.connect("hub", "lock");
    assert!(connected.smp_packet_count > 0, "no new pairing took place: {connected:?}");
    let event = scene.observer.wait_event("bond_updated", since);
    assert_eq!(event["peer"], LOCK_ADDRESS);
    let second = scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    assert_eq!(ltks(&second[0]).len(), 2, "keys of the old pairing stand beside the new ones");
    assert_ne!(first[0]["fingerprint"], second[0]["fingerprint"]);
    scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": "auto" }));
    let before = scene.world.tables("hub").ltks;
    replug_and_wait(scene);
    assert_eq!(scene.world.tables("hub").ltks, before);
    encrypts_without_pairing(scene, LOCK.name);
}

/// A habluetooth list of Secure Connections keys for made-up public peers.
fn key_list(count: usize) -> Value {
    let entries = (1..=count).map(|number| {
        json!({
            "address": format!("C0:FF:EE:01:{:02X}:{:02X}", number >> 8, number & 0xFF),
            "address_type": 1,
            "key_type": 2,
            "central": false,
            "encryption_size": 16,
            "ediv": 0,
            "rand": "0000000000000000",
            "value": format!("{number:04x}{}", "a5".repeat(14)),
        })
    });
    Value::Array(entries.collect())
}

pub fn more_keys_than_one_default_frame_holds_are_loaded_in_one_go(scene: &mut Scene) {
    scene.start();
    for count in [29, 100, 1_820] {
        let name = format!("keys-{count}.json");
        std::fs::write(scene.setup.export_dir().join(&name), key_list(count).to_string()).unwrap();
        scene.plug_hub();
        let loads = scene.world.ltk_load_count("hub");
        let request = json!({ "adapter": HUB, "from": { "file": name } });
        let answer = scene.ask("bonds/restore", request);
        assert_eq!(answer["kernel"]["state"], "loaded", "{answer}");
        assert_eq!(scene.world.tables("hub").ltks.len(), count);
        assert_eq!(scene.world.ltk_load_count("hub"), loads + 1, "one command");
        scene.unplug_hub();
        // All of them at plug-in as well.
        scene.plug_hub();
        assert_eq!(scene.world.tables("hub").ltks.len(), count);
        assert_eq!(scene.world.ltk_load_count("hub"), 1);
        scene.unplug_hub();
    }
}

pub fn adapters_that_change_places_keep_their_bonds(scene: &mut Scene) {
    const OTHER: &str = "00:1A:7D:DA:71:12";
    ready(scene, &LOCK);
    scene.world.add_peer(&RING);
    scene.world.plug("other", OTHER);
    scene.wait_in_sync(OTHER);
    bond(scene, &LOCK);
    let since = scene.observer.mark();
    pair(scene, "other", "ring");
    scene.observer.wait_event("bond_added", since);
    let places = (scene.world.index("hub"), scene.world.index("other"));
    scene.unplug_hub();
    scene.world.unplug("other");
    scene.wait_absent(OTHER);
    // The one that was second comes first now and takes the other's index.
    scene.world.plug("other", OTHER);
    scene.wait_in_sync(OTHER);
    scene.plug_hub();
    assert_eq!((scene.world.index("other"), scene.world.index("hub")), places);
    assert_eq!(scene.kernel_ltk_peers("hub"), BTreeSet::from([LOCK_ADDRESS.to_owned()]));
    assert_eq!(scene.kernel_ltk_peers("other"), BTreeSet::from([RING.address.to_owned()]));
    encrypts_without_pairing(scene, LOCK.name);
}

pub fn ten_quick_replugs_lose_nothing(scene: &mut Scene) {
    ready(scene, &LOCK.private());
    bond(scene, &LOCK);
    for _ in 0..10 {
        scene.world.unplug("hub");
        scene.world.plug("hub", HUB);
    }
    let generation = scene.wait_in_sync(HUB)["generation"].clone();
    // The last state may be of an earlier plug-in; a reload that succeeds is of this one.
    let until = std::time::Instant::now() + super::observer::LIMIT;
    while scene.observer.request(super::scene::ROOT, "bonds/reload", json!({ "adapter": HUB }))["status"]
        != "ok"
    {
        assert!(std::time::Instant::now() < until, "the hub takes no reload");
    }
    scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    assert_eq!(scene.wait_in_sync(HUB)["generation"], generation, "a replug is no change");
    encrypts_without_pairing(scene, LOCK.name);
}

pub fn a_restart_on_a_live_adapter_loads_nothing_and_wipes_nothing(scene: &mut Scene) {
    ready(scene, &LOCK);
    bond(scene, &LOCK);
    scene.stop_service();
    scene.world.add_peer(&RING);
    pair(scene, "hub", "ring");
    let before = scene.world.tables("hub");
    let loads = scene.world.ltk_load_count("hub");
    scene.start();
    scene.wait_in_sync(HUB);
    let loaded = |list: &Value| {
        list["bonds"].as_array().is_some_and(|bonds| bonds.iter().all(|bond| bond["loaded"] == true))
    };
    scene.observer.wait_latest("the bond to be taken for loaded", &format!("adapter/{HUB}/bonds"), loaded);
    assert_eq!(scene.world.ltk_load_count("hub"), loads, "a load was sent");
    assert_eq!(scene.world.tables("hub"), before, "something was wiped");
    encrypts_without_pairing(scene, RING.name);
    encrypts_without_pairing(scene, LOCK.name);
}

fn export_forget_restore(scene: &mut Scene, format: &str, spec: &PeerSpec) {
    ready(scene, spec);
    bond(scene, spec);
    let before = scene.world.tables("hub");
    let export = scene.ask("bonds/export", json!({ "adapter": HUB, "format": format, "allow_loss": true }));
    assert_eq!(export["count"], 1);
    let forgotten = scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": spec.address }));
    assert_eq!(forgotten["kernel"]["state"], "loaded", "{forgotten}");
    scene.wait_bonds(HUB, &[]);
    assert!(scene.kernel_ltk_peers("hub").is_empty(), "still in the kernel");

    let request = json!({ "adapter": HUB, "from": { "file": export["file"] } });
    let mut dry = request.clone();
    dry["dry_run"] = json!(true);
    let plan = scene.ask("bonds/restore", dry);
    assert_eq!(plan["plan"]["added"].as_array().unwrap().len(), 1, "{plan}");
    scene.wait_bonds(HUB, &[]);
    let mut bound = request;
    bound["plan_id"] = plan["plan"]["plan_id"].clone();
    let since = scene.observer.mark();
    let answer = scene.ask("bonds/restore", bound);
    assert_eq!(answer["kernel"]["state"], "loaded", "{answer}");
    scene.observer.wait_event("bonds_restored", since);
    scene.wait_bonds(HUB, &[spec.address]);
    assert_eq!(scene.world.tables("hub").ltks, before.ltks);
    encrypts_without_pairing(scene, spec.name);
    replug_and_wait(scene);
    encrypts_without_pairing(scene, spec.name);
    scene.assert_no_key_was_published();
}

pub fn an_export_in_our_format_brings_a_forgotten_bond_back(scene: &mut Scene) {
    export_forget_restore(scene, "bondkeeper", &LOCK.private());
}

pub fn an_export_for_habluetooth_brings_a_forgotten_bond_back(scene: &mut Scene) {
    // No IRK in that format: a peer that shows its identity.
    export_forget_restore(scene, "habluetooth", &LOCK.legacy());
}

pub fn forgetting_on_an_unpowered_adapter_takes_the_key_out_of_the_kernel(scene: &mut Scene) {
    ready(scene, &LOCK);
    scene.world.add_peer(&RING);
    bond(scene, &LOCK);
    bond(scene, &RING);
    scene.world.power_off("hub");
    scene.state("the hub to be off", HUB, |state| state["powered"] == false);
    let forgotten = scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK_ADDRESS }));
    assert_eq!(forgotten["kernel"]["state"], "loaded", "{forgotten}");
    assert_eq!(scene.kernel_ltk_peers("hub"), BTreeSet::from([RING.address.to_owned()]));
    encrypts_without_pairing(scene, RING.name);
}

pub fn observing_captures_and_never_loads(scene: &mut Scene) {
    ready(scene, &LOCK);
    let verdict = scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": "observe" }));
    assert_eq!(verdict["gate"]["state"], "hold", "{verdict}");
    bond(scene, &LOCK);
    scene.wait_bonds(HUB, &[LOCK_ADDRESS]);
    scene.unplug_hub();
    scene.stop_service();
    scene.start();
    scene.world.plug("hub", HUB);
    let held =
        |state: &Value| state["present"] == true && state["sync"] == "held" && state["mode"] == "observe";
    scene.state("the hub to be held still", HUB, held);
    assert!(scene.kernel_ltk_peers("hub").is_empty());
    // And the user's other choice brings it back.
    scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": "own" }));
    scene.wait_in_sync(HUB);
    encrypts_without_pairing(scene, LOCK.name);
}

pub fn a_controller_without_an_address_waits_and_is_stored_nowhere(scene: &mut Scene) {
    scene.start();
    for (name, address) in [("zeros", "00:00:00:00:00:00"), ("ones", "FF:FF:FF:FF:FF:FF")] {
        scene.world.plug(name, address);
    }
    // One that has an address and comes later shows that the others were seen and passed over.
    ready_again(scene);
    let list = scene.ask("bonds/list", json!({}));
    let adapters: Vec<&str> = list["adapters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|adapter| adapter["adapter"].as_str())
        .collect();
    assert_eq!(adapters, [HUB]);
    assert!(scene.service().log_text().contains("it has no address yet"));
    let stored = String::from_utf8_lossy(&scene.setup.run(&["inspect"]).stdout).into_owned();
    assert!(!stored.contains("00:00:00:00:00:00") && !stored.contains("FF:FF:FF:FF:FF:FF"), "{stored}");
}

fn ready_again(scene: &mut Scene) {
    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    bond(scene, &LOCK);
}
