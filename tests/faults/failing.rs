//! Calls to the disk that fail, one after the other: nothing is announced that a power cut would take,
//! the alarm is raised, and all is well again once the disk is.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::disk::{Call, Disk, Fate, read_log};
use super::interpose::{ALL, Failure, Interposed, Kind};
use super::observer::LIMIT;
use super::random::Random;
use super::scene::{HUB, Scene};
use super::world::World;
use super::world_sim::SimWorld;
use super::{everything, scene, storm};

/// More calls than a commit and a snapshot, or a first start, have of one kind.
const CALLS_MAX: u32 = 400;

/// First starts that are tried in the short form, of each kind.
const STARTS: u32 = 4;

/// A service whose disk is watched, and a second one that looks at what a power cut would leave.
pub struct Bench {
    pub scene: Scene<SimWorld>,
    pub interposed: Interposed,
    disk: Disk,
    calls: std::collections::VecDeque<Call>,
    read_to: u64,
    pub checker: Scene<SimWorld>,
    random: Random,
    number: u64,
}

impl Bench {
    pub fn new() -> Self {
        let mut scene = scene();
        let interposed = Interposed::new(&mut scene.setup);
        scene.observer.stamp_with(interposed.clock());
        let disk = Disk::of(&scene.setup.data_dir());
        let (checker, random) = (super::scene(), Random::seeded());
        Self { scene, interposed, disk, calls: [].into(), read_to: 0, checker, random, number: 0 }
    }

    /// A pairing of a new peer.
    pub fn pair(&mut self) -> String {
        self.number += 1;
        let key = self.random.below(u64::MAX);
        storm::report_pairing(&self.scene, self.number, key);
        storm::peer(self.number)
    }

    /// Waits until the bond is announced; when that was, by the clock of the disk.
    pub fn wait_announced(&self, peer: &str, what: &str) -> u64 {
        self.scene.observer.wait_for(&format!("{what}: {peer} to be announced"), |heard, _, _| {
            let is_it = |heard: &&super::observer::Heard| {
                let event = heard.json();
                event["event_type"] == "bond_added" && event["peer"] == peer
            };
            heard.iter().filter(|heard| heard.topic.ends_with("/event")).find(is_it).map(|heard| heard.at)
        })
    }

    /// What nobody synced by then is gone, and the bond is there.
    fn assert_outlives_a_cut(&mut self, peer: &str, at: u64, what: &str) {
        self.assert_in_image(at, &format!("{what}: {peer} after a power cut"), |peers| peers.contains(peer));
    }

    /// What nobody synced by then is gone, and a service that starts on what is left has these bonds.
    pub fn assert_in_image(&mut self, at: u64, what: &str, accept: impl Fn(&BTreeSet<String>) -> bool) {
        self.cut(at, Fate::Lost);
        let since = self.checker.observer.mark();
        self.checker.start();
        storm::list(&self.checker, what, since, accept);
        self.checker.kill_service();
    }

    /// The disk as a power cut leaves it, in the checker's folder.
    pub fn cut(&mut self, at: u64, fate: Fate) {
        let new = read_log(&self.interposed.log, self.read_to);
        self.read_to = new.last().map_or(self.read_to, |call| call.end);
        self.calls.extend(new);
        while self.calls.front().is_some_and(|call| call.end <= at) {
            self.disk.apply(&self.calls.pop_front().unwrap());
        }
        self.disk.write_image(&self.checker.setup.data_dir(), fate, &mut self.random);
    }

    /// The snapshot names the peer.
    fn snapshot_has(&self, peer: &str) -> bool {
        let name = format!("store/snapshots/{}.json", HUB.replace(':', "-"));
        let text = std::fs::read_to_string(self.scene.setup.data_dir().join(name));
        text.is_ok_and(|text| text.contains(peer))
    }

