//! Home Assistant's devices on a real broker: they come, they stay, and they go.

use serde_json::{Value, json};

use super::observer::Observer;
use super::scene::{HUB, ROOT, Scene};
use super::world_sim::SimWorld;

const NODE: &str = "homeassistant/device/bondkeeper-test/config";
const DEVICE: &str = "homeassistant/device/bondkeeper-test-001a7dda7111/config";

fn scene(persistent: bool) -> Scene<SimWorld> {
    let mut scene: Scene<SimWorld> =
        Scene::with_broker(|folder| Box::new(SimWorld::new(&folder.join("kernel"))), persistent);
    scene.start();
    scene.plug_hub();
    scene
}

fn wait_document(observer: &Observer, topic: &str) -> Value {
    observer.wait_for(topic, |_, latest, _| latest.get(topic).cloned())
}

fn wait_gone(observer: &Observer, topic: &str) {
    observer
        .wait_for(&format!("the end of {topic}"), |_, latest, _| (!latest.contains_key(topic)).then_some(()));
}

/// What a client that comes now is told about the retained topics.
fn newcomer(scene: &Scene<SimWorld>) -> Observer {
    let observer = Observer::connect(scene.broker.port);
    // Of the retained topics, this one comes whatever the others do.
    observer.wait_latest("what is retained", "bridge/info", |_| true);
    let mark = "test/mark";
    observer.publish(mark, b"{}", false);
    observer.wait_for("the mark", |_, latest, _| latest.contains_key(mark).then_some(()));
    observer
}

/// Every topic that an entity reads has something on it, but for the events.
fn assert_states_are_there(observer: &Observer, document: &Value) {
    for (id, component) in document["cmps"].as_object().unwrap() {
        for key in ["stat_t", "json_attr_t"] {
            let Some(topic) = component[key].as_str() else { continue };
            if component["p"] != "event" {
                wait_document(observer, topic);
                assert!(topic.starts_with(ROOT), "{id}: {topic}");
            }
        }
    }
}

#[test]
fn the_node_and_its_adapter_are_announced_with_everything_that_they_show() {
    let scene = scene(true);
    wait_document(&scene.observer, DEVICE);
    let newcomer = newcomer(&scene);
    let (node, device) = (wait_document(&newcomer, NODE), wait_document(&newcomer, DEVICE));
    assert_eq!(device["dev"]["via_device"], node["dev"]["ids"][0]);
    assert_states_are_there(&newcomer, &node);
    assert_states_are_there(&newcomer, &device);
    // A button as Home Assistant presses it.
    let button = &device["cmps"]["export_bonds"];
    let (topic, body) = (button["cmd_t"].as_str().unwrap(), button["pl_prs"].as_str().unwrap());
    newcomer.publish(topic, body.as_bytes(), false);
    scene
        .observer
        .wait_latest("the export", "bridge/response/bonds/export", |answer| answer["status"] == "ok");
}

#[test]
fn a_broker_without_persistence_that_dies_has_the_devices_again() {
    let mut scene = scene(false);
    let first = wait_document(&scene.observer, DEVICE);
    scene.broker.kill();
    scene.broker.start_again();
    scene.observer.wait_latest("the service", "bridge/state", |state| state["state"] == "online");
    assert_eq!(wait_document(&scene.observer, DEVICE), first);
    wait_document(&newcomer(&scene), NODE);
}

#[test]
fn a_forgotten_adapter_takes_its_device_along() {
    let mut scene = scene(true);
    wait_document(&scene.observer, DEVICE);
    scene.unplug_hub();
    wait_document(&scene.observer, DEVICE);
    scene.ask("adapter/forget", json!({ "adapter": HUB }));
    wait_gone(&scene.observer, DEVICE);
    let newcomer = newcomer(&scene);
    wait_document(&newcomer, NODE);
    wait_gone(&newcomer, DEVICE);
}

#[test]
fn switching_the_option_off_takes_the_devices_away_and_on_brings_them_back() {
    let mut scene = scene(true);
    wait_document(&scene.observer, DEVICE);
    // An adapter that is not plugged in has its device, too.
    scene.unplug_hub();
    scene.stop_service();
    scene.setup.set("DISCOVERY", "false");
    scene.start();
    wait_gone(&scene.observer, NODE);
    wait_gone(&scene.observer, DEVICE);
    let fresh = newcomer(&scene);
    wait_gone(&fresh, NODE);
    wait_gone(&fresh, DEVICE);
    scene.stop_service();
    scene.setup.set("DISCOVERY", "true");
    scene.start();
    wait_document(&scene.observer, NODE);
    wait_document(&scene.observer, DEVICE);
}

#[test]
fn when_home_assistant_starts_what_the_broker_has_lost_comes_back_and_nothing_else() {
    let scene = scene(true);
    let device = wait_document(&scene.observer, DEVICE);
    let bonds = format!("{ROOT}/adapter/{HUB}/bonds");
    wait_document(&scene.observer, &bonds);
    for topic in [DEVICE, &bonds] {
        scene.observer.publish(topic, b"", true);
        wait_gone(&scene.observer, topic);
    }
    let since = scene.observer.mark();
    scene.observer.publish("homeassistant/status", b"online", false);
    assert_eq!(wait_document(&scene.observer, DEVICE), device);
    wait_document(&scene.observer, &bonds);
    // Everything that was missing goes out together: an answer that comes later comes after it.
    scene.ask("health_check", json!({}));
    let heard = scene.observer.heard();
    let again: Vec<&str> = heard[since..].iter().map(|heard| heard.topic.as_str()).collect();
    for kept in [NODE, &format!("{ROOT}/bridge/info"), &format!("{ROOT}/bridge/state")] {
        assert!(!again.contains(&kept), "{kept} was not lost: {again:?}");
    }
}
