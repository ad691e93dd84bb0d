//! What a broker that dies and comes back retains is what the store holds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::scene::{HUB, ROOT, Scene};
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
const RING: PeerSpec = PeerSpec::public("ring", "F1:11:22:33:44:55").static_random();

fn scene(persistent: bool) -> Scene<SimWorld> {
    Scene::with_broker(|folder| Box::new(SimWorld::new(&folder.join("kernel"))), persistent)
}

/// Topics that every running service retains, with what the one adapter adds.
fn retained_topics(latest: &BTreeMap<String, Value>) -> Vec<String> {
    let ours = latest.keys().filter(|topic| topic.starts_with(ROOT));
    ours.filter_map(|topic| topic.strip_prefix(&format!("{ROOT}/")).map(str::to_owned)).collect()
}

fn a_broker_that_dies_retains_the_truth_again(persistent: bool) {
    let mut scene = scene(persistent);
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.wait_bonds(HUB, &[LOCK.address]);
    for _ in 0..3 {
        scene.broker.kill();
        // What happens while nobody can be told must be told afterwards.
        scene.world.unpair("hub", "lock");
        scene.world.add_peer(&RING);
        scene.world.pair("hub", "ring", PairOptions::default());
        scene.broker.start_again();
        scene.wait_bonds(HUB, &[RING.address]);
        let listed = scene.ask("bonds/list", json!({ "adapter": HUB }));
        let retained = scene.wait_bonds(HUB, &[RING.address]);
        let fingerprints = |bonds: &[Value]| -> Vec<Value> {
            bonds.iter().map(|bond| bond["fingerprint"].clone()).collect()
        };
        assert_eq!(fingerprints(&retained), fingerprints(listed["bonds"].as_array().unwrap()));
        let topics = scene.observer.wait_for("all the retained topics", |_, latest, _| {
            let topics = retained_topics(latest);
            let wanted = ["bridge/state", "bridge/info", "bridge/health"];
            let all = wanted.iter().all(|topic| topics.iter().any(|known| known == topic));
            all.then_some(topics)
        });
        assert!(topics.contains(&format!("adapter/{HUB}/state")), "{topics:?}");
        scene.world.unpair("hub", "ring");
        scene.wait_bonds(HUB, &[]);
        assert!(scene.world.pair("hub", "lock", PairOptions::default()));
        scene.wait_bonds(HUB, &[LOCK.address]);
    }
}

#[test]
fn a_broker_with_persistence_that_dies_retains_the_truth_again() {
    a_broker_that_dies_retains_the_truth_again(true);
}

#[test]
fn a_broker_without_persistence_that_dies_retains_the_truth_again() {
    a_broker_that_dies_retains_the_truth_again(false);
}

#[test]
fn a_killed_service_is_said_to_be_offline_by_its_last_will() {
    let mut scene = scene(true);
    scene.start();
    scene.kill_service();
    scene.observer.wait_latest("the last will", "bridge/state", |state| state["state"] == "offline");
}

#[test]
fn a_service_that_starts_before_its_broker_comes_online_when_that_does() {
    let mut scene = scene(false);
    scene.broker.kill();
    let service = scene.setup.start();
    scene.broker.start_again();
    scene
        .observer
        .wait_latest("the service to come online", "bridge/state", |state| state["state"] == "online");
    drop(service);
}

#[test]
fn a_retained_request_is_refused_and_not_carried_out() {
    let mut scene = scene(true);
    let topic = format!("{ROOT}/bridge/request/adapter/mode");
    let request = json!({ "adapter": HUB, "mode": "observe" });
    scene.observer.publish(&topic, request.to_string().as_bytes(), true);
    scene.start();
    scene.observer.wait_latest("the refusal", "bridge/response/adapter/mode", |answer| {
        answer["error"]["code"] == "retained_request"
    });
    scene.plug_hub();
    assert_eq!(scene.wait_in_sync(HUB)["mode"], "auto");
}
