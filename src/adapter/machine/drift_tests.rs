//! What is made of the kernel's own tables: when they are read, what counts, and what follows.

use super::tests::{LOCK, Rig, attach};
use super::*;
use crate::adapter::drift::KernelTables;
use crate::adapter::messages::{Activity, DriftState, DriftUnknown, ForgetBond};
use crate::adapter::tables::Unreadable;
use crate::bond::testing::{legacy_ltk, peer, secure_bond, secure_ltk};
use crate::bond::{CapturedKey, Custody, Ltk, Role, Source};
use crate::mgmt::{ForeignLoad, KeyRecord, RawAddress};

const OTHER: &str = "C0:FF:EE:00:00:02";
const THIRD: &str = "C0:FF:EE:00:00:03";

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
        self.answer_reading(Ok(tables(keys)));
    }

    fn answer_reading(&mut self, read: Result<KernelTables, Unreadable>) {
        self.readings_answered += 1;
        assert_eq!(self.readings_answered, self.readings, "nobody has asked for this reading");
        self.act(|machine, now| machine.tables_read(read, now));
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

    /// A manager has put exactly these into the kernel.
    fn manager_loads(&mut self, process: &str, keys: &[(&str, Ltk)]) {
        let record = |(text, ltk): &(&str, Ltk)| KeyRecord {
            address: RawAddress::le(peer(text)),
            key: Ok((peer(text), CapturedKey::Ltk(ltk.clone()))),
        };
        let load = Arc::new(ForeignLoad { kind: LoadKind::Ltks, records: keys.iter().map(record).collect() });
        let activity = Activity::Loaded { process: process.to_owned(), load };
        self.act(|machine, now| machine.observed(activity, now));
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
    assert_eq!(rig.listed.as_ref().unwrap().bonds[0].loaded, Some(false), "the list was not published");
    assert_eq!(rig.sent, [("Ltks".to_owned(), vec![peer(LOCK)])]);
    rig.kernel_takes_all();
    rig.wait(1_000);
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
    rig.answer_reading(Err(Unreadable::NoPermission));
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

#[test]
fn what_only_the_second_reading_shows_is_no_drift_yet() {
    let mut rig = Rig::loaded(Mode::Auto);
    rig.manager(&["bluetoothd"]);
    rig.check();
    rig.read(&[]);
    rig.wait(3_000);
    rig.read(&[(OTHER, secure_ltk(2))]);
    assert_eq!(rig.ltk_counts(), (1, 0, 0));
    assert!(rig.machine.table().get(peer(OTHER)).is_some(), "found in a list with a drift");
}

#[test]
fn a_reading_that_failed_makes_the_next_one_a_first_one() {
    let mut rig = Rig::loaded(Mode::Own);
    rig.check();
    rig.read(&[]);
    rig.wait(3_000);
    rig.answer_reading(Err(Unreadable::Failed));
    rig.check();
    rig.read(&[]);
    assert_eq!((rig.found(), rig.sent.len()), (0, 0), "it may be of a load that is under way");
}

#[test]
fn what_went_missing_again_after_an_agreement_is_loaded_again() {
    let mut rig = Rig::loaded(Mode::Own);
    for count in 1..=3 {
        rig.twice(&[]);
        assert_eq!(rig.sent.len(), count);
        rig.kernel_takes_all();
        rig.wait(1_000);
        rig.read(&[(LOCK, secure_ltk(1))]);
        assert_eq!(rig.drift(), DriftState::InAgreement);
    }
}

#[test]
fn a_kernel_in_which_ever_new_things_go_wrong_is_not_loaded_for_ever() {
    let keys = [(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2)), (THIRD, secure_ltk(3))];
    let bonds: Vec<_> =
        [(LOCK, 1), (OTHER, 2), (THIRD, 3)].map(|(text, seed)| secure_bond(text, seed)).into();
    let mut rig = Rig::new(&bonds, AdapterRecord { mode: Some(Mode::Own), ..AdapterRecord::default() });
    rig.attach();
    rig.kernel_takes_all();
    rig.read(&keys);
    rig.sent.clear();
    // Each time another part of them is there.
    for part in 0..6_usize {
        let shown: Vec<_> = (0..3).filter(|at| part >> at & 1 == 1).map(|at| keys[at].clone()).collect();
        rig.twice(&shown);
        rig.kernel_takes_all();
        rig.wait(1_000);
    }
    assert_eq!(rig.sent.len(), 4);
}

#[test]
fn a_key_that_was_found_beside_a_manager_is_accounted_for_at_once() {
    let mut rig = Rig::loaded(Mode::Auto);
    rig.manager(&["bluetoothd"]);
    let shown = [(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2))];
    rig.twice(&shown);
    assert_eq!((rig.ltk_counts(), rig.found()), ((0, 1, 0), 1));
    let learned = rig.machine.table().generation();
    assert_eq!(rig.saved_generation, learned, "it was learned and not stored");
    rig.read(&shown);
    assert_eq!(rig.drift(), DriftState::InAgreement, "looked at again, at once");
    rig.persist();
    rig.wait(1_000);
}

