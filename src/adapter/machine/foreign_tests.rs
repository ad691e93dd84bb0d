//! Beside other managers: what is learned, what goes into the kernel, when it holds.

use super::tests::{LOCK, Rig, loaded_in};
use super::*;
use crate::adapter::gate::HoldReason;
use crate::adapter::load::ListOutcome;
use crate::adapter::messages::{Activity, Adopt, Sync as SyncState};
use crate::bond::testing::{irk, legacy_ltk, peer, secure_bond, secure_ltk};
use crate::bond::{Bond, Custody, Irk, Ltk, Role, Source};
use crate::mgmt::{ForeignLoad, KeyRecord, RawAddress, RecordError};

const THEIRS: &str = "C0:FF:EE:00:00:02";
const BLUETOOTHD: &str = "bluetoothd";

/// By then every answer has gone out.
const SPACING_MAX_MS: u64 = 300;

fn record(text: &str, key: CapturedKey) -> KeyRecord {
    let peer = peer(text);
    KeyRecord { address: RawAddress::le(peer), key: Ok((peer, key)) }
}

fn ltk(text: &str, ltk: Ltk) -> KeyRecord {
    record(text, CapturedKey::Ltk(ltk))
}

impl Rig {
    fn foreign(&mut self, process: &str, kind: LoadKind, records: Vec<KeyRecord>) {
        let load = std::sync::Arc::new(ForeignLoad { kind, records });
        let activity = Activity::Loaded { process: process.to_owned(), load };
        self.act(|machine, now| machine.observed(activity, now));
    }

    fn foreign_ltks(&mut self, process: &str, records: Vec<KeyRecord>) {
        self.foreign(process, LoadKind::Ltks, records);
    }

    fn foreign_irks(&mut self, process: &str, irks: &[(&str, Irk)]) {
        let records = irks.iter().map(|(text, irk)| record(text, CapturedKey::Irk(irk.clone())));
        self.foreign(process, LoadKind::Irks, records.collect());
    }

    /// bluetoothd is there, and everything that it loads is seen.
    fn beside_bluetoothd(bonds: &[Bond]) -> Self {
        let mut rig = Self::new(bonds, AdapterRecord::default());
        rig.manager(&[BLUETOOTHD]);
        rig.attach();
        rig.kernel_takes_all();
        rig.sent.clear();
        rig
    }

    fn bond(&self, text: &str) -> &Bond {
        self.machine.table().get(peer(text)).unwrap()
    }

    fn last_sent(&self) -> (&str, Vec<PeerAddress>) {
        let (kind, peers) = self.sent.last().expect("nothing was sent");
        (kind, peers.clone())
    }

    fn orphaned_count(&self) -> usize {
        self.states.last().unwrap().orphaned
    }

    /// Lets what was learned be announced and committed.
    fn learned(&mut self) {
        self.wait(300);
        self.persist();
    }

    fn bond_events(&self) -> Vec<&str> {
        let bonds = self.events.iter().filter(|event| event.starts_with("bond"));
        bonds.map(String::as_str).collect()
    }
}

#[test]
fn what_a_manager_loads_is_stored_as_its_bond_and_announced_once_with_all_its_keys() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.foreign_irks(BLUETOOTHD, &[(THEIRS, irk(3))]);
    rig.learned();
    let bond = rig.bond(THEIRS);
    assert_eq!((bond.metadata.custody, bond.metadata.source), (Custody::Foreign, Source::Learned));
    let manager = bond.metadata.details.as_ref().unwrap().manager.as_deref();
    assert_eq!(manager, Some(BLUETOOTHD));
    assert!(bond.ltks() == [secure_ltk(2)] && bond.irk == Some(irk(3)));
    assert_eq!(rig.bond_events(), ["bond_added learned"]);
    assert!(rig.sent.is_empty(), "nothing was missing");
}

#[test]
fn the_same_list_again_changes_nothing_and_costs_no_write() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.learned();
    let generation = rig.machine.table().generation();
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.learned();
    assert_eq!(rig.machine.table().generation(), generation);
    assert_eq!(rig.bond_events().len(), 1);
}

