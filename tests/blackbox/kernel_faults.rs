//! Kernels that refuse, fall silent, flood or ask, and controllers that are out of
//! the ordinary. Only a simulated one can be made to.

use serde_json::json;

use super::drift;
use super::scene::{HUB, Scene};
use super::sim::records::Ltk;
use super::sim::wire::op;
use super::sim::{Fault, Hardware, Options, SimKernel, Trouble};
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
const RING: PeerSpec = PeerSpec::public("ring", "F1:11:22:33:44:55").static_random();

/// User Confirmation Request: address, hint, value.
const USER_CONFIRMATION_REQUEST: u16 = 0x000F;
/// User Passkey Request: address.
const USER_PASSKEY_REQUEST: u16 = 0x0010;
const INVALID_PARAMETERS: u8 = 0x0D;

fn kernel(scene: &Scene<SimWorld>) -> &SimKernel {
    scene.world.kernel()
}

/// Hub plugged in with two bonds, and pulled out again.
fn two_bonds_stored() -> Scene<SimWorld> {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    for spec in [&LOCK, &RING] {
        scene.world.add_peer(spec);
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
    }
    scene.wait_bonds(HUB, &[LOCK.address, RING.address]);
    scene.unplug_hub();
    scene
}

#[test]
fn a_list_that_the_kernel_refuses_as_a_whole_is_loaded_in_parts_and_then_together() {
    let mut scene = two_bonds_stored();
    kernel(&scene).fault(Fault::once(op::LOAD_LTKS, Trouble::Status(INVALID_PARAMETERS)));
    scene.plug_hub();
    assert_eq!(scene.kernel_ltk_peers("hub").len(), 2);
}

#[test]
fn what_an_unseen_load_has_put_in_place_of_ours_is_found_and_both_stand_again() {
    let mut scene = simulated_scene();
    kernel(&scene).show_tables();
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", LOCK.name, PairOptions::default()));
    scene.wait_bonds(HUB, &[LOCK.address]);
    let octets: Vec<u8> = (0..drift::OTHER_RECORD.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&drift::OTHER_RECORD[at..at + 2], 16).unwrap())
        .collect();
    let other = Ltk::read(&octets).expect("a record");
    kernel(&scene).replace_ltks_unseen(scene.world.index("hub"), vec![other]);
    drift::both_are_brought_together(&mut scene);
}

#[test]
fn a_kernel_that_never_answers_a_load_is_reported_and_asked_again() {
    let mut scene = two_bonds_stored();
    kernel(&scene).fault(Fault::once(op::LOAD_LTKS, Trouble::Ignored));
    scene.world.plug("hub", HUB);
    let failed = scene.state("the load to fail", HUB, |state| state["sync"] == "failed");
    assert!(failed["last_error"].as_str().unwrap().contains("LTKs"), "{failed}");
    scene.wait_in_sync(HUB);
    assert_eq!(scene.kernel_ltk_peers("hub").len(), 2);
}

#[test]
fn a_controller_that_vanishes_in_the_middle_of_a_load_is_loaded_when_it_is_back() {
    let mut scene = two_bonds_stored();
    let vanish = Fault::once(op::LOAD_LTKS, Trouble::Vanish);
    kernel(&scene).fault(vanish);
    scene.world.plug("hub", HUB);
    scene.observer.wait_for("the hub to vanish", |heard, _, _| {
        let gone = |heard: &super::observer::Heard| heard.json()["type"] == "adapter_removed";
        (heard.iter().filter(|heard| gone(heard)).count() >= 2).then_some(())
    });
    scene.wait_absent(HUB);
    let index = kernel(&scene).plug(&Hardware::new(HUB));
    scene.wait_in_sync(HUB);
    assert_eq!(kernel(&scene).tables(index).ltks.len(), 2);
}

#[test]
fn a_flood_of_advertisements_hides_no_bond() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    let index = scene.world.index("hub");
    kernel(&scene).flood(index, 50_000);
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    kernel(&scene).flood(index, 50_000);
    scene.wait_bonds(HUB, &[LOCK.address]);
    assert_eq!(kernel(&scene).counters().dropped_frames, 0, "the flood reached the service's queue");
}

