//! The shared scenarios, and some that need one, on a real Linux kernel. Runs inside
//! the guest that `run-guest.sh` boots; see `tests/run.sh`.

mod apparmor;
mod beside_bluetoothd;
mod bluetoothd;
mod bluez_folder;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/broker.rs"]
mod broker;
#[path = "../../benches/figures/clock.rs"]
mod clock;
#[path = "../blackbox/coexistence.rs"]
mod coexistence;
#[path = "../blackbox/drift.rs"]
mod drift;
#[path = "../blackbox/habluetooth.rs"]
mod habluetooth;
#[path = "../blackbox/health.rs"]
mod health;
#[path = "homeassistant.rs"]
mod homeassistant;
#[path = "../blackbox/identity.rs"]
mod identity;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/observer.rs"]
mod observer;
mod plug_in;
#[allow(dead_code, reason = "shared with the benches, which use more of it")]
#[path = "../../benches/figures/report.rs"]
mod report;
#[path = "../blackbox/scenarios.rs"]
mod scenarios;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/scene.rs"]
mod scene;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/secrets.rs"]
mod secrets;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/service.rs"]
mod service;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/stand_in.rs"]
mod stand_in;
#[path = "../blackbox/undo.rs"]
mod undo;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world.rs"]
mod world;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world_kernel.rs"]
mod world_kernel;

use scene::Scene;
use world::World;
use world_kernel::KernelWorld;

fn scene() -> Scene {
    assert!(std::env::var_os("BONDKEEPER_GUEST").is_some(), "run this in the guest: tests/run.sh does");
    Scene::new(|_| Box::new(KernelWorld::new()) as Box<dyn World>)
}

/// A service that is measured is the one that `benches/guest.sh` has built; in a test it is the test's own.
fn measured_scene() -> Scene<KernelWorld> {
    let mut scene = Scene::new(|_| Box::new(KernelWorld::new()));
    if let Some(program) = std::env::var_os("BONDKEEPER_BENCH_BINARY") {
        scene.setup.program = program.into();
        scene.setup.set("LOG_LEVEL", "info");
    }
    scene
}

/// Prints figures, and leaves them where `benches/guest.sh` finds them.
fn publish(figures: &[report::Figure]) {
    print!("{}", report::table(figures));
    report::write(std::path::Path::new("/vmout/figures.json"), figures, false);
}

macro_rules! on_the_kernel {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            scenarios::$name(&mut scene());
        })+
    };
}

shared_scenarios!(on_the_kernel);

/// How the service ends when it is started through another program that takes something away from it.
fn refused_start(scene: &Scene, wrapper: &[&str]) -> String {
    let mut command = std::process::Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_bondkeeper")).arg("run");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).envs(scene.setup.environment.iter().cloned());
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    said
}

