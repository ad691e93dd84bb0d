//! Commands: what is stored, copied, loaded and answered, and in which order.

use super::*;

#[test]
fn forgetting_takes_a_checkpoint_commits_and_only_then_unpairs() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.forget(true);
    assert_eq!(rig.checkpoints_awaited, 1);
    assert!(!rig.machine.table().is_empty(), "removed before the checkpoint");
    rig.checkpoint_taken();
    assert!(rig.sent.is_empty(), "unpaired before the commit");
    rig.persist();
    assert_eq!(rig.sent, [("Unpair bredr=false".to_owned(), vec![peer(LOCK)])]);
    rig.act(|machine, now| machine.unpair_outcome(UnpairOutcome::Gone, now));
    let Some(Reply::Forget(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.kernel.state, KernelSideState::Loaded);
    assert_eq!(report.checkpoint.as_deref(), Some("copy"));
}

#[test]
fn an_unpowered_adapter_forgets_by_loading_its_list_without_the_peer() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.act(|machine, now| {
        machine.kernel_events([KernelEvent::Settings { powered: false, privacy: false }], now)
    });
    rig.sent.clear();
    rig.forget(true);
    rig.checkpoint_taken();
    rig.persist();
    rig.kernel_takes_all();
    assert_eq!(rig.sent, [("Irks".to_owned(), Vec::new()), ("Ltks".to_owned(), Vec::new())]);
    assert!(matches!(rig.replies.last(), Some(Reply::Forget(Ok(_)))));
}

#[test]
fn a_checkpoint_that_cannot_be_written_stops_the_forget_and_changes_nothing() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.forget(true);
    rig.act(|machine, now| machine.checkpoint_outcome(Err(StoreFault::DiskFull), now));
    let expected = Reply::Forget(Err(CommandError::Store(StoreFault::DiskFull)));
    assert_eq!(rig.replies.last(), Some(&expected));
    assert_eq!(rig.machine.table().len(), 1);
}

#[test]
fn a_restore_is_stored_then_loaded_then_answered_and_announced_once() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.restore(vec![secure_bond(LOCK, 1), secure_bond("C0:FF:EE:00:00:02", 2)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    assert!(rig.sent.is_empty(), "loaded before the commit");
    rig.persist();
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks"]);
    let Some(Reply::Restore(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert!(report.applied);
    assert_eq!(report.kernel.as_ref().unwrap().state, KernelSideState::Loaded);
    let restored = rig.events.iter().filter(|event| event.starts_with("bond")).collect::<Vec<_>>();
    assert_eq!(restored, ["bonds_restored restore"]);
}

#[test]
fn a_restore_on_a_held_adapter_succeeds_in_the_store_and_says_so() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.persist();
    let Some(Reply::Restore(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.kernel.as_ref().unwrap().state, KernelSideState::Held);
    assert!(rig.sent.is_empty());
}

#[test]
fn a_plan_made_before_the_bonds_changed_is_refused() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, Some("of yesterday".to_owned()));
    assert_eq!(rig.replies.last(), Some(&Reply::Restore(Err(CommandError::PlanStale))));
}

#[test]
fn a_pairing_while_the_checkpoint_is_written_makes_the_plan_stale_and_is_kept() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.restore(vec![secure_bond(LOCK, 2)], RestoreMode::Merge, None);
    assert_eq!(rig.checkpoints_awaited, 1);
    rig.key(CapturedKey::Ltk(secure_ltk(9)));
    rig.checkpoint_taken();
    assert_eq!(rig.replies.last(), Some(&Reply::Restore(Err(CommandError::PlanStale))));
    assert!(rig.machine.table().get(peer(LOCK)).unwrap().ltks() == [secure_ltk(9)]);
}

#[test]
fn a_full_disk_answers_the_restore_with_the_fault_and_later_commits_it() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.act(|machine, now| machine.persist_failed(StoreFault::DiskFull, now));
    let expected = Reply::Restore(Err(CommandError::NotStored(StoreFault::DiskFull)));
    assert_eq!(rig.replies.last(), Some(&expected));
    assert!(!rig.listed.as_ref().unwrap().bonds[0].durable);
    assert!(rig.events.iter().all(|event| !event.starts_with("bonds_restored")));
    rig.persist();
    assert!(rig.listed.as_ref().unwrap().bonds[0].durable);
    assert!(rig.states.last().unwrap().last_error.is_none());
}

