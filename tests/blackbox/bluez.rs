//! Beside a bus of its own with a stand-in for bluetoothd: what it calls paired, and that it is left alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::scene::{HUB, Scene};
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

/// Longest wait: the service asks again two and eight seconds after bluetoothd has appeared.
const LIMIT: Duration = Duration::from_secs(60);

/// Takes bluetoothd's name and answers with the objects that the lines of its input hold.
const STAND_IN: &str = r#"
import asyncio, json, sys
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

objects = {}

def variant(value):
    return Variant("b" if isinstance(value, bool) else "o" if value.startswith("/") else "s", value)

def answer(message):
    if message.message_type == MessageType.METHOD_CALL and message.member == "GetManagedObjects":
        print("asked", flush=True)
        tree = {path: {name: {key: variant(value) for key, value in properties.items()}
                       for name, properties in interfaces.items()} for path, interfaces in objects.items()}
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [tree])

async def main():
    bus = await MessageBus(bus_address=sys.argv[1]).connect()
    bus.add_message_handler(answer)
    while line := await asyncio.to_thread(sys.stdin.readline):
        objects.clear()
        objects.update(json.loads(line))
        await bus.request_name("org.bluez")
        print("ready", flush=True)

asyncio.run(main())
"#;

/// A bus on which anybody may do anything, and which would start bluetoothd if it were asked to.
struct Bus {
    daemon: Child,
    address: String,
    activated: PathBuf,
}

impl Bus {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("bus");
        let services = folder.join("services");
        let activated = folder.join("bluetoothd-was-started");
        std::fs::create_dir(&services).unwrap();
        let service =
            format!("[D-BUS Service]\nName=org.bluez\nExec=/usr/bin/touch {}\n", activated.display());
        std::fs::write(services.join("org.bluez.service"), service).unwrap();
        let config = folder.join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <servicedir>{}</servicedir><policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            socket.display(),
            services.display()
        );
        std::fs::write(&config, text).unwrap();
        let daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile"])
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is missing; tests/run.sh installs it");
        let until = Instant::now() + LIMIT;
        while !socket.exists() {
            assert!(Instant::now() < until, "the bus did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { daemon, address: format!("unix:path={}", socket.display()), activated }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

struct Bluetoothd {
    process: Child,
    said: std::sync::mpsc::Receiver<String>,
}

impl Bluetoothd {
    fn start(bus: &Bus, objects: &Value) -> Self {
        let python = std::env::var("BONDKEEPER_TEST_PYTHON")
            .expect("BONDKEEPER_TEST_PYTHON names a Python with dbus-fast; tests/run.sh makes one");
        let mut process = Command::new(python)
            .args(["-c", STAND_IN, &bus.address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        writeln!(process.stdin.as_mut().unwrap(), "{objects}").unwrap();
        let mut bluetoothd = Self { process, said };
        bluetoothd.wait_for("ready");
        bluetoothd
    }

    fn wait_for(&mut self, word: &str) {
        loop {
            let line = self.said.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("it never said {word}"));
            if line == word {
                return;
            }
        }
    }
}

impl Drop for Bluetoothd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn objects(devices: &[(&str, &str)]) -> Value {
    let mut objects = json!({ "/org/bluez/hci0": { "org.bluez.Adapter1": { "Address": HUB } } });
    for (number, (address, name)) in devices.iter().enumerate() {
        objects[format!("/org/bluez/hci0/dev_{number}")] = json!({ "org.bluez.Device1": {
            "Adapter": "/org/bluez/hci0", "Address": address, "AddressType": "public", "Paired": true, "Name": name,
        } });
    }
    objects
}

fn scene_on(bus: impl FnOnce(&Path) -> Bus) -> (Scene<SimWorld>, Bus) {
    let mut scene = Scene::new(|folder| Box::new(SimWorld::new(&folder.join("kernel"))));
    let bus = bus(scene.folder.path());
    scene.setup.environment.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address.clone()));
    (scene, bus)
}

fn bond_lock(scene: &mut Scene<SimWorld>) {
    // Its name is not seen when it connects: it shows a private address.
    scene.world.add_peer(&PeerSpec::public("lock", "C0:FF:EE:00:00:99").private());
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.wait_bonds(HUB, &["C0:FF:EE:00:00:99"]);
}

fn wait_for_name(scene: &Scene<SimWorld>, name: &str) {
    scene.observer.wait_latest("the name", &format!("adapter/{HUB}/bonds"), |list| {
        list["bonds"][0]["name"] == name && list["bonds"][0]["durable"] == true
    });
}

#[test]
fn a_name_that_bluetoothd_knows_is_taken_where_none_is_known() {
    let (mut scene, bus) = scene_on(Bus::start);
    scene.start();
    scene.plug_hub();
    bond_lock(&mut scene);
    let known = objects(&[("C0:FF:EE:00:00:99", "Front door"), ("C0:FF:EE:00:00:55", "Nobody of ours")]);
    let mut bluetoothd = Bluetoothd::start(&bus, &known);
    bluetoothd.wait_for("asked");
    wait_for_name(&scene, "Front door");
    scene.wait_bonds(HUB, &["C0:FF:EE:00:00:99"]);

    drop(bluetoothd);
    let renamed = objects(&[("C0:FF:EE:00:00:99", "Another name")]);
    let mut bluetoothd = Bluetoothd::start(&bus, &renamed);
    bluetoothd.wait_for("asked");
    bluetoothd.wait_for("asked");
    scene.kill_service();
    scene.start();
    wait_for_name(&scene, "Front door");
}

#[test]
fn a_bluetoothd_that_is_not_running_is_not_started_by_the_asking() {
    let (mut scene, bus) = scene_on(Bus::start);
    scene.start();
    scene.plug_hub();
    // The service is on the bus when it hears of a name that is taken, and asks.
    let mut bluetoothd = Bluetoothd::start(&bus, &objects(&[]));
    bluetoothd.wait_for("asked");
    drop(bluetoothd);
    let mut again = Bluetoothd::start(&bus, &objects(&[]));
    again.wait_for("asked");
    assert!(!bus.activated.exists(), "the bus was made to start bluetoothd");
}

#[test]
fn without_a_bus_everything_else_works() {
    let mut scene = Scene::new(|folder| Box::new(SimWorld::new(&folder.join("kernel"))));
    let nowhere = format!("unix:path={}", scene.folder.path().join("no-bus").display());
    scene.setup.environment.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), nowhere));
    scene.start();
    scene.plug_hub();
    bond_lock(&mut scene);
    let log = scene.service().log_text();
    assert!(log.contains("bluetoothd cannot be asked over D-Bus"), "{log}");
}
