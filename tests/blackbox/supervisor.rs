//! Beside a stand-in for Home Assistant's Supervisor: which broker there is, and with which password,
//! is asked before each attempt to connect.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scene::Scene;
use super::service::Service;
use super::stand_in::{Answer, PASSWORD, StandIn, TOKEN, USER};
use super::world_sim::SimWorld;

/// Longest wait of a test: several of the service's own waits, which double.
const LIMIT: Duration = Duration::from_secs(60);

/// As the Supervisor starts us: no option about the broker, and a token.
fn supervised(stand_in: &StandIn) -> Scene<SimWorld> {
    let mut scene = Scene::new(|folder| Box::new(SimWorld::new(&folder.join("kernel"))));
    scene
        .setup
        .environment
        .retain(|(name, _)| !["BONDKEEPER__MQTT__HOST", "BONDKEEPER__MQTT__PORT"].contains(&name.as_str()));
    scene.setup.set("SUPERVISOR__URL", &stand_in.url());
    scene.setup.environment.push(("SUPERVISOR_TOKEN".to_owned(), TOKEN.to_owned()));
    scene
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same process throughout, and no secret in its log.
fn online_without_a_restart(scene: &Scene<SimWorld>, mut service: Service) {
    scene
        .observer
        .wait_latest("the service to come online", "bridge/state", |state| state["state"] == "online");
    assert!(!service.has_ended());
    let log = service.log_text();
    assert!(!log.contains(PASSWORD) && !log.contains(TOKEN), "{log}");
    let info = scene.observer.wait_latest("the info", "bridge/info", |info| info["node"] == "test");
    assert!(!info.to_string().contains(PASSWORD) && !info.to_string().contains(TOKEN), "{info}");
    assert_eq!(service.stop().code(), Some(0));
}

#[test]
fn a_broker_that_is_announced_after_the_start_is_used_without_a_restart() {
    let stand_in = StandIn::start(Answer::NotReady);
    let mut scene = supervised(&stand_in);
    let port = scene.broker.listen_guarded(USER, PASSWORD);
    let service = scene.setup.start();
    wait_for("the question while the Supervisor starts", || stand_in.asked() >= 1);
    stand_in.say(Answer::NotEnabled);
    let asked = stand_in.asked();
    wait_for("another question while there is no broker", || stand_in.asked() >= asked + 2);
    assert!(service.log_text().contains("no MQTT broker for us yet"), "{}", service.log_text());
    stand_in.say(Answer::broker(port, PASSWORD));
    online_without_a_restart(&scene, service);
}

#[test]
fn a_password_that_has_changed_is_fetched_again() {
    let stand_in = StandIn::start(Answer::NotEnabled);
    let mut scene = supervised(&stand_in);
    let port = scene.broker.listen_guarded(USER, PASSWORD);
    stand_in.say(Answer::broker(port, "the-one-before-the-new-installation"));
    let service = scene.setup.start();
    wait_for("the refusal", || service.log_text().contains("refuses our user name or password"));
    stand_in.say(Answer::broker(port, PASSWORD));
    online_without_a_restart(&scene, service);
}

#[test]
fn an_add_on_without_the_services_entry_is_told_so() {
    let stand_in = StandIn::start(Answer::NoAccess);
    let scene = supervised(&stand_in);
    let service = scene.setup.start();
    wait_for("the advice", || service.log_text().contains("services: [mqtt:want]"));
    drop(service);
}

#[test]
fn a_broker_of_the_options_counts_and_the_supervisor_is_not_asked() {
    let stand_in = StandIn::start(Answer::NoAccess);
    let mut scene = supervised(&stand_in);
    scene.setup.set("MQTT__HOST", "127.0.0.1");
    scene.setup.set("MQTT__PORT", &scene.broker.port.to_string());
    scene.start();
    assert_eq!(stand_in.asked(), 0);
}

#[test]
fn a_clear_text_export_is_refused_where_the_option_is_off() {
    let stand_in = StandIn::start(Answer::NotEnabled);
    let mut scene = supervised(&stand_in);
    scene.setup.set("MQTT__HOST", "127.0.0.1");
    scene.setup.set("MQTT__PORT", &scene.broker.port.to_string());
    scene.setup.set("CLEAR_EXPORTS", "false");
    scene.start();
    scene.plug_hub();
    let words = scene.refused("bonds/export", json!({}), "not_permitted");
    assert!(words.contains("clear_exports") && words.contains("clear text"), "{words}");
    let files = std::fs::read_dir(scene.setup.export_dir()).unwrap().count();
    assert_eq!(files, 0);
}
