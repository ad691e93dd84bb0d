//! The sealed store from outside: what a thief of the disk would find, and what its owner can do with the passphrase.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use super::observer::LIMIT;
use super::scene::{HUB, Scene};
use super::secrets::{contains, files_below, spellings};
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99").private();
const BULB: PeerSpec = PeerSpec::public("bulb", "C0:FF:EE:00:00:77").legacy();

/// A canary as well.
pub const PASSPHRASE: &str = "kumquat ballast tundra";

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// With the passphrase in a file outside the data folder.
pub fn with_passphrase_file(scene: &mut Scene<SimWorld>) -> String {
    let file = scene.folder.path().join("elsewhere");
    std::fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", &file.display().to_string());
    file.display().to_string()
}

fn pair(scene: &mut Scene<SimWorld>, spec: &PeerSpec) {
    scene.world.add_peer(spec);
    let since = scene.observer.mark();
    assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
    scene.observer.wait_event("bond_added", since);
}

/// Both bonds, a checkpoint of them, and snapshots with a predecessor.
fn live(scene: &mut Scene<SimWorld>) {
    scene.start();
    scene.plug_hub();
    pair(scene, &LOCK);
    let current = scene.setup.data_dir().join("store/snapshots/00-1A-7D-DA-71-11.json");
    let until = Instant::now() + LIMIT;
    while !current.exists() {
        assert!(Instant::now() < until, "there is no snapshot");
        std::thread::sleep(Duration::from_millis(10));
    }
    pair(scene, &BULB);
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
    scene.ask("checkpoint/create", json!({}));
}

pub fn is_sealed(path: &Path) -> bool {
    std::fs::read(path).unwrap().starts_with(b"age-encryption.org/v1\n")
}

/// The files below the data folder that hold a key, in any spelling.
fn holders(scene: &mut Scene<SimWorld>) -> BTreeSet<String> {
    let keys = scene.world.key_octets();
    assert!(keys.len() >= 3, "{} keys were made", keys.len());
    let needles: Vec<Vec<u8>> = keys.iter().flat_map(|key| spellings(key)).collect();
    let data = scene.setup.data_dir();
    let holds = |path: &Path| {
        let octets = std::fs::read(path).unwrap();
        needles.iter().any(|needle| contains(&octets, needle))
    };
    let holders = files_below(&data).into_iter().filter(|path| holds(path));
    holders.map(|path| path.strip_prefix(&data).unwrap().display().to_string()).collect()
}

/// Starts the service, which must end by itself; what it said.
pub fn refused_start(scene: &mut Scene<SimWorld>) -> String {
    let before = std::fs::read_to_string(scene.setup.log()).unwrap_or_default().len();
    let mut service = scene.setup.start();
    let status = service.wait_for_end(LIMIT);
    assert_eq!(status.code(), Some(1));
    std::fs::read_to_string(scene.setup.log()).unwrap()[before..].to_owned()
}

/// Everything in the store but the lock, which names the process that had it last.
pub fn octets_of_store(scene: &Scene<SimWorld>) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = files_below(&scene.setup.data_dir().join("store"));
    let mut all: Vec<_> = files
        .into_iter()
        .filter(|path| !path.ends_with("store/lock"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_sealed_store_works_as_ever_and_no_file_of_the_data_folder_holds_a_key() {
    let mut scene = simulated_scene();
    with_passphrase_file(&mut scene);
    scene.setup.set("LOG_LEVEL", "trace");
    live(&mut scene);
    // Killed, so that nothing is tidied up, and at once started again.
    scene.kill_service();
    assert_eq!(holders(&mut scene), BTreeSet::new());
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[BULB.address]);
    let copies = scene.ask("checkpoint/list", json!({ "adapter": HUB }));
    let label = copies["checkpoints"][0]["label"].clone();
    scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "checkpoint": label } }));
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
    scene.unplug_hub();
    scene.plug_hub();
    let info = scene.observer.wait_latest("the info", "bridge/info", |_| true);
    assert_eq!(info["config"]["store"]["seal"], true);
    scene.stop_service();
    assert_eq!(holders(&mut scene), BTreeSet::new());
    // scrypt with the work that the documents name: the unit tests do less.
    let key = std::fs::read(scene.setup.data_dir().join("store/seal.age")).unwrap();
    let line = text(&key).lines().nth(1).unwrap().to_owned();
    assert!(line.starts_with("-> scrypt ") && line.ends_with(" 16"), "{line}");
    scene.assert_no_key_was_published();
    // The passphrase stands where it was put, and nowhere else.
    for heard in scene.observer.heard() {
        assert!(!text(&heard.payload).contains("kumquat"), "the passphrase stands on {}", heard.topic);
    }
    for file in files_below(scene.folder.path()) {
        let found = contains(&std::fs::read(&file).unwrap(), b"kumquat");
        assert_eq!(found, file.ends_with("elsewhere"), "{}", file.display());
    }
}