#[test]
fn a_forget_that_was_not_stored_in_time_reaches_the_kernel_when_it_is() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.forget(true);
    rig.checkpoint_taken();
    rig.act(|machine, now| machine.persist_failed(StoreFault::DiskFull, now));
    let expected = Reply::Forget(Err(CommandError::NotStored(StoreFault::DiskFull)));
    assert_eq!(rig.replies, [expected]);
    assert!(rig.sent.is_empty(), "unpaired before the commit");
    rig.persist();
    assert_eq!(rig.sent, [("Unpair bredr=false".to_owned(), vec![peer(LOCK)])]);
    rig.act(|machine, now| machine.unpair_outcome(UnpairOutcome::Gone, now));
    assert_eq!(rig.replies.len(), 1, "it was answered before");
    assert!(rig.listed.as_ref().unwrap().bonds.is_empty());
}

#[test]
fn a_restore_whose_commit_takes_too_long_is_loaded_when_it_is_through() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.wait(20_000);
    let slow_disk = StoreFault::Io("the disk did not answer in time".to_owned());
    assert_eq!(rig.replies, [Reply::Restore(Err(CommandError::NotStored(slow_disk)))]);
    rig.wait(60_000);
    assert!(rig.sent.is_empty(), "loaded before the commit");
    rig.persist();
    rig.kernel_takes_all();
    assert!(rig.sent.contains(&("Ltks".to_owned(), vec![peer(LOCK)])), "{:?}", rig.sent);
    assert_eq!(rig.replies.len(), 1, "it was answered before");
}

#[test]
fn while_a_change_waits_for_the_disk_no_other_begins_and_a_reload_does() {
    let mut rig =
        Rig::new(&[secure_bond(LOCK, 1), secure_bond("C0:FF:EE:00:00:02", 2)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.forget(true);
    rig.checkpoint_taken();
    rig.act(|machine, now| machine.persist_failed(StoreFault::DiskFull, now));
    let full = || CommandError::Store(StoreFault::DiskFull);
    rig.restore(vec![secure_bond(LOCK, 3)], RestoreMode::Merge, None);
    assert_eq!(rig.replies.last(), Some(&Reply::Restore(Err(full()))));
    rig.act(|machine, now| machine.adopt(RequestId(7), crate::adapter::messages::Adopt { peers: None }, now));
    assert_eq!(rig.replies.last(), Some(&Reply::Adopt(Err(full()))));
    rig.act(|machine, now| machine.reload(RequestId(8), now));
    rig.sent.clear();
    // The reload is not through yet when the disk is mended: one after the other.
    rig.persist();
    assert!(!rig.sent.iter().any(|(what, _)| what.starts_with("Unpair")), "{:?}", rig.sent);
    rig.kernel_takes_all();
    assert!(matches!(rig.replies.last(), Some(Reply::Reload(Ok(_)))), "{:?}", rig.replies.last());
    assert!(rig.sent.contains(&("Unpair bredr=false".to_owned(), vec![peer(LOCK)])), "{:?}", rig.sent);
}

#[test]
fn a_kernel_that_does_not_answer_is_reported_and_tried_again_after_a_wait() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Silent, now));
    assert_eq!(rig.sync(), SyncState::Failed);
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(false));
    assert_eq!(rig.sent.len(), 1);
    rig.wait(999);
    assert_eq!(rig.sent.len(), 1);
    rig.wait(1);
    assert_eq!(rig.sent.len(), 2);
    rig.kernel_takes_all();
    assert_eq!(rig.sync(), SyncState::InSync);
}

#[test]
fn a_command_is_answered_within_its_deadline_even_if_nobody_else_answers() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.forget(true);
    assert!(rig.replies.is_empty());
    rig.forget(true);
    assert_eq!(rig.replies.last(), Some(&Reply::Forget(Err(CommandError::Busy))));
    rig.wait(20_000);
    let slow_disk = StoreFault::Io("the disk did not answer in time".to_owned());
    assert_eq!(rig.replies.last(), Some(&Reply::Forget(Err(CommandError::Store(slow_disk)))));

    rig.act(|machine, now| machine.reload(RequestId(3), now));
    rig.wait(20_000);
    assert_eq!(rig.replies.last(), Some(&Reply::Reload(Err(CommandError::KernelTimeout))));
}

#[test]
fn pulling_the_adapter_out_answers_the_command_that_needed_it() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.persist();
    rig.act(|machine, now| machine.detach(now));
    let Some(Reply::Restore(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.kernel.as_ref().unwrap().state, KernelSideState::Absent);
    assert_eq!(rig.sync(), SyncState::Absent);
}
