//! The service under the add-on's AppArmor profile, with the add-on's capabilities, set up as a container's
//! engine and the Supervisor set it up: behind an init, with `/data` and `/share`.
//!
//! The kernel itself says what the profile is worth. Enforced, it must refuse nothing. As a profile that
//! allows nothing and only complains, it lists what the service asks for: a rule that is on no line of that list
//! grants what nobody needs.

mod profile;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::observer::LIMIT;
use super::scene::{HUB, Scene};
use super::service::Service;
use super::stand_in::{Answer, PASSWORD, StandIn, TOKEN, USER};
use super::world::{PairOptions, PeerSpec};
use profile::{Access, Profile, Rule};

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");

/// Where the add-on's parts are in a container.
const PROGRAM: &str = "/usr/bin/bondkeeper";
const INIT: &str = "/sbin/docker-init";

/// The engine's own label: some have one. Nothing is forbidden to it, and what it opens is looked at again when it
/// becomes ours.
const ENGINE: &str = "
profile engine {
  file,
  capability,
  network,
  signal,
  ptrace,
  unix,
  change_profile,
}
";

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: tests/run.sh installs it"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The paths of a container, in this guest, whose files are thrown away when it ends.
fn furnish() {
    for folder in ["/data", "/share/bondkeeper"] {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
    }
    if !Path::new(PROGRAM).exists() {
        for (file, place) in [(env!("CARGO_BIN_EXE_bondkeeper"), PROGRAM), ("/usr/bin/tini-static", INIT)] {
            std::fs::write(place, "").unwrap();
            run("mount", &["--bind", file, place]);
        }
        run("mount", &["-t", "securityfs", "securityfs", "/sys/kernel/security"]);
        run("mount", &["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]);
        // As in a container's own file, so that there is a choice of addresses.
        std::fs::write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n").unwrap();
        // All that is refused is printed.
        std::fs::write("/proc/sys/kernel/printk_ratelimit", "0").unwrap();
    }
    std::fs::write("/data/options.json", json!({ "log_level": "debug" }).to_string()).unwrap();
}

/// Puts a profile in force for programs that are started under it.
fn load(scene: &Scene, profile: &str) {
    let path = scene.folder.path().join("profile");
    std::fs::write(&path, format!("{profile}{ENGINE}")).unwrap();
    // All that this kernel can mediate, whatever the parser's own default is.
    let features = "--policy-features=/sys/kernel/security/apparmor/features";
    run("apparmor_parser", &["--replace", "--skip-cache", features, path.to_str().unwrap()]);
    run("dmesg", &["--clear"]);
}

/// With a signal that comes from another label.
fn stop_as_the_engine(mut service: Service) {
    run("aa-exec", &["-p", "engine", "--", "kill", "-TERM", &service.pid().to_string()]);
    assert_eq!(service.wait_for_end(LIMIT).code(), Some(0));
}

fn accesses() -> Vec<Access> {
    run("dmesg", &[]).lines().filter_map(Access::read).collect()
}

/// Lets the service do all it is for, from its first start to the Supervisor's broker, a lost adapter, an export, a restore and
/// a clean stop.
fn work_a_life(profile: &str) -> Vec<Access> {
    let mut scene = super::scene();
    furnish();
    load(&scene, profile);
    let port = scene.broker.listen_guarded(USER, PASSWORD);
    let supervisor = StandIn::start(Answer::NotReady);
    scene.setup.environment.retain(|(name, _)| !name.contains("MQTT__") && !name.contains("LOG_LEVEL"));
    scene.setup.environment.push(("SUPERVISOR_TOKEN".to_owned(), TOKEN.to_owned()));
    // By name, as `http://supervisor` is.
    scene.setup.set("SUPERVISOR__URL", &supervisor.url().replace("127.0.0.1", "localhost"));
    scene.setup.set("DATA_DIR", "/data");
    scene.setup.set("EXPORT_DIR", "/share/bondkeeper");
    scene.setup.program = PROGRAM.into();
    // What the manifest's `privileged` leaves: a container without Docker's own defaults would do.
    let capabilities = "--bounding-set=-all,+net_admin,+net_raw";
    let confined = [
        "setpriv",
        capabilities,
        "--inh-caps=-all",
        "aa-exec",
        "-p",
        "engine",
        "--",
        "aa-exec",
        "-p",
        "bondkeeper",
        "--",
    ];
    let confined = confined.map(str::to_owned);
    // A container has a sysfs of its own, without the kernel's tables in it.
    let without_debugfs =
        ["unshare", "--mount", "sh", "-c", "umount -l /sys/kernel/debug && exec \"$@\"", "sh"];
    scene.setup.wrapper = [
        without_debugfs.map(str::to_owned).to_vec(),
        confined.to_vec(),
        vec![INIT.to_owned(), "-s".to_owned(), "--".to_owned()],
    ]
    .concat();

    // Where it cannot work it has to find out why.
    let mut elsewhere = scene.setup.clone();
    let foreign = ["unshare", "--net", "--pid", "--fork", "--mount-proc"].map(str::to_owned);
    elsewhere.wrapper = [foreign.to_vec(), scene.setup.wrapper.clone()].concat();
    let refused = elsewhere.run(&["run"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("host_network: true"), "{words}");

    let service = scene.setup.start();
    let said = |words: &str| {
        while !service.log_text().contains(words) {
            assert!(Path::new(&format!("/proc/{}", service.pid())).exists(), "{}", service.log_text());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    said("System is not ready");
    // A name that only a name server could know, then a broker whose certificate nobody here has signed.
    supervisor.say(Answer::Broker { host: "core-mosquitto", port, password: PASSWORD, ssl: false });
    said("core-mosquitto");
    supervisor.say(Answer::Broker { host: "localhost", port, password: PASSWORD, ssl: true });
    said("TLS");
    supervisor.say(Answer::Broker { host: "localhost", port, password: PASSWORD, ssl: false });
    scene
        .observer
        .wait_latest("the service to come online", "bridge/state", |state| state["state"] == "online");

    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.wait_bonds(HUB, &[LOCK.address]);
    scene.unplug_hub();
    scene.plug_hub();
    let connected = scene.world.connect("hub", "lock");
    assert!(connected.encrypted && connected.smp_packet_count == 0, "{connected:?}");

    let exported = scene.ask("bonds/export", json!({ "adapter": HUB }));
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "file": exported["file"] } }));
    scene.wait_bonds(HUB, &[LOCK.address]);

    // As the engine's health check and an operator's `docker exec` do.
    let mut inside = scene.setup.clone();
    inside.wrapper = confined.to_vec();
    for command in ["healthcheck", "inspect"] {
        let output = inside.run(&[command]);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    stop_as_the_engine(service);
    // Found again at the next start, beside bluetoothd, which is asked over D-Bus. At the first there was no bus.
    scene.world.start_bluetoothd();
    let since = scene.observer.mark();
    let service = scene.setup.start();
    let online = |state: &Value| state["state"] == "online";
    scene.observer.wait_latest_since("the service to be back", "bridge/state", since, online);
    scene.wait_bonds(HUB, &[LOCK.address]);
    scene.state("bluetoothd to be seen", HUB, |state| state["managers"] == json!(["bluetoothd"]));
    assert_eq!(service.log_text().matches("cannot be asked over D-Bus").count(), 1, "{}", service.log_text());
    stop_as_the_engine(service);
    on_a_disk_that_takes_no_write(&scene);
    accesses()
}

/// The database is then read from a copy in memory.
fn on_a_disk_that_takes_no_write(scene: &Scene) {
    run("mount", &["--bind", "/data", "/data"]);
    run("mount", &["-o", "remount,ro,bind", "/data"]);
    let since = scene.observer.mark();
    let mut service = scene.setup.start();
    let is_read_only = |info: &Value| info["store"]["state"] == "read_only";
    scene.observer.wait_latest_since("the store to be read only", "bridge/info", since, is_read_only);
    run("aa-exec", &["-p", "engine", "--", "kill", "-TERM", &service.pid().to_string()]);
    service.wait_for_end(LIMIT);
    run("umount", &["/data"]);
}

#[test]
fn under_the_profile_the_service_does_all_it_is_for_and_is_refused_nothing() {
    let refused: Vec<_> =
        work_a_life(&Profile::ours().text).into_iter().filter(|access| !access.allowed).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn each_rule_of_the_profile_is_one_that_the_service_needs() {
    let ours = Profile::ours();
    let asked = work_a_life(&ours.empty_and_complaining());
    assert!(asked.len() > 20, "the kernel lists nothing: {asked:#?}");
    let useless: Vec<&Rule> = ours.rules.iter().filter(|rule| !rule.is_needed(&asked)).collect();
    assert!(useless.is_empty(), "{useless:#?}\nof what was asked for:\n{asked:#?}");
}

#[test]
fn without_the_rule_that_starts_it_the_program_is_not_started() {
    let scene = super::scene();
    furnish();
    load(&scene, &Profile::ours().that_starts_nothing());
    let arguments = ["-p", "bondkeeper", "--", INIT, "-s", "--", PROGRAM, "--version"];
    let refused = Command::new("aa-exec").args(arguments).output().unwrap();
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    load(&scene, &Profile::ours().text);
    assert!(run("aa-exec", &arguments).starts_with("bondkeeper "));
}
