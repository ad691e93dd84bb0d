//! The service under measure: the release binary, over the simulated kernel and a real broker.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::broker::Broker;
use super::mqtt::Client;
use super::sim::wire::{Address, LE_PUBLIC, ev};
use super::sim::{Hardware, SimKernel};

pub const ROOT: &str = "bondkeeper/bench";

/// Bonds of one adapter at most: what a kernel takes in one list, less room.
pub const BONDS_AN_ADAPTER: usize = 1_000;

const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that lives for the whole run.
pub struct Rig {
    pub folder: PathBuf,
    pub broker: Broker,
    pub binary: PathBuf,
    /// The library that notes when `fdatasync` returns.
    pub probe: Option<PathBuf>,
    /// Where `benches/peers/install.sh` has put the peers.
    pub peers: Option<PathBuf>,
}

/// A running service in a world of its own.
pub struct Service {
    pub child: Child,
    pub kernel: SimKernel,
    pub folder: PathBuf,
    pub indices: Vec<u16>,
    pub started: Instant,
}

pub fn adapter_address(number: usize) -> String {
    format!("AA:BB:CC:00:{:02X}:{:02X}", number >> 8, number & 0xFF)
}

pub fn peer_address(number: usize) -> Address {
    let text =
        format!("C0:FF:{:02X}:{:02X}:{:02X}:01", number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF);
    Address::new(&text, LE_PUBLIC)
}

/// Parameters of a New Long Term Key event: Secure Connections, so one key serves both roles.
pub fn ltk_event(peer: Address, salt: u64) -> Vec<u8> {
    let mut octets = vec![1];
    octets.extend(ltk_record(peer, salt));
    octets
}

/// The same key as a list has it.
pub fn ltk_record(peer: Address, salt: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend_from_slice(&peer.write());
    octets.extend_from_slice(&[2, 0, 16]);
    octets.extend_from_slice(&[0; 10]);
    octets.extend_from_slice(&key(peer, salt));
    octets
}

/// Parameters of a New Identity Resolving Key event.
pub fn irk_event(peer: Address, salt: u64) -> Vec<u8> {
    let mut octets = vec![1];
    octets.extend_from_slice(&[1, 2, 3, 4, 5, 0x41]);
    octets.extend_from_slice(&peer.write());
    octets.extend_from_slice(&key(peer, salt ^ 0xFFFF));
    octets
}

