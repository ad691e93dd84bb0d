//! The adapter's own identity: kept when another program sets it, and put back where that is safe, in any world.

use serde_json::{Value, json};

use super::scenarios::{LOCK, bond, encrypts_without_pairing};
use super::scene::{HUB, Scene};

/// Management order.
const KEY: &str = "6d0ab61e0fd58c7b0c3c2d6e8f904a51";

/// The adapter's state, once it says this of its own identity.
fn identity(scene: &Scene, state: &str, reason: Option<&str>) -> Value {
    let says = |told: &Value| {
        let identity = &told["local_identity"];
        identity["state"] == state && identity["reason"] == json!(reason)
    };
    let what = format!("the identity to be {state}, {reason:?}");
    scene.state(&what, HUB, says)["local_identity"].clone()
}

/// The service has seen another program give the hub its identity.
fn captured(scene: &mut Scene) {
    scene.start();
    scene.plug_hub();
    identity(scene, "unknown", None);
    let since = scene.observer.mark();
    assert!(scene.world.set_privacy("hub", 1, KEY));
    let event = scene.observer.wait_event("identity_captured", since);
    assert_eq!(event["data"]["privacy"], "on", "{event}");
    let told = identity(scene, "in_force", None);
    assert_eq!((&told["privacy"], &told["restored_at"]), (&json!("on"), &Value::Null), "{told}");
    assert_eq!(told["fingerprint"], event["data"]["fingerprint"], "{told}");
}

fn mode_own(scene: &Scene) {
    scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": "own" }));
}

fn kernel_has_it(scene: &mut Scene) {
    assert_eq!(scene.world.local_irk("hub").as_deref(), Some(KEY));
}

pub fn a_peer_that_knows_the_adapter_by_private_addresses_knows_it_again_after_a_replug(scene: &mut Scene) {
    captured(scene);
    scene.world.add_peer(&LOCK);
    bond(scene, &LOCK);
    encrypts_without_pairing(scene, LOCK.name);

    // The user's word is missing: nothing is sent.
    scene.unplug_hub();
    scene.plug_hub();
    identity(scene, "not_restored", Some("mode"));
    assert_eq!(scene.world.local_irk("hub"), None);

    let since = scene.observer.mark();
    mode_own(scene);
    let event = scene.observer.wait_event("identity_restored", since);
    assert_eq!(event["cause"], "mode", "{event}");
    kernel_has_it(scene);

    scene.unplug_hub();
    let since = scene.observer.mark();
    scene.plug_hub();
    let told = identity(scene, "in_force", None);
    assert!(told["restored_at"].is_string(), "{told}");
    let event = scene.observer.wait_event("identity_restored", since);
    assert_eq!((&event["cause"], &event["data"]["manager"]), (&json!("plugged_in"), &Value::Null), "{event}");
    kernel_has_it(scene);
    encrypts_without_pairing(scene, LOCK.name);

    scene.stop_service();
    scene.start();
    identity(scene, "in_force", None);
    scene.stop_service();
    let history = scene.setup.run(&["history"]);
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    for action in ["identity_captured", "identity_restored"] {
        assert!(history.contains(action), "no {action} in {history}");
    }
    scene.assert_no_key_was_published();
}

pub fn a_powered_adapter_is_left_as_it_is_until_it_is_off_and_a_reload_is_asked_for(scene: &mut Scene) {
    captured(scene);
    mode_own(scene);
    scene.unplug_hub();
    scene.stop_service();
    scene.world.plug("hub", HUB);
    scene.world.add_peer(&LOCK);
    // Whoever pairs switches it on.
    assert!(scene.world.pair("hub", LOCK.name, super::world::PairOptions::default()));
    scene.start();
    let told = identity(scene, "not_restored", Some("powered_on"));
    assert!(told["advice"].as_str().unwrap().contains("bonds/reload"), "{told}");
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    assert_eq!(scene.world.local_irk("hub"), None, "it was switched off for that");

    scene.world.power_off("hub");
    identity(scene, "not_restored", Some("not_asked"));
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    identity(scene, "in_force", None);
    kernel_has_it(scene);
}
