//! What is made of the kernel's own tables: when they are read, what counts, and what follows.

use super::tests::{LOCK, Rig, attach};
use super::*;
use crate::adapter::drift::KernelTables;
use crate::adapter::messages::{Activity, DriftState, DriftUnknown};
use crate::adapter::tables::Unreadable;
use crate::bond::testing::{legacy_ltk, peer, secure_bond, secure_ltk};
use crate::bond::{CapturedKey, Custody, Ltk, Role, Source};

const OTHER: &str = "C0:FF:EE:00:00:02";

/// In the order of a load: what is of others first.
fn both() -> Vec<PeerAddress> {
    vec![peer(OTHER), peer(LOCK)]
}

fn tables(keys: &[(&str, Ltk)]) -> KernelTables {
    let mut tables = KernelTables::default();
    let key = |(text, ltk): &(&str, Ltk)| (peer(text), CapturedKey::Ltk(ltk.clone()));
    tables.put(LoadKind::Ltks, keys.iter().map(key).collect());
    tables.put(LoadKind::Irks, Vec::new());
    tables
}

impl Rig {
    /// Plugged in, loaded, and looked at once: all is well.
    fn loaded(mode: Mode) -> Self {
        let record = AdapterRecord { mode: Some(mode), ..AdapterRecord::default() };
        let mut rig = Self::new(&[secure_bond(LOCK, 1)], record);
        rig.attach();
        rig.kernel_takes_all();
        assert_eq!(rig.readings, 1, "after the load");
        rig.read(&[(LOCK, secure_ltk(1))]);
        assert_eq!(rig.drift(), DriftState::InAgreement);
        rig.sent.clear();
        rig.events.clear();
        rig
    }

    fn read(&mut self, keys: &[(&str, Ltk)]) {
        let tables = tables(keys);
        self.act(|machine, now| machine.tables_read(Ok(tables), now));
    }

    fn check(&mut self) {
        self.act(|machine, now| machine.check_drift(now));
    }

    /// A check whose two readings show the same.
    fn twice(&mut self, keys: &[(&str, Ltk)]) {
        self.check();
        self.read(keys);
        self.wait(3_000);
        self.read(keys);
    }

    fn drift(&self) -> DriftState {
        self.states.last().unwrap().drift.clone()
    }

    /// Missing, unseen and different LTKs.
    fn ltk_counts(&self) -> (usize, usize, usize) {
        let DriftState::Drifted(drift) = self.drift() else { panic!("{:?}", self.drift()) };
        let list = &drift.lists[&LoadKind::Ltks];
        (list.missing.len(), list.unseen.len(), list.different.len())
    }

    fn found(&self) -> usize {
        self.events.iter().filter(|event| *event == "drift_found check").count()
    }
}

#[test]
fn a_difference_counts_when_a_second_reading_shows_it_too() {
    let mut rig = Rig::loaded(Mode::Own);
    rig.check();
    rig.read(&[]);
    assert_eq!((rig.drift(), rig.found()), (DriftState::InAgreement, 0));
    let readings = rig.readings;
    rig.wait(2_000);
    assert_eq!(rig.readings, readings, "too early");
    rig.wait(1_000);
    assert_eq!(rig.readings, readings + 1);
    rig.read(&[(LOCK, secure_ltk(1))]);
    assert_eq!((rig.drift(), rig.found()), (DriftState::InAgreement, 0));
    assert!(rig.sent.is_empty());
}

#[test]
fn a_missing_key_is_loaded_again_once_and_reported_as_not_loaded() {
    let mut rig = Rig::loaded(Mode::Own);
    rig.twice(&[]);
    assert_eq!((rig.ltk_counts(), rig.found()), ((1, 0, 0), 1));
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(false));
    assert_eq!(rig.sent, [("Ltks".to_owned(), vec![peer(LOCK)])]);
    rig.kernel_takes_all();
    // The kernel says that it takes the key, and does not.
    rig.read(&[]);
    rig.wait(3_000);
    rig.read(&[]);
    assert_eq!((rig.sent.len(), rig.found()), (1, 1), "it loads for ever");
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(false));
    rig.check();
    rig.read(&[(LOCK, secure_ltk(1))]);
    assert_eq!(rig.drift(), DriftState::InAgreement);
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(true));
}

#[test]
fn a_key_that_nobody_was_seen_to_put_there_is_learned_and_goes_along_with_every_load() {
    for mode in [Mode::Own, Mode::Auto] {
        let mut rig = Rig::loaded(mode);
        rig.twice(&[(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2))]);
        assert_eq!(rig.ltk_counts(), (0, 1, 0));
        assert!(rig.sent.is_empty(), "nothing is missing");
        let bond = rig.machine.table().get(peer(OTHER)).unwrap().clone();
        assert_eq!((bond.metadata.custody, bond.metadata.source), (Custody::Foreign, Source::Learned));
        assert!(bond.metadata.details.is_none_or(|details| details.manager.is_none()));
        assert_eq!(rig.copies, Vec::<&str>::new());
        rig.read(&[(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2))]);
        assert_eq!(rig.drift(), DriftState::InAgreement);
        rig.act(|machine, now| machine.reload(RequestId(9), now));
        rig.kernel_takes_all();
        assert!(rig.sent.contains(&("Ltks".to_owned(), both())), "{:?}", rig.sent);
    }
}