#[test]
fn without_net_admin_the_start_is_refused_and_the_capability_named() {
    let scene = scene();
    let said = refused_start(&scene, &["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    assert!(said.contains("NET_ADMIN") && !said.contains("namespace"), "{said}");
}

#[test]
fn in_a_foreign_network_namespace_the_start_is_refused_and_the_namespace_named() {
    let scene = scene();
    let said = refused_start(&scene, &["unshare", "-n"]);
    assert!(said.contains("network namespace") && !said.contains("NET_ADMIN"), "{said}");
}

#[test]
fn without_net_raw_the_service_captures_and_holds_and_says_what_it_cannot_see() {
    let mut scene = scene();
    scene.setup.wrapper =
        vec!["setpriv".into(), "--bounding-set=-net_raw".into(), "--inh-caps=-net_raw".into()];
    scene.start();
    scene.world.plug("hub", scene::HUB);
    let held = |state: &serde_json::Value| state["sync"] == "held";
    let state = scene.state("the hub to be held", scene::HUB, held);
    assert_eq!(state["gate"]["reason"], "monitor_unreadable");
    assert!(state["gate"]["message"].as_str().unwrap().contains("NET_RAW"), "{state}");
    assert_eq!(state["managers"], serde_json::Value::Null);
    let lock = world::PeerSpec::public("lock", "C0:FF:EE:00:00:99");
    scene.world.add_peer(&lock);
    assert!(scene.world.pair("hub", "lock", world::PairOptions::default()));
    scene.wait_bonds(scene::HUB, &[lock.address]);
}

#[test]
fn what_an_unseen_load_has_put_in_place_of_ours_is_found_and_both_stand_again() {
    let mut scene = scene();
    scene.setup.wrapper =
        vec!["setpriv".into(), "--bounding-set=-net_raw".into(), "--inh-caps=-net_raw".into()];
    scene.setup.set("ADAPTERS__DEFAULT_MODE", "own");
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&scenarios::LOCK);
    scenarios::bond(&mut scene, &scenarios::LOCK);
    scene.world.foreign_load_ltks("hub", &[drift::OTHER_RECORD.to_owned()]);
    drift::both_are_brought_together(&mut scene);
}

/// Times that any thread of the service went to sleep: each is one wake-up.
fn wake_ups(scene: &mut Scene<KernelWorld>) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", scene.service().pid())).unwrap();
    let of_task = |folder: std::path::PathBuf| {
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    tasks.flatten().map(|task| of_task(task.path())).sum()
}

/// What the filters of the real kernel let through while a controller reports 500 advertisements a second and somebody
/// scans: nothing of it, so nobody is woken.
#[test]
fn advertisements_wake_nobody() {
    const A_SECOND: u64 = 500;
    const SECONDS: u64 = 20;
    let mut scene = measured_scene();
    scene.start();
    scene.plug_hub();
    let received = |scene: &Scene<KernelWorld>| {
        let health = scene.ask("health_check", serde_json::json!({}));
        health["received_frames"].as_u64().expect("a counter")
    };
    scene.world.request("set_powered", serde_json::json!({ "adapter": "hub", "on": true }));
    let before = received(&scene);
    assert!(before > 0, "nothing was counted");
    let asleep = wake_ups(&mut scene);
    let flooded = std::time::Instant::now();
    let flood = serde_json::json!({ "adapter": "hub", "count": A_SECOND * SECONDS, "rate": A_SECOND });
    let seen = scene.world.request("flood", flood)["seen"].as_u64().unwrap();
    let (woken, lasted) = (wake_ups(&mut scene) - asleep, flooded.elapsed().as_secs());
    assert!(seen >= A_SECOND * SECONDS, "the kernel has shown {seen} advertisements");
    let asleep = wake_ups(&mut scene);
    std::thread::sleep(std::time::Duration::from_secs(SECONDS));
    let idle = wake_ups(&mut scene) - asleep;
    // A bond that is made afterwards shows that whatever was to be read was read.
    let lock = world::PeerSpec::public("lock", "C0:FF:EE:00:00:99");
    scene.world.add_peer(&lock);
    assert!(scene.world.pair("hub", "lock", world::PairOptions::default()));
    scene.wait_bonds(scene::HUB, &[lock.address]);
    let through = received(&scene) - before;
    assert!(through < 100, "{through} frames came through beside {seen} advertisements");
    println!("{through} frames came through beside {seen} advertisements");
    let a_minute = |count: u64, seconds: u64| 60.0 * count as f64 / seconds as f64;
    let name = format!("wake-ups a minute under {A_SECOND} advertisements a second, in the guest");
    let figure = report::Figure::new(6, name, a_minute(woken, lasted), "wake-ups");
    publish(&[figure.beside("the same without them", a_minute(idle, SECONDS))]);
}

/// A real full filesystem: nothing is announced, the alarm is raised, and all is made good by itself once there is
/// space again.
#[test]
fn a_full_disk_acknowledges_nothing_and_is_made_good_when_there_is_space() {
    let mut scene = scene();
    let data = scene.setup.data_dir();
    std::fs::create_dir_all(&data).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "small"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(mounted.success());
    scene.start();
    scene.plug_hub();
    // To the last octet: sled has its segment allocated, the copies and new records do not fit.
    let filler = data.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let lock = world::PeerSpec::public("lock", "C0:FF:EE:00:00:99");
    scene.world.add_peer(&lock);
    assert!(scene.world.pair("hub", "lock", world::PairOptions::default()));
    let since = scene.observer.mark();
    let forget = serde_json::json!({ "adapter": scene::HUB, "peer": lock.address });
    let failing = |info: &serde_json::Value| {
        !["ok", "rebuilt"].contains(&info["store"]["state"].as_str().unwrap_or("ok"))
    };
    // A checkpoint is a new file, which certainly does not fit.
    scene.refused("bonds/forget", forget, "disk_full");
    scene.observer.wait_latest("the alarm", "bridge/info", failing);
    assert!(scene.observer.events(since).iter().all(|event| event["event_type"] != "bond_removed"));
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    scene.wait_bonds(scene::HUB, &[lock.address]);
    let well = |info: &serde_json::Value| info["store"]["state"] == "ok";
    scene.observer.wait_latest("the end of the alarm", "bridge/info", well);
    scene.stop_service();
    scene.start();
    scene.wait_bonds(scene::HUB, &[lock.address]);
    scene.stop_service();
    let _ = std::process::Command::new("umount").arg(&data).status();
}

/// Two dual-mode controllers, which only BlueZ's emulator has. They come and go together.
struct DualMode(std::process::Child);

impl DualMode {
    const ADDRESSES: [&str; 2] = ["00:AA:01:00:00:00", "00:AA:01:01:00:01"];

    fn plug() -> Self {
        let child =
            std::process::Command::new("btvirt").arg("-l2").stdout(std::process::Stdio::null()).spawn();
        Self(child.expect("btvirt could not be started: tests/run.sh installs bluez-test-tools"))
    }

    fn unplug(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_link_key_is_captured_and_loaded_back_into_a_dual_mode_controller() {
    let mut scene = scene();
    scene.start();
    let controllers = DualMode::plug();
    let [here, there] = DualMode::ADDRESSES;
    for address in DualMode::ADDRESSES {
        scene.wait_in_sync(address);
    }
    let agent = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/agent/bredr.py");
    let python = std::env::var("BONDKEEPER_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let paired = std::process::Command::new(python).arg(agent).output().unwrap();
    assert!(paired.status.success(), "{}", String::from_utf8_lossy(&paired.stderr));
    let key = String::from_utf8_lossy(&paired.stdout).trim().to_owned();
    assert_eq!(key.len(), 32, "{key}");
    let bonds = scene.wait_bonds(here, &[there]);
    assert_eq!(bonds[0]["address_type"], "bredr");
    assert!(bonds[0]["keys"]["link_key"].is_object(), "{}", bonds[0]);
    scene.wait_bonds(there, &[here]);

    controllers.unplug();
    scene.wait_absent(here);
    scene.wait_absent(there);
    let controllers = DualMode::plug();
    scene.wait_in_sync(here);
    let index =
        scene.state("the controller's index", here, |state| state["present"] == true)["index"].clone();
    let table = format!("/sys/kernel/debug/bluetooth/{}/link_keys", index.as_str().unwrap());
    let held = std::fs::read_to_string(table).unwrap().to_lowercase();
    assert!(held.contains(&there.to_lowercase()) && held.contains(&key), "{held}");
    controllers.unplug();
}
