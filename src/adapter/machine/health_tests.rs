//! Verdicts on bonds: how they come about, what is told of them, and what is written.

use super::*;
use crate::adapter::messages::Activity;
use crate::bond::Health;
use crate::bond::health::EvidenceKind;

impl Rig {
    fn saw(&mut self, evidence: EvidenceKind) {
        self.wait(5_000);
        let activity = Activity::Evidence { peer: peer(LOCK), evidence };
        self.act(|machine, now| machine.observed(activity, now));
    }

    fn disconnected(&mut self, key_missing: bool) {
        self.wait(5_000);
        let event = KernelEvent::Disconnected { peer: Some(peer(LOCK)), key_missing };
        self.act(|machine, now| machine.kernel_events([event], now));
    }

    fn health(&self) -> Health {
        self.machine.describe_bonds().bonds[0].health
    }

    fn suspect_count(&self) -> usize {
        self.states.last().unwrap().suspect
    }

    fn health_events(&self) -> Vec<&str> {
        let about_health =
            |event: &&str| event.starts_with("bond_suspect") || event.starts_with("bond_recovered");
        self.events.iter().map(String::as_str).filter(about_health).collect()
    }
}

fn loaded() -> Rig {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig
}

#[test]
fn a_peer_that_lost_its_keys_turns_suspect_then_stale_and_ok_after_a_new_pairing() {
    let mut rig = loaded();
    rig.saw(EvidenceKind::Encrypted);
    assert_eq!((rig.health(), rig.suspect_count()), (Health::Ok, 0));
    rig.disconnected(true);
    assert_eq!((rig.health(), rig.suspect_count()), (Health::Suspect, 1));
    rig.disconnected(true);
    rig.disconnected(true);
    assert_eq!((rig.health(), rig.suspect_count()), (Health::Stale, 1));
    let shown = rig.listed.as_ref().unwrap().bonds[0].evidence.clone();
    assert_eq!(shown.len(), 4, "the list shows why: {shown:?}");
    assert_eq!(rig.machine.table().len(), 1, "a bond was deleted");

    rig.key(CapturedKey::Ltk(secure_ltk(9)));
    assert_eq!((rig.health(), rig.suspect_count()), (Health::Ok, 0));
    assert_eq!(rig.health_events(), ["bond_suspect key_missing"; 2], "told before it was durable");
    rig.wait(2_000);
    rig.persist();
    assert_eq!(rig.health_events().last(), Some(&"bond_recovered new_key"));
}

#[test]
fn one_that_is_merely_away_stays_as_it_is() {
    let mut rig = loaded();
    rig.saw(EvidenceKind::Encrypted);
    for _ in 0..10 {
        rig.disconnected(false);
    }
    assert_eq!(rig.health(), Health::Ok);
    assert!(rig.health_events().is_empty());
}

#[test]
fn a_failing_key_is_evidence_and_a_link_that_is_encrypted_ends_the_doubt() {
    let mut rig = loaded();
    rig.saw(EvidenceKind::KeyMismatch);
    assert_eq!(rig.health(), Health::Suspect);
    rig.saw(EvidenceKind::Encrypted);
    assert_eq!(rig.health(), Health::Ok);
    assert_eq!(rig.health_events(), ["bond_suspect key_mismatch", "bond_recovered encrypted"]);
}

#[test]
fn a_peer_that_connects_all_day_costs_no_write() {
    let mut rig = loaded();
    rig.saw(EvidenceKind::Encrypted);
    let (records, generation) = (rig.records_saved, rig.machine.table().generation());
    for _ in 0..100 {
        rig.saw(EvidenceKind::Encrypted);
    }
    assert_eq!((rig.records_saved, rig.machine.table().generation()), (records, generation));
}

#[test]
fn a_verdict_outlives_the_service_and_not_its_keys() {
    let mut rig = loaded();
    rig.disconnected(true);
    let record = rig.machine.record().clone();
    let mut again = Rig::new(&[secure_bond(LOCK, 1)], record);
    assert_eq!((again.health(), again.suspect_count()), (Health::Suspect, 1));
    again.attach();
    again.kernel_takes_all();
    again.restore(vec![secure_bond(LOCK, 7)], RestoreMode::Merge, None);
    again.checkpoint_taken();
    again.persist();
    assert_eq!((again.health(), again.suspect_count()), (Health::Unknown, 0), "it is about other keys");
}

#[test]
fn what_befalls_another_key_in_the_kernel_says_nothing_about_ours() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.act(|machine, now| drop(machine.set_mode(Mode::Observe, now)));
    rig.attach();
    rig.saw(EvidenceKind::Encrypted);
    rig.disconnected(true);
    assert_eq!(rig.health(), Health::Unknown, "the kernel does not hold this bond");
}
