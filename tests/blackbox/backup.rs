//! A hot backup of the add-on, as the Supervisor makes it: file by file, while the service runs and writes, without
//! what the manifest excludes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::addon::rules::{Folder, excluded};
use super::observer::LIMIT;
use super::scene::{HUB, Scene};
use super::sealed_store::{is_sealed, octets_of_store, refused_start, with_passphrase_file};
use super::secrets::{contains, files_below};
use super::simulated_scene;
use super::storm::{peer, report_pairing};
use super::world_sim::SimWorld;

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

/// The restored service serves at least these bonds, all durable, and says where they are from.
fn assert_restored(scene: &Scene<SimWorld>, peers: &[String]) {
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
    assert_restored(&scene, &peers);
}

#[test]
fn a_hot_backup_of_a_sealed_store_opens_on_another_machine_with_the_passphrase_and_not_without() {
    let mut scene = simulated_scene();
    with_passphrase_file(&mut scene);
    scene.start();
    scene.plug_hub();
    let mut number = 0;
    let mut pair = || {
        number += 1;
        report_pairing(&scene, number, number);
    };
    (0..BEFORE).for_each(|_| pair());
    let peers: Vec<String> = (1..=BEFORE).map(peer).collect();
    scene.wait_bonds(HUB, &peers.iter().map(String::as_str).collect::<Vec<_>>());
    // Beside a running service its snapshots are what is looked into.
    let until = Instant::now() + LIMIT;
    while !peers
        .iter()
        .all(|peer| String::from_utf8_lossy(&scene.setup.run(&["inspect"]).stdout).contains(peer.as_str()))
    {
        assert!(Instant::now() < until, "there is no snapshot");
    }
    let backup = scene.folder.path().join("backup");
    copy_hot(&scene.setup.data_dir(), &backup, &mut pair);
    assert!(number > BEFORE, "there was nothing to copy");
    assert!(!backup.join("store/sled").exists(), "the database must not be copied while it changes");
    assert!(is_sealed(&backup.join("store/seal.age")), "nothing would open it");
    // What all keys of these pairings end with, as octets and as digits in either order.
    for file in files_below(&backup) {
        let octets = std::fs::read(&file).unwrap();
        let digits = octets.to_ascii_lowercase();
        let is_there = contains(&octets, &[0x5A; 8]) || contains(&digits, &b"5a".repeat(8));
        assert!(!is_there, "a key stands in {}", file.display());
    }
    scene.stop_service();

    let mut fresh = simulated_scene();
    std::fs::rename(&backup, fresh.setup.data_dir()).unwrap();
    let before = octets_of_store(&fresh);
    assert!(refused_start(&mut fresh).contains("there is no passphrase to open it with"));
    fresh.setup.set("STORE__SEAL_PASSPHRASE", "another ballast tundra");
    assert!(refused_start(&mut fresh).contains("not with this passphrase"));
    assert!(octets_of_store(&fresh) == before, "a store that does not open was changed");
    fresh.setup.environment.retain(|(name, _)| name != "BONDKEEPER__STORE__SEAL_PASSPHRASE");
    with_passphrase_file(&mut fresh);
    fresh.start();
    assert_restored(&fresh, &peers);
    // They are in the other machine's kernel once the adapter is in there.
    fresh.plug_hub();
    assert!(fresh.kernel_ltk_peers("hub").is_superset(&peers.iter().cloned().collect()));
    fresh.stop_service();
    assert!(is_sealed(&fresh.setup.data_dir().join("store/snapshots/00-1A-7D-DA-71-11.json")));
}
