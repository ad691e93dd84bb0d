//! What the person who runs it types and sees: commands, exit codes, second
//! instances, damaged data.

use std::time::Duration;

use serde_json::json;

use super::scene::HUB;
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99").private();

fn with_a_bond() -> super::Scene<SimWorld> {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.wait_bonds(HUB, &[LOCK.address]);
    scene
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn a_second_instance_is_refused_at_once_and_says_why() {
    let mut scene = with_a_bond();
    let second = scene.setup.run(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains("data") && said.contains(&scene.service().pid().to_string()), "{said}");
    assert!(!scene.service().has_ended());
}

#[test]
fn a_wrong_option_stops_the_start_and_is_named() {
    let mut scene = simulated_scene();
    scene.setup.set("MQTT__PROT", "1883");
    for command in ["run", "check-config"] {
        let refused = scene.setup.run(&[command]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("mqtt.prot"), "{}", text(&refused.stderr));
    }
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    let scene = simulated_scene();
    assert_eq!(scene.setup.run(&["jump"]).status.code(), Some(2));
    assert_eq!(scene.setup.run(&["--version"]).status.code(), Some(0));
}

#[test]
fn the_health_check_fails_without_a_service_and_passes_with_one() {
    let mut scene = simulated_scene();
    let without = scene.setup.run(&["healthcheck"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("health.sock"), "{}", text(&without.stderr));
    scene.start();
    scene.plug_hub();
    let with = scene.setup.run(&["healthcheck"]);
    assert_eq!(with.status.code(), Some(0), "{}", text(&with.stderr));
    assert!(text(&with.stdout).contains("\"adapters_present\":1"), "{}", text(&with.stdout));
    scene.stop_service();
    assert_eq!(scene.setup.run(&["healthcheck"]).status.code(), Some(1));
}

#[test]
fn inspect_shows_the_bonds_while_the_service_runs_and_after_a_crash() {
    let mut scene = with_a_bond();
    let shown = |scene: &super::Scene<SimWorld>| {
        let inspected = scene.setup.run(&["inspect"]);
        assert_eq!(inspected.status.code(), Some(0), "{}", text(&inspected.stderr));
        text(&inspected.stdout)
    };
    // While it runs the snapshot is read, which follows the commit within a second.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !shown(&scene).contains(LOCK.address) {
        assert!(std::time::Instant::now() < until, "{}", shown(&scene));
        std::thread::sleep(Duration::from_millis(50));
    }
    scene.kill_service();
    let after = shown(&scene);
    assert!(after.contains(HUB) && after.contains(LOCK.address) && after.contains("p256"), "{after}");
}

#[test]
fn inspect_of_a_folder_that_is_not_there_is_an_error_and_not_an_empty_list() {
    let scene = simulated_scene();
    let refused = scene.setup.run(&["inspect", "/nonexistent/bondkeeper"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("/nonexistent/bondkeeper"));
}

#[test]
fn a_database_that_was_destroyed_is_rebuilt_put_aside_and_reported() {
    let mut scene = with_a_bond();
    scene.stop_service();
    let db = scene.setup.data_dir().join("store/sled/db");
    let length = std::fs::metadata(&db).unwrap().len();
    std::fs::write(&db, vec![0xA5; length as usize]).unwrap();
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address]);
    let info =
        scene.observer.wait_latest("the alarm", "bridge/info", |info| info["store"]["state"] == "rebuilt");
    assert!(info["store"]["detail"].as_str().unwrap().contains("damaged"), "{info}");
    let aside = std::fs::read_dir(scene.setup.data_dir().join("store")).unwrap().flatten();
    let names: Vec<String> = aside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let kept = names.iter().filter(|name| name.starts_with("sled.damaged-")).count();
    assert_eq!(kept, 1, "the damaged copy is kept: {names:?}");
    scene.unplug_hub();
    scene.plug_hub();
    assert_eq!(scene.kernel_ltk_peers("hub").len(), 1);
}

#[test]
fn a_restored_backup_without_the_database_is_read_from_its_snapshots() {
    let mut scene = with_a_bond();
    scene.stop_service();
    std::fs::remove_dir_all(scene.setup.data_dir().join("store/sled")).unwrap();
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address]);
}

#[test]
fn an_absent_adapter_can_be_listed_and_forgotten_and_its_topics_are_cleared() {
    let mut scene = with_a_bond();
    scene.refused("adapter/forget", json!({ "adapter": HUB }), "adapter_present");
    scene.unplug_hub();
    let listed = scene.ask("bonds/list", json!({ "adapter": HUB }));
    assert_eq!(listed["bonds"].as_array().unwrap().len(), 1);
    scene.ask("adapter/forget", json!({ "adapter": HUB }));
    scene.observer.wait_for("the topics to be cleared", |_, latest, _| {
        (!latest.keys().any(|topic| topic.contains(HUB) && !topic.ends_with("/event"))).then_some(())
    });
    scene.refused("bonds/list", json!({ "adapter": HUB }), "adapter_unknown");
    scene.stop_service();
    scene.start();
    scene.refused("bonds/list", json!({ "adapter": HUB }), "adapter_unknown");
    // A copy was kept aside.
    let copies = scene.ask("checkpoint/list", json!({}));
    assert_eq!(copies["checkpoints"][0]["reason"], "before_adapter_forget", "{copies}");
}

#[test]
fn a_mode_that_was_answered_survives_a_kill_at_that_moment() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    for mode in ["observe", "own", "auto", "observe"] {
        scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": mode }));
        scene.kill_service();
        let since = scene.observer.mark();
        scene.start();
        let state = scene.observer.wait_for("the state after the kill", |heard, _, _| {
            let states = heard[since..].iter().filter(|heard| heard.topic.ends_with(&format!("{HUB}/state")));
            states.map(super::observer::Heard::json).find(|state| state["present"] == true)
        });
        assert_eq!(state["mode"], mode);
    }
}

#[test]
fn commands_can_be_switched_off() {
    let mut scene = simulated_scene();
    scene.setup.set("COMMANDS", "read");
    scene.start();
    scene.plug_hub();
    scene.ask("bonds/list", json!({}));
    for verb in ["bonds/export", "bonds/reload", "adapter/mode"] {
        let request = json!({ "adapter": HUB, "mode": "own" });
        let answer = scene.observer.request(super::scene::ROOT, verb, request);
        assert_eq!(answer["error"]["code"], "not_permitted", "{verb}: {answer}");
    }
}

#[test]
fn the_log_level_can_be_changed_while_it_runs() {
    let mut scene = simulated_scene();
    scene.setup.set("LOG_LEVEL", "error");
    scene.start();
    scene.plug_hub();
    assert!(!scene.service().log_text().contains("adapter is here"));
    scene.ask("log_level", json!({ "level": "info" }));
    scene.unplug_hub();
    assert!(scene.service().log_text().contains("adapter is gone"));
}

#[test]
fn a_kernel_that_goes_away_ends_the_process_with_a_message() {
    let folder = tempfile::Builder::new().prefix("bk").tempdir().unwrap();
    let world = SimWorld::new(&folder.path().join("kernel"));
    let broker = super::broker::Broker::start(folder.path(), false);
    let observer = super::observer::Observer::connect(broker.port);
    let setup = super::service::Setup::new(folder.path(), broker.port, world.service_env());
    let mut service = setup.start();
    observer.wait_latest("the service to come online", "bridge/state", |state| state["state"] == "online");
    drop(world);
    let status = service.wait_for_end(Duration::from_secs(20));
    assert_eq!(status.code(), Some(101));
    assert!(service.log_text().contains("socket"), "{}", service.log_text());
}