#[test]
fn a_key_of_a_peer_that_was_unpaired_is_not_learned_from_what_the_kernel_shows() {
    let mut rig = Rig::loaded(Mode::Own);
    let event = KernelEvent::Unpaired { peer: peer(OTHER), bredr: false };
    rig.act(|machine, now| machine.kernel_events([event], now));
    rig.wait(1_000);
    rig.kernel_takes_all();
    rig.twice(&[(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2))]);
    assert!(rig.machine.table().get(peer(OTHER)).is_none());
}

#[test]
fn nothing_is_read_while_a_load_is_under_way_or_about_to_be() {
    let mut rig = Rig::loaded(Mode::Own);
    let readings = rig.readings;
    rig.reload();
    rig.check();
    assert_eq!(rig.readings, readings, "a load");
    rig.kernel_takes_all();
    assert_eq!(rig.readings, readings + 1);
    rig.read(&[(LOCK, secure_ltk(1))]);

    let mut rig = Rig::loaded(Mode::Auto);
    rig.manager(&["bluetoothd"]);
    rig.wait(1_000);
    rig.manager_loads("bluetoothd", &[]);
    rig.kernel_takes_all();
    assert_eq!(rig.sent.len(), 1);
    let readings = rig.readings;
    rig.manager_loads("bluetoothd", &[]);
    assert_eq!(rig.sent.len(), 1, "the second answer waits");
    rig.check();
    assert_eq!(rig.readings, readings, "an answer");
    for _ in 0..2 {
        rig.wait(300);
        rig.kernel_takes_all();
    }
    assert_eq!((rig.sent.len(), rig.readings), (2, readings + 1));
}

#[test]
fn an_answer_to_a_load_of_another_is_not_checked() {
    let mut rig = Rig::loaded(Mode::Auto);
    rig.manager(&["bluetoothd"]);
    rig.wait(1_000);
    let readings = rig.readings;
    rig.manager_loads("bluetoothd", &[]);
    rig.kernel_takes_all();
    rig.wait(1_000);
    assert_eq!((rig.sent.len(), rig.readings), (1, readings));
}

