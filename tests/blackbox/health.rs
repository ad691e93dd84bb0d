//! What becomes of a bond whose peer has lost its keys, in any world.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::observer::LIMIT;
use super::scenarios::{LOCK, LOCK_ADDRESS, RING, bond, encrypts_without_pairing, ready};
use super::scene::{HUB, Scene};
use super::world::PeerSpec;

/// How long a program goes on connecting. Failures count once a second.
const PERSISTENCE: Duration = Duration::from_secs(60);
/// Between its tries.
const PAUSE: Duration = Duration::from_millis(200);

fn health_of(scene: &Scene, peer: &str) -> Value {
    let list = scene.ask("bonds/list", serde_json::json!({ "adapter": HUB, "peer": peer }));
    list["bonds"][0].clone()
}

fn wait_health(scene: &Scene, peer: &str, verdict: &str) -> Value {
    let wanted = |list: &Value| {
        let bonds = list["bonds"].as_array().map_or(&[][..], Vec::as_slice);
        bonds.iter().any(|bond| bond["peer"] == peer && bond["health"] == verdict)
    };
    let what = format!("{peer} to be {verdict}");
    let list = scene.observer.wait_latest(&what, &format!("adapter/{HUB}/bonds"), wanted);
    let bonds = list["bonds"].as_array().unwrap();
    bonds.iter().find(|bond| bond["peer"] == peer).unwrap().clone()
}

/// Waits until the latest link with this peer that was encrypted is known. It is seen on another socket than a missing
/// key, which may be read first.
fn wait_encryption_noted(scene: &Scene, peer: &str) {
    let end = Instant::now() + LIMIT;
    while health_of(scene, peer)["evidence"].as_array().and_then(|all| all.last()?["kind"].as_str())
        != Some("encrypted")
    {
        assert!(Instant::now() < end, "not noted: {}", health_of(scene, peer));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Connects until the verdict is there, as a program does that does not give up.
fn connect_until(scene: &mut Scene, peer: &PeerSpec, verdict: &str) -> Value {
    let end = Instant::now() + PERSISTENCE;
    while Instant::now() < end {
        let connected = scene.world.connect("hub", peer.name);
        assert!(!connected.encrypted, "{connected:?}");
        let bond = health_of(scene, peer.address);
        if bond["health"] == verdict {
            return bond;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("{} is not {verdict}: {}", peer.name, health_of(scene, peer.address));
}

/// Also a peer with a private address: it is named by its identity.
fn lost_and_found(scene: &mut Scene, spec: &PeerSpec) {
    if !scene.world.survives_lost_keys() {
        return eprintln!(
            "this kernel does not survive a peer that lost its keys: only others can show this"
        );
    }
    ready(scene, spec);
    scene.world.add_peer(&RING);
    bond(scene, spec);
    bond(scene, &RING);
    encrypts_without_pairing(scene, spec.name);
    encrypts_without_pairing(scene, RING.name);
    wait_encryption_noted(scene, spec.address);
    wait_health(scene, spec.address, "ok");

    let since = scene.observer.mark();
    scene.world.reset_peer(spec.name);
    connect_until(scene, spec, "suspect");
    let event = scene.observer.wait_event("bond_suspect", since);
    assert_eq!(event["peer"], spec.address);
    assert_eq!(event["cause"], "key_missing");
    scene.state("the hub to count it", HUB, |state| state["suspect"] == 1);
    // What was found is remembered.
    scene.stop_service();
    scene.start();
    wait_health(scene, spec.address, "suspect");
    let stale = connect_until(scene, spec, "stale");
    assert_eq!(stale["evidence"].as_array().unwrap().last().unwrap()["kind"], "key_missing");
    scene.observer.wait_latest("the ring to be well and loaded", &format!("adapter/{HUB}/bonds"), |list| {
        let mut bonds = list["bonds"].as_array().into_iter().flatten();
        bonds.any(|bond| bond["peer"] == RING.address && bond["health"] == "ok" && bond["loaded"] == true)
    });

    let since = scene.observer.mark();
    scene.world.unpair("hub", spec.name);
    scene.observer.wait_event("bond_removed", since);
    let again = bond(scene, spec);
    assert_eq!(again["bond"]["health"], "ok");
    encrypts_without_pairing(scene, spec.name);
    scene.state("the hub to count none", HUB, |state| state["suspect"] == 0);
    scene.assert_no_key_was_published();
}

pub fn a_peer_that_lost_its_keys_turns_suspect_then_stale_and_ok_after_a_new_pairing(scene: &mut Scene) {
    lost_and_found(scene, &LOCK);
}

pub fn so_does_a_peer_with_a_private_address(scene: &mut Scene) {
    lost_and_found(scene, &LOCK.private());
}

pub fn a_peer_that_is_merely_away_stays_ok(scene: &mut Scene) {
    ready(scene, &LOCK);
    bond(scene, &LOCK);
    encrypts_without_pairing(scene, LOCK.name);
    wait_health(scene, LOCK_ADDRESS, "ok");
    let since = scene.observer.mark();
    scene.world.power_off("hub");
    scene.state("the hub to be off", HUB, |state| state["powered"] == false);
    for _ in 0..3 {
        encrypts_without_pairing(scene, LOCK.name);
    }
    wait_encryption_noted(scene, LOCK_ADDRESS);
    wait_health(scene, LOCK_ADDRESS, "ok");
    let heard = scene.observer.heard();
    assert!(heard[since..].iter().all(|heard| heard.json()["event_type"] != "bond_suspect"));
}
