//! The power goes while a store is being sealed, or unsealed: every bond is there afterwards, in the form that is wanted.

use std::collections::BTreeSet;
use std::path::Path;

use super::disk::{Disk, Fate, read_log};
use super::interpose::Interposed;
use super::random::Random;
use super::scene::{HUB, Scene};
use super::world_sim::SimWorld;
use super::{amount, scene, storm};

/// Cuts of each way; more with `BONDKEEPER_TEST_CUTS`.
const CUTS: u64 = 12;

const BONDS: u64 = 12;

const PASSPHRASE: &str = "kumquat ballast tundra";

fn listed(scene: &Scene<SimWorld>, since: usize, what: &str) -> BTreeSet<String> {
    let topic = format!("adapter/{HUB}/bonds");
    let list = scene.observer.wait_latest_since(what, &topic, since, |list| list["bonds"].is_array());
    storm::peers_of(&list)
}

/// The snapshots, which are what the form of a store is easily told by.
fn are_sealed(data: &Path) -> BTreeSet<bool> {
    let entries = std::fs::read_dir(data.join("store/snapshots")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let live = names
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(".json") || path.ends_with(".1")));
    live.map(|path| std::fs::read(path).unwrap().starts_with(b"age-encryption.org/")).collect()
}

#[test]
fn every_bond_is_there_after_a_power_cut_at_any_moment_of_sealing_or_unsealing() {
    let mut random = Random::seeded();
    let cuts = amount("BONDKEEPER_TEST_CUTS", CUTS);
    let mut recorded = scene();
    recorded.start();
    recorded.plug_hub();
    (1..=BONDS).for_each(|number| storm::report_pairing(&recorded, number, number));
    let peers: Vec<String> = (1..=BONDS).map(storm::peer).collect();
    recorded.wait_bonds(HUB, &peers.iter().map(String::as_str).collect::<Vec<_>>());
    recorded.ask("checkpoint/create", serde_json::json!({}));
    recorded.stop_service();
    let bonds: BTreeSet<String> = peers.into_iter().collect();

    let mut checker = scene();
    for scene in [&mut recorded, &mut checker] {
        scene.setup.set("STORE__SEAL_PASSPHRASE", PASSPHRASE);
        scene.setup.set("LOG_LEVEL", "info");
    }
    let data = recorded.setup.data_dir();
    let interposed = Interposed::new(&mut recorded.setup);
    let mut read = 0;
    for is_to_be_sealed in [true, false] {
        let mut disk = Disk::of(&data);
        for scene in [&mut recorded, &mut checker] {
            scene.setup.set("STORE__SEAL", if is_to_be_sealed { "true" } else { "false" });
        }
        recorded.start();
        assert_eq!(listed(&recorded, recorded.since(), "the bonds"), bonds);
        recorded.stop_service();
        assert_eq!(are_sealed(&data), BTreeSet::from([is_to_be_sealed]));
        let calls = read_log(&interposed.log, read);
        read = calls.last().unwrap().end;
        let mut moments: Vec<usize> = (0..cuts).map(|_| random.index(calls.len() + 1)).collect();
        moments.sort_unstable();
        let mut done = 0;
        for moment in moments {
            calls[done..moment].iter().for_each(|call| disk.apply(call));
            done = moment;
            let fate = [Fate::Lost, Fate::Torn, Fate::Torn, Fate::Kept][random.index(4)];
            disk.write_image(&checker.setup.data_dir(), fate, &mut random);
            let what = format!("moment {moment} of {}, to {is_to_be_sealed}, unsynced {fate:?}", calls.len());
            println!("{what}");
            let since = checker.observer.mark();
            checker.start();
            assert_eq!(listed(&checker, since, &what), bonds, "{what}");
            let data = checker.setup.data_dir();
            assert_eq!(are_sealed(&data), BTreeSet::from([is_to_be_sealed]), "{what}");
            assert!(!data.join("store/seal.unfinished").exists(), "{what}");
            checker.kill_service();
        }
        calls[done..].iter().for_each(|call| disk.apply(call));
        disk.assert_is(&data);
    }
}
