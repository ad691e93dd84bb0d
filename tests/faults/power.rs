//! The power goes at a random moment: whatever was announced before is there afterwards.
//!
//! A storm of pairings, removals, kills and restarts is recorded, from the very first start on an empty
//! disk. Then the disk is built as a cut at a random moment may have left it, and the service is started
//! on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::disk::{Call, Disk, Fate, read_log};
use super::interpose::{DIE, Failure, Interposed, KINDS};
use super::random::Random;
use super::scene::{HUB, Scene};
use super::world_sim::SimWorld;
use super::{amount, scene, storm};

/// Cuts; more with `BONDKEEPER_TEST_CUTS`.
const CUTS: u64 = 60;

/// Cuts in one recording: a new storm makes new moments.
const CUTS_A_STORM: u64 = 60;

/// What a storm has left: all times are those of the disk's clock.
struct Storm {
    calls: Vec<Call>,
    /// When each bond was announced, or first listed as durable.
    added: BTreeMap<String, u64>,
    /// When somebody began to remove each bond, and when its removal was announced.
    removing: BTreeMap<String, u64>,
    removed: BTreeMap<String, u64>,
}

fn record(scene: &mut Scene<SimWorld>, interposed: &Interposed, random: &mut Random) -> (Disk, Storm) {
    let clock = interposed.clock();
    scene.observer.stamp_with(interposed.clock());
    let before = Disk::of(&scene.setup.data_dir());
    let mut removing = BTreeMap::new();
    scene.start();
    scene.plug_hub();
    let mut number = 0;
    for part in 0..4 {
        if part % 2 == 0 {
            // Dies within a commit, a snapshot, a checkpoint; what it wrote and did not sync, its successor finds.
            let (kind, skip) = (KINDS[random.index(3)], random.below(12) as u32);
            interposed.fail(Failure { kind, error: DIE, skip, times: 1, tear: false });
        }
        for _ in 0..8 {
            number += 1;
            storm::report_pairing(scene, number, random.below(u64::MAX));
            if random.one_in(5) {
                let victim = 1 + random.below(number);
                removing.entry(storm::peer(victim)).or_insert_with(&clock);
                storm::report_unpairing(scene, victim);
            }
            std::thread::sleep(Duration::from_millis(random.below(120)));
        }
        std::thread::sleep(Duration::from_millis(random.below(900)));
        // The page cache outlives the process: a kill is one more moment, no cut.
        if part % 2 == 0 {
            scene.kill_service();
            interposed.mend();
        } else {
            scene.stop_service();
        }
        if part < 3 {
            scene.start();
        }
    }
    let calls = read_log(&interposed.log, 0);
    let mut storm = Storm { calls, added: BTreeMap::new(), removing, removed: BTreeMap::new() };
    for heard in scene.observer.heard() {
        let message = heard.json();
        if heard.topic.ends_with("/bonds") {
            let bonds = message["bonds"].as_array().into_iter().flatten();
            for bond in bonds.filter(|bond| bond["durable"] == true) {
                storm.added.entry(bond["peer"].as_str().unwrap().to_owned()).or_insert(heard.at);
            }
        }
        let Some(peer) = message["peer"].as_str().map(str::to_owned) else { continue };
        match message["event_type"].as_str() {
            Some("bond_added") => drop(storm.added.entry(peer).or_insert(heard.at)),
            Some("bond_removed") => drop(storm.removed.entry(peer).or_insert(heard.at)),
            _ => {}
        }
    }
    (before, storm)
}

impl Storm {
    /// Bonds that must be there, and such that must not, after a cut at this time.
    fn promises(&self, at: u64) -> (BTreeSet<String>, BTreeSet<String>) {
        let by = |times: &BTreeMap<String, u64>| -> BTreeSet<String> {
            times.iter().filter(|(_, time)| **time <= at).map(|(peer, _)| peer.clone()).collect()
        };
        (by(&self.added).difference(&by(&self.removing)).cloned().collect(), by(&self.removed))
    }

    /// Random moments, and some right after an announcement: calls that had happened by then.
    fn moments(&self, count: u64, random: &mut Random) -> Vec<usize> {
        let announcements: Vec<u64> = self.added.values().chain(self.removed.values()).copied().collect();
        let mut moments: Vec<usize> = (0..count)
            .map(|number| match number % 3 {
                0 if !announcements.is_empty() => {
                    let at = announcements[random.index(announcements.len())];
                    self.calls.iter().take_while(|call| call.end < at).count() + 1
                }
                _ => random.index(self.calls.len() + 1),
            })
            .map(|moment| moment.min(self.calls.len()))
            .collect();
        moments.sort_unstable();
        moments
    }
}

#[test]
fn every_announced_bond_is_there_after_a_power_cut_at_any_moment() {
    let mut random = Random::seeded();
    let mut left = amount("BONDKEEPER_TEST_CUTS", CUTS);
    let mut checker = scene();
    checker.setup.set("LOG_LEVEL", "info");
    let (mut promised, mut alarms) = (0, BTreeMap::<&str, u32>::new());
    while left > 0 {
        let mut recorded = scene();
        let interposed = Interposed::new(&mut recorded.setup);
        let (mut disk, storm) = record(&mut recorded, &interposed, &mut random);
        let mut done = 0;
        for moment in storm.moments(left.min(CUTS_A_STORM), &mut random) {
            storm.calls[done..moment].iter().for_each(|call| disk.apply(call));
            done = moment;
            let at = moment.checked_sub(1).map_or(0, |last| storm.calls[last].end);
            let fate = [Fate::Lost, Fate::Torn, Fate::Torn, Fate::Kept][random.index(4)];
            let (there, gone) = storm.promises(at);
            promised += there.len();
            disk.write_image(&checker.setup.data_dir(), fate, &mut random);
            let what = format!("the promises of moment {moment} of {}, unsynced {fate:?}", storm.calls.len());
            let state = check(&mut checker, &what, &there, &gone);
            *alarms.entry(if state == "ok" { "ok" } else { "rebuilt" }).or_default() += 1;
            left -= 1;
        }
        storm.calls[done..].iter().for_each(|call| disk.apply(call));
        disk.assert_is(&recorded.setup.data_dir());
    }
    println!("{promised} promises looked after, stores found: {alarms:?}");
    // A cut damages nothing: an alarm that is raised at every second one is soon believed by nobody.
    assert_eq!(alarms.keys().copied().collect::<Vec<_>>(), ["ok"], "a false alarm");
}

/// Starts the service on an image; the state of its store.
fn check(
    scene: &mut Scene<SimWorld>,
    what: &str,
    there: &BTreeSet<String>,
    gone: &BTreeSet<String>,
) -> String {
    println!("{what}: {} there, {} gone", there.len(), gone.len());
    let since = scene.observer.mark();
    scene.start();
    if !there.is_empty() || !gone.is_empty() {
        let topic = format!("adapter/{HUB}/bonds");
        let list = scene.observer.wait_latest_since(what, &topic, since, |list| list["bonds"].is_array());
        let listed = storm::peers_of(&list);
        let lost: Vec<_> = there.difference(&listed).collect();
        let back: Vec<_> = gone.intersection(&listed).collect();
        assert!(lost.is_empty() && back.is_empty(), "{what}: lost {lost:?}, back {back:?}");
    }
    let info = scene.observer.wait_latest_since(what, "bridge/info", since, |info| info["store"].is_object());
    scene.kill_service();
    info["store"]["state"].as_str().unwrap_or_default().to_owned()
}
