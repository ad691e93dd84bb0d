//! The power of a whole machine goes: QEMU is killed while its guest stores bonds on a disk of its own. Whatever was
//! announced before is there at the next start.
//!
//! usage: cut CACHE OUT            (on the host; `tests/run.sh` builds CACHE)
//!        cut control CACHE OUT    the service forgets to sync its database (`cut/forgetful.c`): bonds must be lost
//!
//! The same program plays both sides. On the host it boots the guest, kills it at a random moment and keeps the disk;
//! in the guest it mounts the disk, says what it finds there, and lets pairings be captured until the lights go out. What
//! the guest has not written yet dies with its memory; of what it has written and not flushed, the disk loses
//! or tears whatever it likes (`cut/disk.rs`). What the guest has printed was announced over MQTT before.
//!
//! Most cuts come within a flush, when all that it was to make last is in doubt: at any other moment there is next to
//! nothing to lose. Every flush makes all of a disk last, whoever asked for it, so the audit log and the
//! rest of the data folder would hide a sync that the store forgot: every second disk holds the store alone.
//!
//! `BONDKEEPER_TEST_CUTS`: how many cuts (6). `BONDKEEPER_TEST_SEED`: repeats the moments of an earlier run.

#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/broker.rs"]
mod broker;
#[path = "cut/disk.rs"]
mod disk;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/observer.rs"]
mod observer;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../faults/random.rs"]
mod random;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/scene.rs"]
mod scene;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/service.rs"]
mod service;
#[path = "../sim/mod.rs"]
mod sim;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../faults/storm.rs"]
mod storm;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world.rs"]
mod world;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world_sim.rs"]
mod world_sim;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use disk::Disk;
use random::Random;
use scene::{HUB, Scene};
use serde_json::json;
use world_sim::SimWorld;

const CUTS: u64 = 6;
/// Cuts of one disk: the next disk shows the first start on an empty one again.
const CUTS_A_DISK: u64 = 3;
/// In so many cuts a service that forgets to sync must have lost something. It mostly has after one to six.
const CONTROL_CUTS: u64 = 60;
/// How long a flush is held at most before the cut: what is announced meanwhile was announced too soon.
const TOO_SOON_MS: u64 = 400;
/// A service that does not wait for its flushes goes on announcing for longer than that.
const CONTROL_TOO_SOON_MS: u64 = 1_500;
/// One cut of so many comes at a moment that has nothing to do with what the disk does.
const ANY_MOMENT_ONE_IN: u64 = 6;
/// Flushes of one start, about.
const FLUSHES_OF_A_START: usize = 12;
/// A pairing and its snapshot have about as many.
const FLUSHES_OF_A_PAIRING: usize = 4;
const DISK_OCTETS: u64 = 128 << 20;
/// Pairings of one boot; the guest is killed before, or when there are no more.
const PAIRINGS: u64 = 150;
/// A boot takes six seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service that does not sync its database may not flush again.
const CONTROL_PATIENCE: Duration = Duration::from_secs(10);

/// What the guest says, as the first word of a line.
const STARTING: &str = "cut-starting";
const FOUND: &str = "cut-found";
const FOUND_ALL: &str = "cut-found-all";
const ANNOUNCED: &str = "cut-announced";
const IDLE: &str = "cut-idle";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["guest", place, preload @ ..] => guest(Place::of(place), preload.first().copied()),
        ["check", place] => check(Place::of(place)),
        ["control", cache, out] => control(Path::new(cache), Path::new(out)),
        [cache, out] => host(Path::new(cache), Path::new(out)),
        _ => panic!("usage: cut CACHE OUT"),
    }
}

/// What the disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The whole data folder, as on most hosts.
    Data,
    /// The store alone.
    Store,
}

impl Place {
    fn of(word: &str) -> Self {
        match word {
            "data" => Self::Data,
            "store" => Self::Store,
            _ => panic!("usage: cut CACHE OUT"),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Store => "store",
        }
    }
}

// ---- in the guest

/// The service on the disk, when it has said what is there.
struct Started {
    scene: Scene<SimWorld>,
    found: BTreeSet<String>,
    disk: PathBuf,
    _memory: tempfile::TempDir,
}

