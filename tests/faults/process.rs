//! What happens to the process: it is told to stop in the middle of things, started twice, its clock
//! jumps, its folder cannot be written, its file descriptors run out, and the kernel is out of its mind.

use std::process::Command;
use std::time::{Duration, Instant};

use super::interpose::Interposed;
use super::observer::LIMIT;
use super::random::Random;
use super::scene::{HUB, Scene};
use super::sim::wire::{ev, op};
use super::sim::{Fault, Options, Trouble};
use super::world::World;
use super::world_sim::SimWorld;
use super::{amount, scene, storm};

/// Pairs this peer and waits until it is announced.
fn pair(scene: &Scene<SimWorld>, number: u64, random: &mut Random) {
    storm::report_pairing(scene, number, random.below(u64::MAX));
    wait_announced(scene, number);
}

fn wait_announced(scene: &Scene<SimWorld>, number: u64) {
    let peer = storm::peer(number);
    scene.observer.wait_for(&format!("{peer} to be announced"), |heard, _, _| {
        let mut events =
            heard.iter().filter(|heard| heard.topic.ends_with("/event")).map(|heard| heard.json());
        events
            .any(|event| event["event_type"] == "bond_added" && event["peer"] == peer.as_str())
            .then_some(())
    });
}

/// After a restart that inherits what is loaded nothing is sent on the adapter's socket, and a simulated
/// kernel may not have taken the connection yet when the service calls itself in sync.
fn wait_heard_by_kernel(scene: &Scene<SimWorld>) {
    scene.wait_in_sync(HUB);
    // One socket of the registry, one of the adapter.
    let is_there = scene.world.kernel().wait_until(|kernel| kernel.processes().len() >= 2);
    assert!(is_there, "the adapter has no socket");
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn limit_descriptors(pid: u32, limit: usize) {
    let (pid, limit) = (pid.to_string(), format!("--nofile={limit}:1024"));
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

fn descriptors(pid: u32) -> Vec<usize> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn store_state(scene: &Scene<SimWorld>, since: usize, what: &str, accept: impl Fn(&str) -> bool) {
    scene.observer.wait_latest_since(what, "bridge/info", since, |info| {
        info["store"]["state"].as_str().is_some_and(&accept)
    });
}

#[test]
fn a_stop_in_the_middle_of_a_storm_is_clean_and_loses_nothing_announced() {
    let mut random = Random::seeded();
    let mut scene = scene();
    scene.start();
    scene.plug_hub();
    let mut number = 0;
    for round in 0..amount("BONDKEEPER_TEST_STOPS", 8) {
        for _ in 0..40 {
            number += 1;
            storm::report_pairing(&scene, number, random.below(u64::MAX));
        }
        std::thread::sleep(Duration::from_millis(random.below(500)));
        scene.stop_service();
        let promised = storm::announced(&scene);
        let since = scene.observer.mark();
        scene.start();
        storm::list(&scene, &format!("stop {round}"), since, |peers| peers.is_superset(&promised));
        store_state(&scene, since, "the store after a clean stop", |state| state == "ok");
    }
}

#[test]
fn a_second_instance_leaves_at_once_and_the_first_goes_on() {
    let mut random = Random::seeded();
    let mut scene = scene();
    scene.start();
    scene.plug_hub();
    pair(&scene, 1, &mut random);
    let mut second = scene.setup.start();
    let status = second.wait_for_end(LIMIT);
    assert_eq!(status.code(), Some(1));
    assert!(second.log_text().contains("another instance"), "{}", second.log_text());
    drop(second);
    pair(&scene, 2, &mut random);
    assert!(!scene.service().has_ended());
}

#[test]
fn a_clock_that_jumps_costs_no_bond_and_no_checkpoint() {
    const YEARS: i32 = 10 * 365 * 86_400;
    let mut random = Random::seeded();
    let mut scene = scene();
    let interposed = Interposed::new(&mut scene.setup);
    scene.start();
    scene.plug_hub();
    let mut number = 0;
    for shift in [YEARS, 0, -YEARS, -50 * 365 * 86_400, 3_600, -3_600] {
        interposed.shift_clock(shift);
        number += 1;
        pair(&scene, number, &mut random);
        let made = scene.ask("checkpoint/create", serde_json::json!({ "adapter": HUB }));
        assert!(made.to_string().contains("label"), "{made}");
        scene.kill_service();
        let since = scene.observer.mark();
        scene.start();
        let promised = storm::announced(&scene);
        let what = format!("all bonds with a clock that is {shift} seconds ahead");
        storm::list(&scene, &what, since, |peers| *peers == promised);
        wait_heard_by_kernel(&scene);
    }
    // Copies of other times make no room for today's: the newest stay whatever their age is.
    let copies = scene.ask("checkpoint/list", serde_json::json!({ "adapter": HUB }));
    assert!(copies["checkpoints"].as_array().unwrap().len() >= 5, "{copies}");
    // And the copy that is taken now is found, though others say that they come after it.
    let before = storm::everybody(&scene);
    scene.ask("bonds/forget", serde_json::json!({ "adapter": HUB, "peer": storm::peer(1) }));
    assert!(!storm::everybody(&scene).contains(&storm::peer(1)));
    scene.ask("bonds/undo", serde_json::json!({ "adapter": HUB }));
    assert_eq!(storm::everybody(&scene), before);
}

#[test]
fn a_folder_that_cannot_be_written_is_served_from_and_said_to_be() {
    let mut random = Random::seeded();
    let mut scene = scene();
    let interposed = Interposed::new(&mut scene.setup);
    scene.start();
    scene.plug_hub();
    pair(&scene, 1, &mut random);
    scene.kill_service();
    interposed.fail_all(libc::EROFS);
    let since = scene.observer.mark();
    scene.start();
    storm::list(&scene, "the bonds of a read-only folder", since, |peers| peers.contains(&storm::peer(1)));
    wait_heard_by_kernel(&scene);
    storm::report_pairing(&scene, 2, random.below(u64::MAX));
    store_state(&scene, since, "the alarm", |state| state == "read_only");
    assert!(!storm::announced(&scene).contains(&storm::peer(2)));
    interposed.mend();
    wait_announced(&scene, 2);
}

#[test]
fn without_a_file_descriptor_left_bonds_are_kept_and_the_alarm_is_raised() {
    let mut random = Random::seeded();
    let mut scene = scene();
    scene.start();
    scene.plug_hub();
    pair(&scene, 1, &mut random);
    store_state(&scene, 0, "the store to be well", |state| state == "ok");
    let pid = scene.service().pid();
    let since = scene.observer.mark();
    limit_descriptors(pid, descriptors(pid).into_iter().max().unwrap() + 1);
    // Lower numbers that are free get used up.
    let used = descriptors(pid);
    let free = (0..*used.iter().max().unwrap()).filter(|number| !used.contains(number)).count();
    limit_descriptors(pid, used.iter().max().unwrap() + 1 - free.min(1));
    limit_descriptors(pid, 0);
    // Its log and its health socket are none of its worries now; a pairing is.
    pair(&scene, 2, &mut random);
    store_state(&scene, since, "the alarm", |state| state != "ok");
    let since = scene.observer.mark();
    limit_descriptors(pid, 1024);
    store_state(&scene, since, "the end of the alarm", |state| state == "ok");
    pair(&scene, 3, &mut random);
    assert!(!scene.service().has_ended());
}

#[test]
fn a_start_with_too_few_file_descriptors_ends_with_what_to_do() {
    let mut scene = scene();
    // With four the program itself is not loaded.
    for limit in [4, 8, 12, 16, 20, 24, 28, 32, 48, 63] {
        scene.setup.wrapper = vec!["prlimit".into(), format!("--nofile={limit}:{limit}"), "--".into()];
        let mut service = scene.setup.start();
        let status = service.wait_for_end(LIMIT);
        let log = service.log_text();
        assert!(matches!(status.code(), Some(1 | 127)), "{limit}: {status:?}: {log}");
        if status.code() == Some(1) {
            let told = format!("only {limit} files may be open at once, and 64 are needed. Raise the limit");
            assert!(log.contains(&told), "{limit}: {log}");
        } else {
            assert!(limit < 8, "{limit}: {log}");
        }
    }
}

#[test]
fn a_start_with_just_enough_file_descriptors_or_leave_to_raise_their_limit_works() {
    let mut random = Random::seeded();
    for limit in ["64:64", "12:4096"] {
        let mut scene = scene();
        scene.setup.wrapper = vec!["prlimit".into(), format!("--nofile={limit}"), "--".into()];
        scene.start();
        scene.plug_hub();
        pair(&scene, 1, &mut random);
        store_state(&scene, 0, "the store to be well", |state| state == "ok");
    }
}

#[test]
fn an_adapter_that_resets_in_a_loop_keeps_its_bonds_and_costs_nothing() {
    let mut random = Random::seeded();
    let mut scene = scene();
    scene.setup.set("LOG_LEVEL", "warn");
    scene.start();
    scene.plug_hub();
    for number in 1..=5 {
        pair(&scene, number, &mut random);
    }
    let pid = scene.service().pid();
    let mut before = (0, 0);
    for round in 0..amount("BONDKEEPER_TEST_RESETS", 120) {
        scene.world.unplug("hub");
        std::thread::sleep(Duration::from_millis(random.below(8)));
        scene.world.replug("hub");
        std::thread::sleep(Duration::from_millis(random.below(25)));
        if round == 20 {
            before = (descriptors(pid).len(), resident_kib(pid));
        }
    }
    scene.wait_kernel_ltks("hub", 5);
    let after = (descriptors(pid).len(), resident_kib(pid));
    assert!(after.0 <= before.0 + 4, "descriptors: {before:?}, then {after:?}");
    assert!(after.1 <= before.1 + 4_096, "resident KiB: {before:?}, then {after:?}");
}

#[test]
fn a_kernel_that_answers_nothing_is_said_to_and_stops_nobody() {
    let mut scene = scene();
    for code in [op::READ_VERSION, op::READ_COMMANDS, op::READ_INDEX_LIST, op::READ_INFO, op::LOAD_IRKS] {
        scene.world.kernel().fault(Fault::every(code, Trouble::Ignored));
    }
    scene.start();
    scene.world.plug("hub", HUB);
    let until = Instant::now() + LIMIT;
    while !scene.service().log_text().contains("adapters cannot be listed") {
        assert!(Instant::now() < until, "nothing is said of it");
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.ask("health_check", serde_json::json!({}));
    scene.world.kernel().clear_faults();
    // The third listing is the first whose answer is believed to be its own, and the one after it the first that
    // learns who the adapter is; each has a time limit, and a wait before the next.
    let until = Instant::now() + 4 * LIMIT;
    let topic = format!("{}/adapter/{HUB}/state", super::scene::ROOT);
    let is_in_sync = || {
        let heard = scene.observer.heard();
        heard.iter().any(|heard| heard.topic == topic && heard.json()["sync"] == "in_sync")
    };
    while !is_in_sync() {
        assert!(Instant::now() < until, "the adapter is not found any more");
        std::thread::sleep(Duration::from_millis(100));
    }
    scene.stop_service();
}

#[test]
fn a_storm_that_overflows_the_socket_hides_no_adapter() {
    let options = Options { queue_octets: Some(4_096), ..Options::default() };
    let mut scene: Scene<SimWorld> =
        Scene::with_broker(|folder| Box::new(SimWorld::with(&folder.join("kernel"), options)), false);
    scene.start();
    scene.plug_hub();
    let pid = scene.service().pid();
    signal(pid, "-STOP");
    // While nobody reads: more than the queues hold, and then what matters.
    let index = scene.world.index("hub");
    for _ in 0..500 {
        scene.world.kernel().inject(ev::LOCAL_NAME_CHANGED, index, &[0x41; 260]);
        scene.world.kernel().inject(ev::NEW_SETTINGS, index, &[0; 4]);
    }
    scene.world.unplug("hub");
    let other = "00:1A:7D:DA:71:12";
    scene.world.plug("other", other);
    assert!(scene.world.kernel().counters().dropped_frames > 0, "nothing was lost");
    signal(pid, "-CONT");
    scene.state("the other adapter to be found", other, |state| state["sync"] == "in_sync");
    scene.state("the hub to be missed", HUB, |state| state["present"] == false);
}