/// Both channels, beside a bluetoothd that hears them all: what the filters reject wakes nobody.
#[test]
fn a_flood_of_advertisements_wakes_nobody() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    scene.world.start_bluetoothd();
    let index = scene.world.index("hub");
    let received = |scene: &Scene<SimWorld>| {
        scene.ask("health_check", json!({}))["received_frames"].as_u64().expect("a counter")
    };
    let before = received(&scene);
    assert!(before > 0, "nothing was counted");
    kernel(&scene).flood(index, 50_000);
    // A bond that is made afterwards shows that whatever was to be read was read.
    scene.world.stop_bluetoothd();
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.wait_bonds(HUB, &[LOCK.address]);
    let after = received(&scene);
    assert!(after - before < 500, "{} frames for 50,000 advertisements", after - before);
}

#[test]
fn no_confirmation_or_passkey_is_ever_answered() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    let index = scene.world.index("hub");
    let address = [0x99, 0x00, 0x00, 0xEE, 0xFF, 0xC0, 0x01];
    kernel(&scene).inject(USER_CONFIRMATION_REQUEST, index, &[&address[..], &[1, 0, 0, 0, 0]].concat());
    kernel(&scene).inject(USER_PASSKEY_REQUEST, index, &address);
    // What comes after them was read after them.
    scene.world.add_peer(&RING);
    assert!(scene.world.pair("hub", "ring", PairOptions::default()));
    scene.wait_bonds(HUB, &[RING.address]);
    assert_eq!(kernel(&scene).counters().pairing_answers, 0);
}

#[test]
fn events_of_newer_kernels_cost_nothing() {
    let options = Options { trailing_octets: 5, ..Options::default() };
    let mut scene: Scene<SimWorld> =
        Scene::new(|folder| Box::new(SimWorld::with(&folder.join("kernel"), options)));
    scene.start();
    scene.plug_hub();
    let index = scene.world.index("hub");
    kernel(&scene).inject(0x0F0F, index, &[1, 2, 3]);
    scene.world.add_peer(&LOCK.private());
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    let bonds = scene.wait_bonds(HUB, &[LOCK.address]);
    assert_eq!(bonds[0]["keys"]["irk"], true);
}

#[test]
fn a_dual_mode_controller_gets_its_link_keys_back() {
    const SPEAKER: &str = "60:AB:D2:40:51:62";
    let hardware = Hardware::new(HUB).dual_mode();
    let mut scene = simulated_scene();
    scene.start();
    scene.world.plug_hardware("hub", &hardware);
    scene.wait_in_sync(HUB);
    let index = scene.world.index("hub");
    let mut program = kernel(&scene).open_control("pairtool");
    for on in [op::SET_BONDABLE, op::SET_POWERED] {
        program.succeed(on, index, &[1]);
    }
    kernel(&scene).pair_bredr(index, SPEAKER);
    let bonds = scene.wait_bonds(HUB, &[SPEAKER]);
    assert_eq!(bonds[0]["address_type"], "bredr");
    assert!(bonds[0]["keys"]["link_key"].is_object(), "{}", bonds[0]);
    let before = scene.world.tables("hub").link_keys;
    scene.unplug_hub();
    scene.world.plug_hardware("hub", &hardware);
    scene.wait_in_sync(HUB);
    assert_eq!(before.len(), 1);
    assert_eq!(scene.world.tables("hub").link_keys, before);
    let forgotten = scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": SPEAKER }));
    assert_eq!(forgotten["kernel"]["state"], "loaded", "{forgotten}");
}

#[test]
fn a_kernel_that_does_not_trust_us_stops_the_start_and_the_capability_is_named() {
    let options = Options { untrusted: true, ..Options::default() };
    let scene: Scene<SimWorld> =
        Scene::new(|folder| Box::new(SimWorld::with(&folder.join("kernel"), options)));
    let refused = scene.setup.run(&["run"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("NET_ADMIN"), "{said}");
}