fn start(place: Place, preload: Option<&str>) -> Started {
    assert!(std::env::var_os("BONDKEEPER_GUEST").is_some(), "only in the guest");
    let memory = tempfile::tempdir().unwrap();
    let (data, disk) = match place {
        Place::Data => (memory.path().join("disk/data"), memory.path().join("disk")),
        Place::Store => (memory.path().join("data"), memory.path().join("data/store")),
    };
    std::fs::create_dir_all(&disk).unwrap();
    // The file system's own commits are as far apart as it lets them be: they too make everybody's writes last.
    let mount =
        Command::new("mount").args(["-t", "ext4", "-o", "commit=300", "/dev/vda"]).arg(&disk).status();
    assert!(mount.unwrap().success(), "the disk cannot be mounted");
    let mut scene = Scene::with_broker(|folder| Box::new(SimWorld::new(&folder.join("kernel"))), false);
    scene.setup.set("DATA_DIR", &data.display().to_string());
    scene.setup.environment.extend(preload.map(|library| ("LD_PRELOAD".to_owned(), library.to_owned())));
    println!("{STARTING}");
    scene.start();
    scene.plug_hub();
    let mut found = BTreeSet::new();
    loop {
        let page = scene.ask("bonds/list", json!({ "adapter": HUB, "offset": found.len(), "limit": 100 }));
        let before = found.len();
        found.extend(storm::peers_of(&page));
        if found.len() == before {
            break;
        }
    }
    for peer in &found {
        println!("{FOUND} {peer}");
    }
    println!("{FOUND_ALL}");
    Started { scene, found, disk, _memory: memory }
}

/// Says what is on the disk.
fn check(place: Place) {
    let Started { mut scene, disk, .. } = start(place, None);
    scene.stop_service();
    let _ = Command::new("umount").arg(&disk).status();
}

/// Says what is on the disk, then fills it until the end.
fn guest(place: Place, preload: Option<&str>) {
    let Started { scene, found, .. } = &start(place, preload);
    let used = (0..=u64::from(u16::MAX)).take_while(|number| found.contains(&storm::peer(*number))).count();
    let mut seen = scene.observer.mark();
    for number in (used as u64..).take(PAIRINGS as usize) {
        storm::report_pairing(scene, number, number);
        let until = Instant::now() + Duration::from_millis(5 * (number % 7));
        while Instant::now() < until {
            seen = say_what_is_announced(scene, seen);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    println!("{IDLE}");
    loop {
        seen = say_what_is_announced(scene, seen);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn say_what_is_announced(scene: &Scene<SimWorld>, since: usize) -> usize {
    let now = scene.observer.mark();
    for event in scene.observer.events(since) {
        if let ("bond_added", Some(peer)) =
            (event["event_type"].as_str().unwrap_or(""), event["peer"].as_str())
        {
            println!("{ANNOUNCED} {peer}");
        }
    }
    now
}

// ---- on the host

struct Guest {
    runner: Child,
    lines: Receiver<String>,
    pid_file: PathBuf,
    said: Vec<String>,
}

impl Guest {
    fn boot(cache: &Path, out: &Path, disk: &Disk, what: &[&str]) -> Self {
        let pid_file = out.join("qemu.pid");
        let _ = std::fs::remove_file(&pid_file);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/run-guest.sh");
        let mut runner = Command::new(script)
            .arg("-c")
            .arg(cache)
            .arg("-o")
            .arg(out)
            .arg("-d")
            .arg(format!("nbd+unix:///?socket={}", disk.socket().display()))
            .args(["-t", "300"])
            .arg(std::env::current_exe().unwrap())
            .args(what)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = runner.stdout.take().unwrap();
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        Self { runner, lines, pid_file, said: Vec::new() }
    }

    /// Until so many lines of this kind have come. The error is what came instead.
    fn wait_for(&mut self, word: &str, count: usize) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while self.words(word).count() < count {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(_) => {
                    let said = self.said.join("\n");
                    return Err(format!("the guest did not say {word} {count} times:\n{said}"));
                }
            }
        }
        Ok(())
    }

    /// What a start on this disk finds, which is everything that was announced before; else what is lost. A disk on
    /// which nothing starts any more has lost all.
    fn finds(&mut self, announced: &BTreeSet<String>, when: &str) -> Result<(), String> {
        if let Err(said) = self.wait_for(STARTING, 1) {
            panic!("{when}: {said}");
        }
        self.wait_for(FOUND_ALL, 1).map_err(|said| format!("{when}: {said}"))?;
        let found = self.peers(FOUND);
        let lost: Vec<&String> = announced.difference(&found).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!("{when} these were announced and are lost: {lost:?}; {} are there", found.len()))
    }

    /// What stands behind this word in its lines.
    fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let words = self.said.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words
            .filter(move |words| words.first() == Some(&word))
            .map(|words| words.get(1).copied().unwrap_or(""))
    }

    fn peers(&self, word: &str) -> BTreeSet<String> {
        self.words(word).map(str::to_owned).collect()
    }

    /// SIGKILL, and what it had said until then.
    fn cut(&mut self) {
        let pid = std::fs::read_to_string(&self.pid_file).unwrap();
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
        assert!(killed.success(), "the guest is gone already:\n{}", self.said.join("\n"));
        self.runner.wait().unwrap();
        self.said.extend(self.lines.iter());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Ok(None) = self.runner.try_wait() {
            let _ = Command::new("kill").args(["-TERM", &self.runner.id().to_string()]).status();
            let _ = self.runner.wait();
        }
    }
}