#[test]
fn a_clear_store_is_sealed_when_that_is_switched_on_and_unsealed_when_it_is_switched_off() {
    let mut scene = simulated_scene();
    live(&mut scene);
    scene.stop_service();
    let clear = holders(&mut scene);
    for part in ["store/sled/db", "store/snapshots/", "store/checkpoints/"] {
        assert!(clear.iter().any(|path| path.starts_with(part)), "{part}: {clear:?}");
    }
    let both = [LOCK.address, BULB.address];
    with_passphrase_file(&mut scene);
    scene.start();
    scene.wait_bonds(HUB, &both);
    assert_eq!(holders(&mut scene), BTreeSet::new(), "while it runs");
    scene.stop_service();
    assert_eq!(holders(&mut scene), BTreeSet::new());
    let store = scene.setup.data_dir().join("store");
    assert!(!store.join("seal.unfinished").exists());
    scene.setup.set("STORE__SEAL", "false");
    scene.start();
    scene.wait_bonds(HUB, &both);
    scene.stop_service();
    assert!(!holders(&mut scene).is_empty());
    assert!(!store.join("seal.age").exists());
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", "");
    scene.start();
    scene.wait_bonds(HUB, &both);
}

#[test]
fn without_the_right_passphrase_the_service_does_not_start_and_changes_nothing() {
    let mut scene = simulated_scene();
    let file = with_passphrase_file(&mut scene);
    live(&mut scene);
    scene.stop_service();
    let before = octets_of_store(&scene);
    std::fs::write(&file, "tundra ballast kumquat").unwrap();
    let log = refused_start(&mut scene);
    assert!(log.contains("nothing in it was changed") && log.contains("not with this passphrase"), "{log}");
    assert!(!log.contains("tundra"), "{log}");
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", "");
    let log = refused_start(&mut scene);
    assert!(log.contains("no passphrase") && log.contains("store.seal_passphrase_file"), "{log}");
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", "/nowhere/at/all");
    let log = refused_start(&mut scene);
    assert!(log.contains("/nowhere/at/all"), "{log}");
    std::fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", &file);
    let key = scene.setup.data_dir().join("store/seal.age");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let log = refused_start(&mut scene);
    assert!(log.contains("seal.age is missing"), "{log}");
    assert!(!key.exists());
    std::fs::write(&key, kept).unwrap();
    assert!(before == octets_of_store(&scene), "a refused start has changed the store");
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
}

#[test]
fn the_command_line_opens_a_sealed_store_with_its_passphrase_only() {
    let mut scene = simulated_scene();
    let file = with_passphrase_file(&mut scene);
    live(&mut scene);
    scene.stop_service();
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", "");
    let data = scene.setup.data_dir().display().to_string();
    let shows = |output: &Output| text(&output.stdout).contains(LOCK.address);
    for arguments in [&["inspect"][..], &["inspect", &data], &["export", "--to", "bondkeeper", "-"]] {
        let refused = scene.setup.run(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let words = text(&refused.stderr);
        assert!(words.contains("is sealed") && words.contains("--store-passphrase-file"), "{words}");
        assert!(!shows(&refused));
        // A file, the variable, the options.
        let opened = scene.setup.run(&[arguments, &["--store-passphrase-file", &file]].concat());
        assert!(opened.status.success() && shows(&opened), "{arguments:?}: {}", text(&opened.stderr));
        let mut command = scene.setup.command(arguments);
        let opened = command.env("BONDKEEPER_STORE_PASSPHRASE", PASSPHRASE).output().unwrap();
        assert!(opened.status.success() && shows(&opened), "{arguments:?}: {}", text(&opened.stderr));
        let mut command = scene.setup.command(arguments);
        let opened = command.env("BONDKEEPER__STORE__SEAL_PASSPHRASE", PASSPHRASE).output().unwrap();
        assert!(opened.status.success() && shows(&opened), "{arguments:?}: {}", text(&opened.stderr));
    }
    let export = scene.folder.path().join("clear.json").display().to_string();
    let with_file = ["--store-passphrase-file", &file];
    let written = scene.setup.run(&[&["export", "--to", "bondkeeper", &export][..], &with_file].concat());
    assert!(written.status.success(), "{}", text(&written.stderr));
    let refused = scene.setup.run(&["import", &export]);
    assert!(text(&refused.stderr).contains("is sealed"), "{}", text(&refused.stderr));
    let taken = scene.setup.run(&[&["import", "--mode", "replace", &export][..], &with_file].concat());
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    std::fs::remove_file(export).unwrap();
    assert_eq!(holders(&mut scene), BTreeSet::new(), "the command line writes sealed");
    scene.setup.set("STORE__SEAL_PASSPHRASE_FILE", &file);
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
}

#[test]
fn the_age_program_opens_what_a_dead_host_leaves() {
    let mut scene = simulated_scene();
    with_passphrase_file(&mut scene);
    live(&mut scene);
    scene.stop_service();
    let store = scene.setup.data_dir().join("store");
    let key = scene.folder.path().join("key.txt");
    let sealed = store.join("seal.age");
    super::seal::age_with_passphrase(
        &format!("--decrypt --output {} {}", key.display(), sealed.display()),
        1,
    );
    for folder in ["snapshots", "checkpoints"] {
        for path in files_below(&store.join(folder)) {
            assert!(is_sealed(&path), "{}", path.display());
            let arguments = ["--decrypt", "--identity", key.to_str().unwrap(), path.to_str().unwrap()];
            let opened = super::seal::run("age", &arguments);
            let document: serde_json::Value = serde_json::from_slice(&opened.stdout).unwrap();
            assert_eq!(document["adapters"][0]["address"], HUB);
        }
    }
    // Ours reads such a file, too.
    let snapshot = store.join("snapshots/00-1A-7D-DA-71-11.json").display().to_string();
    let inspected = scene.setup.run(&["inspect", "--identity-file", key.to_str().unwrap(), &snapshot]);
    assert!(text(&inspected.stdout).contains(LOCK.address), "{}", text(&inspected.stderr));
    // Another passphrase, without us: the store opens with that one.
    let again = scene.folder.path().join("again.age");
    super::seal::age_with_passphrase(
        &format!("--passphrase --output {} {}", again.display(), key.display()),
        2,
    );
    std::fs::rename(again, sealed).unwrap();
    std::fs::remove_file(key).unwrap();
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
}

#[test]
fn the_snapshots_alone_bring_a_sealed_store_back() {
    let mut scene = simulated_scene();
    with_passphrase_file(&mut scene);
    live(&mut scene);
    scene.stop_service();
    // What a backup of the add-on holds.
    std::fs::remove_dir_all(scene.setup.data_dir().join("store/sled")).unwrap();
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address]);
    let info = scene
        .observer
        .wait_latest("the rebuilt store", "bridge/info", |info| info["store"]["state"] == "rebuilt");
    assert_eq!(info["store"]["state"], "rebuilt");
    scene.stop_service();
    assert_eq!(holders(&mut scene), BTreeSet::new());
}