#[test]
fn a_list_without_ours_is_answered_at_once_with_the_union() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(10_000);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    assert_eq!(rig.last_sent(), ("Ltks", vec![peer(THEIRS), peer(LOCK)]));
    assert_eq!(rig.sent.len(), 1, "only the list that was replaced");
    rig.kernel_takes_all();
    assert_eq!(rig.states.last().unwrap().verdict, Verdict::Merge);
    assert_eq!(rig.sync(), SyncState::InSync);
    assert!(rig.machine.describe_bonds().bonds.iter().all(|bond| bond.loaded == Some(true)));
}

#[test]
fn more_loads_within_a_moment_are_answered_together() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(10_000);
    for _ in 0..3 {
        rig.foreign_ltks(BLUETOOTHD, vec![]);
        rig.kernel_takes_all();
    }
    assert_eq!(rig.sent.len(), 1);
    rig.wait(50);
    rig.kernel_takes_all();
    assert_eq!(rig.sent.len(), 2);
    rig.wait(10_000);
    assert_eq!(rig.sent.len(), 2);
}

#[test]
fn a_load_that_was_overtaken_by_ours_is_put_back() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(10_000);
    rig.act(|machine, now| machine.reload(RequestId(1), now));
    // The kernel: theirs, then ours. The answer to ours is read first.
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Taken, now));
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Taken, now));
    rig.sent.clear();
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2)), ltk(LOCK, secure_ltk(1))]);
    rig.wait(1_000);
    assert_eq!(rig.last_sent().1, [peer(THEIRS), peer(LOCK)], "ours has wiped theirs");
}

#[test]
fn a_load_that_came_after_ours_and_lacks_nothing_is_left_alone() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(10_000);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2)), ltk(LOCK, secure_ltk(1))]);
    rig.wait(10_000);
    assert!(rig.sent.is_empty());
}

#[test]
fn the_lists_of_two_managers_stand_together_with_ours() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.wait(1_000);
    rig.kernel_takes_all();
    rig.wait(1_000);
    rig.foreign_ltks("python3", vec![ltk("C0:FF:EE:00:00:03", secure_ltk(3))]);
    assert_eq!(rig.last_sent().1.len(), 3);
}

#[test]
fn beside_a_manager_that_loaded_before_us_nothing_is_sent_until_its_lists_were_seen() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.manager(&[BLUETOOTHD]);
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    let hold = Verdict::Hold(HoldReason::KeysUnknown { manager: BLUETOOTHD.to_owned() });
    assert_eq!(rig.machine.verdict(), hold);
    // The advice is followed: it is restarted.
    rig.manager(&[]);
    assert!(rig.sent.is_empty(), "its keys are still in the kernel");
    rig.manager(&[BLUETOOTHD]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.foreign_irks(BLUETOOTHD, &[]);
    for _ in 0..4 {
        rig.kernel_takes_all();
        rig.wait(50);
    }
    assert_eq!(rig.machine.verdict(), Verdict::Merge);
    assert_eq!(rig.last_sent().1, [peer(THEIRS), peer(LOCK)]);
    assert_eq!(rig.sync(), SyncState::InSync);
}

#[test]
fn a_manager_of_one_list_does_not_hold_the_others() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], loaded_in(1, 1));
    rig.attach_with(1, false);
    rig.manager(&["python3"]);
    rig.foreign_ltks("python3", vec![]);
    assert_eq!(rig.machine.verdict(), Verdict::Merge);
    assert_eq!(rig.sent_kinds(), ["Ltks"], "the list of IRKs is still the one that we loaded");
}

#[test]
fn a_record_that_cannot_be_kept_here_holds_its_list() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(1_000);
    let odd = KeyRecord { address: RawAddress::le(peer(THEIRS)), key: Err(RecordError::AllZeroKey) };
    rig.foreign_ltks(BLUETOOTHD, vec![odd]);
    rig.wait(1_000);
    assert!(rig.sent.is_empty(), "the record would have been wiped");
    assert_eq!(rig.sync(), SyncState::Held);
}

#[test]
fn own_mode_loads_the_union_as_well() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.act(|machine, now| drop(machine.set_mode(Mode::Own, now)));
    rig.wait(1_000);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    assert_eq!(rig.last_sent().1, [peer(THEIRS), peer(LOCK)]);
}

