//! Undo, its hazards, and what the audit log is told.

use super::*;
use crate::adapter::messages::{CommandError, RestoreReport, Undo};
use crate::bond::Operation;
use crate::bond::plan::Hazard;
use crate::store::messages::StoreFault;

const RING: &str = "C0:FF:EE:00:00:02";

impl Rig {
    /// Answers the step that is waited for, the way a store does, as long as one is.
    fn store_obeys(&mut self) {
        if let (1, Some(_)) = (self.checkpoints_awaited, &self.copy) {
            self.checkpoints_awaited = 0;
            self.checkpoint_taken();
        }
        self.persist();
    }

    fn undo(&mut self, request: Undo) {
        self.act(|machine, now| machine.undo(RequestId(3), request, now));
    }

    /// Hands out this table as the copy that an undo asks for.
    fn hand_out(&mut self, copy: &BondTable) {
        let copy = copy.clone();
        self.act(|machine, now| machine.copy_outcome(Ok(copy), now));
    }

    /// A restore that has gone all the way; gives the table from before.
    fn restored(&mut self, bonds: Vec<Bond>, mode: RestoreMode) -> BondTable {
        let before = self.machine.table().clone();
        self.restore(bonds, mode, None);
        self.store_obeys();
        self.kernel_takes_all();
        before
    }

    fn report(&mut self) -> RestoreReport {
        match self.replies.pop() {
            Some(Reply::Restore(Ok(report))) => report,
            other => panic!("no report: {other:?}"),
        }
    }

    fn refusal(&mut self) -> CommandError {
        match self.replies.pop() {
            Some(Reply::Restore(Err(error))) => error,
            other => panic!("no refusal: {other:?}"),
        }
    }

    fn peers_loaded_last(&self) -> &[PeerAddress] {
        let ltks = self.sent.iter().rev().find(|(kind, _)| kind == "Ltks");
        ltks.map_or(&[], |(_, peers)| peers)
    }
}

fn at_once() -> Undo {
    Undo { dry_run: false, plan_id: None }
}

fn ready(bonds: &[Bond]) -> Rig {
    let mut rig = Rig::new(bonds, AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.now.wall = UnixMillis(rig.now.wall.0 + 1_000);
    rig
}

#[test]
fn a_replacement_is_undone_in_the_store_and_in_the_kernel_and_then_done_again() {
    let mut rig = ready(&[secure_bond(LOCK, 1)]);
    let before = rig.restored(vec![secure_bond(RING, 9)], RestoreMode::Replace);
    assert_eq!(rig.report().checkpoint.as_deref(), Some("copy"));
    assert_eq!(rig.peers_loaded_last(), [peer(RING)]);
    let replaced = rig.machine.table().clone();

    rig.undo(at_once());
    assert_eq!(rig.copies_asked, ["copy"]);
    rig.hand_out(&before);
    rig.store_obeys();
    rig.kernel_takes_all();
    let report = rig.report();
    assert_eq!((&report.added[..], &report.lost[..]), (&[peer(LOCK)][..], &[peer(RING)][..]));
    assert_eq!(report.undone.unwrap().operation, Operation::Replace);
    assert_eq!(rig.peers_loaded_last(), [peer(LOCK)]);
    assert!(before.diff(rig.machine.table()).added.is_empty());

    rig.undo(at_once());
    rig.hand_out(&replaced);
    rig.store_obeys();
    rig.kernel_takes_all();
    assert_eq!(rig.report().undone.unwrap().operation, Operation::Undo);
    assert_eq!(rig.peers_loaded_last(), [peer(RING)]);
    assert_eq!(rig.events.iter().filter(|event| *event == "bonds_restored undo").count(), 2);
}

#[test]
fn a_key_that_the_kernel_made_goes_from_its_list_when_a_replacement_loses_the_bond() {
    let mut rig = ready(&[]);
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    rig.wait(2_000);
    rig.persist();
    let before = rig.restored(vec![secure_bond(RING, 9)], RestoreMode::Replace);
    assert_eq!(rig.peers_loaded_last(), [peer(RING)]);
    rig.undo(at_once());
    rig.hand_out(&before);
    rig.store_obeys();
    rig.kernel_takes_all();
    assert_eq!(rig.peers_loaded_last(), [peer(LOCK)]);
}

#[test]
fn a_forgotten_bond_comes_back_and_a_pairing_since_stays() {
    let mut rig = ready(&[secure_bond(LOCK, 1)]);
    let before = rig.machine.table().clone();
    rig.forget(true);
    rig.store_obeys();
    rig.act(|machine, now| machine.unpair_outcome(UnpairOutcome::Gone, now));
    let ring = KernelEvent::Key { peer: peer(RING), key: CapturedKey::Ltk(secure_ltk(5)) };
    rig.act(|machine, now| machine.kernel_events([ring], now));
    rig.wait(2_000);
    rig.persist();
    rig.undo(at_once());
    rig.hand_out(&before);
    rig.store_obeys();
    rig.kernel_takes_all();
    let report = rig.report();
    assert_eq!((&report.added[..], report.lost.len()), (&[peer(LOCK)][..], 0));
    assert_eq!(report.kept, [peer(RING)]);
    assert_eq!(rig.peers_loaded_last().len(), 2);
}

#[test]
fn what_can_be_undone_outlives_the_service() {
    let mut rig = ready(&[secure_bond(LOCK, 1)]);
    let before = rig.restored(vec![secure_bond(RING, 9)], RestoreMode::Replace);
    let stored = StoredAdapter {
        address: ADAPTER.parse().unwrap(),
        table: rig.machine.table().clone(),
        record: rig.machine.record().clone(),
    };
    let mut again = Rig::new(&[], AdapterRecord::default());
    again.machine = {
        let options = AdapterOptions { default_mode: Mode::Auto, learn: true };
        AdapterMachine::new(stored, options, FingerprintKey::new([3; 32]), again.now)
    };
    again.manager(&[]);
    again.undo(at_once());
    again.hand_out(&before);
    again.store_obeys();
    assert!(again.machine.table().get(peer(LOCK)).is_some());
    assert_eq!(again.report().kernel.unwrap().state, KernelSideState::Absent);
}

#[test]
fn without_anything_to_undo_or_to_read_it_is_refused() {
    let mut rig = ready(&[secure_bond(LOCK, 1)]);
    rig.undo(at_once());
    assert!(matches!(rig.refusal(), CommandError::NothingToUndo(_)));
    let before = rig.restored(vec![secure_bond(LOCK, 9)], RestoreMode::Merge);
    rig.report();
    rig.undo(at_once());
    let fault = StoreFault::NoSuchCheckpoint("copy".to_owned());
    rig.act(|machine, now| machine.copy_outcome(Err(fault.clone()), now));
    assert_eq!(rig.refusal(), CommandError::Store(fault));
    // Paired again since: there is nothing that an undo could bring back.
    rig.wait(1);
    rig.key(CapturedKey::Ltk(secure_ltk(7)));
    rig.wait(2_000);
    rig.undo(at_once());
    rig.hand_out(&before);
    assert!(matches!(rig.refusal(), CommandError::NothingToUndo(_)));
}

#[test]
fn an_undo_can_be_looked_at_first_and_a_stale_plan_is_refused() {
    let mut rig = ready(&[secure_bond(LOCK, 1)]);
    let before = rig.restored(vec![secure_bond(LOCK, 9)], RestoreMode::Merge);
    rig.report();
    rig.undo(Undo { dry_run: true, plan_id: None });
    rig.hand_out(&before);
    let plan_id = Some(rig.report().plan_id);
    let generation = rig.machine.table().generation();
    rig.act(|machine, now| {
        let key = CapturedKey::Ltk(secure_ltk(5));
        machine.kernel_events([KernelEvent::Key { peer: peer(RING), key }], now);
    });
    assert_eq!(rig.machine.table().generation(), generation + 1);
    rig.undo(Undo { dry_run: false, plan_id });
    rig.hand_out(&before);
    assert_eq!(rig.refusal(), CommandError::PlanStale);
}

#[test]
fn a_load_on_an_adapter_that_was_there_before_us_is_a_hazard_until_one_was_made() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], loaded_in(1, 1));
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty(), "nothing is loaded on the same appearance");
    let hazards = |rig: &mut Rig| {
        let request = Restore {
            bonds: vec![secure_bond(RING, 1)],
            local_identity: None,
            opaque: Vec::new(),
            source: Source::Restored,
            mode: RestoreMode::Merge,
            dry_run: true,
            plan_id: None,
            adapter_mismatch: false,
        };
        rig.act(|machine, now| machine.restore(RequestId(1), request, now));
        rig.report().hazards
    };
    assert_eq!(hazards(&mut rig), [Hazard::WipesUnseen]);
    rig.act(|machine, now| machine.reload(RequestId(4), now));
    rig.kernel_takes_all();
    rig.replies.clear();
    assert_eq!(hazards(&mut rig), []);
}

