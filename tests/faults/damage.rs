//! Files of the data folder that rot: all bonds are back while one good copy of them exists, the bad one
//! is kept aside, the alarm is raised, and nothing unreadable is taken for empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::random::Random;
use super::scene::{HUB, Scene};
use super::world_sim::SimWorld;
use super::{everything, scene, storm};

/// Bonds in the store that is damaged.
const BONDS: u64 = 12;

const PASSPHRASE: &str = "kumquat ballast tundra";

/// The last change, of the adapter alone: no bond tells a store that has it from one that has not.
const MODE: &str = "observe";

/// A store with some history, and where it is.
struct Golden {
    folder: tempfile::TempDir,
    bonds: BTreeSet<String>,
    /// Without the bond that came last, as the snapshot before the last has it.
    older: BTreeSet<String>,
}

impl Golden {
    /// `closed`: after a clean stop, else after a kill.
    fn new(random: &mut Random, closed: bool) -> Self {
        let mut scene = scene();
        let (bonds, older) = Self::fill(&mut scene, random, &wait_snapshot);
        wait_snapshot(&scene, &format!("\"mode\":\"{MODE}\""));
        if closed {
            scene.stop_service();
        } else {
            scene.kill_service();
        }
        Self::of(&scene, bonds, older)
    }

    /// A sealed one, closed: nobody can see what its snapshots hold, and the last ones come with the clean stop.
    fn sealed(random: &mut Random) -> Self {
        let mut scene = scene();
        scene.setup.set("STORE__SEAL_PASSPHRASE", PASSPHRASE);
        let (bonds, older) = Self::fill(&mut scene, random, &|_, _| {});
        scene.stop_service();
        Self::of(&scene, bonds, older)
    }

    /// All bonds, and all but the last; `wait` is told of each that is to be in a snapshot.
    fn fill(
        scene: &mut Scene<SimWorld>,
        random: &mut Random,
        wait: &dyn Fn(&Scene<SimWorld>, &str),
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        scene.start();
        scene.plug_hub();
        let mut bonds = BTreeSet::new();
        let mut older = BTreeSet::new();
        for number in 1..=BONDS {
            let peer = storm::peer(number);
            storm::report_pairing(scene, number, random.below(u64::MAX));
            if number > BONDS - 2 {
                // The last two have a snapshot each.
                wait(scene, &peer);
            }
            older.clone_from(&bonds);
            bonds.insert(peer);
        }
        storm::list(scene, "all bonds", 0, |peers| *peers == bonds);
        scene.ask("checkpoint/create", json!({ "adapter": HUB }));
        scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": MODE }));
        (bonds, older)
    }

    fn of(scene: &Scene<SimWorld>, bonds: BTreeSet<String>, older: BTreeSet<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("bk").tempdir().unwrap();
        copy(&scene.setup.data_dir(), &folder.path().join("data"));
        Self { folder, bonds, older }
    }

    /// Files of the data folder, relative to it.
    fn files(&self) -> Vec<PathBuf> {
        let data = self.folder.path().join("data");
        let mut files = Vec::new();
        collect(&data, &data, &mut files);
        files.sort();
        files
    }
}