    /// A call has failed, or all that follows a pairing was done without.
    pub fn wait_struck(&self, peer: &str, what: &str) -> bool {
        let until = Instant::now() + LIMIT;
        loop {
            if self.interposed.struck() > 0 {
                return true;
            }
            if self.snapshot_has(peer) {
                // Whatever comes after the new name: syncing the folder.
                std::thread::sleep(Duration::from_millis(50));
                return self.interposed.struck() > 0;
            }
            assert!(Instant::now() < until, "{what}: neither a failure nor a snapshot");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_store_state(&self, since: usize, what: &str, accept: impl Fn(&str) -> bool) {
        self.scene.observer.wait_latest_since(what, "bridge/info", since, |info| {
            info["store"]["state"].as_str().is_some_and(&accept)
        });
    }

    /// One failing call, or all from it on until the disk is mended, within what a pairing causes. False when
    /// there are not so many calls.
    fn pair_with(&mut self, failure: Failure) -> bool {
        let what = format!("{failure:?}");
        let since = self.scene.observer.mark();
        self.interposed.fail(failure);
        let peer = self.pair();
        let struck = self.wait_struck(&peer, &what);
        // A write that was only cut short, once, is gone on with, and nothing has failed.
        let is_failure = !failure.tear || failure.times != 1;
        if struck && is_failure {
            self.wait_alarm(since, &format!("{what}: the alarm"), true);
        }
        self.interposed.mend();
        let at = self.wait_announced(&peer, &what);
        self.assert_outlives_a_cut(&peer, at, &what);
        if struck {
            self.wait_alarm(since, &format!("{what}: the end of the alarm"), false);
        }
        struck
    }

    /// Of the store, or of the audit log, whose line may be what could not be written.
    /// One that was raised and is over already counts; that it is over is read from the latest.
    fn wait_alarm(&self, since: usize, what: &str, raised: bool) {
        let is_fine = |info: &Value| info["store"]["state"] == "ok" && info["audit"]["state"] == "ok";
        if raised {
            self.scene.observer.wait_for(what, |heard, _, _| {
                let mut infos = heard[since..].iter().filter(|heard| heard.topic.ends_with("bridge/info"));
                infos.any(|info| !is_fine(&info.json())).then_some(())
            });
        } else {
            self.scene.observer.wait_latest(what, "bridge/info", is_fine);
        }
    }
}

/// Every call of a kind that a pairing causes.
fn every_call_of_a_pairing_may_fail(kind: Kind) {
    let mut bench = Bench::new();
    bench.scene.start();
    bench.scene.plug_hub();
    let at = bench.pair();
    bench.wait_struck(&at, "the first snapshot");
    let ways: &[(i32, u32, bool)] = if everything() {
        &[
            (libc::EIO, 1, false),
            (libc::EIO, ALL, false),
            (libc::ENOSPC, 1, true),
            (libc::ENOSPC, ALL, true),
            (libc::ENOSPC, ALL, false),
            (libc::EROFS, ALL, false),
        ]
    } else {
        &[(libc::EIO, 1, false), (libc::ENOSPC, ALL, true)]
    };
    for &(error, times, tear) in ways {
        let tried = (0..CALLS_MAX)
            .take_while(|skip| bench.pair_with(Failure { kind, error, skip: *skip, times, tear }))
            .count();
        println!("{kind:?} calls of a pairing that failed, error {error}: {tried}");
        assert!(tried >= 2, "hardly any call was made to fail");
    }
}

#[test]
fn every_write_of_a_pairing_may_fail() {
    every_call_of_a_pairing_may_fail(Kind::Write);
}

#[test]
fn every_sync_of_a_pairing_may_fail() {
    every_call_of_a_pairing_may_fail(Kind::Sync);
}

#[test]
fn every_new_name_of_a_pairing_may_fail() {
    every_call_of_a_pairing_may_fail(Kind::Name);
}

#[test]
fn every_removal_of_a_pairing_may_fail() {
    every_call_of_a_pairing_may_fail(Kind::Remove);
}

/// How many calls of a kind a first start has, up to its first snapshot.
fn calls_of_a_first_start(kind: Kind) -> u32 {
    let mut bench = Bench::new();
    bench.scene.start();
    bench.scene.plug_hub();
    let peer = bench.pair();
    bench.wait_struck(&peer, "the first snapshot");
    bench.interposed.count(kind)
}

/// A first start, plug-in and pairing with one call failing: it ends with a message or goes on, and then
/// it keeps its word.
fn first_start_with(failure: Failure) {
    let what = format!("a first start with {failure:?}");
    println!("{what}");
    let mut bench = Bench::new();
    bench.interposed.fail(failure);
    let mut service = bench.scene.setup.start();
    let topic = format!("{}/bridge/state", super::scene::ROOT);
    let until = Instant::now() + LIMIT;
    let ended = loop {
        let online = bench.scene.observer.heard().iter().any(|heard| heard.topic == topic);
        if online || service.has_ended() {
            break service.has_ended();
        }
        assert!(Instant::now() < until, "{what}: neither online nor ended");
        std::thread::sleep(Duration::from_millis(5));
    };
    if ended {
        let status = service.wait_for_end(Duration::from_secs(1));
        assert_eq!(status.code(), Some(1), "{what}: {}", service.log_text());
        bench.interposed.mend();
        drop(service);
        bench.scene.start();
        bench.scene.plug_hub();
    } else {
        // Whatever the plug-in and the pairing still need may fail as well.
        bench.scene.world.plug("hub", HUB);
        bench.scene.wait_in_sync(HUB);
    }
    let peer = bench.pair();
    bench.wait_struck(&peer, &what);
    bench.interposed.mend();
    let at = bench.wait_announced(&peer, &what);
    bench.assert_outlives_a_cut(&peer, at, &what);
}

fn every_call_of_a_first_start_may_fail(kind: Kind) {
    let count = calls_of_a_first_start(kind);
    println!("{kind:?} calls of a first start: {count}");
    let mut random = Random::seeded();
    let skips: Vec<u32> = if everything() {
        (0..count).collect()
    } else {
        (0..STARTS.min(count)).map(|_| random.below(u64::from(count)) as u32).collect()
    };
    for (number, skip) in skips.into_iter().enumerate() {
        let both = [(libc::EIO, 1), (libc::ENOSPC, ALL)];
        let chosen = if everything() { &both[..] } else { &both[number % 2..=number % 2] };
        for &(error, times) in chosen {
            first_start_with(Failure { kind, error, skip, times, tear: number % 2 == 0 });
        }
    }
}

#[test]
fn every_write_of_a_first_start_may_fail() {
    every_call_of_a_first_start_may_fail(Kind::Write);
}

#[test]
fn every_sync_of_a_first_start_may_fail() {
    every_call_of_a_first_start_may_fail(Kind::Sync);
}

#[test]
fn every_new_name_of_a_first_start_may_fail() {
    every_call_of_a_first_start_may_fail(Kind::Name);
}

#[test]
fn a_disk_that_stays_full_is_said_to_be_and_what_came_meanwhile_is_stored_when_it_is_not() {
    let mut bench = Bench::new();
    bench.scene.start();
    bench.scene.plug_hub();
    let early = bench.pair();
    bench.wait_struck(&early, "the first snapshot");
    let since = bench.scene.observer.mark();
    let failure = Failure { kind: Kind::Write, error: libc::ENOSPC, skip: 0, times: ALL, tear: true };
    bench.interposed.fail(failure);
    let late: Vec<String> = (0..5).map(|_| bench.pair()).collect();
    bench.wait_store_state(since, "the alarm", |state| state == "disk_full");
    // It is tried again at least once, and still nothing of it is announced.
    let struck = bench.interposed.struck();
    let until = Instant::now() + LIMIT;
    while bench.interposed.struck() <= struck {
        assert!(Instant::now() < until, "it was not tried again");
        std::thread::sleep(Duration::from_millis(20));
    }
    let announced = storm::announced(&bench.scene);
    assert!(late.iter().all(|peer| !announced.contains(peer)), "{announced:?}");
    let refused = bench.scene.observer.request(
        super::scene::ROOT,
        "bonds/forget",
        serde_json::json!({ "adapter": HUB, "peer": early }),
    );
    assert_eq!(refused["status"], "error", "nothing is removed without a checkpoint: {refused}");
    let since = bench.scene.observer.mark();
    bench.interposed.mend();
    for peer in &late {
        let at = bench.wait_announced(peer, "after the disk was full");
        bench.assert_outlives_a_cut(peer, at, "after the disk was full");
    }
    bench.wait_store_state(since, "the end of the alarm", |state| state == "ok");
}