#[test]
fn whatever_happens_during_a_reading_makes_it_one_from_before_a_change() {
    let foreign: fn(&mut Rig) = |rig| rig.manager_loads("bluetoothd", &[(LOCK, secure_ltk(1))]);
    let unpaired: fn(&mut Rig) = |rig| {
        let event = KernelEvent::Unpaired { peer: peer(OTHER), bredr: false };
        rig.act(|machine, now| machine.kernel_events([event], now));
    };
    let unpairing_shown: fn(&mut Rig) = |rig| {
        let activity = Activity::Unpaired { address: RawAddress::le(peer(OTHER)) };
        rig.act(|machine, now| machine.observed(activity, now));
    };
    let own_load: fn(&mut Rig) = |rig| {
        rig.reload();
        rig.kernel_takes_all();
    };
    for (what, happens) in [
        ("a load of another", foreign),
        ("an unpairing", unpaired),
        ("an unpairing by another", unpairing_shown),
        ("a load of ours", own_load),
    ] {
        let mut rig = Rig::loaded(Mode::Own);
        rig.check();
        rig.answer_reading(Err(Unreadable::Failed));
        rig.check();
        let readings = rig.readings;
        happens(&mut rig);
        rig.read(&[(LOCK, secure_ltk(1))]);
        assert_ne!(rig.drift(), DriftState::InAgreement, "{what}: said of a table that has changed since");
        rig.wait(1_000);
        rig.kernel_takes_all();
        assert_eq!(rig.readings, readings + 1, "{what}");
    }
}

#[test]
fn while_the_tables_are_read_nothing_is_due() {
    let mut rig = Rig::loaded(Mode::Own);
    rig.check();
    rig.read(&[]);
    rig.wait(3_000);
    let now = rig.now.instant;
    assert!(rig.machine.next_deadline().is_none_or(|at| at > now), "it wakes up again and again");
}

#[test]
fn a_bond_of_which_another_key_is_in_the_kernel_is_not_called_loaded() {
    for connected in [false, true] {
        let mut rig = Rig::loaded(Mode::Auto);
        rig.manager(&["bluetoothd"]);
        if connected {
            // What is there may be of a pairing under way, so nothing else is made of it.
            let event = KernelEvent::Connected { peer: Some(peer(LOCK)), name: None };
            rig.act(|machine, now| machine.kernel_events([event], now));
        }
        rig.twice(&[(LOCK, secure_ltk(2))]);
        assert_eq!(rig.ltk_counts(), (0, 0, 1));
        let stored = if connected { secure_ltk(1) } else { secure_ltk(2) };
        let bond = rig.machine.table().get(peer(LOCK)).unwrap();
        assert!(bond.ltks() == [stored]);
        // Until a later reading shows it where it is thought to be.
        assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(false), "{connected}");
    }
}

/// A key that was wanted before is not wanted by the drift check: whoever takes it away may do so.
#[test]
fn what_somebody_lists_or_is_stored_is_not_taken_for_found() {
    let mut rig = Rig::without_learning(AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.read(&[]);
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    rig.wait(5_000);
    rig.manager(&["bluetoothd"]);
    rig.manager_loads("bluetoothd", &[(OTHER, secure_ltk(2))]);
    rig.wait(1_000);
    rig.kernel_takes_all();
    rig.wait(1_000);
    rig.twice(&[(LOCK, secure_ltk(1)), (OTHER, secure_ltk(2)), (THIRD, secure_ltk(3))]);
    assert_eq!(rig.ltk_counts(), (0, 1, 0));
    rig.sent.clear();
    rig.manager_loads("bluetoothd", &[]);
    rig.wait(1_000);
    let (_, peers) = rig.sent.last().expect("an answer").clone();
    assert!(!peers.contains(&peer(OTHER)), "taken back what bluetoothd has removed: {peers:?}");
    assert!(peers.contains(&peer(THIRD)) && peers.contains(&peer(LOCK)), "{peers:?}");

    // Nor what the user forgets.
    rig.kernel_takes_all();
    let forget = ForgetBond { peer: peer(LOCK), unpair: false };
    rig.act(|machine, now| machine.forget(RequestId(2), forget, now));
    rig.checkpoint_taken();
    rig.persist();
    rig.wait(1_000);
    rig.kernel_takes_all();
    rig.manager_loads("bluetoothd", &[]);
    rig.wait(1_000);
    assert_eq!(rig.sent.last().unwrap().1, [peer(THIRD)]);
}
