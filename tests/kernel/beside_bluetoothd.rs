//! How long bluetoothd takes for what the service does, on the same kernel: from exec until the keys of a hundred bonds are
//! loaded, and from a key event until the key is on the disk. In turns, each alone. Nothing is asserted of the times: they
//! are printed, as figures of `docs/performance.md`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bondkeeper::mgmt::{Channel, Endpoint, MgmtSocket};
use serde_json::{Value, json};

use super::bluez_folder::{STORAGE, copy};
use super::clock;
use super::plug_in::{BONDS, CONTROL_COMMAND, CONTROL_EVENT, LOAD_IRKS, LOAD_LTKS, half_word, hundred_bonds};
use super::report::{Figure, median};
use super::scene::{HUB, Scene};
use super::world::{PairOptions, PeerSpec, World};
use super::world_kernel::KernelWorld;
use super::{measured_scene, publish};

const PROGRAMS: [&str; 2] = ["/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd"];
const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
const PATIENCE: Duration = Duration::from_secs(60);
/// No load for so long: it was the last.
const QUIET_NANOS: i64 = 2_000_000_000;

/// The environment may ask for more.
const ROUNDS: usize = 1;
/// How bluetoothd calls a key of Secure Connections.
const KEPT: &str = "[PeripheralLongTermKey]";
const PAIRINGS_A_ROUND: usize = 3;
const RECORD_OCTETS: usize = 225;

/// [MGMT Load Link Keys], [MGMT Load Connection Parameters], [MGMT New Long Term Key].
const LOAD_LINK_KEYS: u16 = 0x0012;
const LOAD_CONNECTION_PARAMETERS: u16 = 0x0035;
const NEW_LTK: u16 = 0x000A;

/// A command or an event that the monitor channel has shown.
#[derive(Clone)]
struct Said {
    at: i64,
    kind: u16,
    code: u16,
    /// The last octets, which are the key in an event about one.
    key: Vec<u8>,
}

type Shown = Arc<Mutex<Vec<Said>>>;

/// Follows the monitor channel on a thread of its own, until the process ends.
fn follow() -> Shown {
    let shown = Shown::default();
    let out = Arc::clone(&shown);
    std::thread::spawn(move || {
        come_first();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut monitor = MgmtSocket::open(&Endpoint::Kernel, Channel::Monitor, &[]).unwrap();
            loop {
                let frame = monitor.recv().await.unwrap();
                let (now, kind) = (clock::now(), half_word(frame, 0));
                if [CONTROL_COMMAND, CONTROL_EVENT].contains(&kind) {
                    let key = frame[frame.len().saturating_sub(16)..].to_vec();
                    out.lock().unwrap().push(Said { at: now, kind, code: half_word(frame, 10), key });
                }
            }
        });
    });
    shown
}

/// This thread gets a processor before those that it watches: an event's time is when it came.
fn come_first() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let number = thread.file_name().unwrap();
    let status = Command::new("chrt").args(["--fifo", "--pid", "50"]).arg(number).status().unwrap();
    assert!(status.success(), "chrt");
}

