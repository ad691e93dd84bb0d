//! Where the kernel shows its tables, what is really in them is found out, in any world.

use serde_json::{Value, json};

use super::scenarios::{LOCK, LOCK_ADDRESS, bond, encrypts_without_pairing};
use super::scene::{HUB, Scene};
use super::world::World;

/// A static random peer with a Secure Connections key, as a load has it.
pub const OTHER: &str = "D0:00:00:00:00:01";
pub const OTHER_RECORD: &str = "0100000000d002020010000000000000000000003c5d1a90e6f24b7788c1d2e3f4059617";

/// The adapter's drift, once it is in this state.
fn drift<W: World + ?Sized>(scene: &Scene<W>, state: &str) -> Value {
    let says = |told: &Value| told["drift"]["state"] == state;
    scene.state(&format!("the drift to be {state}"), HUB, says)["drift"].clone()
}

/// The bond of the lock is shown as loaded, or not.
fn loaded(scene: &Scene, loaded: bool) {
    let shows = |list: &Value| {
        let bonds = list["bonds"].as_array().map_or(&[][..], Vec::as_slice);
        bonds.iter().any(|bond| bond["peer"] == LOCK_ADDRESS && bond["loaded"] == loaded)
    };
    let topic = format!("adapter/{HUB}/bonds");
    scene.observer.wait_latest_since(&format!("loaded to be {loaded}"), &topic, scene.since(), shows);
}

pub fn a_key_that_the_kernel_does_not_take_is_missed_and_its_bond_is_not_called_loaded(scene: &mut Scene) {
    scene.world.show_tables();
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    bond(scene, &LOCK);
    let (_, _, value) = scene.world.tables("hub").ltks.first().expect("an LTK").clone();
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    drift(scene, "in_agreement");

    // The kernel passes over a blocked key and says that the load has succeeded.
    scene.world.block_ltks("hub", &[&value]);
    let since = scene.observer.mark();
    let reloaded = scene.ask("bonds/reload", json!({ "adapter": HUB }));
    assert_eq!(reloaded["kernel"]["state"], "loaded", "{reloaded}");
    let event = scene.observer.wait_event("drift_found", since);
    assert_eq!(event["data"]["reloaded"], true, "{event}");
    let told = drift(scene, "drifted");
    assert_eq!(told["lists"], json!({ "ltks": { "missing": 1, "unseen": 0, "different": 0 } }), "{told}");
    assert_eq!(told["peers"][0]["peer"], LOCK_ADDRESS, "{told}");
    loaded(scene, false);

    scene.world.block_ltks("hub", &[]);
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    drift(scene, "in_agreement");
    loaded(scene, true);
    encrypts_without_pairing(scene, LOCK.name);
}

/// Somebody has put the list with [`OTHER_RECORD`] alone into the kernel, and nobody saw it.
pub fn both_are_brought_together<W: World + ?Sized>(scene: &mut Scene<W>) {
    let since = scene.observer.mark();
    scene.ask("health_check", json!({}));
    let event = scene.observer.wait_event("drift_found", since);
    let ltks = json!({ "missing": 1, "unseen": 1, "different": 0 });
    assert_eq!(
        (&event["data"]["lists"]["ltks"], &event["data"]["reloaded"]),
        (&ltks, &json!(true)),
        "{event}"
    );
    let bonds = scene.wait_bonds(HUB, &[LOCK_ADDRESS, OTHER]);
    let found = bonds.iter().find(|bond| bond["peer"] == OTHER).unwrap();
    assert_eq!((&found["custody"], &found["source"]), (&json!("foreign"), &json!("learned")), "{found}");
    drift(scene, "in_agreement");
    let held = [LOCK_ADDRESS, OTHER].map(str::to_owned);
    assert_eq!(scene.kernel_ltk_peers("hub"), held.into());
    let connected = scene.world.connect("hub", LOCK.name);
    assert!(connected.encrypted && connected.smp_packet_count == 0, "{connected:?}");
}