fn new_disk(path: &Path) -> Disk {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(DISK_OCTETS).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfs.ext4 is missing: tests/run.sh installs e2fsprogs");
    Disk::serve(path)
}

fn host(cache: &Path, out: &Path) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cuts = number("BONDKEEPER_TEST_CUTS").unwrap_or(CUTS);
    if let Err(lost) = cuts_on_disks(cache, out, cuts, None) {
        panic!("{lost}");
    }
}

fn control(cache: &Path, out: &Path) {
    std::fs::create_dir_all(out).unwrap();
    let library = out.canonicalize().unwrap().join("forgetful.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/cut/forgetful.c");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(made.is_ok_and(|made| made.success()), "there is no C compiler");
    match cuts_on_disks(cache, out, CONTROL_CUTS, Some(&library.display().to_string())) {
        Err(lost) => println!("found, as it should be: {lost}"),
        Ok(()) => panic!("a service that does not sync its database has passed"),
    }
}

/// Cuts the power so many times. The error names bonds that were lost.
fn cuts_on_disks(cache: &Path, out: &Path, cuts: u64, preload: Option<&str>) -> Result<(), String> {
    let mut random = Random::seeded();
    std::fs::create_dir_all(out).unwrap();
    let out = out.canonicalize().unwrap();
    let image = out.join("disk.img");
    let began = Instant::now();
    let (mut announced_count, mut in_doubt) = (0, 0);
    let too_soon_ms = if preload.is_some() { CONTROL_TOO_SOON_MS } else { TOO_SOON_MS };
    let mut cut = 0;
    let mut place = Place::Data;
    while cut < cuts {
        place = if place == Place::Data { Place::Store } else { Place::Data };
        let disk = new_disk(&image);
        let mut announced = BTreeSet::new();
        let last = cuts.min(cut + CUTS_A_DISK);
        while cut < last {
            cut += 1;
            let what: Vec<&str> = ["guest", place.word()].into_iter().chain(preload).collect();
            let mut guest = Guest::boot(cache, &out, &disk, &what);
            // Nothing is announced at a start, so that the control would learn nothing from it.
            let (when, flushes) = if preload.is_none() && random.one_in(4) {
                guest.wait_for(STARTING, 1)?;
                ("at the start", FLUSHES_OF_A_START)
            } else {
                guest.finds(&announced, &format!("before cut {cut}"))?;
                guest.wait_for(ANNOUNCED, 1 + random.index(PAIRINGS as usize / 3))?;
                ("among captures", 2 * FLUSHES_OF_A_PAIRING)
            };
            if random.one_in(ANY_MOMENT_ONE_IN) {
                std::thread::sleep(Duration::from_millis(random.below(800)));
            } else {
                disk.hold_after(random.index(flushes));
                // The control has few, and may be through before the next.
                let is_held = disk.wait_held(if preload.is_none() { PATIENCE } else { CONTROL_PATIENCE });
                assert!(is_held || preload.is_some(), "no flush came:\n{}", guest.said.join("\n"));
                // Time for whoever speaks too soon.
                std::thread::sleep(Duration::from_millis(random.below(too_soon_ms)));
            }
            guest.cut();
            let losses = disk.cut(&mut random);
            let fresh = guest.peers(ANNOUNCED);
            announced_count += fresh.len();
            in_doubt += u64::from(losses.count() > 0);
            println!("cut {cut}: {place:?}, {when}, {} announced since the boot, {losses:?}", fresh.len());
            announced.extend(fresh);
        }
        let mut guest = Guest::boot(cache, &out, &disk, &["check", place.word()]);
        guest.finds(&announced, "after the last cut of a disk")?;
    }
    for extension in ["img", "current", "socket"] {
        let _ = std::fs::remove_file(image.with_extension(extension));
    }
    let took = began.elapsed().as_secs();
    println!(
        "{cuts} cuts, {in_doubt} of them with writes in doubt, {announced_count} bonds announced and all there, in {took} s"
    );
    Ok(())
}