#[test]
fn without_learning_the_union_is_loaded_all_the_same_and_nothing_is_stored() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.machine.options.learn = false;
    rig.wait(1_000);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    assert_eq!(rig.last_sent().1, [peer(THEIRS), peer(LOCK)]);
    assert_eq!(rig.machine.table().len(), 1);
}

#[test]
fn two_managers_that_only_answer_each_other_are_told_to_disagree_and_one_stops() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(1_000);
    let mut round_count = 0;
    while rig.machine.verdict().may_load() {
        round_count += 1;
        assert!(round_count < 20, "it goes on for ever");
        rig.foreign_ltks("keeper", vec![]);
        rig.wait(SPACING_MAX_MS);
        rig.kernel_takes_all();
    }
    let hold = Verdict::Hold(HoldReason::Disagreement { manager: "keeper".to_owned() });
    assert_eq!(rig.machine.verdict(), hold);
    assert_eq!(rig.sync(), SyncState::Held);
    rig.sent.clear();
    rig.wait(299_000);
    assert!(rig.sent.is_empty());
    rig.wait(2_000);
    assert_eq!(rig.last_sent().1, [peer(LOCK)], "it is not tried again");
}

#[test]
fn ten_loads_in_ten_seconds_are_ten_times_answered() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    for round in 1..=10 {
        rig.wait(1_000);
        rig.foreign_ltks("python3", vec![ltk(THEIRS, secure_ltk(2))]);
        assert_eq!(rig.sent.len(), round);
        rig.kernel_takes_all();
    }
    assert_eq!(rig.machine.verdict(), Verdict::Merge);
}

#[test]
fn answers_are_no_events_and_no_writes() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.events.clear();
    rig.records_saved = 0;
    for _ in 0..5 {
        rig.wait(1_000);
        rig.foreign_ltks("python3", vec![]);
        rig.kernel_takes_all();
    }
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    assert_eq!(rig.records_saved, 0);
}

#[test]
fn a_foreign_bond_that_its_manager_no_longer_loads_is_orphaned_and_is_not_loaded() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.learned();
    rig.kernel_takes_all();
    rig.wait(1_000);
    rig.foreign_ltks(BLUETOOTHD, vec![]);
    rig.kernel_takes_all();
    assert_eq!(rig.last_sent().1, [peer(LOCK)]);
    rig.learned();
    assert_eq!(rig.bond_events().last(), Some(&"bond_orphaned learned"));
    assert_eq!(rig.orphaned_count(), 1);
    assert!(rig.bond(THEIRS).is_orphaned());
    // Its manager finds it again.
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    assert_eq!(rig.orphaned_count(), 0);
}

#[test]
fn an_orphan_stays_one_through_a_replug_and_is_told_of_once() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.learned();
    for inode in 2..5 {
        rig.act(|machine, now| machine.detach(now));
        rig.attach_with(inode, true);
        rig.kernel_takes_all();
        rig.foreign_ltks(BLUETOOTHD, vec![]);
        rig.learned();
    }
    assert_eq!(rig.bond_events(), ["bond_added learned", "bond_orphaned learned"]);
    assert!(rig.sent.iter().all(|(_, peers)| !peers.contains(&peer(THEIRS))), "an orphan was loaded");
}

