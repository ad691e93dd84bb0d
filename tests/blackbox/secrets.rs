//! Canary: the keys of a whole run, at the most talkative log level, stand nowhere but
//! in the store, its copies, and the exports that were asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::scene::{HUB, Scene, reversed_hex};
use super::world::{PairOptions, PeerSpec};

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99").private();
const BULB: PeerSpec = PeerSpec::public("bulb", "C0:FF:EE:00:00:77").legacy();

/// Paired while the service is not running: its keys come through the monitor channel and no other way.
const BELL: PeerSpec = PeerSpec::public("bell", "C0:FF:EE:00:00:66");

/// Places in the data folder that may hold keys.
const STORE: &[&str] = &["sled", "snapshots", "checkpoints"];

/// Every way in which sixteen octets could be written by accident.
pub fn spellings(key: &str) -> Vec<Vec<u8>> {
    let octets: Vec<u8> =
        (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap()).collect();
    let reversed: Vec<u8> = octets.iter().rev().copied().collect();
    let mut all = Vec::new();
    for octets in [&octets, &reversed] {
        let decimal: Vec<String> = octets.iter().map(u8::to_string).collect();
        let spaced: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        all.push(octets.clone());
        all.push(decimal.join(", ").into_bytes());
        all.push(decimal.join(",").into_bytes());
        all.push(spaced.join(" ").into_bytes());
        all.push(spaced.join(":").into_bytes());
        all.push(base64(octets).into_bytes());
    }
    all.push(key.to_lowercase().into_bytes());
    all.push(key.to_uppercase().into_bytes());
    all.push(reversed_hex(key).into_bytes());
    all.push(reversed_hex(key).to_uppercase().into_bytes());
    all
}

/// Without the last, incomplete group: enough to be found.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = octets.chunks_exact(3).flat_map(|group| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        (0..4).map(move |at| char::from(DIGITS[(bits >> (18 - 6 * at) & 0x3F) as usize]))
    });
    groups.collect()
}

pub fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(folder, &mut found);
    found
}

/// The monitor channel brings the keys that bluetoothd loads: of a bond that is not stored any more, and of one that
/// never was.
fn learn_from_bluetoothd(scene: &mut Scene) {
    scene.stop_service();
    scene.world.add_peer(&BELL);
    assert!(scene.world.pair("hub", BELL.name, PairOptions::default()));
    scene.start();
    scene.world.teach_bluetoothd("hub", &[BULB.address, BELL.address]);
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": BULB.address }));
    scene.wait_bonds(HUB, &[LOCK.address]);
    let since = scene.observer.mark();
    scene.world.start_bluetoothd();
    let learned = scene.observer.wait_event("bond_added", since);
    assert_eq!(learned["cause"], "learned", "{learned}");
    scene.wait_bonds(HUB, &[LOCK.address, BULB.address, BELL.address]);
    scene.world.stop_bluetoothd();
}

pub fn no_key_stands_in_any_log_topic_or_foreign_file(scene: &mut Scene) {
    scene.setup.set("LOG_LEVEL", "trace");
    // Among what is searched below, should anything be put there.
    let temporary = scene.folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    scene.setup.environment.push(("TMPDIR".to_owned(), temporary.display().to_string()));
    scene.start();
    scene.plug_hub();
    let since = scene.observer.mark();
    assert!(scene.world.set_privacy("hub", 1, "6d0ab61e0fd58c7b0c3c2d6e8f904a51"));
    scene.observer.wait_event("identity_captured", since);
    for spec in [&LOCK, &BULB] {
        scene.world.add_peer(spec);
        let since = scene.observer.mark();
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
        scene.observer.wait_event("bond_added", since);
    }
    let both = [LOCK.address, BULB.address];
    scene.wait_bonds(HUB, &both);
    let export = scene.ask("bonds/export", json!({}))["file"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(scene.setup.export_dir().join(&export)).unwrap();
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[BULB.address]);
    // Through a request and an answer, a refusal with the keys in it, and a file.
    let broken = text.replacen("\"enc_size\"", "\"size_enc\"", 1);
    scene.refused("bonds/restore", json!({ "adapter": HUB, "from": { "inline": broken } }), "format_invalid");
    scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "inline": text } }));
    scene.wait_bonds(HUB, &both);
    scene.ask("bonds/list", json!({}));
    scene.ask("health_check", json!({}));
    scene.kill_service();
    scene.start();
    scene.unplug_hub();
    scene.plug_hub();
    learn_from_bluetoothd(scene);
    scene.stop_service();
    let inspected = scene.setup.run(&["inspect"]);
    assert!(inspected.status.success());

    let keys = scene.world.key_octets();
    assert!(keys.len() >= 3, "{} keys were made", keys.len());
    let spellings: Vec<Vec<u8>> = keys.iter().flat_map(|key| spellings(key)).collect();
    let holds_key = |text: &[u8]| spellings.iter().any(|part| contains(text, part));

    // The requests that carried keys were this test's own.
    for heard in scene.observer.heard().iter().filter(|heard| !heard.topic.contains("/request/")) {
        assert!(!holds_key(&heard.payload), "a key stands on {}", heard.topic);
        assert!(!holds_key(heard.topic.as_bytes()));
    }
    assert!(!holds_key(&inspected.stdout) && !holds_key(&inspected.stderr), "inspect prints a key");
    let mut found = Vec::new();
    files(scene.folder.path(), &mut found);
    let mut holders = BTreeSet::new();
    for path in found {
        let place = path.strip_prefix(scene.folder.path()).unwrap().display().to_string();
        if holds_key(&std::fs::read(&path).unwrap()) {
            holders.insert(place);
        }
    }
    let allowed = |place: &str| {
        place == format!("exports/{export}")
            || STORE.iter().any(|folder| place.starts_with(&format!("data/store/{folder}/")))
            // The broker's own memory of this test's requests is not ours.
            || place.starts_with("broker/")
    };
    let leaks: Vec<&String> = holders.iter().filter(|place| !allowed(place)).collect();
    assert!(leaks.is_empty(), "keys stand in {leaks:?}");
    // The search does find keys where they are.
    assert!(holders.iter().any(|place| place.starts_with("data/store/sled/")), "{holders:?}");
    assert!(holders.contains(&format!("exports/{export}")), "{holders:?}");
    let log = std::fs::read_to_string(scene.setup.log()).unwrap();
    assert!(log.contains("bondkeeper::adapter"), "nothing was logged");
}

pub fn every_file_of_ours_is_readable_by_its_owner_only(scene: &mut Scene) {
    use std::os::unix::fs::PermissionsExt;
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&BULB);
    assert!(scene.world.pair("hub", BULB.name, PairOptions::default()));
    scene.wait_bonds(HUB, &[BULB.address]);
    scene.ask("bonds/export", json!({}));
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": BULB.address }));
    scene.stop_service();
    let mut found = Vec::new();
    files(&scene.setup.data_dir(), &mut found);
    files(&scene.setup.export_dir(), &mut found);
    assert!(found.len() > 5, "{found:?}");
    for path in found {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let folder = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777;
        assert_eq!(folder, 0o700, "the folder of {}", path.display());
    }
}