fn wait_snapshot(scene: &Scene<SimWorld>, holds: &str) {
    let file = snapshot(&scene.setup.data_dir().join("store"));
    let until = std::time::Instant::now() + super::observer::LIMIT;
    while !fs::read_to_string(&file).is_ok_and(|text| text.contains(holds)) {
        assert!(std::time::Instant::now() < until, "no snapshot has {holds}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn snapshot(store: &Path) -> PathBuf {
    store.join(format!("snapshots/{}.json", HUB.replace(':', "-")))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    FlippedBit,
    ZeroedPage,
    Truncated,
    Emptied,
    Garbage,
    Gone,
    /// Something that no read succeeds on stands in its place.
    Unreadable,
}

const DAMAGES: [Damage; 7] = [
    Damage::FlippedBit,
    Damage::ZeroedPage,
    Damage::Truncated,
    Damage::Emptied,
    Damage::Garbage,
    Damage::Gone,
    Damage::Unreadable,
];

impl Damage {
    fn strike(self, path: &Path, random: &mut Random) {
        const PAGE: usize = 4096;
        let mut bytes = fs::read(path).unwrap();
        // Where something stands: the end of a database is zeros.
        let used = bytes.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        match self {
            Self::FlippedBit if used > 0 => bytes[random.index(used)] ^= 1 << random.below(8),
            Self::ZeroedPage if used > 0 => {
                let from = random.index(used.div_ceil(PAGE)) * PAGE;
                let to = (from + PAGE).min(bytes.len());
                bytes[from..to].fill(0);
            }
            Self::Truncated => bytes.truncate(random.index(used.max(1))),
            Self::Garbage => bytes.iter_mut().for_each(|octet| *octet = random.below(256) as u8),
            Self::FlippedBit | Self::ZeroedPage | Self::Emptied => bytes.clear(),
            Self::Gone | Self::Unreadable => {
                fs::remove_file(path).unwrap();
                if self == Self::Unreadable {
                    fs::create_dir(path).unwrap();
                }
                return;
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

struct Bench {
    scene: Scene<SimWorld>,
    random: Random,
}

impl Bench {
    fn new() -> Self {
        let mut scene = scene();
        scene.setup.set("LOG_LEVEL", "info");
        Self { scene, random: Random::seeded() }
    }

    /// A fresh copy of the store, where the service looks for it.
    fn put(&self, golden: &Golden) -> PathBuf {
        let data = self.scene.setup.data_dir();
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        copy(&golden.folder.path().join("data"), &data);
        data.join("store")
    }

    /// Starts the service; it must serve at least these bonds, and the last change. The state of the store.
    fn serves(&mut self, what: &str, bonds: &BTreeSet<String>) -> String {
        self.serves_in_mode(what, bonds, MODE)
    }

    fn serves_in_mode(&mut self, what: &str, bonds: &BTreeSet<String>, mode: &str) -> String {
        println!("{what}");
        let since = self.scene.observer.mark();
        self.scene.start();
        storm::list(&self.scene, what, since, |peers| peers.is_superset(bonds));
        let state = self.scene.state(what, HUB, |state| state["mode"].is_string());
        assert_eq!(state["mode"], mode, "{what}: what is known of the adapter is older than it was");
        let copies = self.scene.ask("checkpoint/list", json!({}));
        assert!(copies["checkpoints"].is_array(), "{what}: {copies}");
        let info = self
            .scene
            .observer
            .wait_latest_since(what, "bridge/info", since, |info| info["store"].is_object());
        self.scene.kill_service();
        info["store"]["state"].as_str().unwrap().to_owned()
    }

    /// It must not start, and say why; then nothing may have been changed.
    fn refuses(&mut self, what: &str) -> String {
        let mut service = self.scene.setup.start();
        let status = service.wait_for_end(super::observer::LIMIT);
        assert_eq!(status.code(), Some(1), "{what}");
        service.log_text()
    }
}

/// Something damaged was kept.
fn is_kept_aside(store: &Path) -> bool {
    let named = |folder: &Path, is_it: &dyn Fn(&str) -> bool| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_it))
    };
    named(store, &|name| name.contains(".damaged"))
        || named(&store.join("snapshots"), &|name| name.ends_with(".damaged"))
}

fn one_rotten_file_costs_no_bond(closed: bool) {
    let mut bench = Bench::new();
    let golden = Golden::new(&mut bench.random, closed);
    let rounds = if everything() { 30 } else { 1 };
    let mut alarms = 0;
    let files = golden.files();
    let has = |name: &str| files.iter().any(|file| file.starts_with(name));
    assert!(
        ["audit.jsonl", "store/checkpoints", "store/sled/db", "store/fingerprint.key"].into_iter().all(has)
    );
    for file in &files {
        for damage in DAMAGES {
            for _ in 0..rounds {
                let store = bench.put(&golden);
                damage.strike(&store.with_file_name(file), &mut bench.random);
                let what = format!("{damage:?} {}", file.display());
                if damage == Damage::Unreadable && file.ends_with("lock") {
                    // Whether another instance is there cannot be known.
                    assert!(bench.refuses(&what).contains("store/lock"), "{what}");
                    continue;
                }
                let state = bench.serves(&what, &golden.bonds);
                assert!(["ok", "rebuilt"].contains(&&*state), "{what}: {state}");
                if state == "rebuilt" {
                    alarms += 1;
                    assert!(
                        damage == Damage::Gone || is_kept_aside(&store),
                        "{what}: nothing was kept aside"
                    );
                }
                let name = file.display().to_string();
                // Damage in the middle of a snapshot is found when the service is up.
                let later = matches!(damage, Damage::FlippedBit | Damage::ZeroedPage | Damage::Gone);
                let must = name == "store/sled/db" || (name.starts_with("store/snapshots") && !later);
                assert!(!must || state == "rebuilt", "{what}: no alarm");
            }
        }
    }
    assert!(alarms > 5, "hardly any damage was noticed");
}

/// What keys a sealed store: without it nothing may be served and nothing changed.
const SEAL: &str = "store/seal.age";

#[test]
fn one_rotten_file_of_a_sealed_store_costs_no_bond_and_a_rotten_key_changes_nothing() {
    let mut bench = Bench::new();
    bench.scene.setup.set("STORE__SEAL_PASSPHRASE", PASSPHRASE);
    let golden = Golden::sealed(&mut bench.random);
    let files = golden.files();
    assert!(files.contains(&PathBuf::from(SEAL)));
    for file in &files {
        let mut damages = DAMAGES.to_vec();
        while !everything() && damages.len() > 2 {
            damages.remove(bench.random.index(damages.len()));
        }
        for damage in damages {
            let store = bench.put(&golden);
            damage.strike(&store.with_file_name(file), &mut bench.random);
            let what = format!("{damage:?} {}, sealed", file.display());
            let name = file.display().to_string();
            if name == SEAL || (damage == Damage::Unreadable && file.ends_with("lock")) {
                println!("{what}");
                let before = octets(&golden, &store);
                assert!(bench.refuses(&what).contains("store"), "{what}");
                assert!(octets(&golden, &store) == before, "{what}: something was changed");
                continue;
            }
            let state = bench.serves(&what, &golden.bonds);
            let must =
                name == "store/sled/db" || (name.starts_with("store/snapshots") && damage != Damage::Gone);
            assert!(
                if must { state == "rebuilt" } else { ["ok", "rebuilt"].contains(&&*state) },
                "{what}: {state}"
            );
            assert!(
                damage == Damage::Gone || !must || is_kept_aside(&store),
                "{what}: nothing was kept aside"
            );
        }
    }
}

/// What stands in the files of a folder, but for the lock, which names who had it last.
fn octets(golden: &Golden, store: &Path) -> Vec<Option<Vec<u8>>> {
    let names = golden.files().into_iter().filter(|file| !file.ends_with("lock"));
    names.map(|file| fs::read(store.with_file_name(file)).ok()).collect()
}

#[test]
fn one_rotten_file_of_a_closed_store_costs_no_bond() {
    one_rotten_file_costs_no_bond(true);
}

#[test]
fn one_rotten_file_of_a_killed_store_costs_no_bond() {
    one_rotten_file_costs_no_bond(false);
}

#[test]
fn the_database_alone_has_all_bonds() {
    let mut bench = Bench::new();
    let golden = Golden::new(&mut bench.random, true);
    // Both snapshots gone, or their folder.
    let store = bench.put(&golden);
    fs::remove_file(snapshot(&store)).unwrap();
    fs::remove_file(snapshot(&store).with_extension("json.1")).unwrap();
    bench.serves("both snapshots gone", &golden.bonds);
    let store = bench.put(&golden);
    fs::remove_dir_all(store.join("snapshots")).unwrap();
    bench.serves("the folder of the snapshots gone", &golden.bonds);
    // A folder that cannot be read: a file stands in its place, which not even root can read as a folder.
    let store = bench.put(&golden);
    fs::remove_dir_all(store.join("snapshots")).unwrap();
    fs::write(store.join("snapshots"), b"not a folder").unwrap();
    let state = bench.serves("the folder of the snapshots unreadable", &golden.bonds);
    assert_eq!(state, "rebuilt");
    assert!(is_kept_aside(&store));
}

#[test]
fn the_snapshots_alone_have_all_bonds() {
    let mut bench = Bench::new();
    let golden = Golden::new(&mut bench.random, true);
    let store = bench.put(&golden);
    fs::remove_dir_all(store.join("sled")).unwrap();
    assert_eq!(bench.serves("the database gone", &golden.bonds), "rebuilt");
    let store = bench.put(&golden);
    fs::remove_dir_all(store.join("sled")).unwrap();
    fs::write(store.join("sled"), b"not a folder").unwrap();
    assert_eq!(bench.serves("the database unreadable", &golden.bonds), "rebuilt");
    assert!(is_kept_aside(&store));
    // Only the one before the last is left.
    let store = bench.put(&golden);
    Damage::Garbage.strike(&store.join("sled/db"), &mut bench.random);
    Damage::Garbage.strike(&snapshot(&store), &mut bench.random);
    // On a machine that is busy it was written after the mode had changed, too.
    let left = fs::read_to_string(snapshot(&store).with_extension("json.1")).unwrap();
    let mode = if left.contains(&format!("\"mode\":\"{MODE}\"")) { MODE } else { "auto" };
    let state = bench.serves_in_mode("only the snapshot before the last left", &golden.older, mode);
    assert_eq!(state, "rebuilt");
    assert!(is_kept_aside(&store));
}

#[test]
fn the_engines_own_snapshots_cost_no_bond_stale_or_corrupt_or_half_written() {
    let mut bench = Bench::new();
    let golden = Golden::new(&mut bench.random, true);
    let engine_snapshot = |store: &Path| {
        let entries = fs::read_dir(store.join("sled")).unwrap().flatten();
        entries
            .into_iter()
            .map(|entry| entry.path())
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap."))
    };
    let store = bench.put(&golden);
    // The engine writes one as it opens.
    bench.serves("as it was", &golden.bonds);
    let found = engine_snapshot(&store);
    let stale = found.map(|path| (path.file_name().unwrap().to_owned(), fs::read(path).unwrap()));
    for ending in ["generating", "in___motion"] {
        let store = bench.put(&golden);
        let half = store.join(format!("sled/snap.00000000000FFFFF.{ending}"));
        fs::write(half, b"half").unwrap();
        bench.serves(&format!("a left-over {ending}"), &golden.bonds);
    }
    let store = bench.put(&golden);
    fs::write(store.join("sled/snap.00000000000FFFFF"), vec![0x5A; 300]).unwrap();
    bench.serves("a corrupt one of the future", &golden.bonds);
    if let Some((name, bytes)) = stale {
        // One of another moment, under its own name and under a later one.
        for name in [name.to_str().unwrap(), "snap.0000000000000FFF"] {
            let store = bench.put(&golden);
            fs::write(store.join("sled").join(name), &bytes).unwrap();
            bench.serves(&format!("a stale {name}"), &golden.bonds);
        }
    }
}

#[test]
fn what_cannot_be_read_at_all_is_not_taken_for_empty() {
    let mut bench = Bench::new();
    let golden = Golden::new(&mut bench.random, true);
    let store = bench.put(&golden);
    Damage::Garbage.strike(&store.join("sled/db"), &mut bench.random);
    let current = snapshot(&store);
    for file in [current.clone(), current.with_extension("json.1")] {
        Damage::Garbage.strike(&file, &mut bench.random);
    }
    let before = octets(&golden, &store);
    let said = bench.refuses("nothing can be read");
    assert!(said.contains("restore the folder from a backup"), "{said}");
    assert!(octets(&golden, &store) == before, "something was changed");
    // The same with folders that cannot be read.
    let store = bench.put(&golden);
    for folder in ["sled", "snapshots"] {
        fs::remove_dir_all(store.join(folder)).unwrap();
        fs::write(store.join(folder), b"not a folder").unwrap();
    }
    bench.refuses("no folder can be read");
}
