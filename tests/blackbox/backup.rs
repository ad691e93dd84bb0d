//! A hot backup of the add-on, as the Supervisor makes it: file by file, while the service runs and writes, without
//! what the manifest excludes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::addon::rules::{Folder, excluded};
use super::observer::LIMIT;
use super::scene::HUB;
use super::simulated_scene;
use super::storm::{peer, report_pairing};

/// Bonds of which the backup was asked to hold every one.
const BEFORE: u64 = 20;

/// Copies a folder in the order in which its files are found; `between` is done after each file.
fn copy_hot(from: &Path, to: &Path, between: &mut dyn FnMut()) {
    std::fs::create_dir_all(to).unwrap();
    let entries: Vec<_> = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        if excluded(&Folder::ours().yaml("config.yaml"), &path.display().to_string()) {
            continue;
        }
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_hot(&path, &place, between);
        } else if let Ok(octets) = std::fs::read(&path) {
            // One that is gone meanwhile is left out, as any archiver does.
            std::fs::write(&place, octets).unwrap();
            between();
        }
    }
}

#[test]
fn a_hot_backup_restored_into_an_empty_folder_holds_every_bond_announced_before_it() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    let mut number = 0;
    let mut pair = || {
        number += 1;
        report_pairing(&scene, number, number);
    };
    (0..BEFORE).for_each(|_| pair());
    let peers: Vec<String> = (1..=BEFORE).map(peer).collect();
    let names: Vec<&str> = peers.iter().map(String::as_str).collect();
    scene.wait_bonds(HUB, &names);

    // What a backup carries follows the announcement within a second.
    let snapshot = scene.setup.data_dir().join("store/snapshots/00-1A-7D-DA-71-11.json");
    let until = Instant::now() + LIMIT;
    while !std::fs::read_to_string(&snapshot)
        .is_ok_and(|text| peers.iter().all(|peer| text.contains(peer.as_str())))
    {
        assert!(Instant::now() < until, "there is no snapshot");
        std::thread::sleep(Duration::from_millis(10));
    }

    let backup = scene.folder.path().join("backup");
    let data = scene.setup.data_dir();
    copy_hot(&data, &backup, &mut pair);
    assert!(number > BEFORE, "there was nothing to copy");
    assert!(!backup.join("store/sled").exists(), "the database must not be copied while it changes");

    scene.kill_service();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&backup, &data).unwrap();
    scene.start();
    let listed = scene.observer.wait_latest_since(
        "the bonds",
        &format!("adapter/{HUB}/bonds"),
        scene.since(),
        |list| {
            let held = |peer: &String| {
                list["bonds"].as_array().unwrap().iter().any(|bond| bond["peer"] == peer.as_str())
            };
            peers.iter().all(held)
        },
    );
    assert!(listed["bonds"].as_array().unwrap().iter().all(|bond| bond["durable"] == true), "{listed}");
    let rebuilt = |info: &serde_json::Value| info["store"]["state"] == "rebuilt";
    scene.observer.wait_latest_since("the report", "bridge/info", scene.since(), rebuilt);
}