/// When the last load of keys since this moment was sent, once there is no more.
fn last_load(shown: &Shown, since: i64) -> i64 {
    let loads = [LOAD_LINK_KEYS, LOAD_LTKS, LOAD_IRKS, LOAD_CONNECTION_PARAMETERS];
    let until = Instant::now() + PATIENCE;
    loop {
        let all = shown.lock().unwrap().clone();
        let commands = || all.iter().filter(|said| said.at > since && said.kind == CONTROL_COMMAND);
        let of_keys = |opcode| commands().any(|said| said.code == opcode);
        let last = commands().rfind(|said| loads.contains(&said.code)).map_or(i64::MAX, |said| said.at);
        if of_keys(LOAD_LTKS) && of_keys(LOAD_IRKS) && clock::now() - last > QUIET_NANOS {
            return last;
        }
        assert!(Instant::now() < until, "the keys were not loaded");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The files of one probe: when what it looks for was done, and what was written.
struct Notes {
    times: &'static str,
    written: Option<&'static str>,
}

const OURS: Notes = Notes { times: "/dev/shm/synced", written: Some("/dev/shm/written") };
const THEIRS: Notes = Notes { times: "/dev/shm/renamed", written: None };

impl Notes {
    /// The first time after this one.
    fn after(&self, from: i64) -> Option<i64> {
        let octets = fs::read(self.times).unwrap_or_default();
        octets
            .chunks_exact(8)
            .map(|eight| i64::from_le_bytes(eight.try_into().unwrap()))
            .find(|at| *at > from)
    }

    /// When this key was written, which was made anew; where that is not noted, only files with a key are.
    fn written(&self, key: &[u8], event: i64) -> Option<i64> {
        let Some(written) = self.written else { return Some(event) };
        let octets = fs::read(written).unwrap_or_default();
        let mut rest = octets.as_slice();
        while let Some((head, behind)) = rest.split_at_checked(16) {
            let number = |at: usize| i64::from_le_bytes(head[at..at + 8].try_into().unwrap());
            let (data, next) = behind.split_at_checked(number(8) as usize)?;
            if data.windows(key.len()).any(|part| part == key) {
                return Some(number(0));
            }
            rest = next;
        }
        None
    }
}

/// From the New LTK event since this moment until that key is on the disk, in milliseconds.
fn until_kept(shown: &Shown, notes: &Notes, since: i64) -> f64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = shown.lock().unwrap().clone();
        let is_event = |said: &&Said| said.at > since && said.kind == CONTROL_EVENT && said.code == NEW_LTK;
        let kept = all.iter().find(is_event).and_then(|event| {
            let written = notes.written(&event.key, event.at)?;
            Some(notes.after(written)? - event.at)
        });
        if let Some(kept) = kept {
            return kept as f64 / 1e6;
        }
        assert!(Instant::now() < until, "the key was not written");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The disk of `benches/guest.sh`, where the stores of both are; without it they are in memory.
fn mount_disk(scene: &mut Scene<KernelWorld>) -> PathBuf {
    let folder = scene.folder.path().join("disk");
    fs::create_dir_all(&folder).unwrap();
    let mount = |arguments: &[&str]| {
        let status = Command::new("mount").args(arguments).arg(&folder).status().unwrap();
        assert!(status.success(), "mount {arguments:?}");
    };
    if std::env::var_os("BONDKEEPER_BENCH_DISK").is_some() {
        mount(&["/dev/vda"]);
    }
    let theirs = folder.join("bluetooth");
    fs::create_dir_all(&theirs).unwrap();
    let bound = Command::new("mount").arg("--bind").arg(&theirs).arg(STORAGE).status().unwrap();
    assert!(bound.success(), "bind bluetoothd's folder");
    scene.setup.set("DATA_DIR", &folder.join("data").display().to_string());
    folder
}

/// bluetoothd as this test starts it, so that its exec is timed as the service's is.
struct Bluetoothd(Child);

impl Bluetoothd {
    fn start() -> Self {
        let program = PROGRAMS.iter().find(|path| Path::new(path).exists()).expect("bluetoothd is installed");
        let log = OpenOptions::new().create(true).append(true).open("/vmout/bluetoothd.log").unwrap();
        let mut command = Command::new(program);
        command.arg("-n").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(probe) = probe() {
            command.env("LD_PRELOAD", probe).env("SYNC_TIMES", THEIRS.times).env("RENAMED_HOLDS", KEPT);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Bluetoothd {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn probe() -> Option<std::ffi::OsString> {
    std::env::var_os("BONDKEEPER_BENCH_PROBE")
}

/// Both have the same hundred bonds on the disk.
fn teach_both(scene: &mut Scene<KernelWorld>) {
    scene.start();
    scene.plug_hub();
    fs::write(scene.setup.export_dir().join("hundred.json"), hundred_bonds()).unwrap();
    scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "file": "hundred.json" } }));
    let export = scene.ask("bonds/export", json!({ "adapter": HUB, "format": "bluez" }));
    copy(&scene.setup.export_dir().join(export["file"].as_str().unwrap()), Path::new(STORAGE));
    scene.stop_service();
    scene.world.unplug("hub");
}

/// One append and one `fdatasync` in milliseconds.
fn floor(file: &mut File) -> f64 {
    let begin = Instant::now();
    file.write_all(&[0xA5; RECORD_OCTETS]).unwrap();
    file.sync_data().unwrap();
    begin.elapsed().as_secs_f64() * 1e3
}

/// What was measured of one of them, in milliseconds.
#[derive(Default)]
struct Times {
    loads: Vec<f64>,
    keys: Vec<f64>,
}

fn round_of_theirs(scene: &mut Scene<KernelWorld>, shown: &Shown, times: &mut Times) {
    scene.world.plug("hub", HUB);
    let begin = clock::now();
    let bluetoothd = Bluetoothd::start();
    times.loads.push((last_load(shown, begin) - begin) as f64 / 1e6);
    assert_eq!(scene.world.tables("hub").ltks.len(), usize::from(BONDS));
    scene.world.request("leave_confirmations", json!({ "to_bluetoothd": true }));
    for _ in 0..if probe().is_some() { PAIRINGS_A_ROUND } else { 0 } {
        let begin = clock::now();
        scene.world.request("pair_in_bluetoothd", json!({ "adapter": "hub", "peer": LOCK.name }));
        times.keys.push(until_kept(shown, &THEIRS, begin));
        scene.world.remove_in_bluetoothd("hub", LOCK.name);
    }
    scene.world.request("leave_confirmations", json!({ "to_bluetoothd": false }));
    drop(bluetoothd);
    scene.world.unplug("hub");
}

fn round_of_ours(scene: &mut Scene<KernelWorld>, shown: &Shown, times: &mut Times) {
    scene.world.plug("hub", HUB);
    let begin = clock::now();
    scene.start();
    times.loads.push((last_load(shown, begin) - begin) as f64 / 1e6);
    assert_eq!(scene.world.tables("hub").ltks.len(), usize::from(BONDS));
    scene.world.request("set_powered", json!({ "adapter": "hub", "on": true }));
    for _ in 0..if probe().is_some() { PAIRINGS_A_ROUND } else { 0 } {
        let begin = clock::now();
        assert!(scene.world.pair("hub", LOCK.name, PairOptions::default()));
        times.keys.push(until_kept(shown, &OURS, begin));
        scene.world.unpair("hub", LOCK.name);
        std::thread::sleep(Duration::from_secs(2));
    }
    scene.stop_service();
    scene.world.unplug("hub");
}

#[test]
fn bluetoothd_and_the_service_load_and_keep_the_same_bonds() {
    let rounds = std::env::var("BONDKEEPER_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut scene = measured_scene();
    // Starts its bus, too, and empties its folder.
    scene.world.request("wipe_bluetoothd", Value::Null);
    let disk = mount_disk(&mut scene);
    scene.world.add_peer(&LOCK);
    teach_both(&mut scene);
    if let Some(probe) = probe() {
        let probe = probe.into_string().expect("the probe's path is a text");
        scene.setup.environment.push(("LD_PRELOAD".to_owned(), probe));
        scene.setup.environment.push(("SYNC_TIMES".to_owned(), OURS.times.to_owned()));
        scene.setup.environment.extend(OURS.written.map(|path| ("WRITTEN".to_owned(), path.to_owned())));
    }
    let shown = follow();
    let (mut ours, mut theirs, mut floors) = (Times::default(), Times::default(), Vec::new());
    let mut file = File::create(disk.join("floor")).unwrap();
    // Both programs are in memory when their time is taken; ours has run already.
    scene.world.plug("hub", HUB);
    let begin = clock::now();
    let bluetoothd = Bluetoothd::start();
    last_load(&shown, begin);
    drop(bluetoothd);
    scene.world.unplug("hub");
    for _ in 0..rounds.unwrap_or(ROUNDS) {
        round_of_theirs(&mut scene, &shown, &mut theirs);
        round_of_ours(&mut scene, &shown, &mut ours);
        floors.extend((0..PAIRINGS_A_ROUND).map(|_| floor(&mut file)));
    }
    let name = format!("exec to last load command, {BONDS} bonds, in the guest");
    let mut figures =
        vec![Figure::new(3, name, median(&ours.loads), "ms").peer("bluetoothd", median(&theirs.loads))];
    if !ours.keys.is_empty() {
        let name = format!("key event to durable, {BONDS} bonds, in the guest");
        let figure = Figure::new(1, name, median(&ours.keys), "ms");
        figures.push(figure.clone().peer("bluetoothd's file renamed, not synced", median(&theirs.keys)));
        figures.push(figure.beside("append and fdatasync", median(&floors)));
    }
    publish(&figures);
    drop(file);
    // The second is only mounted where there is a disk.
    for mounted in [Path::new(STORAGE), &disk] {
        let _ = Command::new("umount").arg(mounted).stderr(Stdio::null()).status();
    }
}
