//! The add-on's image, built by `tests/image/run.sh`: its program starts in it, as a container's engine
//! would start it, and comes to work as the Supervisor sets it up. The kernel is the simulated one.

#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/broker.rs"]
mod broker;
mod container;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/observer.rs"]
mod observer;
#[path = "../sim/mod.rs"]
mod sim;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/stand_in.rs"]
mod stand_in;

use std::time::{Duration, Instant};

use broker::Broker;
use container::Container;
use observer::Observer;
use sim::{Hardware, SimKernel};
use stand_in::{Answer, PASSWORD, StandIn, TOKEN, USER};

/// How long the broker's add-on takes to come up after ours.
const BROKER_DELAY: Duration = Duration::from_secs(10);

/// Longest wait for anything else.
const LIMIT: Duration = Duration::from_secs(60);

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_program_in_the_image_is_of_the_manifests_version() {
    let container = Container::new();
    let said = container.run(&["--version"]);
    let expected = concat!("bondkeeper ", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), expected);
    let labels = &container.config["Labels"];
    assert_eq!(labels["io.hass.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["io.hass.type"], "app");
    let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "amd64" };
    assert_eq!(labels["io.hass.arch"], arch);
}

#[test]
fn without_bluetooth_the_start_is_refused_with_advice() {
    // In a network namespace of its own there is none, whatever the machine has.
    let container = Container::new();
    let said = container.run_without_network(&container.words("Cmd"));
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        !said.status.success() && words.contains("Use a kernel with Bluetooth support")
            || words.contains("host_network: true"),
        "{words}"
    );
}

/// The add-on's start without any option set. The Supervisor is still starting, then knows no broker, and
/// announces one ten seconds later; before that the health check fails, and then passes, in the same container.
#[test]
fn a_broker_announced_ten_seconds_after_the_start_is_used_without_a_restart() {
    let mut container = Container::new();
    let kernel = SimKernel::start(&container.kernel_folder());
    kernel.plug(&Hardware::new("00:1A:7D:DA:71:11"));
    let mut broker = Broker::start(container.folder(), false);
    let port = broker.listen_guarded(USER, PASSWORD);
    let observer = Observer::connect(broker.port);
    let supervisor = StandIn::start(Answer::NotReady);
    container.set("SUPERVISOR_TOKEN", TOKEN);
    container.set("BONDKEEPER__SUPERVISOR__URL", &supervisor.url());
    container.set("BONDKEEPER__MGMT__ENDPOINT", &format!("unix:{}", container::KERNEL));
    assert!(!container.health_check().success(), "there is no service yet");

    let service = container.start();
    let pid = service.pid();
    wait_for("the question while the Supervisor starts", || supervisor.asked() >= 1);
    supervisor.say(Answer::NotEnabled);
    std::thread::sleep(BROKER_DELAY);
    assert!(supervisor.asked() >= 2, "it asks again and again");
    supervisor.say(Answer::broker(port, PASSWORD));
    observer.wait_latest("the service to come online", "bondkeeper/homeassistant/bridge/state", |state| {
        state["state"] == "online"
    });
    observer
        .wait_latest("the adapter", "adapter/00:1A:7D:DA:71:11/state", |state| state["sync"] == "in_sync");
    assert_eq!(service.pid(), pid, "the container's process is the one that was started");
    assert!(container.health_check().success());
    let log = service.stop();
    assert!(!log.contains(PASSWORD) && !log.contains(TOKEN), "{log}");
    observer.wait_latest("the goodbye", "bridge/state", |state| state["state"] == "offline");
    assert!(!container.health_check().success(), "the service has ended");
}