#[test]
fn adopting_takes_a_foreign_bond_into_our_custody_and_loads_it() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.learned();
    rig.foreign_ltks(BLUETOOTHD, vec![]);
    rig.learned();
    rig.sent.clear();
    let adopt = Adopt { peers: Some(vec![peer(THEIRS)]) };
    rig.act(|machine, now| machine.adopt(RequestId(7), adopt, now));
    let before = rig.machine.table().clone();
    rig.checkpoint_taken();
    assert!(rig.sent.is_empty(), "loaded before the commit");
    rig.persist();
    rig.kernel_takes_all();
    let Some(Reply::Adopt(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.adopted, [peer(THEIRS)]);
    assert_eq!(rig.last_sent(), ("Ltks", vec![peer(THEIRS)]));
    assert_eq!(rig.bond(THEIRS).metadata.custody, Custody::Ours);
    assert_eq!(rig.orphaned_count(), 0);
    assert_eq!(rig.bond_events().last(), Some(&"bonds_restored adopt"));
    rig.wait(1_000);
    rig.foreign_ltks(BLUETOOTHD, vec![]);
    assert_eq!(rig.last_sent().1, [peer(THEIRS)], "an adopted bond is kept loaded");
    rig.kernel_takes_all();

    let undo = crate::adapter::messages::Undo { dry_run: false, plan_id: None };
    rig.act(|machine, now| machine.undo(RequestId(8), undo, now));
    rig.act(|machine, now| machine.copy_outcome(Ok(before), now));
    rig.checkpoint_taken();
    rig.persist();
    rig.kernel_takes_all();
    assert_eq!(rig.bond(THEIRS).metadata.custody, Custody::Foreign);
    assert_eq!(rig.orphaned_count(), 1, "its manager still does without it");
    assert_eq!(rig.bond_events().last(), Some(&"bonds_restored undo"));
}

#[test]
fn adopting_a_peer_without_a_bond_is_refused_by_name() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    let adopt = Adopt { peers: Some(vec![peer(LOCK)]) };
    rig.act(|machine, now| machine.adopt(RequestId(7), adopt, now));
    assert_eq!(rig.replies, [Reply::Adopt(Err(CommandError::PeerUnknown(peer(LOCK))))]);
}

#[test]
fn an_unpairing_by_the_manager_takes_the_bond_out_and_nothing_brings_it_back() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    rig.learned();
    rig.kernel_takes_all();
    let unpaired = KernelEvent::Unpaired { peer: peer(THEIRS), bredr: false };
    rig.act(|machine, now| machine.kernel_events([unpaired], now));
    assert!(rig.machine.table().get(peer(THEIRS)).is_none());
    rig.act(|machine, now| machine.reload(RequestId(1), now));
    rig.kernel_takes_all();
    assert_eq!(rig.last_sent().1, [peer(LOCK)]);
}

#[test]
fn an_unpairing_that_is_read_before_the_load_that_it_follows_is_not_undone_by_it() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    let unpaired = KernelEvent::Unpaired { peer: peer(THEIRS), bredr: false };
    rig.act(|machine, now| machine.kernel_events([unpaired], now));
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(THEIRS, secure_ltk(2))]);
    let shown = Activity::Unpaired { address: RawAddress::le(peer(THEIRS)) };
    rig.act(|machine, now| machine.observed(shown, now));
    rig.learned();
    assert!(rig.machine.table().is_empty());
    assert!(rig.bond_events().is_empty());
}

#[test]
fn a_key_that_is_not_to_be_stored_goes_along_in_a_union() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.wait(10_000);
    let passing = KernelEvent::PassingKey {
        peer: peer(THEIRS),
        key: CapturedKey::Ltk(secure_ltk(2)),
        reason: "not_bonded",
    };
    rig.act(|machine, now| machine.kernel_events([passing], now));
    assert!(rig.sent.is_empty());
    rig.act(|machine, now| machine.reload(RequestId(1), now));
    rig.kernel_takes_all();
    assert_eq!(rig.last_sent().1, [peer(THEIRS), peer(LOCK)]);
    assert_eq!(rig.machine.table().len(), 1);
}

#[test]
fn a_managers_key_from_a_pairing_that_nobody_watched_replaces_ours_behind_a_copy() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(LOCK, secure_ltk(9))]);
    assert_eq!(rig.copies, ["before_learned"]);
    assert!(rig.bond(LOCK).ltks() == [secure_ltk(9)]);
    assert_eq!(rig.bond(LOCK).metadata.custody, Custody::Ours);
    rig.learned();
    assert_eq!(rig.bond_events(), ["bond_updated learned"]);
}

#[test]
fn a_key_that_we_saw_made_stands_against_an_older_one_and_is_put_back() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.key(CapturedKey::Ltk(secure_ltk(5)));
    rig.wait(10_000);
    rig.kernel_takes_all();
    rig.wait(1_000);
    rig.sent.clear();
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(LOCK, secure_ltk(1))]);
    assert!(rig.bond(LOCK).ltks() == [secure_ltk(5)]);
    assert_eq!(rig.last_sent().1, [peer(LOCK)], "the older key was left in the kernel");
}