/// Whether octets stand in the memory of a process that may be written to.
fn stands_in_memory(pid: u32, wanted: &[u8]) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut is_there, mut looked_at) = (false, 0);
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (begin, end) = (number(range.0), number(range.1));
        let mut octets = Vec::new();
        memory.seek(SeekFrom::Start(begin)).unwrap();
        // A region may go away meanwhile.
        let _ = memory.by_ref().take(end - begin).read_to_end(&mut octets);
        looked_at += octets.len();
        is_there |= contains(&octets, wanted);
    }
    assert!(looked_at > 1 << 20, "only {looked_at} octets could be read");
    is_there
}

#[test]
fn the_passphrase_is_wiped_from_memory_once_the_store_is_open_and_is_no_argument() {
    let mut scene = simulated_scene();
    let file = with_passphrase_file(&mut scene);
    // At the first start it seals, at the second it opens.
    for _ in 0..2 {
        scene.start();
        let pid = scene.service().pid();
        assert!(!stands_in_memory(pid, PASSPHRASE.as_bytes()), "the passphrase is still in memory");
        // Its place is no secret, and shows that the search finds what is there.
        assert!(stands_in_memory(pid, file.as_bytes()));
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!contains(&arguments, b"kumquat"));
        scene.stop_service();
    }
    let commands =
        ["run", "check-config", "healthcheck", "inspect", "convert", "import", "export", "history"];
    for command in commands {
        let help = text(&scene.setup.run(&[command, "--help"]).stdout);
        assert!(help.contains("Usage"), "{command}: {help}");
        let words = help.split_whitespace().filter(|word| word.starts_with("--"));
        for option in words.filter(|word| word.contains("pass") || word.contains("secret")) {
            assert!(option.contains("-file"), "{command} takes a secret as an argument: {option}");
        }
    }
}

#[test]
fn secrets_in_the_environment_are_echoed_by_no_command() {
    let mut scene = simulated_scene();
    let secrets = ["STORE__SEAL_PASSPHRASE", "EXPORT_PASSPHRASE", "MQTT__PASSWORD"];
    for (number, key) in secrets.iter().enumerate() {
        scene.setup.set(key, &format!("kumquat ballast {number}"));
    }
    scene.setup.set("MQTT__USERNAME", "somebody");
    scene.setup.environment.push(("SUPERVISOR_TOKEN".to_owned(), "kumquat token".to_owned()));
    let said = |scene: &Scene<SimWorld>, arguments: &[&str]| {
        let output = scene.setup.run(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("kumquat"), "{arguments:?}: {said}");
        said
    };
    assert!(said(&scene, &["check-config"]).contains("(secret)"));
    said(&scene, &["inspect"]);
    said(&scene, &["healthcheck"]);
    said(&scene, &["export", "--to", "bondkeeper", "-"]);
    // Nor by what is wrong with them.
    for (key, value) in [("STORE__SEAL_PASSPHRASE", "kumquat"), ("EXPORT_PASSPHRASE", "kumquat")] {
        let mut broken = scene.setup.clone();
        broken.set(key, value);
        let output = broken.run(&["check-config"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(!text(&output.stderr).contains("kumquat"), "{}", text(&output.stderr));
    }
}
