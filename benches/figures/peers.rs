//! What a user would have instead: habluetooth's documented path with Home Assistant's own storage, and aioble's. Each is a
//! process of its own that goes on and answers a line with the microseconds of one step; `benches/peers` has the scripts.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::capture::Timed;
use super::report::{Figure, median};
use super::rig::{Rig, adapters_for};
use super::start::SIZES;

const ROUNDS: usize = 31;
/// With many bonds, of which a save can take a second.
const FEWER_ROUNDS: usize = 11;
/// Saves of which each takes five seconds.
const DELAYED: usize = 3;
/// After a save that nobody has synced: what the system writes of it by itself shall not be in the next one's time.
const APART: Duration = Duration::from_millis(20);

pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// From exec until its keys were loaded, and of it the load alone, in milliseconds.
    pub started: f64,
    pub loaded: f64,
}

impl Peer {
    /// Starts it and waits until it has loaded.
    fn start(program: &Path, script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(script);
        let mut command = Command::new(program);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().expect("start the peer");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut peer = Self { child, input, output, started: 0.0, loaded: 0.0 };
        peer.loaded = peer.number("ready ") / 1e3;
        peer.started = begin.elapsed().as_secs_f64() * 1e3;
        peer
    }

    /// The number of its next line, behind this word.
    fn number(&mut self, word: &str) -> f64 {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read from the peer");
        let number = line.strip_prefix(word).and_then(|rest| rest.trim().parse().ok());
        number.unwrap_or_else(|| panic!("the peer said {line:?}"))
    }

    /// One step, in microseconds.
    fn ask(&mut self, step: &str) -> f64 {
        writeln!(self.input.as_mut().expect("it runs"), "{step}").expect("write to the peer");
        self.number("")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let _ = self.child.wait();
    }
}

fn installed(rig: &Rig, marker: &str, program: &str) -> Option<PathBuf> {
    let peers = rig.peers.as_ref()?;
    peers.join(marker).exists().then(|| peers.join(program))
}

fn python(rig: &Rig) -> Option<PathBuf> {
    installed(rig, "venv/installed", "venv/bin/python")
}

fn homeassistant_folder(rig: &Rig, bonds: usize) -> PathBuf {
    rig.folder.join(format!("homeassistant-{bonds}"))
}

fn homeassistant_file(rig: &Rig, bonds: usize) -> PathBuf {
    homeassistant_folder(rig, bonds).join(".storage/bluetooth.bonds")
}

/// Home Assistant's storage with habluetooth's keys in it.
pub fn homeassistant(rig: &Rig, bonds: usize) -> Option<Peer> {
    let folder = homeassistant_folder(rig, bonds).display().to_string();
    let (count, adapters) = (bonds.to_string(), adapters_for(bonds).to_string());
    Some(Peer::start(&python(rig)?, "homeassistant_store.py", &[&folder, &count, &adapters]))
}

/// Habluetooth's key dicts out of the same file, without Home Assistant.
pub fn habluetooth(rig: &Rig, bonds: usize) -> Option<Peer> {
    let python = python(rig)?;
    let file = homeassistant_file(rig, bonds);
    if !file.exists() {
        homeassistant(rig, bonds);
    }
    let file = file.display().to_string();
    Some(Peer::start(&python, "habluetooth_store.py", &[&file, &bonds.to_string()]))
}

fn aioble_file(rig: &Rig, bonds: usize) -> PathBuf {
    rig.folder.join(format!("aioble-{bonds}.json"))
}

pub fn aioble(rig: &Rig, bonds: usize) -> Option<Peer> {
    let program = installed(rig, "micropython/run", "micropython/run")?;
    let file = aioble_file(rig, bonds).display().to_string();
    Some(Peer::start(&program, "aioble_store.py", &[&file, &bonds.to_string()]))
}

/// Octets of the file with so many bonds.
pub fn homeassistant_octets(rig: &Rig, bonds: usize) -> Option<u64> {
    homeassistant(rig, bonds)?;
    Some(fs::metadata(homeassistant_file(rig, bonds)).expect("it has made its file").len())
}

pub fn aioble_octets(rig: &Rig, bonds: usize) -> Option<u64> {
    aioble(rig, bonds)?;
    Some(fs::metadata(aioble_file(rig, bonds)).expect("it has made its file").len())
}

/// Metric 1 at all sizes: a key that has changed until it is durable, beside the floor and beside what the peers call saved.
pub fn saved(rig: &Rig) -> Vec<Figure> {
    let mut figures = Vec::new();
    for bonds in SIZES {
        let Some(mut timed) = Timed::start(rig, bonds, "saved") else { return figures };
        let mut theirs = [
            ("Home Assistant's Store.async_save, not synced", "save", homeassistant(rig, bonds), Vec::new()),
            (
                "Home Assistant's Store.async_save with its option to sync",
                "atomic",
                homeassistant(rig, bonds),
                Vec::new(),
            ),
            ("aioble's save, not synced", "save", aioble(rig, bonds), Vec::new()),
        ];
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..if bonds > 1_000 { FEWER_ROUNDS } else { ROUNDS } {
            let (sample, floor) = timed.sample(bonds / adapters_for(bonds));
            ours.push(sample);
            floors.push(floor);
            for (_, step, peer, times) in &mut theirs {
                times.extend(peer.as_mut().map(|peer| peer.ask(step)));
                std::thread::sleep(APART);
            }
        }
        let name = format!("key event to durable, {bonds} bonds, p50");
        let figure = Figure::new(1, name, median(&ours), "µs").of(bonds);
        figures.push(figure.clone().beside("append and fdatasync", median(&floors)));
        for (what, _, _, times) in &theirs {
            figures.extend((!times.is_empty()).then(|| figure.clone().peer(what, median(times))));
        }
        if bonds == 100
            && let Some(peer) = &mut theirs[0].2
        {
            let delayed: Vec<f64> = (0..DELAYED).map(|_| peer.ask("delay")).collect();
            figures.push(figure.peer("Home Assistant's async_delay_save, not synced", median(&delayed)));
        }
    }
    figures
}
