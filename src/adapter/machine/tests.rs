mod commands;
#[path = "health_tests.rs"]
mod health_tests;
mod paired;
mod rig;
#[path = "undo_tests.rs"]
mod undo_tests;

use std::time::Duration;

pub(super) use self::rig::{ADAPTER, LOCK, Rig, attach, loaded_in};
use super::*;
use crate::adapter::gate::HoldReason;
use crate::adapter::load::ListOutcome;
use crate::adapter::messages::{
    Activity, ControllerInfo, EventKind, ForgetBond, KernelSideState, Restore, Sync as SyncState,
};
use crate::bond::plan::RestoreMode;
use crate::bond::testing::{irk, legacy_ltk, peer, secure_bond, secure_ltk};
use crate::bond::{Bond, Custody, LocalIdentity, Role, Source};
use crate::store::messages::Checkpoint;

#[test]
fn after_a_plug_in_the_keys_go_to_the_kernel_before_the_list_goes_to_anybody() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.said.clear();
    rig.attach();
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Taken, now));
    assert_eq!((rig.sent_kinds().len(), rig.said.len()), (2, 0), "{:?} {:?}", rig.sent_kinds(), rig.said);
    rig.kernel_takes_all();
    assert_eq!(rig.said, ["adapter_loaded", "list"]);
    assert_eq!(rig.listed.as_ref().unwrap().bonds[0].loaded, Some(true));
}

#[test]
fn a_pairing_is_announced_once_after_its_commit_and_after_the_list() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.said.clear();
    rig.key(CapturedKey::Irk(irk(1)));
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));
    assert_eq!(rig.machine.table().generation(), 3);
    assert_eq!(rig.saved_generation, 3);
    rig.wait(300);
    assert!(rig.said.is_empty(), "said {:?} before the commit", rig.said);
    rig.persist();
    assert_eq!(rig.said, ["list", "bond_added"]);
    assert!(rig.listed.unwrap().bonds[0].durable);
}

#[test]
fn a_commit_before_the_last_key_does_not_announce_half_a_bond() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    rig.persist();
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));
    rig.persist();
    assert!(rig.events.iter().all(|event| !event.starts_with("bond_")));
    rig.wait(300);
    assert_eq!(rig.events.last().unwrap(), "bond_added pairing");
}

#[test]
fn plugging_in_primes_with_irks_and_then_loads_the_keys() {
    let mut bond = secure_bond(LOCK, 1);
    bond.irk = Some(irk(1));
    let mut rig = Rig::new(&[bond], AdapterRecord::default());
    rig.attach();
    assert_eq!(rig.sent, [("Irks".to_owned(), vec![peer(LOCK)])]);
    assert_eq!(rig.sync(), SyncState::Loading);
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks"]);
    assert_eq!(rig.sync(), SyncState::InSync);
    assert_eq!(rig.events.last().unwrap(), "adapter_loaded plugged_in");
    assert_eq!(rig.listed.unwrap().bonds[0].loaded, Some(true));
}

#[test]
fn a_restore_keeps_the_adapters_own_identity_where_none_is_known() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    let identity = |seed| Some(LocalIdentity { irk: irk(seed), privacy: None });
    for seed in [7, 8] {
        rig.restore_with_identity(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None, identity(seed));
        rig.checkpoint_taken();
        assert!(rig.machine.record().local_identity == identity(7), "the one that is known stays");
        assert_eq!(rig.records_saved, 1);
        rig.persist();
    }
}

#[test]
fn the_same_appearance_after_a_restart_is_inherited_and_nothing_is_sent() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], loaded_in(1, 1));
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::InSync);
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(true));

    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], loaded_in(1, 1));
    rig.attach_with(2, false);
    assert!(!rig.sent.is_empty(), "a new appearance was taken for the old one");
}

#[test]
fn a_restore_cut_short_by_a_crash_is_reported_and_not_loaded_over_the_inherited_table() {
    let mut restored = secure_bond(LOCK, 1);
    restored.metadata.source = Source::Restored;
    let mut rig = Rig::new(&[restored], loaded_in(1, 0));
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::Failed);
    assert!(rig.states.last().unwrap().last_error.as_ref().unwrap().contains("bonds/reload"));
}

#[test]
fn observe_never_loads_and_auto_holds_beside_a_manager_and_says_who() {
    let record = AdapterRecord { mode: Some(Mode::Observe), ..AdapterRecord::default() };
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], record);
    rig.attach();
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::Held);

    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig.wait(10_000);
    assert!(rig.sent.is_empty());
    let hold = Verdict::Hold(HoldReason::KeysUnknown { manager: "bluetoothd".to_owned() });
    assert_eq!(rig.states.last().unwrap().verdict, hold);
    assert_eq!(rig.events, ["adapter_held gate"]);
}

#[test]
fn own_loads_beside_a_manager_and_a_mode_change_takes_effect_at_once() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    rig.act(|machine, now| {
        machine.set_mode(Mode::Own, now);
    });
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks"]);
    assert_eq!(rig.sync(), SyncState::InSync);
}

#[test]
fn a_bond_captured_beside_a_manager_is_foreign_and_is_not_loaded_later() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach();
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    assert_eq!(rig.machine.table().get(peer(LOCK)).unwrap().metadata.custody, Custody::Foreign);
    rig.act(|machine, now| machine.detach(now));
    rig.manager(&[]);
    rig.sent.clear();
    rig.attach_with(2, true);
    rig.kernel_takes_all();
    assert_eq!(rig.sent, [("Irks".to_owned(), Vec::new())]);
}