#[test]
fn the_answer_says_what_became_of_each_list() {
    let mut rig = ready(&[]);
    rig.restored(vec![secure_bond(LOCK, 1), secure_bond(RING, 2)], RestoreMode::Merge);
    let lists = rig.report().kernel.unwrap().lists;
    let ltks = lists.iter().find(|list| list.list == "ltks").unwrap();
    assert_eq!((ltks.loaded, ltks.loaded_count, ltks.refused_count), (true, 2, 0));
}

#[test]
fn the_audit_log_is_told_of_every_key_that_comes_changes_or_goes_once_it_is_durable() {
    let mut rig = ready(&[]);
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    rig.wait(2_000);
    assert!(rig.audited.is_empty(), "told before it was durable");
    rig.persist();
    rig.restored(vec![secure_bond(LOCK, 9)], RestoreMode::Merge);
    rig.forget(false);
    rig.store_obeys();
    let told: Vec<_> =
        rig.audited.iter().map(|line| (line.action.as_str(), line.cause.as_str(), &line.bonds[0])).collect();
    let [added, restored, removed] = &told[..] else { panic!("{told:?}") };
    assert_eq!((added.0, added.1), ("bond_added", "pairing"));
    assert_eq!((restored.0, restored.1), ("bonds_restored", "restore"));
    assert_eq!((removed.0, removed.1), ("bond_removed", "forget"));
    assert!(added.2.before.is_none() && removed.2.after.is_none());
    assert_eq!((&added.2.after, &restored.2.after), (&restored.2.before, &removed.2.before));
    assert_ne!(restored.2.before, restored.2.after);
    assert_eq!(rig.audited[0].adapter.as_deref(), Some(ADAPTER));
}

#[test]
fn connection_parameters_are_no_matter_for_the_audit_log() {
    let mut rig = ready(&[secure_bond(LOCK, 1)]);
    let parameters = crate::bond::ConnectionParameters {
        min_interval: 24,
        max_interval: 40,
        latency: 0,
        supervision_timeout: 600,
    };
    rig.key(CapturedKey::ConnectionParameters(parameters));
    rig.wait(2_000);
    rig.persist();
    assert!(rig.events.contains(&"bond_updated connection_parameters".to_owned()));
    assert!(rig.audited.is_empty());
}
