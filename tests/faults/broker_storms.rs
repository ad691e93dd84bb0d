//! Brokers that die, come back and stand still, in the middle of pairings: nothing waits for them, and in the end they
//! know everything.

use std::time::Duration;

use super::amount;
use super::behind::Behind;
use super::proxy::wait_acknowledged;

/// Deaths of the broker in one storm; more with `BONDKEEPER_TEST_BROKERS`. The service's own wait doubles with each.
const DEATHS: u64 = 4;

fn a_broker_that_dies_again_and_again_learns_everything(persistent: bool) {
    let mut behind = Behind::start(persistent, None);
    let mut announced = Vec::new();
    for death in 0..amount("BONDKEEPER_TEST_BROKERS", DEATHS) {
        // In the middle of a storm, with events on their way.
        for _ in 0..40 {
            announced.push(behind.pair());
        }
        std::thread::sleep(Duration::from_millis(behind.random.below(700)));
        behind.scene.broker.kill();
        let what = format!("death {death}, persistent {persistent}");
        announced.push(behind.changes_are_durable(&what));
        if behind.random.one_in(2) {
            // Back and gone again before anybody has said much.
            behind.scene.broker.start_again();
            std::thread::sleep(Duration::from_millis(behind.random.below(900)));
            behind.scene.broker.kill();
        }
        behind.scene.broker.start_again();
        behind.wait_announced(announced.last().unwrap());
    }
    for peer in &announced {
        behind.wait_announced(peer);
    }
    let sequence = behind.end(&format!("deaths of a broker, persistent {persistent}"));
    assert_eq!(sequence.reported, 0, "nothing had to be given up");
}

#[test]
fn a_broker_with_persistence_that_dies_in_storms_learns_everything_in_the_end() {
    a_broker_that_dies_again_and_again_learns_everything(true);
}

#[test]
fn a_broker_without_persistence_that_dies_in_storms_learns_everything_in_the_end() {
    a_broker_that_dies_again_and_again_learns_everything(false);
}

#[test]
fn a_broker_that_stands_still_holds_nothing_up_and_learns_everything_in_the_end() {
    let mut behind = Behind::start(false, None);
    let mut announced = Vec::new();
    for stop in 0..3 {
        behind.scene.broker.signal("-STOP");
        announced.push(behind.changes_are_durable(&format!("stop {stop}")));
        for _ in 0..100 {
            announced.push(behind.pair());
        }
        behind.wait_stored("a storm", |peers| announced.iter().all(|peer| peers.contains(peer)));
        behind.scene.broker.signal("-CONT");
        behind.wait_announced(announced.last().unwrap());
    }
    for peer in &announced {
        behind.wait_announced(peer);
    }
    assert_eq!(behind.end("a broker that stands still").reported, 0);
}

/// About what one kernel's table holds.
const BONDS: u64 = 1_800;

#[test]
fn a_whole_table_that_pairs_while_the_broker_is_away_is_announced_one_by_one() {
    let mut behind = Behind::start(false, None);
    behind.scene.broker.kill();
    let peers = behind.pair_many(BONDS);
    behind.wait_stored("the storm", |stored| peers.iter().all(|peer| stored.contains(peer)));
    behind.scene.broker.start_again();
    behind.wait_announced(peers.last().unwrap());
    let acknowledged = behind.proxy.acknowledged();
    let added: std::collections::BTreeSet<String> = acknowledged
        .iter()
        .filter_map(|published| serde_json::from_slice::<serde_json::Value>(&published.payload).ok())
        .filter(|event| event["event_type"] == "bond_added")
        .filter_map(|event| event["peer"].as_str().map(str::to_owned))
        .collect();
    let silent: Vec<&String> = peers.iter().filter(|peer| !added.contains(*peer)).collect();
    assert!(silent.is_empty(), "{} were not announced: {silent:?}", silent.len());
    // Their lines of the audit log, too.
    let audited = behind.proxy.acknowledged().len();
    wait_acknowledged(&behind.proxy, "the last line of the audit log", |published| {
        let said: serde_json::Value = serde_json::from_slice(&published.payload).unwrap_or_default();
        said["type"] == "audit" && said["data"]["bonds"][0]["peer"] == peers.last().unwrap().as_str()
    });
    assert!(audited as u64 > BONDS);
    assert_eq!(behind.end("a whole table").reported, 0);
}