#[test]
fn a_key_that_arrives_while_a_list_is_on_its_way_is_loaded_again_at_once() {
    let mut rig = Rig::new(&[secure_bond("C0:FF:EE:00:00:02", 2)], AdapterRecord::default());
    rig.attach();
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks", "Ltks"]);
    assert_eq!(rig.sent.last().unwrap().1.len(), 2, "the second list lacks the new key");
}

#[test]
fn a_repeated_load_waits_for_a_pairing_to_end() {
    let mut rig = Rig::new(&[secure_bond("C0:FF:EE:00:00:02", 2)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.key(CapturedKey::Irk(irk(1)));
    rig.act(|machine, now| machine.reload(RequestId(1), now));
    assert!(rig.sent.is_empty());
    rig.wait(300);
    assert!(!rig.sent.is_empty());
}

#[test]
fn unpairing_by_another_process_removes_the_bond_behind_a_checkpoint_and_says_so() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.act(|machine, now| {
        machine.kernel_events([KernelEvent::Unpaired { peer: peer(LOCK), bredr: false }], now)
    });
    assert!(rig.machine.table().is_empty());
    assert!(!rig.events.contains(&"bond_removed unpaired".to_owned()), "said before the commit");
    rig.persist();
    assert_eq!(rig.events.last().unwrap(), "bond_removed unpaired");
}

#[test]
fn a_bond_has_the_name_that_its_peer_first_connected_with() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    let connected =
        |name: &str| KernelEvent::Connected { peer: Some(peer(LOCK)), name: Some(name.to_owned()) };
    rig.act(|machine, now| machine.kernel_events([connected("Front door")], now));
    assert!(rig.machine.table().is_empty());
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    let name = |rig: &Rig| rig.machine.table().get(peer(LOCK)).unwrap().metadata.name.clone();
    assert_eq!(name(&rig).as_deref(), Some("Front door"));
    let generation = rig.machine.table().generation();
    rig.act(|machine, now| machine.kernel_events([connected("Other")], now));
    assert_eq!(name(&rig).as_deref(), Some("Front door"));
    assert_eq!(rig.machine.table().generation(), generation, "a connection cost a write");
    assert!(rig.machine.describe_bonds().bonds[0].last_seen_at.is_some());
}

#[test]
fn unpairing_one_transport_of_a_dual_mode_peer_keeps_the_other() {
    let mut bond = secure_bond(LOCK, 1);
    let key = crate::bond::testing::material(9);
    let key_type = crate::bond::LinkKeyType::UnauthenticatedP256;
    bond.link_key = Some(crate::bond::LinkKey { key, key_type, pin_length: Some(0) });
    let mut rig = Rig::new(&[bond], AdapterRecord::default());
    rig.attach();
    let unpaired = KernelEvent::Unpaired { peer: peer(LOCK), bredr: true };
    rig.act(|machine, now| machine.kernel_events([unpaired], now));
    rig.persist();
    let bond = rig.machine.table().get(peer(LOCK)).unwrap();
    assert!(bond.link_key.is_none() && bond.ltks().len() == 1);
    assert_eq!(rig.events.last().unwrap(), "bond_updated unpaired");
}

#[test]
fn pairing_again_replaces_the_bond_and_is_an_update() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.key(CapturedKey::Ltk(secure_ltk(2)));
    rig.persist();
    rig.wait(300);
    assert_eq!(rig.events.last().unwrap(), "bond_updated pairing");
    assert!(rig.machine.table().get(peer(LOCK)).unwrap().ltks() == [secure_ltk(2)]);
}

#[test]
fn keys_not_to_be_kept_are_counted_by_reason() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    let skipped = KernelEvent::Skipped { reason: "store_hint" };
    rig.act(|machine, now| machine.kernel_events([skipped.clone(), skipped], now));
    assert_eq!(rig.states.last().unwrap().skipped, [("store_hint", 2)]);
    assert!(rig.machine.table().is_empty());
}

#[test]
fn the_machine_never_asks_to_be_woken_in_the_past_without_having_something_to_do() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Failed("Busy".to_owned()), now));
    rig.manager(&["bluetoothd"]);
    rig.wait(60_000);
    let overdue = rig.machine.next_deadline().is_some_and(|deadline| deadline <= rig.now.instant);
    assert!(!overdue, "a held adapter would spin");
}

#[test]
fn only_held_events_tell_of_a_hold_and_each_plug_in_tells_again() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig.act(|machine, now| machine.detach(now));
    rig.attach_with(2, false);
    assert_eq!(rig.events, ["adapter_held gate", "adapter_held gate"]);
}

#[test]
fn an_event_names_its_type_as_the_contract_does() {
    let kind = EventKind::AdapterHeld { reason: String::new(), advice: String::new() };
    assert_eq!(kind.event_type(), "adapter_held");
}

#[test]
fn an_announcement_that_is_given_up_is_told_of() {
    use super::report::{Announcement, Subject};
    // As when the disk is full for days.
    const MORE_THAN_WAIT: u64 = 4_096 + 2;
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.act(|machine, _| {
        for generation in 1..=MORE_THAN_WAIT {
            let subject = Subject::Removed { peer: peer(LOCK), bredr_only: false };
            machine.announce(Announcement { generation, subject, cause: "unpaired" });
        }
    });
    assert_eq!(rig.events, ["dropped", "dropped"]);
}