fn key(peer: Address, salt: u64) -> [u8; 16] {
    let mut value = [0x5A; 16];
    value[..6].copy_from_slice(&peer.octets);
    value[8..].copy_from_slice(&salt.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    value
}

/// Adapters that so many bonds are spread over.
pub fn adapters_for(bonds: usize) -> usize {
    bonds.div_ceil(BONDS_AN_ADAPTER).max(1)
}

impl Rig {
    fn command(&self, folder: &Path, kernel: &SimKernel) -> Command {
        let mut command = Command::new(&self.binary);
        let set = |name: &str| format!("BONDKEEPER__{name}");
        command
            .arg("run")
            .env_clear()
            // As in the image and the unit.
            .env("MALLOC_ARENA_MAX", "1")
            .env(set("NODE"), "bench")
            .env(set("MQTT__HOST"), "127.0.0.1")
            .env(set("MQTT__PORT"), self.broker.port.to_string())
            .env(set("DATA_DIR"), folder.join("data"))
            .env(set("EXPORT_DIR"), folder.join("exports"))
            .env(set("CLEAR_EXPORTS"), "true")
            .env(set("LOG_LEVEL"), "info")
            .env(set("MGMT__ENDPOINT"), format!("unix:{}", kernel.dir().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("make the log"));
        command
    }

    /// A new world with so many adapters plugged in, and the service on the folder's data.
    pub fn start(&self, folder: &Path, adapters: usize, edit: impl FnOnce(&mut Command)) -> Service {
        fs::create_dir_all(folder).expect("make the folder");
        let world = folder.join("kernel");
        let _ = fs::remove_dir_all(&world);
        let kernel = SimKernel::start(&world);
        let plug = |number| kernel.plug(&Hardware::new(&adapter_address(number)));
        let indices = (0..adapters).map(plug).collect();
        self.start_in(folder, kernel, indices, edit)
    }

    pub fn start_in(
        &self,
        folder: &Path,
        kernel: SimKernel,
        indices: Vec<u16>,
        edit: impl FnOnce(&mut Command),
    ) -> Service {
        let mut command = self.command(folder, &kernel);
        edit(&mut command);
        let started = Instant::now();
        let child = command.spawn().expect("start the service: is the release binary built?");
        Service { child, kernel, folder: folder.to_owned(), indices, started }
    }

    /// A data folder with so many bonds, made by the service itself out of key events; made once.
    pub fn template(&self, bonds: usize) -> PathBuf {
        let folder = self.folder.join(format!("template-{bonds}"));
        if folder.join("complete").exists() {
            return folder;
        }
        let adapters = adapters_for(bonds);
        let mut observer = Client::connect(self.broker.port, "template");
        observer.subscribe(&format!("{ROOT}/adapter/+/state"));
        let mut service = self.start(&folder, adapters, |_| {});
        wait_in_sync(&mut observer, adapters);
        let mut events: Vec<Vec<(u16, Vec<u8>)>> = vec![Vec::new(); adapters];
        for number in 0..bonds {
            let peer = peer_address(number);
            events[number % adapters].push((ev::NEW_LTK, ltk_event(peer, 1)));
            events[number % adapters].push((ev::NEW_IRK, irk_event(peer, 1)));
        }
        for (number, events) in events.iter().enumerate() {
            service.kernel.stream(service.indices[number], events);
            let count = events.len() / 2;
            wait_stored(&mut observer, &adapter_address(number), count);
        }
        // The snapshots follow the commits within a second.
        service.stop();
        fs::write(folder.join("complete"), "").expect("mark the template");
        folder
    }

    /// A copy of a template, as a service that was stopped has left it.
    pub fn copy_of(&self, template: &Path, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("make the folder");
        copy(&template.join("data"), &folder.join("data"));
        // What was copied is written before anything is measured.
        let _ = Command::new("sync").status();
        folder
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("read a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().is_file() {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}

/// Waits until so many adapters have been loaded: what their kernel tells before is heard by nobody.
pub fn wait_in_sync(observer: &mut Client, adapters: usize) {
    let mut loaded = std::collections::BTreeSet::new();
    let all = observer.wait(PATIENCE, |topic, payload| {
        let state: Value = serde_json::from_slice(payload).ok()?;
        if state["sync"] == "in_sync" {
            loaded.insert(topic.to_owned());
        }
        (loaded.len() == adapters).then_some(())
    });
    assert!(all.is_some(), "only {} of {adapters} adapters were loaded", loaded.len());
}

/// Waits until an adapter says that so many bonds are durable.
pub fn wait_stored(observer: &mut Client, adapter: &str, bonds: usize) {
    let topic = format!("{ROOT}/adapter/{adapter}/state");
    let stored = observer.wait(PATIENCE, |heard, payload| {
        let state: Value = if heard == topic { serde_json::from_slice(payload).ok()? } else { return None };
        let durable = state["persisted_generation"] == state["generation"];
        (durable && state["bond_count"].as_u64() == Some(bonds as u64)).then_some(())
    });
    assert!(stored.is_some(), "{adapter} has not stored {bonds} bonds");
}

impl Service {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the health socket until it says that all adapters are there; the time since the start.
    pub fn wait_ready(&self) -> Duration {
        let until = Instant::now() + PATIENCE;
        let wanted = format!("\"adapters_present\":{}", self.indices.len());
        let path = self.folder.join("data/health.sock");
        loop {
            let mut answer = String::new();
            if let Ok(mut socket) = UnixStream::connect(&path) {
                let _ = socket.write_all(b"\n");
                let _ = socket.read_to_string(&mut answer);
            }
            if answer.contains(&wanted) {
                return self.started.elapsed();
            }
            assert!(Instant::now() < until, "the service is not ready: {answer}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let _ = self.child.wait();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A line of `/proc/PID/FILE`, its number.
    pub fn proc_number(&self, file: &str, line: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("read /proc");
        number_of(&text, line)
    }

    /// Times that threads of the process went to sleep: each is one wake-up.
    pub fn wake_ups(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("read /proc");
        let of_task = |path: PathBuf| {
            fs::read_to_string(path.join("status"))
                .map_or(0, |text| number_of(&text, "voluntary_ctxt_switches"))
        };
        tasks.flatten().map(|entry| of_task(entry.path())).sum()
    }

    pub fn threads(&self) -> u64 {
        self.proc_number("status", "Threads")
    }

    pub fn rss_kib(&self) -> u64 {
        self.proc_number("status", "VmRSS")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn number_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(':'));
    let number = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("/proc has no {name}"))
}