#[test]
fn a_key_that_was_found_older_is_known_as_such_after_a_restart_and_a_third_one_is_taken() {
    let mut rig = Rig::beside_bluetoothd(&[secure_bond(LOCK, 1)]);
    rig.key(CapturedKey::Ltk(secure_ltk(5)));
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(LOCK, secure_ltk(1))]);
    let stored = rig.bond(LOCK).clone();

    let mut rig = Rig::beside_bluetoothd(&[stored]);
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(LOCK, secure_ltk(1))]);
    assert!(rig.bond(LOCK).ltks() == [secure_ltk(5)], "the older key came back after a restart");
    rig.foreign_ltks(BLUETOOTHD, vec![ltk(LOCK, secure_ltk(7))]);
    assert!(rig.bond(LOCK).ltks() == [secure_ltk(7)]);
}

#[test]
fn two_managers_with_different_keys_of_one_peer_do_not_replace_each_other_for_ever() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    rig.foreign_ltks("one", vec![ltk(THEIRS, secure_ltk(1))]);
    for _ in 0..5 {
        rig.foreign_ltks("two", vec![ltk(THEIRS, secure_ltk(2))]);
        rig.foreign_ltks("one", vec![ltk(THEIRS, secure_ltk(1))]);
    }
    assert_eq!(rig.copies.len(), 1);
}

#[test]
fn a_list_with_half_of_a_legacy_bond_does_not_cost_the_other_half() {
    let mut bond = secure_bond(THEIRS, 1);
    bond.retain_ltks(|_| false);
    bond.put_ltk(legacy_ltk(Role::Central, 1));
    bond.put_ltk(legacy_ltk(Role::Peripheral, 2));
    let mut rig = Rig::beside_bluetoothd(&[bond]);
    rig.foreign_ltks("python3", vec![ltk(THEIRS, legacy_ltk(Role::Central, 1))]);
    assert_eq!(rig.bond(THEIRS).ltks().len(), 2);
    assert!(rig.copies.is_empty());
}

#[test]
fn many_bonds_at_once_are_one_event() {
    let mut rig = Rig::beside_bluetoothd(&[]);
    let address = |number| format!("C0:FF:EE:00:01:{number:02X}");
    let records = (1..=50).map(|number| ltk(&address(number), secure_ltk(number))).collect();
    rig.foreign_ltks(BLUETOOTHD, records);
    rig.learned();
    rig.foreign_ltks(BLUETOOTHD, vec![]);
    rig.learned();
    assert_eq!(rig.bond_events(), ["bonds_learned learned", "bonds_orphaned learned"]);
    assert_eq!(rig.orphaned_count(), 50);
}

#[test]
fn after_a_restart_beside_a_manager_the_inherited_bonds_are_not_taken_for_missing() {
    let mut theirs = secure_bond(THEIRS, 2);
    theirs.metadata.custody = Custody::Foreign;
    let mut rig = Rig::new(&[secure_bond(LOCK, 1), theirs], loaded_in(1, 2));
    rig.manager(&[BLUETOOTHD]);
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::Held);
    assert!(rig.machine.describe_bonds().bonds.iter().all(|bond| bond.loaded == Some(true)));
}

#[test]
fn a_reload_over_an_inherited_table_carries_the_foreign_bonds_that_are_stored() {
    let mut theirs = secure_bond(THEIRS, 2);
    theirs.metadata.custody = Custody::Foreign;
    let mut rig = Rig::new(&[secure_bond(LOCK, 1), theirs], loaded_in(1, 2));
    rig.attach_with(1, false);
    rig.act(|machine, now| machine.reload(RequestId(1), now));
    rig.kernel_takes_all();
    assert_eq!(rig.last_sent().1, [peer(LOCK), peer(THEIRS)]);
}

#[test]
fn a_bond_paired_beside_a_process_that_only_loads_is_ours() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.manager(&["python3"]);
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    assert_eq!(rig.bond(LOCK).metadata.custody, Custody::Ours);
}
