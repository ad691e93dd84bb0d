//! Automatic copies in the export folder.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scene::{HUB, Scene};
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99").private();
const BULB: PeerSpec = PeerSpec::public("bulb", "C0:FF:EE:00:00:77").legacy();

/// Longest that a copy may take after the commit, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn pair(scene: &mut Scene<SimWorld>, spec: &PeerSpec, all: &[&str]) {
    scene.world.add_peer(spec);
    assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
    scene.wait_bonds(HUB, all);
}

fn copies(scene: &Scene<SimWorld>) -> Vec<String> {
    let entries = std::fs::read_dir(scene.setup.export_dir()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("auto-")).collect();
    names.sort();
    names
}

fn wait_for_a_copy(scene: &Scene<SimWorld>) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(name) = copies(scene).pop() {
            return name;
        }
        assert!(Instant::now() < until, "no copy was made");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_change_is_copied_sealed_and_the_copy_brings_it_back() {
    let mut scene = simulated_scene();
    scene.setup.set("EXPORT_PASSPHRASE", "kumquat ballast tundra");
    scene.setup.set("CLEAR_EXPORTS", "false");
    scene.start();
    scene.plug_hub();
    pair(&mut scene, &LOCK, &[LOCK.address]);
    let copy = wait_for_a_copy(&scene);
    assert!(copy.starts_with("auto-001A7DDA7111-") && copy.ends_with(".json.age"), "{copy}");
    // A second change within the hour waits for it, and so does what comes before a loss within a minute.
    pair(&mut scene, &BULB, &[LOCK.address, BULB.address]);
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[BULB.address]);
    scene.ask("bonds/restore", json!({ "from": { "file": copy } }));
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
    scene.stop_service();
    assert_eq!(copies(&scene), [copy]);
}

#[test]
fn a_change_just_before_the_service_died_is_copied_at_its_next_start() {
    let mut scene = simulated_scene();
    scene.setup.set("AUTOMATIC_COPIES", "none");
    scene.start();
    scene.plug_hub();
    pair(&mut scene, &LOCK, &[LOCK.address]);
    scene.kill_service();
    assert!(copies(&scene).is_empty());
    scene.setup.set("AUTOMATIC_COPIES", "clear");
    scene.start();
    let copy = wait_for_a_copy(&scene);
    assert!(copy.ends_with(".json"), "{copy}");
    let inspected = scene.setup.run(&["inspect", &scene.setup.export_dir().join(copy).display().to_string()]);
    assert!(String::from_utf8_lossy(&inspected.stdout).contains(LOCK.address));
}

#[test]
fn without_a_passphrase_nothing_is_copied_unless_clear_text_is_asked_for() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    pair(&mut scene, &LOCK, &[LOCK.address]);
    // The copy before a loss would be made at once.
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.stop_service();
    assert!(copies(&scene).is_empty());
}

#[test]
fn a_checkpoint_is_found_by_the_label_it_was_given() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    pair(&mut scene, &LOCK, &[LOCK.address]);
    let made = scene.ask("checkpoint/create", json!({ "adapter": HUB, "label": "before_update" }));
    let label = made["checkpoints"][0]["label"].as_str().unwrap().to_owned();
    assert!(label.ends_with("before_update"), "{made}");
    let listed = scene.ask("checkpoint/list", json!({ "adapter": HUB }));
    assert_eq!(listed["checkpoints"][0]["reason"], "before_update", "{listed}");
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[]);
    scene.ask("bonds/restore", json!({ "from": { "checkpoint": label } }));
    scene.wait_bonds(HUB, &[LOCK.address]);
    scene.refused("checkpoint/create", json!({ "label": "../x" }), "invalid_value");
}
