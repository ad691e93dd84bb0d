//! Connections that swallow what they are given, are open on one side only, or creep.

use std::time::Duration;

use serde_json::json;

use super::behind::Behind;
use super::proxy::Manner;
use super::scene::Scene;
use super::world_sim::SimWorld;

/// The least that the broker lets clients have; a connection that is dead is left after two of them.
const KEEP_ALIVE_S: u16 = 10;

#[test]
fn a_black_hole_is_noticed_and_left_and_nothing_is_lost_in_it() {
    let mut behind = Behind::start(false, Some(KEEP_ALIVE_S));
    let before = behind.proxy.connections();
    behind.proxy.set(Manner::Swallow);
    let mut announced = vec![behind.changes_are_durable("a black hole")];
    // It is left, and what is tried next is as black.
    let until = std::time::Instant::now() + super::observer::LIMIT;
    while behind.proxy.connections() == before {
        assert!(std::time::Instant::now() < until, "the service believes in a black hole");
        std::thread::sleep(Duration::from_millis(50));
    }
    announced.push(behind.changes_are_durable("another one"));
    behind.proxy.set(Manner::Pass);
    for peer in &announced {
        behind.wait_announced(peer);
    }
    assert_eq!(behind.end("a black hole").reported, 0);
}

#[test]
fn a_connection_that_only_the_service_believes_in_is_left_and_nothing_is_lost_in_it() {
    let mut behind = Behind::start(true, Some(KEEP_ALIVE_S));
    behind.proxy.half_open();
    let stays = behind.changes_are_durable("half open");
    behind.wait_announced(&stays);
    assert_eq!(behind.end("half open").reported, 0);
}

#[test]
fn a_connection_that_ends_in_one_direction_is_made_anew() {
    let mut behind = Behind::start(false, None);
    for _ in 0..3 {
        behind.proxy.end_of_input();
        let stays = behind.changes_are_durable("the end of input");
        behind.wait_announced(&stays);
    }
    assert_eq!(behind.end("the end of input").reported, 0);
}

#[test]
fn a_broker_that_reads_a_hundred_octets_a_second_holds_up_nobody_but_itself() {
    let mut behind = Behind::start(false, None);
    behind.proxy.set(Manner::Slow(100));
    let mut announced = Vec::new();
    for round in 0..4 {
        announced.push(behind.changes_are_durable(&format!("a slow reader, round {round}")));
        for _ in 0..150 {
            announced.push(behind.pair());
        }
        behind.wait_stored("a storm", |peers| announced.iter().all(|peer| peers.contains(peer)));
    }
    behind.proxy.set(Manner::Pass);
    for peer in &announced {
        behind.wait_announced(peer);
    }
    assert_eq!(behind.end("a slow reader").reported, 0);
}

#[test]
fn a_password_that_is_put_right_at_the_broker_lets_the_service_in_without_a_restart() {
    const USER: &str = "keeper";
    const RIGHT: &str = "the-right-one";
    let mut scene: Scene<SimWorld> =
        Scene::with_broker(|folder| Box::new(SimWorld::new(&folder.join("kernel"))), true);
    let port = scene.broker.listen_guarded(USER, "another-one");
    scene.setup.set("MQTT__PORT", &port.to_string());
    scene.setup.set("MQTT__USERNAME", USER);
    scene.setup.set("MQTT__PASSWORD", RIGHT);
    let mut service = scene.setup.start();
    let until = std::time::Instant::now() + super::observer::LIMIT;
    while !service.log_text().contains("refuses our user name or password") {
        assert!(std::time::Instant::now() < until, "{}", service.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.broker.change_password(USER, RIGHT);
    scene
        .observer
        .wait_latest("the service to come online", "bridge/state", |state| state["state"] == "online");
    assert!(!service.has_ended());
    // And what it knows can be asked.
    scene.ask("health_check", json!({}));
    assert!(!service.log_text().contains(RIGHT));
}