#[test]
fn another_key_in_the_kernel_is_of_a_pairing_that_was_missed_and_replaces_ours_behind_a_copy() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.read(&[]);
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    rig.wait(5_000);
    rig.sent.clear();
    rig.twice(&[(LOCK, secure_ltk(2))]);
    assert_eq!(rig.ltk_counts(), (0, 0, 1));
    assert!(rig.machine.table().get(peer(LOCK)).unwrap().ltks() == [secure_ltk(2)]);
    assert_eq!(rig.copies, ["before_learned"]);
    assert!(rig.sent.is_empty(), "its key was taken out");
}

#[test]
fn beside_a_manager_nothing_is_loaded_because_of_a_drift_and_nothing_is_lost() {
    let mut rig = Rig::loaded(Mode::Auto);
    rig.manager(&["bluetoothd"]);
    rig.twice(&[(OTHER, secure_ltk(2))]);
    assert_eq!((rig.ltk_counts(), rig.found()), ((1, 1, 0), 1));
    assert!(rig.sent.is_empty());
    assert!(rig.machine.table().get(peer(OTHER)).is_some());
}

#[test]
fn where_a_key_may_belong_to_a_pairing_under_way_nothing_is_made_of_it_and_nothing_is_loaded() {
    let mut rig = Rig::loaded(Mode::Own);
    let event = KernelEvent::Connected { peer: Some(peer(OTHER)), name: None };
    rig.act(|machine, now| machine.kernel_events([event], now));
    rig.twice(&[(OTHER, secure_ltk(2))]);
    assert_eq!(rig.ltk_counts(), (1, 1, 0));
    assert!(rig.machine.table().get(peer(OTHER)).is_none());
    assert!(rig.sent.is_empty(), "a load would take that key away");
}

#[test]
fn nothing_is_read_while_anything_is_under_way() {
    let mut rig = Rig::loaded(Mode::Own);
    let readings = rig.readings;
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    rig.check();
    assert_eq!(rig.readings, readings, "a pairing");
    rig.wait(5_000);
    rig.kernel_takes_all();
    rig.wait(100);
    assert_eq!(rig.readings, readings + 1);
    rig.check();
    assert_eq!(rig.readings, readings + 1, "another reading");
}

#[test]
fn a_reading_from_before_a_change_is_made_again() {
    let mut rig = Rig::loaded(Mode::Own);
    rig.check();
    let readings = rig.readings;
    let event = KernelEvent::Key { peer: peer(OTHER), key: CapturedKey::Ltk(secure_ltk(2)) };
    rig.act(|machine, now| machine.kernel_events([event], now));
    rig.read(&[(LOCK, secure_ltk(1))]);
    for _ in 0..4 {
        rig.wait(5_000);
        rig.kernel_takes_all();
    }
    assert_eq!(rig.readings, readings + 1);
    rig.read(&[(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2))]);
    assert_eq!((rig.drift(), rig.found()), (DriftState::InAgreement, 0));
}

#[test]
fn learning_switched_off_stores_nothing_and_keeps_the_key_in_the_kernel() {
    let mut rig = Rig::without_learning(AdapterRecord { mode: Some(Mode::Own), ..AdapterRecord::default() });
    rig.attach();
    rig.kernel_takes_all();
    rig.read(&[]);
    rig.twice(&[(OTHER, secure_ltk(2))]);
    assert!(rig.machine.table().is_empty());
    rig.sent.clear();
    rig.act(|machine, now| machine.reload(RequestId(9), now));
    rig.kernel_takes_all();
    assert!(rig.sent.contains(&("Ltks".to_owned(), vec![peer(OTHER)])), "{:?}", rig.sent);
}

#[test]
fn what_cannot_be_read_is_unknown_with_its_reason_and_never_a_drift() {
    let mut rig = Rig::loaded(Mode::Own);
    rig.check();
    rig.act(|machine, now| machine.tables_read(Err(Unreadable::NoPermission), now));
    assert_eq!(rig.drift(), DriftState::Unknown(DriftUnknown::Unreadable(Unreadable::NoPermission)));
    assert!(rig.sent.is_empty());
    rig.act(|machine, now| machine.detach(now));
    assert_eq!(rig.drift(), DriftState::Unknown(DriftUnknown::Absent));
    rig.act(|machine, now| machine.attach(attach(2, true), now));
    assert_eq!(rig.drift(), DriftState::Unknown(DriftUnknown::NotChecked));
}

#[test]
fn what_an_inherited_adapter_may_hold_besides_is_not_wiped_by_the_load_of_what_is_missing() {
    let mut record = super::tests::loaded_in(1, 1);
    record.mode = Some(Mode::Own);
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], record);
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    rig.twice(&[(OTHER, secure_ltk(2))]);
    assert_eq!(rig.ltk_counts(), (1, 0, 0), "an inherited list is not known as a whole");
    let shown = Activity::OwnLoadEnded { kind: LoadKind::Ltks, taken: true };
    assert_eq!(rig.sent, [("Ltks".to_owned(), both())]);
    rig.act(|machine, now| machine.observed(shown, now));
}
